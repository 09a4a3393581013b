//! `[[auth.rule]]` and `[auth.roles]`: who may publish, subscribe and receive, by topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::RuleTopic;

/// One rule: it allows or denies some actions on some topics to some clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct RuleSettings {
    /// What it allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Action>,
    /// What it denies, whatever other rules allow; one of the two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Action>,
    /// On which topics.
    pub topics: Vec<RulePattern>,
    /// To clients of these accounts. Without accounts, roles and `anonymous`: to everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// To clients of the accounts with these roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// To clients without an account.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// What answers a SUBSCRIBE that the rule has to do with and that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_subscribe: Option<SubscribeAnswer>,
}

/// What a client does with topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Sends messages, also its will.
    Publish,
    /// Asks for messages, and gets them.
    Subscribe,
    /// Gets messages of a wider subscription.
    Receive,
}

/// What answers a SUBSCRIBE that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubscribeAnswer {
    /// 0x87 Not authorized; 0x80 in 3.1.1.
    #[default]
    NotAuthorized,
    /// 0x80 Unspecified error.
    Failure,
    /// It is granted, and only messages that are allowed are sent.
    Filter,
}

/// What becomes of a QoS 1 or 2 PUBLISH of 3.1.1 that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishAnswer {
    /// It is acknowledged and goes nowhere.
    #[default]
    Acknowledge,
    /// The connection ends.
    Disconnect,
}

/// A topic filter with `%c` and `%u`, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePattern(pub RuleTopic);

impl<'de> Deserialize<'de> for RulePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| de::Error::custom(format!("\"{text}\": {error}")))
    }
}

impl Serialize for RulePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl RuleSettings {
    /// What is wrong between the keys of this rule, each with the key to change.
    pub(super) fn check(&self, roles: &BTreeMap<String, Vec<String>>) -> Option<(&'static str, String)> {
        let actions = match (self.allow.as_slice(), self.deny.as_slice()) {
            ([], []) => return Some(("allow", "a rule allows or denies something: allow = [\"publish\"]".to_owned())),
            (actions, []) | ([], actions) => actions,
            _ => return Some(("deny", "a rule either allows or denies; write two".to_owned())),
        };
        if self.topics.is_empty() {
            return Some(("topics", "a rule has at least one topic: topics = [\"devices/%c/#\"]".to_owned()));
        }
        if self.refused_subscribe.is_some() && !actions.contains(&Action::Subscribe) {
            return Some(("refused_subscribe", "is for rules about \"subscribe\"".to_owned()));
        }
        let unknown = self.roles.iter().find(|role| !roles.contains_key(*role))?;
        Some(("roles", format!("\"{unknown}\" is no role of `auth.roles`")))
    }
}
