//! `[[route]]`: which topics become which events. Patterns and templates are checked here (`text`) and
//! compiled by the mapping room.

mod text;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use text::{EventType, JsonPointer, RouteError, SubjectTemplate, TopicPattern};

use super::units;
use crate::{limits, types::Reliability};

/// One rule; the first whose topic matches makes the event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct RouteSettings {
    /// The topics it is for.
    pub topic: TopicPattern,
    /// The `type` of the event.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The subject's name. Without it the event has no subject but itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectTemplate>,
    /// The kind of subject.
    #[serde(default = "device", deserialize_with = "super::non_empty")]
    pub subject_type: String,
    /// Where in the payload the event's own time is. Without it, receive time counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<JsonPointer>,
    /// How far that time may be from the time of receipt.
    #[serde(default)]
    pub time_window: TimeWindow,
    /// The format of payloads.
    #[serde(default)]
    pub decode: Decode,
    /// What becomes of a payload that is not in its format.
    #[serde(default)]
    pub on_error: OnError,
    /// A file with the JSON Schema that payloads must satisfy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<PathBuf>,
    /// What tells that a message was sent again; the table then has it once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<Dedupe>,
    /// For how long.
    #[serde(
        default = "dedupe_window",
        deserialize_with = "units::duration::<_, 1_000, LONGEST_DEDUPE>",
        serialize_with = "units::write_duration"
    )]
    pub dedupe_window: Duration,
    /// What the database keeps.
    #[serde(default)]
    pub store: Store,
    /// Which numbers are measurements. Without any, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<JsonPointer>,
    /// Whether true and false are measurements, as 1 and 0.
    #[serde(default)]
    pub measure_booleans: bool,
    /// The least that is promised; a message published with a higher QoS keeps what that promises.
    #[serde(default = "best_effort")]
    pub reliability: Reliability,
    /// Whether stream clients see the event.
    #[serde(default = "yes")]
    pub stream: bool,
}

/// How far a device's time may be from the time of receipt; beyond, the latter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct TimeWindow {
    /// Before it.
    #[serde(deserialize_with = "units::duration::<_, 0, LONGEST>", serialize_with = "units::write_duration")]
    pub past: Duration,
    /// After it.
    #[serde(deserialize_with = "units::duration::<_, 0, LONGEST>", serialize_with = "units::write_duration")]
    pub ahead: Duration,
}

/// Ten thousand years, in milliseconds.
const LONGEST: u64 = 3_650_000 * 86_400_000;

impl Default for TimeWindow {
    fn default() -> Self {
        Self { past: limits::EVENT_TIME_PAST, ahead: limits::EVENT_TIME_AHEAD }
    }
}

/// Where a message has a name that is the same when it is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "a JSON pointer such as \"/messageId\", or { property = \"message-id\" }")]
pub enum Dedupe {
    /// In the payload.
    Pointer(JsonPointer),
    /// In a user property.
    Property(DedupeProperty),
}

/// The name of a user property.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DedupeProperty {
    /// As the publisher writes it.
    pub property: String,
}

/// A month, in milliseconds: every key of a window is a row.
const LONGEST_DEDUPE: u64 = 31 * 86_400_000;

const fn dedupe_window() -> Duration {
    limits::DEDUPE_WINDOW
}

/// What becomes of a payload that is not in its format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is kept as it is, as text or bytes.
    #[default]
    Keep,
    /// It is a dead letter.
    DeadLetter,
}

/// What the database keeps of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// The event.
    #[default]
    Event,
    /// Its numbers, as rows of `mqtt.measurements`.
    Measurement,
    /// Both.
    Both,
}

/// How payloads are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decode {
    /// As the content type says, or a Sparkplug topic; else JSON, else text, else bytes.
    #[default]
    Auto,
    /// JSON.
    Json,
    /// A number, or text.
    Text,
    /// Bytes.
    Raw,
    /// CBOR (RFC 8949).
    Cbor,
    /// MessagePack.
    Msgpack,
    /// Sparkplug B.
    SparkplugB,
}

fn device() -> String {
    "device".to_owned()
}

const fn best_effort() -> Reliability {
    Reliability::BestEffort
}

const fn yes() -> bool {
    true
}

impl RouteSettings {
    /// What is wrong between the keys of this route: the key and the reason.
    pub(super) fn check(&self) -> Option<(&'static str, String)> {
        let named: BTreeSet<_> = self.topic.parameters().collect();
        let unknown = self.subject.as_ref()?.parameters().find(|parameter| !named.contains(parameter))?;
        Some(("subject", format!("`{{{unknown}}}` is no part that `topic` names in \"{}\"", self.topic)))
    }
}
