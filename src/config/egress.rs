//! `[[egress]]`: events that become messages to devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    KeyPath,
    broker::MqttSettings,
    units::{number, optional_duration, write_optional_duration},
};
use crate::{
    limits,
    types::{EventPointer, EventTemplate, EventTemplateError, TopicName, TypePattern},
};

/// Ten years, in milliseconds.
const LONGEST: u64 = 3_650 * 86_400_000;

/// What stands in the place of each part while a topic is checked.
const FILLED: &str = "x";

/// Events that become messages to devices.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct EgressSettings {
    /// What it is called in messages and in the log; its topic, where it has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which events.
    #[serde(rename = "type")]
    pub event_type: TypePattern,
    /// Where messages go.
    pub topic: EventTemplate,
    /// What they say; the whole event, where this is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<EgressPayload>,
    /// With which QoS.
    #[serde(default = "at_least_once", deserialize_with = "number::<_, _, 0, 2>")]
    pub qos: u8,
    /// Whether the topic keeps them.
    #[serde(default)]
    pub retain: bool,
    /// How long they may wait for a subscriber.
    #[serde(
        default,
        deserialize_with = "optional_duration::<_, 1_000, LONGEST>",
        serialize_with = "write_optional_duration",
        skip_serializing_if = "Option::is_none"
    )]
    pub expiry: Option<Duration>,
}

/// What a message says of its event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum EgressPayload {
    /// The JSON at one place.
    Place(EventPointer),
    /// An object with these members.
    Object(BTreeMap<String, EventPointer>),
    /// Text.
    Text(EventTemplate),
}

/// A payload as it is written.
#[derive(Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "a JSON pointer into the event such as \"/data\", members that have one each such as { level = \"/data/level\" }, or text"
)]
enum Written {
    Text(String),
    Object(BTreeMap<String, EventPointer>),
}

impl TryFrom<Written> for EgressPayload {
    type Error = EventTemplateError;

    fn try_from(written: Written) -> Result<Self, EventTemplateError> {
        Ok(match written {
            Written::Text(text) if text.starts_with('/') => Self::Place(text.parse()?),
            Written::Text(text) => Self::Text(text.parse()?),
            Written::Object(members) => Self::Object(members),
        })
    }
}

impl From<EgressPayload> for Written {
    fn from(payload: EgressPayload) -> Self {
        match payload {
            EgressPayload::Place(pointer) => Self::Text(pointer.into()),
            EgressPayload::Object(members) => Self::Object(members),
            EgressPayload::Text(template) => Self::Text(template.into()),
        }
    }
}

const fn at_least_once() -> u8 {
    1
}

impl EgressSettings {
    /// Its name, or what stands for one.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.topic.to_string())
    }

    /// What is wrong between its keys, and with what messages may be at all: the key and the reason.
    pub(super) fn check(&self, mqtt: &MqttSettings) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let topic = self.topic.filled_with(FILLED);
        if let Err(error) = TopicName::check(&topic) {
            problems.push(("topic", error.to_string()));
        }
        if topic.starts_with("$SYS/") {
            problems.push(("topic", "topics below $SYS/ are the bridge's own".to_owned()));
        }
        let is_name = |name: &String| !name.is_empty() && name.len() <= 128 && !name.contains('\0');
        if !is_name(&self.name()) {
            problems.push((
                "name",
                "expected 1 to 128 bytes without U+0000; it is the topic where none is given".to_owned(),
            ));
        }
        if self.qos > mqtt.maximum_qos {
            problems.push(("qos", format!("must not exceed {}, `mqtt.maximum_qos`", mqtt.maximum_qos)));
        }
        if self.retain && !mqtt.retain_available {
            problems.push(("retain", "nothing is retained where `mqtt.retain_available` is false".to_owned()));
        }
        problems
    }
}

/// What is wrong with all of them, each with the key to change.
pub(super) fn check(rules: &[EgressSettings], mqtt: &MqttSettings, root: &KeyPath) -> Vec<(KeyPath, String)> {
    let mut problems = Vec::new();
    if rules.len() > limits::EGRESS_RULES {
        problems.push((root.key("egress"), format!("at most {} rules", limits::EGRESS_RULES)));
    }
    let mut names = BTreeSet::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = root.key("egress").index(index);
        problems.extend(rule.check(mqtt).into_iter().map(|(key, problem)| (path.key(key), problem)));
        if !names.insert(rule.name()) {
            let problem =
                format!("{:?} is the name of another rule too; a rule without a name has its topic's", rule.name());
            problems.push((path.key("name"), problem));
        }
    }
    problems
}
