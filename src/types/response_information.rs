//! What the configuration says clients may make response topics from (MQTT 5.0 section 4.10).

use std::{fmt, str::FromStr, sync::Arc};

use super::topic::{TopicError, TopicName};

/// The beginning of response topics, in which a level may be `%c`, the client identifier, or `%u`, the
/// user name, as in access rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseInformation(Arc<str>);

impl ResponseInformation {
    /// What one client is told; none where it has no user name, or a name that would be more or less than a
    /// level of a topic name: no access rule holds for such a level either.
    #[must_use]
    pub fn of(&self, client_id: &str, user: Option<&str>) -> Option<String> {
        let levels = self.0.split('/').map(|level| match level {
            "%c" => Some(client_id).filter(|name| is_level(name)),
            "%u" => user.filter(|name| is_level(name)),
            other => Some(other),
        });
        levels.collect::<Option<Vec<_>>>().map(|levels| levels.join("/"))
    }
}

fn is_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '+', '#'])
}

impl FromStr for ResponseInformation {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        TopicName::check(text).map(|()| Self(text.into()))
    }
}

impl fmt::Display for ResponseInformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_levels_or_nothing_is_told() {
        let told = |text: &str, client_id, user| text.parse::<ResponseInformation>().unwrap().of(client_id, user);
        assert_eq!(told("replies/%c", "pump-7", None).as_deref(), Some("replies/pump-7"));
        assert_eq!(told("%u/replies/", "pump-7", Some("anna")).as_deref(), Some("anna/replies/"));
        assert_eq!(told("replies/x%c", "pump-7", None).as_deref(), Some("replies/x%c"));
        assert_eq!(told("replies/%u", "pump-7", None), None);
        for client_id in ["a/b", "+", "#", ""] {
            assert_eq!(told("replies/%c", client_id, None), None, "{client_id}");
        }
        assert!(["", "replies/+", "#"].iter().all(|text| text.parse::<ResponseInformation>().is_err()));
    }
}
