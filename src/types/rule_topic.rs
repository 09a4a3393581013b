//! What an access rule is about: a topic filter in which a level may stand for the client.

use std::{fmt, str::FromStr, sync::Arc};

use super::{TopicError, TopicFilter};

/// The level that stands for the client identifier.
const CLIENT: &str = "%c";
/// The level that stands for the user name.
const USER: &str = "%u";

/// A topic filter in which `%c` and `%u`, each alone in a level, may stand for the client identifier
/// and the user name.
#[derive(Clone, PartialEq, Eq)]
pub struct RuleTopic {
    text: Arc<str>,
    /// Whether `%c` and `%u` stand for anything but themselves.
    substitutes: bool,
}

/// A level of a [`RuleTopic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleLevel<'a> {
    /// This text.
    Text(&'a str),
    /// `+`: any one level.
    Single,
    /// `#`: any number of levels, none included.
    Multi,
    /// `%c`: the client identifier.
    Client,
    /// `%u`: the user name.
    User,
}

/// Why a text is not what a rule can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleTopicError {
    /// Not a topic filter.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// A substitution beside other text.
    #[error("%c and %u must stand alone in their level")]
    NotAlone,
    /// A shared subscription.
    #[error("a rule is about topics: leave out $share and the name of the group")]
    Shared,
}

impl RuleTopic {
    /// Reads a filter in which `%c` and `%u` are nothing but text.
    ///
    /// # Errors
    /// When it is no topic filter.
    pub fn literal(text: &str) -> Result<Self, RuleTopicError> {
        check(text)?;
        Ok(Self { text: text.into(), substitutes: false })
    }

    /// Its levels.
    pub fn levels(&self) -> impl Iterator<Item = RuleLevel<'_>> {
        self.text.split('/').map(|level| match level {
            "+" => RuleLevel::Single,
            "#" => RuleLevel::Multi,
            CLIENT if self.substitutes => RuleLevel::Client,
            USER if self.substitutes => RuleLevel::User,
            text => RuleLevel::Text(text),
        })
    }
}

fn check(text: &str) -> Result<(), RuleTopicError> {
    TopicFilter::check(text)?;
    if text.starts_with("$share/") { Err(RuleTopicError::Shared) } else { Ok(()) }
}

impl FromStr for RuleTopic {
    type Err = RuleTopicError;

    fn from_str(text: &str) -> Result<Self, RuleTopicError> {
        check(text)?;
        let is_alone = |level: &str| level.len() == 2 || !(level.contains(CLIENT) || level.contains(USER));
        if !text.split('/').all(is_alone) {
            return Err(RuleTopicError::NotAlone);
        }
        Ok(Self { text: text.into(), substitutes: true })
    }
}

impl fmt::Display for RuleTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RuleTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_may_stand_for_the_client() {
        let topic: RuleTopic = "a/%c/+/%u/%/#".parse().unwrap();
        let levels: Vec<_> = topic.levels().collect();
        let text = RuleLevel::Text;
        assert_eq!(
            levels,
            [text("a"), RuleLevel::Client, RuleLevel::Single, RuleLevel::User, text("%"), RuleLevel::Multi]
        );
        let literal = RuleTopic::literal("%c/x%u").unwrap();
        assert_eq!(literal.levels().collect::<Vec<_>>(), [text("%c"), text("x%u")]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            ("", RuleTopicError::Filter(TopicError::Empty)),
            ("a/#/b", RuleTopicError::Filter(TopicError::MultiLevel)),
            ("a/pump-%c", RuleTopicError::NotAlone),
            ("%u%c", RuleTopicError::NotAlone),
            ("$share/g/a", RuleTopicError::Shared),
        ] {
            assert_eq!(text.parse::<RuleTopic>(), Err(error), "{text}");
        }
    }
}
