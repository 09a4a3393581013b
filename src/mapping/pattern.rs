//! Topic patterns with named parts, and names made of those parts.

use smallvec::SmallVec;

use super::RouteProblem;
use crate::types::TopicFilter;

/// The values of a pattern's named parts, in the order of the pattern.
pub type Parts<'t> = SmallVec<[&'t str; 4]>;

/// A topic filter whose single-level wildcards may have names: `devices/{device}/telemetry`.
/// A named part takes one level that is not empty; otherwise the rules of MQTT 5.0 section 4.7
/// hold.
#[derive(Debug)]
pub struct Pattern {
    levels: Box<[Level]>,
    names: Box<[Box<str>]>,
    leading_wildcard: bool,
}

#[derive(Debug)]
enum Level {
    Literal(Box<str>),
    Any,
    Named,
    Rest,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, RouteProblem> {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut filter = Vec::new();
        let mut levels = Vec::new();
        for level in text.split('/') {
            let (wildcard, parsed) = match level {
                "+" => ("+", Level::Any),
                "#" => ("#", Level::Rest),
                _ => match level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) => {
                        if !is_name(name) || names.iter().any(|known| **known == *name) {
                            return Err(RouteProblem::PartName(name.into()));
                        }
                        names.push(name.into());
                        ("+", Level::Named)
                    }
                    None if level.contains(['{', '}']) => return Err(RouteProblem::PartName(level.into())),
                    None => (level, Level::Literal(level.into())),
                },
            };
            filter.push(wildcard);
            levels.push(parsed);
        }
        filter.join("/").parse::<TopicFilter>()?;
        Ok(Self {
            leading_wildcard: !matches!(levels.first(), Some(Level::Literal(_))),
            levels: levels.into(),
            names: names.into(),
        })
    }

    /// Matches every topic, `$` topics included.
    pub fn everything() -> Self {
        Self { levels: [Level::Rest].into(), names: [].into(), leading_wildcard: false }
    }

    /// Where the part of this name stands among [`Parts`].
    pub fn part(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| **known == *name)
    }

    /// The named parts of a topic that matches.
    pub fn parts<'t>(&self, topic: &'t str) -> Option<Parts<'t>> {
        if self.leading_wildcard && topic.starts_with('$') {
            return None;
        }
        let mut parts = Parts::new();
        let mut names = topic.split('/');
        for level in &self.levels {
            match (level, names.next()) {
                (Level::Rest, _) => return Some(parts),
                (Level::Any, Some(_)) => {}
                (Level::Named, Some(name)) if !name.is_empty() => parts.push(name),
                (Level::Literal(wanted), Some(name)) if **wanted == *name => {}
                _ => return None,
            }
        }
        names.next().is_none().then_some(parts)
    }

    /// What matches every topic whose part of this place has this value; none where no topic can.
    pub fn filter_with(&self, part: usize, value: &str) -> Option<TopicFilter> {
        if value.is_empty() || value.contains(['/', '+', '#']) {
            return None;
        }
        let mut named = 0..;
        let levels = self.levels.iter().map(|level| match level {
            Level::Literal(text) => &**text,
            Level::Any => "+",
            Level::Named if named.next() == Some(part) => value,
            Level::Named => "+",
            Level::Rest => "#",
        });
        levels.collect::<Vec<_>>().join("/").parse().ok()
    }

    /// What matches every topic that this does.
    pub fn filter(&self) -> Option<TopicFilter> {
        self.filter_with(usize::MAX, "any")
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A name made of fixed text and parts of the topic: `{site}-{device}`.
#[derive(Debug)]
pub enum Template {
    /// The whole topic.
    Topic,
    /// One part.
    Part(usize),
    /// Fixed text.
    Text(Box<str>),
    /// A mixture.
    Pieces(Box<[Piece]>),
}

/// A piece of a [`Template`].
#[derive(Debug)]
pub enum Piece {
    /// One part.
    Part(usize),
    /// Fixed text.
    Text(Box<str>),
}

impl Template {
    /// Reads a template for names of topics that match `pattern`.
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Self, RouteProblem> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| RouteProblem::UnknownPart(after.into()))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Part(pattern.part(name).ok_or_else(|| RouteProblem::UnknownPart(name.into()))?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Part(part)]) => Ok(Self::Part(part)),
            Ok([Piece::Text(text)]) => Ok(Self::Text(text)),
            Err(pieces) if pieces.is_empty() => Err(RouteProblem::EmptySubject),
            Err(pieces) => Ok(Self::Pieces(pieces.into())),
        }
    }
}

