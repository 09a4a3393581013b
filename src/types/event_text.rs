//! The one JSON form of an event, in the field order of the pod's stream.

use uuid::Uuid;

use super::{Micros, write_json_string};

/// What of an event is written, whoever made it. `data` and `metadata` are JSON text.
pub(super) struct EventText<'a> {
    pub id: Uuid,
    pub event_type: &'a str,
    pub timestamp: Micros,
    pub user_id: &'a str,
    pub subject_id: &'a str,
    pub subject_type: &'a str,
    pub data: &'a str,
    pub metadata: Option<&'a str>,
    pub correlation_id: Option<Uuid>,
    pub source: Option<&'a str>,
}

impl EventText<'_> {
    /// Appends one JSON object. Absent fields are `null`, as in the pod's stream; no column has a
    /// `causationId`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut buffer = Uuid::encode_buffer();
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(self.id.hyphenated().encode_lower(&mut buffer).as_bytes());
        out.extend_from_slice(b"\",\"type\":");
        write_json_string(self.event_type, out);
        out.extend_from_slice(b",\"timestamp\":\"");
        self.timestamp.write(out);
        out.extend_from_slice(b"\",\"userId\":");
        write_json_string(self.user_id, out);
        out.extend_from_slice(b",\"subjectId\":");
        write_json_string(self.subject_id, out);
        out.extend_from_slice(b",\"subjectType\":");
        write_json_string(self.subject_type, out);
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(self.data.as_bytes());
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(self.metadata.unwrap_or("null").as_bytes());
        out.extend_from_slice(b",\"correlationId\":");
        match self.correlation_id {
            Some(id) => write_json_string(id.hyphenated().encode_lower(&mut buffer), out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"causationId\":null,\"source\":");
        match self.source {
            Some(source) => write_json_string(source, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"version\":\"v1\"}");
    }
}
