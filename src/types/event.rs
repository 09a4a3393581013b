//! SynapEvent v1, the pod's own form of everything that happens in it.

use std::borrow::Cow;

use uuid::Uuid;

use super::{Command, Measurements, Micros, Presence, Publication, Sequence, TopicFilter, event_text::EventText};

/// How sure the way of an event was, named as the pod's owners name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reliability {
    /// QoS 0: not fsynced before it is passed on; a crash may take it.
    BestEffort,
    /// On disk before it is acknowledged or passed on; the device may have sent it twice.
    Guaranteed,
    /// As guaranteed, and published with QoS 2: stored once however often it was sent.
    ExactlyOnce,
}

impl Reliability {
    /// As written in configuration and metadata.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Guaranteed => "guaranteed",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

/// Who wrote an event, from the pod's closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Something outside of the pod, such as a device.
    Api,
    /// The bridge itself.
    System,
    /// Nobody here and now: it is from before, out of a file.
    Migration,
}

impl Source {
    /// The value in JSON and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::System => "system",
            Self::Migration => "migration",
        }
    }
}

/// A SynapEvent v1. `data` and `metadata` are JSON text of an object each, already checked, so
/// that an event is serialised once and never parsed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynapEvent<'a> {
    /// The journal record it was made from.
    pub sequence: Sequence,
    /// Derived from journal identity, sequence and receive time (UUIDv7 layout, RFC 9562), so
    /// that every consumer and every retry gives the same id.
    pub id: Uuid,
    /// `{domain}.{action}.{modifier}`, 1 to 128 characters.
    pub event_type: Cow<'a, str>,
    /// Stable UUIDv5 of the subject's name.
    pub subject_id: Uuid,
    /// The kind of subject, for instance `device`.
    pub subject_type: &'a str,
    /// The device's name where the route names one; also part of `metadata`.
    pub device: Option<&'a str>,
    /// The topic it was published to, where it was published; also part of `metadata`.
    pub topic: Option<&'a str>,
    /// A JSON object.
    pub data: Cow<'a, str>,
    /// A JSON object.
    pub metadata: Cow<'a, str>,
    /// The pod's owner.
    pub user_id: &'a str,
    /// Who wrote it.
    pub source: Source,
    /// When it happened: the device's own time where the route knows it, else receive time.
    pub timestamp: Micros,
    /// What it belongs to: the command that it is about.
    pub correlation_id: Option<Uuid>,
    /// How sure its way was.
    pub reliability: Reliability,
    /// Whether the route shows it to browsers.
    pub streamed: bool,
    /// What the database keeps of it.
    pub kept: Kept,
    /// Why its route refuses it: it is a dead letter then; also part of `metadata`.
    pub rejected: Option<String>,
    /// What tells that a device sent it again, where the route asks for it.
    pub message_key: Option<MessageKey>,
}

/// The name that a device gave a message; the same in each repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKey {
    /// Of client, topic and name.
    pub key: Uuid,
    /// When this message was received.
    pub received: Micros,
    /// Within how many microseconds of the first another one is a repetition.
    pub window: i64,
}

/// What the database keeps of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// The event.
    #[default]
    Event,
    /// Its numbers; the event only where it has none, or more than may be kept.
    Measurements,
    /// The event and its numbers.
    Both,
}

/// Turns publications into events, presence and what happens to commands. Total: each maps to exactly one event, the same on
/// each call.
pub trait EventMapper: Send + Sync {
    /// The event of a publication.
    fn map<'a>(&'a self, publication: &Publication<'a>) -> SynapEvent<'a>;

    /// The event of a device that has come or gone.
    fn announce<'a>(&'a self, presence: &Presence<'a>) -> SynapEvent<'a>;

    /// The event of what has happened to a command.
    fn command<'a>(&'a self, command: &Command<'a>) -> SynapEvent<'a>;

    /// Puts the numbers of an event into `out`, in place of what is there. `event` is the one that
    /// [`EventMapper::map`] gave for the publication.
    fn measure(&self, publication: &Publication<'_>, event: &SynapEvent<'_>, out: &mut Measurements);

