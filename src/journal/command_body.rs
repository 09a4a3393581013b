//! The body of a record of a command.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | 1 requested, 2 delivered, 3 completed, 4 expired |
//! | 1 | requested: QoS; completed: 1 if late; expired: 1 if it was sent, plus 2 if it was delivered |
//! | 2..18 | the command's id |
//! | 18..26 | when it was requested, zeros in the record that says so |
//! | 26..34 | requested: when it expires; completed: the sequence of the answer |
//! | 34..42 | completed: when the answer was received |
//! | 42..58 | requested: digest of the request |
//! | then | device and, by kind, more fields, each with its length, u32 |
//!
//! Fields of requested: topic, answer topic, key, properties, payload; of delivered: client id; of completed: topic,
//! client id, properties, payload. Bytes that a kind has no use for are zeros. All integers are little-endian.

use uuid::Uuid;

use crate::types::{Command, CommandAnswer, CommandChange, CommandOrder, Micros, PublishProperties, Qos, Sequence};

const REQUESTED: u8 = 1;
const DELIVERED: u8 = 2;
const COMPLETED: u8 = 3;
const EXPIRED: u8 = 4;

const SENT: u8 = 1;
const WAS_DELIVERED: u8 = 2;

/// Appends the body. Fields are those of a packet or of a request, which are far smaller than 4 GiB.
pub fn encode(command: &Command<'_>, out: &mut Vec<u8>) {
    let Command { id, device, requested, .. } = *command;
    let (kind, flags, numbers, digest) = match command.change {
        CommandChange::Requested(order) => (REQUESTED, order.qos.into(), [order.expires.get(), 0], order.digest),
        CommandChange::Delivered { .. } => (DELIVERED, 0, [0; 2], Uuid::nil()),
        CommandChange::Completed(answer) => {
            let numbers = [answer.sequence.0.cast_signed(), answer.received.get()];
            (COMPLETED, u8::from(answer.is_late), numbers, Uuid::nil())
        }
        CommandChange::Expired { was_sent, was_delivered } => {
            let flags = if was_sent { SENT } else { 0 } | if was_delivered { WAS_DELIVERED } else { 0 };
            (EXPIRED, flags, [0; 2], Uuid::nil())
        }
    };
    let requested = if kind == REQUESTED { 0 } else { requested.get() };
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(id.as_bytes());
    for number in [requested, numbers[0], numbers[1]] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(digest.as_bytes());
    field(out, device.as_bytes());
    match command.change {
        CommandChange::Requested(order) => {
            let texts = [order.topic, order.answer_topic, order.key].map(str::as_bytes);
            let fields = texts.into_iter().chain([order.properties.as_bytes(), order.payload]);
            fields.for_each(|bytes| field(out, bytes));
        }
        CommandChange::Delivered { client_id } => field(out, client_id.as_bytes()),
        CommandChange::Completed(answer) => {
            let texts = [answer.topic, answer.client_id].map(str::as_bytes);
            let fields = texts.into_iter().chain([answer.properties.as_bytes(), answer.payload]);
            fields.for_each(|bytes| field(out, bytes));
        }
        CommandChange::Expired { .. } => {}
    }
}

/// Reads a body that holds this and nothing else.
pub fn decode(sequence: Sequence, received: Micros, body: &[u8]) -> Option<Command<'_>> {
    let (&[kind, flags], rest) = body.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (requested, rest) = number(rest)?;
    let (first, rest) = number(rest)?;
    let (second, rest) = number(rest)?;
    let (digest, mut rest) = rest.split_first_chunk()?;
    let from = &mut rest;
    let device = text(from)?;
    let change = match kind {
        REQUESTED => CommandChange::Requested(CommandOrder {
            topic: text(from)?,
            answer_topic: text(from)?,
            qos: Qos::try_from(flags).ok()?,
            expires: Micros::saturating(first),
            key: text(from)?,
            digest: Uuid::from_bytes(*digest),
            properties: PublishProperties::new(bytes(from)?),
            payload: bytes(from)?,
        }),
        DELIVERED => CommandChange::Delivered { client_id: text(from)? },
        COMPLETED => CommandChange::Completed(CommandAnswer {
            sequence: Sequence(first.cast_unsigned()),
            received: Micros::saturating(second),
            topic: text(from)?,
            client_id: text(from)?,
            is_late: flags != 0,
            properties: PublishProperties::new(bytes(from)?),
            payload: bytes(from)?,
        }),
        EXPIRED => CommandChange::Expired { was_sent: flags & SENT != 0, was_delivered: flags & WAS_DELIVERED != 0 },
        _ => return None,
    };
    let requested = if kind == REQUESTED { received } else { Micros::saturating(requested) };
    let id = Uuid::from_bytes(*id);
    from.is_empty().then_some(Command { sequence, received, id, device, requested, change })
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((i64::from_le_bytes(*number), rest))
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let (bytes, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = behind;
    Some(bytes)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(bytes(rest)?).ok()
}
