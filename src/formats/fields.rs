//! The fields of an event in whatever file, as text, become an event: the rules are those of SynapEvent v1, and what
//! the bridge itself has written is always taken back.

use std::borrow::Cow;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::entry::FieldError;
use crate::types::{ImportedEvent, Micros, Source, write_json_string};

/// What a file says of one event. Absent is what is missing, and in CSV what is empty.
#[derive(Default)]
pub struct Fields<'a> {
    pub id: Option<Cow<'a, str>>,
    pub event_type: Option<Cow<'a, str>>,
    pub timestamp: Option<Cow<'a, str>>,
    pub user_id: Option<Cow<'a, str>>,
    pub subject_id: Option<Cow<'a, str>>,
    pub subject_type: Option<Cow<'a, str>>,
    /// JSON text.
    pub data: Option<Cow<'a, str>>,
    /// JSON text.
    pub metadata: Option<Cow<'a, str>>,
    pub correlation_id: Option<Cow<'a, str>>,
    pub causation_id: Option<Cow<'a, str>>,
    pub request_id: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    pub version: Option<Cow<'a, str>>,
}

/// What an event without a subject is about, as the pod has it: the event itself.
const NO_SUBJECT: &str = "event";

impl<'a> Fields<'a> {
    /// The field that the pod calls so; of other names, the version.
    pub fn named(&mut self, name: &str) -> &mut Option<Cow<'a, str>> {
        match name {
            "id" => &mut self.id,
            "type" => &mut self.event_type,
            "timestamp" => &mut self.timestamp,
            "userId" => &mut self.user_id,
            "subjectId" => &mut self.subject_id,
            "subjectType" => &mut self.subject_type,
            "data" => &mut self.data,
            "metadata" => &mut self.metadata,
            "correlationId" => &mut self.correlation_id,
            "causationId" => &mut self.causation_id,
            "requestId" => &mut self.request_id,
            "source" => &mut self.source,
            _ => &mut self.version,
        }
    }

    /// The event. `origin` are members of JSON that go into its metadata: that it was imported, and from where.
    pub fn event(self, origin: &str) -> Result<ImportedEvent, FieldError> {
        let id = uuid("id", &required("id", self.id)?)?;
        let timestamp = required("timestamp", self.timestamp)?;
        let timestamp: Micros = timestamp.parse().map_err(|error| FieldError::field("timestamp", error))?;
        if let Some(version) = self.version.filter(|version| *version != "v1") {
            return Err(FieldError::field("version", format!("expected v1, not {version:?}")));
        }
        let data = json("data", &required("data", self.data)?)?;
        let correlation_id = self.correlation_id.map(|id| uuid("correlationId", &id)).transpose()?;
        let metadata = self.metadata.map(|metadata| json("metadata", &metadata)).transpose()?;
        // The table has no columns for these two; the pod keeps what it has no column for in the metadata.
        let mut members = String::new();
        for (name, value) in [("causationId", self.causation_id), ("requestId", self.request_id)] {
            if let Some(value) = value {
                let value = uuid(name, &value)?;
                members.push_str(&format!("\"{name}\":\"{value}\","));
            }
        }
        members.push_str(origin);
        let (subject_id, subject_type) = match (self.subject_id, self.subject_type) {
            (None, None) => (id.to_string(), NO_SUBJECT.to_owned()),
            (Some(_), None) => return Err(FieldError::field("subjectType", "is required where there is a subject")),
            (subject_id, Some(subject_type)) => {
                (subject_id.map_or_else(|| id.to_string(), Cow::into_owned), subject_type.into_owned())
            }
        };
        Ok(ImportedEvent {
            id,
            timestamp,
            event_type: required("type", self.event_type)?.into_owned(),
            subject_id,
            subject_type,
            data,
            metadata: with_members(metadata.as_deref(), &members)?,
            user_id: required("userId", self.user_id)?.into_owned(),
            source: self.source.map_or_else(|| Source::Migration.as_str().to_owned(), Cow::into_owned),
            correlation_id,
        })
    }
}

fn required<'a>(name: &str, value: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, FieldError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| FieldError::field(name, "is required"))
}

fn uuid(name: &str, text: &str) -> Result<Uuid, FieldError> {
    Uuid::try_parse(text).map_err(|_| FieldError::field(name, format!("expected a UUID, not {text:?}")))
}

/// JSON text as it is, known to be JSON.
fn json(name: &str, text: &str) -> Result<String, FieldError> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => Ok(raw.get().to_owned()),
        Err(error) => Err(FieldError::field(name, format!("expected JSON: {error}"))),
    }
}

/// Metadata with further members behind its own, which count where names are the same: `jsonb` keeps the last.
pub fn with_members(metadata: Option<&str>, members: &str) -> Result<String, FieldError> {
    let Some(object) = metadata.filter(|metadata| *metadata != "null") else { return Ok(format!("{{{members}}}")) };
    let inner = object.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.ok_or_else(|| FieldError::field("metadata", "expected a JSON object"))?.trim();
    Ok(if inner.is_empty() { format!("{{{members}}}") } else { format!("{{{inner},{members}}}") })
}

/// What tells that an event was imported, from which file and when: the member of its metadata.
pub fn origin(file: &str, at: Micros) -> String {
    let mut out = format!("\"imported\":{{\"at\":\"{at}\",\"file\":").into_bytes();
    write_json_string(file, &mut out);
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}
