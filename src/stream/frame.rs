//! The text of what a stream says, in either form.
//!
//! *Server-sent events* (WHATWG HTML, section 9.2), as the pod's clients expect them: every block ends in an
//! empty line, and no field's value holds a line end: what a client's parser sees is what was meant, whatever a
//! device sent. *Lines*: one JSON object each, which a transport puts into messages of its own. *Messages*: the same
//! objects, each in a WebSocket message already, so that they can be shared by all clients that take them as they are.

use std::{fmt, io::Write};

use serde::Serialize;
use uuid::Uuid;

use super::shown::Shown;
use crate::{limits, types::LastEventId, websocket::message};

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events.
    Sse {
        /// Whether each has the name of its type, so that a browser tells them apart before it parses them.
        named: bool,
    },
    /// A JSON object with a `type` on each line.
    Lines,
    /// The same objects, each as a WebSocket message of text.
    Messages,
}

impl Form {
    /// Whether it is made of JSON objects.
    const fn is_json(self) -> bool {
        matches!(self, Self::Lines | Self::Messages)
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::Sse { named: false }
    }
}

/// Why events are missing from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// They were removed, by age or size.
    Retention,
    /// They cannot be read any more.
    Damage,
    /// The client's id is not of this journal: of one before it, ahead of it, of a time that a restored
    /// backup does not know, or no id at all.
    UnknownEpoch,
    /// The client did not keep up, and asked not to get everything.
    Slow,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The client got everything that it asked for.
    Complete,
    /// What comes next was removed before the client had taken it.
    Behind,
    /// The client may not see it any more: its credentials have expired, or were revoked.
    Unauthorized,
}

/// Events that are missing: the client asked for what follows `requested` and gets what follows from `oldest`,
/// that included.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    pub reason: GapReason,
    pub requested: &'a str,
    pub oldest: LastEventId,
    /// How many, where that is known.
    pub count: Option<u64>,
}

/// What begins a stream: the pod's first message. It carries an id, so that a client whose connection is lost
/// before the first event resumes too; none where a snapshot comes first, which then comes anew.
pub fn connected(form: Form, client: Uuid, at: Option<LastEventId>, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Connected {
        client_id: Uuid,
    }
    let data = Connected { client_id: client };
    if form.is_json() {
        return object(form, "connected", at, data, out);
    }
    out.extend_from_slice(b"data: ");
    json("connected", None, data, out);
    if let Some(at) = at {
        write(out, format_args!("\nid: {at}"));
    }
    write(out, format_args!("\nretry: {}\n\n", retry(client)));
}

/// Milliseconds after which a client that lost its connection comes back: not all of them at once.
fn retry(client: Uuid) -> u32 {
    let random = u32::from(client.as_bytes().first().copied().unwrap_or_default());
    limits::STREAM_RETRY_MILLISECONDS + limits::STREAM_RETRY_SPREAD_MILLISECONDS * random / 255
}

/// Appends an event; without an id in a snapshot, which is resumed by beginning it anew.
pub fn event(form: Form, id: Option<LastEventId>, event: &Shown<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    begin(form, id, event.event_type(), out);
    event_json(event, out);
    end(form, start, out);
}

/// Appends what stands in front of an event's JSON.
pub fn begin(form: Form, id: Option<impl fmt::Display>, event_type: &str, out: &mut Vec<u8>) {
    match form {
        Form::Sse { named } => {
            if named {
                out.extend_from_slice(b"event: ");
                out.extend(event_type.bytes().map(space_for_line_end));
                out.push(b'\n');
            }
            if let Some(id) = id {
                write(out, format_args!("id: {id}\n"));
            }
            out.extend_from_slice(b"data: ");
        }
        Form::Lines | Form::Messages => {
            out.extend_from_slice(b"{\"type\":\"event\",");
            if let Some(id) = id {
                write(out, format_args!("\"id\":\"{id}\","));
            }
            out.extend_from_slice(b"\"event\":");
        }
    }
}

/// Appends an event's JSON on one line.
pub fn event_json(event: &Shown<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    event.write_json(out);
    // A device may send its JSON on several lines. Between tokens, which is the only place for
    // a line end in JSON (RFC 8259 section 2), a space is as good.
    for byte in out.get_mut(start..).unwrap_or_default() {
        *byte = space_for_line_end(*byte);
    }
}

