//! The body of a record that a device has come or gone.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | 1 opened, 2 closed |
//! | 1 | length of the reason, 0 where it was opened |
//! | 2..4, 4..6 | lengths of client id and device; a device of length 0 has the client's name |
//! | 6..8 | zeros |
//! | 8..16, 16..24 | closed only: the sequence and the time of the opening |
//! | then | client id, device, reason, details |
//!
//! All integers are little-endian.

use crate::types::{Micros, Presence, PresenceChange, Sequence};

const OPENED: u8 = 1;
const CLOSED: u8 = 2;
const FIXED_BYTES: usize = 8;

/// Appends the body. Client ids are at most 65,535 bytes by MQTT, reasons are words of ours.
pub fn encode(presence: &Presence<'_>, out: &mut Vec<u8>) {
    let Presence { client_id, device, details, .. } = *presence;
    let device = if device == client_id { "" } else { device };
    let (kind, reason) = match presence.change {
        PresenceChange::Opened => (OPENED, ""),
        PresenceChange::Closed { reason, .. } => (CLOSED, reason),
    };
    out.reserve(FIXED_BYTES + 16 + client_id.len() + device.len() + reason.len() + details.len());
    out.extend_from_slice(&[kind, reason.len() as u8]);
    out.extend_from_slice(&(client_id.len() as u16).to_le_bytes());
    out.extend_from_slice(&(device.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    if let PresenceChange::Closed { opened, since, .. } = presence.change {
        out.extend_from_slice(&opened.0.to_le_bytes());
        out.extend_from_slice(&since.get().to_le_bytes());
    }
    for text in [client_id, device, reason, details] {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Reads a body that holds this and nothing else.
pub fn decode(sequence: Sequence, received: Micros, body: &[u8]) -> Option<Presence<'_>> {
    let (&[kind, reason, client_0, client_1, device_0, device_1, 0, 0], mut rest) =
        body.split_first_chunk::<FIXED_BYTES>()?
    else {
        return None;
    };
    let opening = match kind {
        OPENED if reason == 0 => None,
        CLOSED => {
            let (opened, behind) = rest.split_first_chunk()?;
            let (since, behind) = behind.split_first_chunk()?;
            rest = behind;
            Some((Sequence(u64::from_le_bytes(*opened)), Micros::saturating(i64::from_le_bytes(*since))))
        }
        _ => return None,
    };
    let client_id = text(&mut rest, u16::from_le_bytes([client_0, client_1]))?;
    let device = text(&mut rest, u16::from_le_bytes([device_0, device_1]))?;
    let reason = text(&mut rest, reason.into())?;
    Some(Presence {
        sequence,
        received,
        client_id,
        device: if device.is_empty() { client_id } else { device },
        change: opening.map_or(PresenceChange::Opened, |(opened, since)| PresenceChange::Closed {
            opened,
            since,
            reason,
        }),
        details: std::str::from_utf8(rest).ok()?,
    })
}

fn text<'a>(rest: &mut &'a [u8], length: u16) -> Option<&'a str> {
    let (text, behind) = rest.split_at_checked(length.into())?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}
