//! `[commands]`: where commands to devices go, and where answers come back.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::units::{duration, write_duration};
use crate::{
    limits,
    types::{TopicError, TopicName},
};

/// A month, in milliseconds: [`limits::MAXIMUM_COMMAND_EXPIRY`].
const LONGEST: u64 = 31 * 86_400_000;

/// What stands in the place of each part while a template is checked.
const FILLED: &str = "x";

/// Where commands to devices go, unless their request says so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct CommandsSettings {
    /// The topic that a command is published to.
    pub topic: CommandTopic,
    /// The topic that the device answers to.
    pub response_topic: CommandTopic,
    /// Time in which a device must have answered.
    #[serde(deserialize_with = "duration::<_, 1_000, LONGEST>", serialize_with = "write_duration")]
    pub expiry: Duration,
}

impl Default for CommandsSettings {
    fn default() -> Self {
        let template = |text: &str| CommandTopic(text.to_owned());
        Self {
            topic: template(limits::COMMAND_TOPIC),
            response_topic: template(limits::COMMAND_RESPONSE_TOPIC),
            expiry: limits::COMMAND_EXPIRY,
        }
    }
}

impl CommandsSettings {
    /// What is wrong between its keys: the key and the reason.
    pub(super) fn check(&self) -> Option<(&'static str, &'static str)> {
        let is_same = self.topic == self.response_topic;
        is_same
            .then_some(("response_topic", "must be another topic than `commands.topic`: a command would answer itself"))
    }
}

/// A topic in which `{device}`, and `{command}` for the id of the command, stand for levels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandTopic(String);

/// Why a text is no such topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandTopicError {
    /// Not a topic once its parts are filled in.
    #[error("{0}")]
    Topic(#[from] TopicError),
    /// Another part, or a brace without its partner, or a part that shares its level.
    #[error("`{0}`: expected `{{device}}` or `{{command}}` as a level of its own")]
    Part(String),
    /// Every device would get it.
    #[error("expected `{{device}}` as one of its levels")]
    Device,
    /// Nobody can publish there.
    #[error("topics below $SYS/ are the bridge's own")]
    Reserved,
}

impl CommandTopic {
    /// The template as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommandTopic {
    type Err = CommandTopicError;

    fn from_str(text: &str) -> Result<Self, CommandTopicError> {
        let is_part = |level: &str| matches!(level, "{device}" | "{command}");
        if let Some(level) = text.split('/').find(|level| level.contains(['{', '}']) && !is_part(level)) {
            return Err(CommandTopicError::Part(level.to_owned()));
        }
        if !text.split('/').any(|level| level == "{device}") {
            return Err(CommandTopicError::Device);
        }
        if text.starts_with("$SYS/") {
            return Err(CommandTopicError::Reserved);
        }
        TopicName::check(&text.replace("{device}", FILLED).replace("{command}", FILLED))?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CommandTopic {
    type Error = CommandTopicError;

    fn try_from(text: String) -> Result<Self, CommandTopicError> {
        text.parse()
    }
}

impl From<CommandTopic> for String {
    fn from(topic: CommandTopic) -> Self {
        topic.0
    }
}

impl fmt::Display for CommandTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
