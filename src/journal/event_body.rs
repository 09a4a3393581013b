//! The body of a record that is an event of another writer.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | number in `mqtt.arrivals` |
//! | 8..16 | the event's own time, microseconds since 1970 |
//! | 16..32 | id |
//! | 32..48 | correlation id, zeros where there is none |
//! | 48..52 | 1 where there is a correlation id, else 0 |
//! | 52..84 | lengths of eight texts, u32; all ones for one that is absent |
//! | 84.. | type, subject id, subject type, user id, data, metadata, source, topic |
//!
//! All integers are little-endian. Only the last three texts may be absent.

use uuid::Uuid;

use crate::types::{Micros, PodEvent, Sequence};

const TEXTS: usize = 8;
const LENGTHS_AT: usize = 52;
const FIXED_BYTES: usize = LENGTHS_AT + TEXTS * 4;
const ABSENT: u32 = u32::MAX;

/// Appends the body. Texts are at most some MiB by the importer's limits.
pub fn encode(event: &PodEvent<'_>, out: &mut Vec<u8>) {
    let texts: [Option<&str>; TEXTS] = [
        Some(event.event_type),
        Some(event.subject_id),
        Some(event.subject_type),
        Some(event.user_id),
        Some(event.data),
        event.metadata,
        event.source,
        event.topic,
    ];
    out.reserve(FIXED_BYTES + texts.iter().flatten().map(|text| text.len()).sum::<usize>());
    out.extend_from_slice(&event.arrival.to_le_bytes());
    out.extend_from_slice(&event.timestamp.get().to_le_bytes());
    out.extend_from_slice(event.id.as_bytes());
    out.extend_from_slice(event.correlation_id.unwrap_or_default().as_bytes());
    out.extend_from_slice(&u32::from(event.correlation_id.is_some()).to_le_bytes());
    for text in texts {
        out.extend_from_slice(&text.map_or(ABSENT, |text| text.len() as u32).to_le_bytes());
    }
    for text in texts.into_iter().flatten() {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Reads a body that holds an event and nothing else.
pub fn decode(sequence: Sequence, received: Micros, body: &[u8]) -> Option<PodEvent<'_>> {
    let (fixed, mut rest) = body.split_first_chunk::<FIXED_BYTES>()?;
    let (numbers, lengths) = fixed.split_at(LENGTHS_AT);
    let mut texts = [None; TEXTS];
    for (text, length) in texts.iter_mut().zip(lengths.as_chunks::<4>().0) {
        let length = u32::from_le_bytes(*length);
        if length != ABSENT {
            let (bytes, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *text = Some(std::str::from_utf8(bytes).ok()?);
            rest = behind;
        }
    }
    let [event_type, subject_id, subject_type, user_id, data, metadata, source, topic] = texts;
    let correlation_id = match numbers.get(48..52)? {
        [0, 0, 0, 0] => None,
        [1, 0, 0, 0] => Some(uuid_at(numbers, 32)?),
        _ => return None,
    };
    rest.is_empty().then_some(())?;
    Some(PodEvent {
        sequence,
        received,
        arrival: i64_at(numbers, 0)?,
        id: uuid_at(numbers, 16)?,
        event_type: event_type?,
        subject_id: subject_id?,
        subject_type: subject_type?,
        topic,
        data: data?,
        metadata,
        user_id: user_id?,
        source,
        timestamp: Micros::saturating(i64_at(numbers, 8)?),
        correlation_id,
    })
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn uuid_at(bytes: &[u8], at: usize) -> Option<Uuid> {
    Some(Uuid::from_bytes(*bytes.get(at..)?.first_chunk()?))
}