const fn space_for_line_end(byte: u8) -> u8 {
    if matches!(byte, b'\n' | b'\r' | 0) { b' ' } else { byte }
}

/// Appends what stands behind the JSON of an event that begins at `start`.
pub fn end(form: Form, start: usize, out: &mut Vec<u8>) {
    match form {
        Form::Sse { .. } => out.extend_from_slice(b"\n\n"),
        Form::Lines => out.extend_from_slice(b"}\n"),
        Form::Messages => {
            out.push(b'}');
            message::enclose_text(start, out);
        }
    }
}

/// Appends what tells a client that events are missing.
pub fn gap(form: Form, gap: &Gap<'_>, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Data<'a> {
        requested: &'a str,
        oldest: String,
        reason: GapReason,
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// What the client has seen is of another journal.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        reset: bool,
    }
    let Gap { reason, requested, oldest, count } = *gap;
    let before = LastEventId { sequence: oldest.sequence.previous(), ..oldest };
    let reset = reason == GapReason::UnknownEpoch;
    told(form, "gap", before, Data { requested, oldest: oldest.to_string(), reason, count, reset }, out);
}

/// Appends what ends a snapshot: from here on, changes come.
pub fn snapshot(form: Form, at: LastEventId, events: u64, complete: bool, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Data {
        events: u64,
        complete: bool,
    }
    told(form, "snapshot", at, Data { events, complete }, out);
}

/// Appends the last thing that a stream says.
pub fn finish(form: Form, at: LastEventId, reason: EndReason, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Data {
        reason: EndReason,
    }
    told(form, "end", at, Data { reason }, out);
}

/// Appends a comment that keeps proxies from giving up, and, where events were passed over, a block without
/// data: it shows nothing and moves the client's last event id. In JSON, the position always.
pub fn heartbeat(form: Form, at: LastEventId, passed_over: bool, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Data {}
    match form {
        Form::Lines | Form::Messages => object(form, "position", Some(at), Data {}, out),
        Form::Sse { .. } if passed_over => write(out, format_args!(": heartbeat\nid: {at}\n\n")),
        Form::Sse { .. } => out.extend_from_slice(b": heartbeat\n\n"),
    }
}

/// Appends something that is no event, under its name.
fn told(form: Form, name: &str, at: LastEventId, data: impl Serialize, out: &mut Vec<u8>) {
    if form.is_json() {
        return object(form, name, Some(at), data, out);
    }
    write(out, format_args!("event: {name}\nid: {at}\ndata: "));
    json(name, None, data, out);
    out.extend_from_slice(b"\n\n");
}

fn object(form: Form, name: &str, at: Option<LastEventId>, data: impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    json(name, at, data, out);
    if form == Form::Messages { message::enclose_text(start, out) } else { out.push(b'\n') }
}

fn json(name: &str, at: Option<LastEventId>, data: impl Serialize, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Message<'a, T> {
        r#type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        #[serde(flatten)]
        data: T,
    }
    let message = Message { r#type: name, id: at.map(|at| at.to_string()), data };
    let written = serde_json::to_writer(&mut *out, &message);
    debug_assert!(written.is_ok(), "text is always JSON");
}

fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a vector takes everything");
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::types::{Epoch, Kept, Micros, Reliability, Sequence, Source, SynapEvent};

    const PLAIN: Form = Form::Sse { named: false };

    fn id(sequence: u64) -> LastEventId {
        LastEventId { epoch: Epoch(0x1f3a_9c02), sequence: Sequence(sequence) }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn made() -> Shown<'static> {
        Shown::Mapped(SynapEvent {
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
            correlation_id: None,
            reliability: Reliability::Guaranteed,
            streamed: true,
            kept: Kept::Event,
            rejected: None,
            message_key: None,
        })
    }

    #[test]
    fn an_event_is_one_line_of_json_whatever_the_device_sent() {
        for (named, fields) in [(false, "id: 1f3a9c02-7\n"), (true, "event: a. .c\nid: 1f3a9c02-7\n")] {
            let text = text(|out| event(Form::Sse { named }, Some(id(7)), &made(), out));
            let data = text.strip_prefix(fields).unwrap().strip_prefix("data: ").unwrap();
            let line = data.strip_suffix("\n\n").unwrap();
            assert!(!line.contains(['\n', '\r']), "{text:?}");
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(json["data"], serde_json::json!({"a\n": [1, 2]}));
            assert_eq!(json["type"], "a.\n.c");
        }
        let line = text(|out| event(Form::Lines, Some(id(7)), &made(), out));
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["type"], &json["id"]), (&"event".into(), &"1f3a9c02-7".into()));
        assert_eq!(json["event"]["type"], "a.\n.c");
        assert!(text(|out| event(PLAIN, None, &made(), out)).starts_with("data: {"));
        let mut messages = Vec::new();
        event(Form::Messages, Some(id(7)), &made(), &mut messages);
        heartbeat(Form::Messages, id(8), false, &mut messages);
        let mut expected = Vec::new();
        message::write_text(line.trim_end().as_bytes(), false, &mut expected);
        message::write_text(br#"{"type":"position","id":"1f3a9c02-8"}"#, false, &mut expected);
        assert_eq!(messages, expected);
    }

    #[test]
    fn the_first_block_is_the_pods_and_clients_come_back_at_different_times() {
        let client = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            text(|out| connected(PLAIN, Uuid::nil(), Some(id(3)), out)),
            format!("data: {{\"type\":\"connected\",\"clientId\":\"{client}\"}}\nid: 1f3a9c02-3\nretry: 2000\n\n")
        );
        let last = text(|out| connected(PLAIN, Uuid::max(), None, out));
        assert!(last.ends_with("\"}\nretry: 4000\n\n"), "{last}");
        assert_eq!(
            text(|out| connected(Form::Lines, Uuid::nil(), Some(id(3)), out)),
            format!("{{\"type\":\"connected\",\"id\":\"1f3a9c02-3\",\"clientId\":\"{client}\"}}\n")
        );
    }

    #[test]
    fn a_gap_resumes_before_the_oldest() {
        let unknown = Gap { reason: GapReason::UnknownEpoch, requested: "\"\n", oldest: id(9), count: None };
        assert_eq!(
            text(|out| gap(PLAIN, &unknown, out)),
            "event: gap\nid: 1f3a9c02-8\ndata: {\"type\":\"gap\",\"requested\":\"\\\"\\n\",\"oldest\":\"1f3a9c02-9\",\
             \"reason\":\"unknown-epoch\",\"reset\":true}\n\n"
        );
        let slow = Gap { reason: GapReason::Slow, requested: "a-1", oldest: id(9), count: Some(4) };
        assert_eq!(
            text(|out| gap(Form::Lines, &slow, out)),
            "{\"type\":\"gap\",\"id\":\"1f3a9c02-8\",\"requested\":\"a-1\",\"oldest\":\"1f3a9c02-9\",\
             \"reason\":\"slow\",\"count\":4}\n"
        );
    }

    #[test]
    fn a_heartbeat_has_no_data() {
        assert_eq!(text(|out| heartbeat(PLAIN, id(1), false, out)), ": heartbeat\n\n");
        assert_eq!(text(|out| heartbeat(PLAIN, id(1), true, out)), ": heartbeat\nid: 1f3a9c02-1\n\n");
        assert_eq!(
            text(|out| heartbeat(Form::Lines, id(1), false, out)),
            "{\"type\":\"position\",\"id\":\"1f3a9c02-1\"}\n"
        );
    }

    #[test]
    fn ends_have_a_position_to_resume_from() {
        assert_eq!(
            text(|out| finish(PLAIN, id(5), EndReason::Behind, out)),
            "event: end\nid: 1f3a9c02-5\ndata: {\"type\":\"end\",\"reason\":\"behind\"}\n\n"
        );
        assert_eq!(
            text(|out| snapshot(Form::Lines, id(5), 2, true, out)),
            "{\"type\":\"snapshot\",\"id\":\"1f3a9c02-5\",\"events\":2,\"complete\":true}\n"
        );
    }
}
