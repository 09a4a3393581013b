//! Topic names and topic filters (MQTT 5.0 section 4.7).

use std::{fmt, str::FromStr, sync::Arc};

/// A topic name: what a message is published to. No wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// A topic filter: what a subscription asks for. May hold the wildcards `+` and `#`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

/// Why a string is neither a topic name nor a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("a topic must have at least one character")]
    Empty,
    /// [MQTT-4.7.3-3]
    #[error("a topic has at most 65,535 bytes")]
    TooLong,
    /// [MQTT-4.7.3-2]
    #[error("a topic must not contain U+0000")]
    Nul,
    /// [MQTT-3.3.2-2]
    #[error("a topic name must not contain the wildcards + and #")]
    Wildcard,
    /// [MQTT-4.7.1-1]
    #[error("# must be the last character of a topic filter and stand alone in its level")]
    MultiLevel,
    /// [MQTT-4.7.1-2]
    #[error("+ must stand alone in its level")]
    SingleLevel,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    if text.as_bytes().contains(&0) {
        return Err(TopicError::Nul);
    }
    Ok(())
}

impl TopicName {
    /// Checks text against the rules for topic names without making an owned value.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_text(text)?;
        if text.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(TopicError::Wildcard);
        }
        Ok(())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }
}

impl TopicFilter {
    /// Checks text against the rules for topic filters without making an owned value.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
                return Err(TopicError::MultiLevel);
            }
            if level.contains('+') && level.len() > 1 {
                return Err(TopicError::SingleLevel);
            }
        }
        Ok(())
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, separated by `/`.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether a message to `topic` matches. Wildcards at the start do not match a topic that
    /// begins with `$` [MQTT-4.7.2-1]; `a/#` matches `a` itself (section 4.7.1.2).
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in self.levels() {
            match (level, names.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(name)) if wanted == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every topic that `other` matches is matched by this as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut others = other.levels();
        for level in self.levels() {
            match (level, others.next()) {
                ("#", _) => return true,
                (_, None | Some("#")) => return false,
                ("+", Some(_)) => {}
                (wanted, Some(other)) if wanted == other => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

impl FromStr for TopicFilter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}

as_text!(TopicName, TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        filter.parse::<TopicFilter>().unwrap().matches(topic)
    }

    #[test]
    fn filters_match_as_in_section_4_7() {
        for topic in ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"] {
            assert!(matches("sport/tennis/player1/#", topic), "{topic}");
        }
        assert!(matches("sport/#", "sport"));
        assert!(matches("#", "a/b"));
        assert!(matches("sport/+/player1", "sport/tennis/player1"));
        assert!(!matches("sport/+", "sport"));
        assert!(matches("sport/+", "sport/"));
        assert!(matches("+/+", "/finance"));
        assert!(matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
        assert!(!matches("sport", "sport/tennis"));
        assert!(!matches("Sport", "sport"));
    }

    #[test]
    fn leading_wildcards_leave_dollar_topics_out() {
        assert!(!matches("#", "$SYS/uptime"));
        assert!(!matches("+/monitor/Clients", "$SYS/monitor/Clients"));
        assert!(matches("$SYS/#", "$SYS/uptime"));
        assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
    }

    #[test]
    fn malformed_filters_are_refused() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("a\0", TopicError::Nul),
            ("sport/tennis#", TopicError::MultiLevel),
            ("sport/tennis/#/ranking", TopicError::MultiLevel),
            ("sport+", TopicError::SingleLevel),
        ] {
            assert_eq!(text.parse::<TopicFilter>(), Err(error), "{text}");
        }
    }

    #[test]
    fn names_hold_no_wildcards() {
        assert_eq!("a/+".parse::<TopicName>(), Err(TopicError::Wildcard));
        assert_eq!("é/ü".parse::<TopicName>().unwrap().as_str(), "é/ü");
    }
}
