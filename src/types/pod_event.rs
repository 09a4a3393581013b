//! An event that another writer of the pod has put in the table `events`.

use uuid::Uuid;

use super::{Micros, Sequence, event_text::EventText};

/// A borrowed view of one row that was not written by the bridge, as the journal holds it. Other
/// writers keep to no rules of ours: text may be empty or long, `data` any JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodEvent<'a> {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When the journal got it; never decreases along the journal.
    pub received: Micros,
    /// Its number in `mqtt.arrivals`, by which that entry is found again.
    pub arrival: i64,
    /// The row's own id.
    pub id: Uuid,
    /// `{domain}.{action}.{modifier}`.
    pub event_type: &'a str,
    /// The subject's UUID, most often; the table has text.
    pub subject_id: &'a str,
    /// The kind of subject, for instance `device`.
    pub subject_type: &'a str,
    /// The topic, where `metadata` names one.
    pub topic: Option<&'a str>,
    /// JSON text, most often of an object.
    pub data: &'a str,
    /// JSON text, where there is any.
    pub metadata: Option<&'a str>,
    /// The pod's owner.
    pub user_id: &'a str,
    /// Who wrote it, from the pod's closed list.
    pub source: Option<&'a str>,
    /// When it happened.
    pub timestamp: Micros,
    /// What it belongs to.
    pub correlation_id: Option<Uuid>,
}

impl PodEvent<'_> {
    /// Appends the event as one JSON object, in the field order of the pod's stream.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        EventText {
            id: self.id,
            event_type: self.event_type,
            timestamp: self.timestamp,
            user_id: self.user_id,
            subject_id: self.subject_id,
            subject_type: self.subject_type,
            data: self.data,
            metadata: self.metadata,
            correlation_id: self.correlation_id,
            source: self.source,
        }
        .write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_row_s_own_values() {
        let event = PodEvent {
            sequence: Sequence(7),
            received: Micros::default(),
            arrival: 9,
            id: Uuid::from_u128(1),
            event_type: "notes.creation.completed",
            subject_id: "a\"note",
            subject_type: "note",
            topic: None,
            data: "{\"n\": 1}",
            metadata: None,
            user_id: "owner",
            source: None,
            timestamp: Micros::saturating(1_769_860_800_000_001),
            correlation_id: None,
        };
        let text = |event: PodEvent<'_>| {
            let mut json = Vec::new();
            event.write_json(&mut json);
            String::from_utf8(json).unwrap()
        };
        assert_eq!(
            text(event),
            "{\"id\":\"00000000-0000-0000-0000-000000000001\",\"type\":\"notes.creation.completed\",\
             \"timestamp\":\"2026-01-31T12:00:00.000001Z\",\"userId\":\"owner\",\"subjectId\":\"a\\\"note\",\
             \"subjectType\":\"note\",\"data\":{\"n\": 1},\"metadata\":null,\"correlationId\":null,\
             \"causationId\":null,\"source\":null,\"version\":\"v1\"}"
        );
        let full = PodEvent {
            metadata: Some("{\"version\": 1}"),
            source: Some("automation"),
            correlation_id: Some(Uuid::from_u128(2)),
            ..event
        };
        assert!(text(full).contains(
            "\"metadata\":{\"version\": 1},\"correlationId\":\"00000000-0000-0000-0000-000000000002\",\
             \"causationId\":null,\"source\":\"automation\""
        ));
    }
}
