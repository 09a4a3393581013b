//! The texts of a route: checked once, then kept as they were written.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::types::{TopicError, TopicFilter};

/// A topic filter in which a level may be named, for instance `devices/{device}/telemetry`. A
/// name stands for a whole level, as `+` does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern(String);

/// An event type: `{domain}.{action}.{modifier}`, 1 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

/// Text in which `{name}` stands for the level that the topic names so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectTemplate(String);

/// A JSON pointer (RFC 6901), for instance `/time`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPointer(String);

/// Why a value of a route is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a topic filter once the names are taken for `+`.
    #[error("{0}")]
    Topic(#[from] TopicError),
    /// A name that shares its level with other text.
    #[error("`{0}`: a named part such as `{{device}}` must stand alone in its level")]
    NotAlone(String),
    /// A name twice in one topic.
    #[error("`{{{0}}}` is named twice; each name may occur once")]
    NamedTwice(String),
    /// A name that is none, or a brace without its partner.
    #[error("`{0}`: a named part is a letter followed by letters, digits or _, in braces: `{{device}}`")]
    BadName(String),
    /// Not three parts, or a part with other characters.
    #[error(
        "\"{0}\": expected {{domain}}.{{action}}.{{modifier}} of letters, digits, - and _, such as devices.telemetry.received"
    )]
    EventType(String),
    /// Longer than the pod's contract allows.
    #[error("an event type has at most 128 characters, not {0}")]
    EventTypeTooLong(usize),
    /// An empty subject would make all subjects one.
    #[error("a subject must have at least one character, such as {{device}}")]
    EmptySubject,
    /// Not RFC 6901.
    #[error("\"{0}\": expected a JSON pointer such as /time")]
    Pointer(String),
}

impl TopicPattern {
    /// The names of its levels, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        parameters(&self.0)
    }
}

impl FromStr for TopicPattern {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let mut names = BTreeSet::new();
        let mut filter = Vec::new();
        for level in text.split('/') {
            if !level.contains(['{', '}']) {
                filter.push(level);
                continue;
            }
            let name = level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let name = name.filter(|name| !name.contains(['{', '}']));
            let name = name.ok_or_else(|| RouteError::NotAlone(level.to_owned()))?;
            if !is_name(name) {
                return Err(RouteError::BadName(level.to_owned()));
            }
            if !names.insert(name) {
                return Err(RouteError::NamedTwice(name.to_owned()));
            }
            filter.push("+");
        }
        filter.join("/").parse::<TopicFilter>()?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for EventType {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.split('.').count() != 3 || !text.split('.').all(|part| !part.is_empty() && part.chars().all(valid)) {
            return Err(RouteError::EventType(text.to_owned()));
        }
        if text.len() > 128 {
            return Err(RouteError::EventTypeTooLong(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl SubjectTemplate {
    /// The names it uses, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        parameters(&self.0)
    }
}

impl FromStr for SubjectTemplate {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        if text.is_empty() {
            return Err(RouteError::EmptySubject);
        }
        let mut pieces = text.split('{');
        let stray = pieces.next().filter(|before| before.contains('}'));
        let bad = stray.or_else(|| {
            pieces.find(|piece| !piece.split_once('}').is_some_and(|(name, rest)| is_name(name) && !rest.contains('}')))
        });
        bad.map_or_else(|| Ok(Self(text.to_owned())), |piece| Err(RouteError::BadName(piece.to_owned())))
    }
}

impl FromStr for JsonPointer {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if !text.starts_with('/') || !escapes {
            return Err(RouteError::Pointer(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The names between braces in text that has been checked.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|piece| piece.split_once('}')).map(|(name, _)| name)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

macro_rules! text {
    ($($name:ty),*) => {$(
        impl $name {
            /// The value as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = RouteError;

            fn try_from(text: String) -> Result<Self, RouteError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text!(TopicPattern, EventType, SubjectTemplate, JsonPointer);

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Result<TopicPattern, RouteError> {
        text.parse()
    }

    #[test]
    fn topics_name_their_parts() {
        let pattern = topic("site/{site}/+/{device_2}/#").unwrap();
        assert_eq!(pattern.parameters().collect::<Vec<_>>(), ["site", "device_2"]);
        assert_eq!(topic("#").unwrap().parameters().count(), 0);
    }

    #[test]
    fn a_bad_topic_says_which_part_is_bad() {
        for (text, error) in [
            ("a/pump-{n}", RouteError::NotAlone("pump-{n}".to_owned())),
            ("a/{n}{m}", RouteError::NotAlone("{n}{m}".to_owned())),
            ("a/{n", RouteError::NotAlone("{n".to_owned())),
            ("a/{}", RouteError::BadName("{}".to_owned())),
            ("a/{2nd}", RouteError::BadName("{2nd}".to_owned())),
            ("{n}/{n}", RouteError::NamedTwice("n".to_owned())),
            ("a/#/b", RouteError::Topic(TopicError::MultiLevel)),
            ("", RouteError::Topic(TopicError::Empty)),
        ] {
            assert_eq!(topic(text), Err(error), "{text}");
        }
    }

    #[test]
    fn event_types_have_three_parts() {
        assert!("devices.telemetry.received".parse::<EventType>().is_ok());
        for text in ["", "devices", "devices.telemetry", "a..b", "a.b.c.d", "a.b.c d"] {
            assert_eq!(text.parse::<EventType>(), Err(RouteError::EventType(text.to_owned())), "{text}");
        }
        let long = format!("a.b.{}", "c".repeat(125));
        assert_eq!(long.parse::<EventType>(), Err(RouteError::EventTypeTooLong(129)));
    }

    #[test]
    fn subjects_use_names() {
        let template: SubjectTemplate = "{site}/{device}".parse().unwrap();
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["site", "device"]);
        assert!("plant".parse::<SubjectTemplate>().is_ok());
        for text in ["{", "}", "a}b", "{a}}", "{a", "{a b}", "{{a}}"] {
            assert!(matches!(text.parse::<SubjectTemplate>(), Err(RouteError::BadName(_))), "{text}");
        }
    }

    #[test]
    fn pointers_follow_rfc_6901() {
        for (text, valid) in
            [("/time", true), ("/a~1b/0", true), ("/", true), ("time", false), ("/~2", false), ("/a~", false)]
        {
            assert_eq!(text.parse::<JsonPointer>().is_ok(), valid, "{text}");
        }
    }
}