    /// Whether a QoS 0 publication to `topic` must be fsynced before it is passed on, because
    /// its route asks for more than best effort.
    fn guarantees(&self, topic: &str) -> bool;

    /// Whether events of `topic` have a device: what can be told before a record is mapped.
    fn names_device(&self, topic: &str) -> bool;

    /// The type of the events of a topic: what can be told before a record is mapped.
    fn event_type<'a>(&'a self, topic: &'a str) -> &'a str;

    /// What matches every topic whose events may have this device; nothing where no topic's can.
    fn topics_of(&self, _device: &str) -> Vec<TopicFilter> {
        Vec::new()
    }

    /// Learns what a publication says of those behind it, where it does: a Sparkplug birth certificate. Mapping it does
    /// so too; this is for those who do not need its event.
    fn learn(&self, _publication: &Publication<'_>) {}

    /// What was learned since the last call, as rows to be stored: keys with their values, or without where they are gone.
    fn take_learned(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        Vec::new()
    }

    /// Takes back a row that was stored; false where it is none.
    fn remember(&self, _key: &[u8], _value: &[u8]) -> bool {
        false
    }

    /// Where the event of this id would be, if it is one of this mapper's: its record is to be
    /// mapped and the ids compared.
    fn sequence(&self, id: Uuid) -> Sequence;
}

impl SynapEvent<'_> {
    /// Appends the event as one JSON object, in the field order of the pod's stream. Fields
    /// that an event does not have (`correlationId`, `causationId`) are `null`, as there.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut buffer = Uuid::encode_buffer();
        EventText {
            id: self.id,
            event_type: &self.event_type,
            timestamp: self.timestamp,
            user_id: self.user_id,
            subject_id: self.subject_id.hyphenated().encode_lower(&mut buffer),
            subject_type: self.subject_type,
            data: &self.data,
            metadata: Some(&self.metadata),
            correlation_id: self.correlation_id,
            source: Some(self.source.as_str()),
        }
        .write(out);
    }
}

/// Namespace of subject ids: the UUIDv5 of `subject.synap-mqtt` in the DNS namespace. It must
/// never change: rows of years refer to their devices by it.
const SUBJECT_NAMESPACE: Uuid = Uuid::from_u128(0x2fbf_a93e_7c10_5352_a861_5912_fcf4_5231);

/// The stable id of a subject: the UUIDv5 (RFC 9562 section 5.5) of its name alone. Subjects
/// of different types may share an id when they share a name; the type is always beside it.
#[must_use]
pub fn subject_id(name: &str) -> Uuid {
    Uuid::new_v5(&SUBJECT_NAMESPACE, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_as_documented() {
        assert_eq!(SUBJECT_NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"subject.synap-mqtt"));
    }

    #[test]
    fn json_has_the_shape_of_the_pod_s_stream() {
        let event = SynapEvent {
            sequence: Sequence(7),
            id: Uuid::from_u128(1),
            event_type: "devices.telemetry.received".into(),
            subject_id: Uuid::from_u128(2),
            subject_type: "device",
            device: Some("pump-7"),
            topic: Some("devices/pump-7/telemetry"),
            data: "{\"n\": 1}".into(),
            metadata: "{}".into(),
            user_id: "o\"wner",
            source: Source::Api,
            timestamp: Micros::saturating(1_769_860_800_000_001),
            correlation_id: None,
            reliability: Reliability::Guaranteed,
            streamed: true,
            kept: Kept::Event,
            rejected: None,
            message_key: None,
        };
        let mut json = Vec::new();
        event.write_json(&mut json);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"id\":\"00000000-0000-0000-0000-000000000001\",\"type\":\"devices.telemetry.received\",\
             \"timestamp\":\"2026-01-31T12:00:00.000001Z\",\"userId\":\"o\\\"wner\",\
             \"subjectId\":\"00000000-0000-0000-0000-000000000002\",\"subjectType\":\"device\",\
             \"data\":{\"n\": 1},\"metadata\":{},\"correlationId\":null,\"causationId\":null,\
             \"source\":\"api\",\"version\":\"v1\"}"
        );
    }
}
