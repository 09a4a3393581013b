//! The text of server-sent events (WHATWG HTML, section 9.2), as the pod's clients expect it.
//!
//! Every block ends in an empty line, and no field's value holds a line end: what a client's
//! parser sees is what was meant, whatever a device sent.

use std::io::Write;

use serde::Serialize;
use uuid::Uuid;

use super::shown::Shown;
use crate::types::LastEventId;

/// Milliseconds after which a client that lost its connection comes back.
const RETRY_MILLISECONDS: u32 = 3000;

/// Why events are missing from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// They were removed, by age or size.
    Retention,
    /// They cannot be read any more.
    Damage,
    /// The client's id is not of this journal: of one before it, ahead of it, or no id at all.
    UnknownEpoch,
}

/// The block that starts every stream: the pod's first message. It carries an id, so that a
/// client whose connection is lost before the first event resumes too.
pub fn connected(client: Uuid, at: LastEventId) -> Vec<u8> {
    let data = format!("{{\"type\":\"connected\",\"clientId\":\"{client}\"}}");
    format!("data: {data}\nid: {at}\nretry: {RETRY_MILLISECONDS}\n\n").into_bytes()
}

/// Appends an event.
pub fn event(event: &Shown<'_>, id: LastEventId, out: &mut Vec<u8>) {
    write(out, format_args!("id: {id}\ndata: "));
    let start = out.len();
    event.write_json(out);
    // A device may send its JSON on several lines. Between tokens, which is the only place for
    // a line end in JSON (RFC 8259 section 2), a space is as good.
    for byte in out.get_mut(start..).unwrap_or_default() {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends what tells a client that events are missing: it asked for what follows `requested`
/// and gets what follows from `oldest`, that included.
pub fn gap(reason: GapReason, requested: &str, oldest: LastEventId, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Gap<'a> {
        r#type: &'static str,
        requested: &'a str,
        oldest: String,
        reason: GapReason,
    }
    let before = LastEventId { sequence: oldest.sequence.previous(), ..oldest };
    write(out, format_args!("event: gap\nid: {before}\ndata: "));
    let written =
        serde_json::to_writer(&mut *out, &Gap { r#type: "gap", requested, oldest: oldest.to_string(), reason });
    debug_assert!(written.is_ok(), "text is always JSON");
    out.extend_from_slice(b"\n\n");
}

/// A comment that keeps proxies from giving up, and, where events were passed over, a block
/// without data: it shows nothing and moves the client's last event id.
pub fn heartbeat(at: Option<LastEventId>) -> Vec<u8> {
    match at {
        Some(id) => format!(": heartbeat\nid: {id}\n\n").into_bytes(),
        None => b": heartbeat\n\n".to_vec(),
    }
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a vector takes everything");
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::types::{Epoch, Kept, Micros, Reliability, Sequence, Source, SynapEvent};

    fn id(sequence: u64) -> LastEventId {
        LastEventId { epoch: Epoch(0x1f3a_9c02), sequence: Sequence(sequence) }
    }

    #[test]
    fn an_event_is_one_line_of_json_whatever_the_device_sent() {
        let made = SynapEvent {
            sequence: Sequence(7),
            id: Uuid::nil(),
            event_type: Cow::Borrowed("a.\n.c"),
            subject_id: Uuid::nil(),
            subject_type: "device",
            device: Some("d"),
            topic: Some("t"),
            data: Cow::Borrowed("{\r\n  \"a\\n\": [1,\n2]\n}"),
            metadata: Cow::Borrowed("{}"),
            user_id: "owner",
            source: Source::Api,
            timestamp: Micros::default(),
            reliability: Reliability::Guaranteed,
            streamed: true,
            kept: Kept::Event,
            rejected: None,
            message_key: None,
        };
        let mut out = Vec::new();
        event(&Shown::Mapped(made), id(7), &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 4, "{text:?}");
        assert_eq!((lines[0], lines[2], lines[3]), ("id: 1f3a9c02-7", "", ""));
        let json: serde_json::Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(json["data"], serde_json::json!({"a\n": [1, 2]}));
        assert_eq!(json["type"], "a.\n.c");
    }

    #[test]
    fn the_first_block_is_the_pods() {
        let text = String::from_utf8(connected(Uuid::nil(), id(3))).unwrap();
        assert_eq!(
            text,
            "data: {\"type\":\"connected\",\"clientId\":\"00000000-0000-0000-0000-000000000000\"}\n\
             id: 1f3a9c02-3\nretry: 3000\n\n"
        );
    }

    #[test]
    fn a_gap_resumes_before_the_oldest() {
        let mut out = Vec::new();
        gap(GapReason::UnknownEpoch, "\"\n", id(9), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: gap\nid: 1f3a9c02-8\ndata: {\"type\":\"gap\",\"requested\":\"\\\"\\n\",\"oldest\":\"1f3a9c02-9\",\
             \"reason\":\"unknown-epoch\"}\n\n"
        );
    }

    #[test]
    fn a_heartbeat_has_no_data() {
        assert_eq!(heartbeat(None), b": heartbeat\n\n");
        assert_eq!(heartbeat(Some(id(1))), b": heartbeat\nid: 1f3a9c02-1\n\n");
    }
}
