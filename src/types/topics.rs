//! Which topics somebody may have to do with.

use std::sync::Arc;

use super::TopicFilter;

/// All that there is, or what some topic filters match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Topics {
    /// Everything, also what has no topic.
    #[default]
    All,
    /// What any of these matches, and nothing that has no topic.
    Of(Arc<[TopicFilter]>),
}

impl Topics {
    /// Nothing at all.
    #[must_use]
    pub fn none() -> Self {
        Self::Of(Arc::default())
    }

    /// Whether it is everything.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Of(filters) if filters.is_empty())
    }

    /// Whether what has this topic, or none, is among them.
    #[must_use]
    pub fn have(&self, topic: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Of(filters) => topic.is_some_and(|topic| filters.iter().any(|filter| filter.matches(topic))),
        }
    }

    /// Whether every topic that `other` matches is among them, by a single filter.
    #[must_use]
    pub fn cover(&self, other: &TopicFilter) -> bool {
        match self {
            Self::All => true,
            Self::Of(filters) => filters.iter().any(|filter| filter.covers(other)),
        }
    }

    /// What is in either.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Of(one), Self::Of(more)) => {
                let new = more.iter().filter(|filter| !one.contains(filter));
                Self::Of(one.iter().chain(new).cloned().collect())
            }
        }
    }
}

impl FromIterator<TopicFilter> for Topics {
    fn from_iter<I: IntoIterator<Item = TopicFilter>>(filters: I) -> Self {
        Self::Of(filters.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filters: &[&str]) -> Topics {
        filters.iter().map(|filter| filter.parse::<TopicFilter>().unwrap()).collect()
    }

    #[test]
    fn what_has_no_topic_is_only_in_everything() {
        assert!(Topics::All.have(None) && Topics::All.have(Some("$x")));
        let some = of(&["a/+", "b/#"]);
        assert!(some.have(Some("a/1")) && some.have(Some("b")) && !some.have(Some("a")) && !some.have(None));
        assert!(!of(&["#"]).have(None) && !of(&["#"]).have(Some("$x")));
        assert!(Topics::none().is_none() && !Topics::none().have(Some("a")));
    }

    #[test]
    fn a_sum_has_both() {
        assert_eq!(of(&["a", "b"]).with(&of(&["b", "c"])), of(&["a", "b", "c"]));
        assert_eq!(of(&["a"]).with(&Topics::All), Topics::All);
    }

    #[test]
    fn one_filter_covers_another_where_it_matches_all_of_its_topics() {
        for (wide, narrow) in [
            ("#", "a/b"),
            ("#", "#"),
            ("a/#", "a"),
            ("a/#", "a/+/c"),
            ("a/+", "a/b"),
            ("+/b", "+/b"),
            ("$x/#", "$x/y"),
            ("a/#", "a/#"),
            ("+/#", "+"),
            ("a/+/#", "a/+"),
        ] {
            assert!(of(&[wide]).cover(&narrow.parse().unwrap()), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("a/+", "a/#"),
            ("a/b", "a/+"),
            ("#", "$x/y"),
            ("+/y", "$x/y"),
            ("a/#", "+/b"),
            ("a/+", "a"),
            ("a/+/#", "a"),
            ("a/b", "a/b/c"),
            ("a/b/c", "a/b"),
            ("a/+/#", "a/#"),
        ] {
            assert!(!of(&[wide]).cover(&narrow.parse().unwrap()), "{wide} {narrow}");
        }
    }
}
