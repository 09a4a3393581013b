//! SynapEvent v1, the pod's own form of everything that happens in it.

use std::borrow::Cow;

use uuid::Uuid;

use super::{Micros, Publication, Sequence};

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
}

impl Source {
    /// The value in JSON and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::System => "system",
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
    /// The topic it was published to; also part of `metadata`.
    pub topic: &'a str,
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
    /// How sure its way was.
    pub reliability: Reliability,
    /// Whether the route shows it to browsers.
    pub streamed: bool,
}

/// Turns publications into events. Total: every publication maps to exactly one event, the
/// same on each call.
pub trait EventMapper: Send + Sync {
    /// The event of a publication.
    fn map<'a>(&'a self, publication: &Publication<'a>) -> SynapEvent<'a>;

    /// Whether a QoS 0 publication to `topic` must be fsynced before it is passed on, because
    /// its route asks for more than best effort.
    fn guarantees(&self, topic: &str) -> bool;
}

impl SynapEvent<'_> {
    /// Appends the event as one JSON object, in the field order of the pod's stream. Fields
    /// that a device's event cannot have (`correlationId`, `causationId`) are `null`, as there.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut text = |name: &str, value: &str| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value.as_bytes());
        };
        let mut buffer = Uuid::encode_buffer();
        text("{\"id\":\"", self.id.hyphenated().encode_lower(&mut buffer));
        text("\",\"type\":", &json_string(&self.event_type));
        text(",\"timestamp\":\"", &self.timestamp.to_string());
        text("\",\"userId\":", &json_string(self.user_id));
        text(",\"subjectId\":\"", self.subject_id.hyphenated().encode_lower(&mut buffer));
        text("\",\"subjectType\":", &json_string(self.subject_type));
        text(",\"data\":", &self.data);
        text(",\"metadata\":", &self.metadata);
        text(",\"correlationId\":null,\"causationId\":null,\"source\":\"", self.source.as_str());
        text("\",\"version\":\"v1\"}", "");
    }
}

/// `text` as a JSON string, quotes included.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
