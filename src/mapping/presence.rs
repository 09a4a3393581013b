//! Devices that come and go, as events: `devices.connection.opened` and `devices.connection.closed`.
//!
//! `data` is `{"connectionId":…,"clientId":…,"device":…}` and what the record has besides. The connection's id is that
//! of the event of its opening, in both. Of the end there are `reason`, `openedAt` and `seconds` that it has lasted.

use super::{event_id::JournalBits, into_text};
use crate::types::{
    Kept, Micros, Presence, PresenceChange, Reliability, Source, SynapEvent, subject_id, write_json_string,
};

const OPENED: &str = "devices.connection.opened";
const CLOSED: &str = "devices.connection.closed";

/// The event of a record. `journal` gives its id.
pub fn event<'a>(presence: &Presence<'a>, journal: JournalBits, user_id: &'a str) -> SynapEvent<'a> {
    let event_type = match presence.change {
        PresenceChange::Opened => OPENED,
        PresenceChange::Closed { .. } => CLOSED,
    };
    SynapEvent {
        sequence: presence.sequence,
        id: journal.event_id(presence.sequence, presence.received),
        event_type: event_type.into(),
        subject_id: subject_id(presence.device),
        subject_type: super::table::DEVICE,
        device: Some(presence.device),
        topic: None,
        data: data(presence, journal).into(),
        metadata: metadata(presence).into(),
        user_id,
        source: Source::System,
        timestamp: presence.received,
        correlation_id: None,
        reliability: Reliability::Guaranteed,
        streamed: true,
        kept: Kept::Event,
        rejected: None,
        message_key: None,
    }
}

fn data(presence: &Presence<'_>, journal: JournalBits) -> String {
    let (opened, since) = presence.connection();
    let mut out = Vec::with_capacity(256 + presence.client_id.len() + presence.device.len() + presence.details.len());
    let mut buffer = uuid::Uuid::encode_buffer();
    out.extend_from_slice(b"{\"connectionId\":\"");
    out.extend_from_slice(journal.event_id(opened, since).hyphenated().encode_lower(&mut buffer).as_bytes());
    out.extend_from_slice(b"\",\"clientId\":");
    write_json_string(presence.client_id, &mut out);
    out.extend_from_slice(b",\"device\":");
    write_json_string(presence.device, &mut out);
    if let PresenceChange::Closed { reason, .. } = presence.change {
        out.extend_from_slice(b",\"reason\":");
        write_json_string(reason, &mut out);
        out.extend_from_slice(b",\"openedAt\":\"");
        since.write(&mut out);
        out.extend_from_slice(b"\",\"seconds\":");
        out.extend_from_slice(seconds(since, presence.received).as_bytes());
    }
    if !presence.details.is_empty() {
        out.push(b',');
        out.extend_from_slice(presence.details.as_bytes());
    }
    out.push(b'}');
    into_text(out)
}

/// The time between, as a JSON number.
pub fn seconds(from: Micros, to: Micros) -> String {
    let micros = to.get().saturating_sub(from.get()).max(0);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn metadata(presence: &Presence<'_>) -> String {
    let mut out = Vec::with_capacity(192 + presence.client_id.len() + presence.device.len());
    out.extend_from_slice(b"{\"version\":\"v1\",\"clientId\":");
    write_json_string(presence.client_id, &mut out);
    out.extend_from_slice(b",\"sequence\":");
    out.extend_from_slice(itoa::Buffer::new().format(presence.sequence.0).as_bytes());
    out.extend_from_slice(b",\"receivedAt\":\"");
    presence.received.write(&mut out);
    out.extend_from_slice(b"\",\"reliability\":\"");
    out.extend_from_slice(Reliability::Guaranteed.as_str().as_bytes());
    out.extend_from_slice(b"\",\"device\":");
    write_json_string(presence.device, &mut out);
    out.push(b'}');
    into_text(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::types::Sequence;

    fn opened() -> Presence<'static> {
        Presence {
            sequence: Sequence(9),
            received: Micros::saturating(1_769_860_800_000_001),
            client_id: "sensor-\"7\"",
            device: "\"7\"",
            change: PresenceChange::Opened,
            details: "\"keepAlive\":60",
        }
    }

    fn parse(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn both_ends_of_a_connection_name_it_by_the_event_of_its_opening() {
        let journal = JournalBits::new(Uuid::from_u128(5));
        let begin = opened();
        let event = event(&begin, journal, "owner");
        assert_eq!((&*event.event_type, event.subject_id, event.device), (OPENED, subject_id("\"7\""), Some("\"7\"")));
        assert_eq!(
            parse(&event.data),
            json!({"connectionId": event.id.to_string(), "clientId": "sensor-\"7\"", "device": "\"7\"", "keepAlive": 60})
        );
        assert_eq!(
            parse(&event.metadata),
            json!({
                "version": "v1", "clientId": "sensor-\"7\"", "sequence": 9, "device": "\"7\"",
                "receivedAt": "2026-01-31T12:00:00.000001Z", "reliability": "guaranteed",
            })
        );
        let change =
            PresenceChange::Closed { opened: Sequence(9), since: begin.received, reason: "keep-alive-timeout" };
        let received = Micros::saturating(1_769_860_890_500_001);
        let end = Presence { sequence: Sequence(12), received, change, details: "", ..begin };
        let closed = super::event(&end, journal, "owner");
        assert_ne!(closed.id, event.id);
        assert_eq!(closed.event_type, CLOSED);
        assert_eq!(
            parse(&closed.data),
            json!({
                "connectionId": event.id.to_string(), "clientId": "sensor-\"7\"", "device": "\"7\"",
                "reason": "keep-alive-timeout", "openedAt": "2026-01-31T12:00:00.000001Z", "seconds": 90.5,
            })
        );
    }
}