/// Joins the pieces of a name.
pub fn join(pieces: &[Piece], parts: &Parts<'_>) -> String {
    let text = pieces.iter().map(|piece| match piece {
        Piece::Part(part) => parts.get(*part).copied().unwrap_or_default(),
        Piece::Text(text) => text,
    });
    text.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicError;

    fn parts<'t>(pattern: &str, topic: &'t str) -> Option<Vec<&'t str>> {
        Pattern::parse(pattern).unwrap().parts(topic).map(|parts| parts.to_vec())
    }

    #[test]
    fn parts_are_taken_from_matching_topics() {
        assert_eq!(parts("devices/{device}/telemetry", "devices/pump-7/telemetry"), Some(vec!["pump-7"]));
        assert_eq!(parts("{site}/+/{n}/#", "hall/x/3/a/b"), Some(vec!["hall", "3"]));
        assert_eq!(parts("devices/{device}/#", "devices/pump-7"), Some(vec!["pump-7"]));
        assert_eq!(parts("devices/{device}/telemetry", "devices//telemetry"), None);
        assert_eq!(parts("devices/{device}", "devices/a/b"), None);
        assert_eq!(parts("a/+", "a/"), Some(vec![]));
        assert_eq!(parts("{a}/x", "$SYS/x"), None);
        assert_eq!(parts("$SYS/#", "$SYS/x"), Some(vec![]));
    }

    #[test]
    fn topics_of_one_value_are_matched() {
        let pattern = Pattern::parse("{site}/+/{device}/#").unwrap();
        assert_eq!(pattern.filter_with(1, "pump").unwrap().as_str(), "+/+/pump/#");
        assert_eq!(pattern.filter_with(0, "hall").unwrap().as_str(), "hall/+/+/#");
        assert_eq!(pattern.filter().unwrap().as_str(), "+/+/+/#");
        for none in ["", "+", "#", "a/b"] {
            assert!(pattern.filter_with(1, none).is_none(), "{none}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        let problem = |text| Pattern::parse(text).unwrap_err();
        assert_eq!(problem(""), RouteProblem::Topic(TopicError::Empty));
        assert_eq!(problem("a/#/b"), RouteProblem::Topic(TopicError::MultiLevel));
        assert_eq!(problem("{a}/{a}"), RouteProblem::PartName("a".into()));
        assert_eq!(problem("{}"), RouteProblem::PartName("".into()));
        assert_eq!(problem("x{a}"), RouteProblem::PartName("x{a}".into()));
    }

    #[test]
    fn names_are_made_of_parts_and_text() {
        let pattern = Pattern::parse("{site}/{device}").unwrap();
        let Template::Pieces(pieces) = Template::parse("plant {site}-{device}", &pattern).unwrap() else {
            panic!("a mixture");
        };
        assert_eq!(join(&pieces, &pattern.parts("hall/pump").unwrap()), "plant hall-pump");
        assert!(matches!(Template::parse("{device}", &pattern), Ok(Template::Part(1))));
        assert!(matches!(Template::parse("boiler", &pattern), Ok(Template::Text(_))));
        assert_eq!(Template::parse("{x}", &pattern).unwrap_err(), RouteProblem::UnknownPart("x".into()));
        assert_eq!(Template::parse("", &pattern).unwrap_err(), RouteProblem::EmptySubject);
    }
}
