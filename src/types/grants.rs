//! What a web client may do: scopes, each limited to topics.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{TopicError, TopicFilter, Topics};

/// One kind of thing that a web client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Sees events as they come, and those that the journal still has.
    StreamRead,
    /// Asks for stored events, devices and their values.
    EventsRead,
    /// Publishes messages.
    Publish,
    /// Sends commands to devices.
    Commands,
    /// Looks at the bridge itself: sessions, consumers, dead letters, metrics. Implies nothing else.
    Admin,
}

impl Scope {
    /// All that there are.
    pub const ALL: [Self; 5] = [Self::StreamRead, Self::EventsRead, Self::Publish, Self::Commands, Self::Admin];

    /// Its name, also in the scopes of tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamRead => "stream:read",
            Self::EventsRead => "events:read",
            Self::Publish => "publish",
            Self::Commands => "commands",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A scope, for all topics or for those of one filter: `stream:read`, `publish=devices/+/command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// What.
    pub scope: Scope,
    /// On which topics; none for everything.
    pub topics: Option<TopicFilter>,
}

/// Why a text grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No such scope.
    #[error(
        "expected stream:read, events:read, publish, commands or admin, each alone or with a topic filter, such as \
         publish=devices/+/command"
    )]
    Scope,
    /// Behind the `=`.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The bridge has no topics.
    #[error("admin is about the bridge as a whole: it takes no topic filter")]
    Admin,
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (name, topics) = text.split_once('=').map_or((text, None), |(name, topics)| (name, Some(topics)));
        let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or(GrantError::Scope)?;
        if scope == Scope::Admin && topics.is_some() {
            return Err(GrantError::Admin);
        }
        Ok(Self { scope, topics: topics.map(str::parse).transpose()? })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topics {
            Some(topics) => write!(f, "{}={topics}", self.scope),
            None => self.scope.fmt(f),
        }
    }
}

impl TryFrom<String> for Grant {
    type Error = GrantError;

    fn try_from(text: String) -> Result<Self, GrantError> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// For each scope the topics that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants([Topics; 5]);

impl Grants {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(Scope::ALL.map(|_| Topics::none()))
    }

    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self(Scope::ALL.map(|_| Topics::All))
    }

    /// The topics of a scope.
    #[must_use]
    pub fn of(&self, scope: Scope) -> &Topics {
        let [stream, events, publish, commands, admin] = &self.0;
        match scope {
            Scope::StreamRead => stream,
            Scope::EventsRead => events,
            Scope::Publish => publish,
            Scope::Commands => commands,
            Scope::Admin => admin,
        }
    }

    /// Whether a scope is for any topic at all.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        !self.of(scope).is_none()
    }

    /// The same without the scopes that `keep` is false for.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(Scope) -> bool) -> Self {
        Self(Scope::ALL.map(|scope| if keep(scope) { self.of(scope).clone() } else { Topics::none() }))
    }

    /// What is in either.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(Scope::ALL.map(|scope| self.of(scope).with(other.of(scope))))
    }

    /// As a list.
    #[must_use]
    pub fn list(&self) -> Vec<Grant> {
        let of = |scope: Scope| match self.of(scope) {
            Topics::All => vec![Grant { scope, topics: None }],
            Topics::Of(filters) => filters.iter().map(|filter| Grant { scope, topics: Some(filter.clone()) }).collect(),
        };
        Scope::ALL.into_iter().flat_map(of).collect()
    }
}

impl<'a> FromIterator<&'a Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = &'a Grant>>(grants: I) -> Self {
        let mut sum = Self::none();
        for Grant { scope, topics } in grants {
            let more = topics.clone().map_or(Topics::All, |filter| [filter].into_iter().collect());
            sum.0 = Scope::ALL.map(|other| {
                let known = sum.of(other);
                if other == *scope { known.with(&more) } else { known.clone() }
            });
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Grants {
        texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Grant>>().iter().collect()
    }

    #[test]
    fn grants_are_written_as_they_are_read() {
        for text in ["stream:read", "publish=devices/+/command", "events:read=a=b", "admin"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("", GrantError::Scope),
            ("read", GrantError::Scope),
            ("publish=", GrantError::Topic(TopicError::Empty)),
            ("publish=a#", GrantError::Topic(TopicError::MultiLevel)),
            ("admin=a", GrantError::Admin),
        ] {
            assert_eq!(text.parse::<Grant>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_scope_is_for_what_any_grant_names() {
        let grants = of(&["stream:read=a/#", "stream:read=b", "publish", "publish=c"]);
        assert!(grants.of(Scope::StreamRead).have(Some("a/1")) && grants.of(Scope::StreamRead).have(Some("b")));
        assert!(!grants.of(Scope::StreamRead).have(Some("c")) && !grants.has(Scope::EventsRead));
        assert!(grants.of(Scope::Publish).is_all());
        assert_eq!(grants.list().len(), 3);
        assert_eq!(grants.list().iter().collect::<Grants>(), grants);
        let fewer = grants.filtered(|scope| scope == Scope::Publish);
        assert!(fewer.has(Scope::Publish) && !fewer.has(Scope::StreamRead));
        assert_eq!(fewer.with(&of(&["stream:read=a/#", "stream:read=b"])), grants);
        assert!(Grants::everything().of(Scope::Admin).is_all() && Grants::none().list().is_empty());
    }
}
