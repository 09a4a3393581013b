//! The record format, version 1: what lies in a segment and in memory alike.
//!
//! All integers are little-endian. A record is a header of [`HEADER_BYTES`], then a body.
//!
//! | bytes | header field |
//! | --- | --- |
//! | 0..4 | body length |
//! | 4..8 | CRC-32C of the body |
//! | 8..16 | sequence |
//! | 16..24 | receive time, microseconds since 1970 |
//! | 24 | format version, 1 |
//! | 25 | kind |
//! | 26..28 | flags: for a publication, QoS in bits 0–1, retain in bit 2, guaranteed in bit 3 |
//! | 28..32 | CRC-32C of the journal's [`Salt`] and bytes 0..28 |
//!
//! - The body is checksummed by the connection that encodes it; sequence and time are known
//!   only under the append lock, so the header has a checksum of its own, over 28 bytes.
//! - The salt is random and told to nobody. A search for the next header, in a seek or behind
//!   damage, runs through payloads, and a publisher could otherwise plant records in them.
//! - A header of zeros ends a segment: preallocated space that was never written.
//! - Kinds and versions unknown to a reader are an error, never skipped: an older binary must
//!   not act on half of the truth.
//!
//! Bodies: a *publication* is packet identifier u16 (QoS 2 of a kept session, else 0), client
//! id length u16, topic length u16, reserved u16, properties length u32, then client id, topic,
//! properties, payload. *Release*, *session kept* and *session dropped* are a u32 (packet
//! identifier, session expiry in seconds, 0), then the client id. A *mark* is two u64: the ceiling
//! below which sequences may be assigned, and the durable watermark. The committer puts one in
//! front of every write, with the sequence before that of the first record in it, and one at the
//! end of a journal that is closed.

use crate::types::{Micros, Publication, PublishProperties, Qos, Sequence};

/// Length of a record's header.
pub const HEADER_BYTES: usize = 32;

/// Largest body a reader accepts: the largest MQTT packet, and room for our own fields.
pub const MAXIMUM_BODY_BYTES: u32 = (256 << 20) + (256 << 10);

const VERSION: u8 = 1;
const KIND_PUBLICATION: u8 = 1;
const KIND_RELEASE: u8 = 2;
const KIND_SESSION_KEPT: u8 = 3;
const KIND_SESSION_DROPPED: u8 = 4;
const KIND_MARK: u8 = 5;

const FLAG_RETAIN: u16 = 1 << 2;
const FLAG_GUARANTEED: u16 = 1 << 3;
const QOS_BITS: u16 = 0b11;

const PUBLICATION_FIXED_BYTES: usize = 12;

/// What every header checksum of a journal starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub u32);

/// One record, borrowed from the batch it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An accepted PUBLISH.
    Publication {
        /// What was published.
        publication: Publication<'a>,
        /// The QoS 2 packet identifier that the client's kept session now holds, else 0.
        packet_id: u16,
    },
    /// A kept session's PUBREL: the packet identifier is free again (MQTT 5.0 section 4.3.3).
    Release {
        /// Whose session.
        client_id: &'a str,
        /// The identifier that was held.
        packet_id: u16,
    },
    /// A session that outlives its connection came into being or changed its expiry.
    SessionKept {
        /// Whose session.
        client_id: &'a str,
        /// Seconds it lives on after a disconnect.
        expiry: u32,
    },
    /// A kept session ended: its packet identifiers mean nothing any more.
    SessionDropped {
        /// Whose session.
        client_id: &'a str,
    },
    /// Starts a write. Tells recovery what was true on disk before it.
    Mark {
        /// First sequence that is not reserved: those below may be in use.
        ceiling: Sequence,
        /// All records up to here were synced, so if one is unreadable, it was damaged later.
        durable: Sequence,
    },
}

impl Record<'_> {
    /// A publication's sequence; other kinds do not carry theirs.
    #[must_use]
    pub const fn sequence(&self) -> Option<Sequence> {
        match self {
            Self::Publication { publication, .. } => Some(publication.sequence),
            _ => None,
        }
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow the header.
    pub body_length: u32,
    /// CRC-32C of those bytes.
    pub body_checksum: u32,
    /// The record's place in the journal.
    pub sequence: Sequence,
    /// When the record was appended.
    pub received: Micros,
    kind: u8,
    flags: u16,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Zeros where a record would start: nothing was written here yet.
    #[error("unwritten space")]
    Unwritten,
    /// Fewer bytes than the record says it has.
    #[error("the record is cut off")]
    Short,
    /// A checksum does not match, or a length leads out of the record.
    #[error("the record is damaged")]
    Damaged,
    /// Written by a later version of this program.
    #[error("the record has format version {version}, kind {kind}, unknown to this version")]
    Unknown {
        /// The format version it names.
        version: u8,
        /// The kind it names.
        kind: u8,
    },
}

impl Header {
    /// Reads a header, and verifies its checksum where there is a salt.
    ///
    /// # Errors
    /// [`RecordError`]; `Unwritten` only when all of the header is zero.
    pub fn decode(bytes: &[u8], verify: Option<Salt>) -> Result<Self, RecordError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(RecordError::Short)?;
        if header.iter().all(|&byte| byte == 0) {
            return Err(RecordError::Unwritten);
        }
        let (covered, checksum) = header.split_at(28);
        if verify.is_some_and(|salt| header_checksum(covered, salt) != le_u32(checksum, 0)) {
            return Err(RecordError::Damaged);
        }
        let (version, kind) = (header[24], header[25]);
        if version != VERSION || !(KIND_PUBLICATION..=KIND_MARK).contains(&kind) {
            return Err(RecordError::Unknown { version, kind });
        }
        let body_length = le_u32(header, 0);
        if body_length > MAXIMUM_BODY_BYTES {
            return Err(RecordError::Damaged);
        }
        Ok(Self {
            body_length,
            body_checksum: le_u32(header, 4),
            sequence: Sequence(le_u64(header, 8)),
            received: Micros::saturating(le_u64(header, 16).cast_signed()),
            kind,
            flags: le_u16(header, 26),
        })
    }

    /// Whether the record is a mark.
    #[must_use]
    pub const fn is_mark(&self) -> bool {
        self.kind == KIND_MARK
    }

    /// Its sequence; for a mark, that of the record behind it.
    #[must_use]
    pub const fn record_sequence(&self) -> Sequence {
        if self.is_mark() { self.sequence.next() } else { self.sequence }
    }

    /// Bytes of header and body together.
    #[must_use]
    pub const fn record_bytes(&self) -> usize {
        HEADER_BYTES + self.body_length as usize
    }
}

/// Where the first valid header in `bytes` starts, at any offset.
pub fn find_header(bytes: &[u8], salt: Salt) -> Option<(usize, Header)> {
    bytes.windows(HEADER_BYTES).enumerate().find_map(|(at, window)| {
        // Spares nearly all windows their checksum.
        let plausible = window[24] == VERSION
            && (KIND_PUBLICATION..=KIND_MARK).contains(&window[25])
            && le_u16(window, 26) <= QOS_BITS | FLAG_RETAIN | FLAG_GUARANTEED;
        if !plausible {
            return None;
        }
        Some((at, Header::decode(window, Some(salt)).ok()?))
    })
}

/// Reads the record at the start of `bytes`. A salt to verify both checksums with is for bytes
/// from disk; those in memory were sealed or verified by this process.
///
/// # Errors
/// [`RecordError`]
pub fn decode(bytes: &[u8], verify: Option<Salt>) -> Result<(Header, Record<'_>), RecordError> {
    let header = Header::decode(bytes, verify)?;
    let body = bytes.get(HEADER_BYTES..header.record_bytes()).ok_or(RecordError::Short)?;
    if verify.is_some() && crc32c::crc32c(body) != header.body_checksum {
        return Err(RecordError::Damaged);
    }
    Ok((header, decode_body(&header, body).ok_or(RecordError::Damaged)?))
}

fn decode_body<'a>(header: &Header, body: &'a [u8]) -> Option<Record<'a>> {
    if header.kind == KIND_PUBLICATION {
        return decode_publication(header, body);
    }
    if header.kind == KIND_MARK {
        let both: &[u8; 16] = body.try_into().ok()?;
        return Some(Record::Mark { ceiling: Sequence(le_u64(both, 0)), durable: Sequence(le_u64(both, 8)) });
    }
    let (value, client_id) = body.split_first_chunk()?;
    let value = u32::from_le_bytes(*value);
    let client_id = std::str::from_utf8(client_id).ok()?;
    match header.kind {
        KIND_RELEASE => Some(Record::Release { client_id, packet_id: u16::try_from(value).ok()? }),
        KIND_SESSION_KEPT => Some(Record::SessionKept { client_id, expiry: value }),
        KIND_SESSION_DROPPED => Some(Record::SessionDropped { client_id }),
        _ => None,
    }
}

fn decode_publication<'a>(header: &Header, body: &'a [u8]) -> Option<Record<'a>> {
    let (fixed, rest) = body.split_first_chunk::<PUBLICATION_FIXED_BYTES>()?;
    let (client_id, rest) = rest.split_at_checked(usize::from(le_u16(fixed, 2)))?;
    let (topic, rest) = rest.split_at_checked(usize::from(le_u16(fixed, 4)))?;
    let (properties, payload) = rest.split_at_checked(usize::try_from(le_u32(fixed, 8)).ok()?)?;
    let publication = Publication {
        sequence: header.sequence,
        received: header.received,
        topic: std::str::from_utf8(topic).ok()?,
        payload,
        qos: Qos::try_from((header.flags & QOS_BITS) as u8).ok()?,
        retain: header.flags & FLAG_RETAIN != 0,
        guaranteed: header.flags & FLAG_GUARANTEED != 0,
        client_id: std::str::from_utf8(client_id).ok()?,
        properties: PublishProperties::new(properties),
    };
    Some(Record::Publication { publication, packet_id: le_u16(fixed, 0) })
}

/// Appends `record` to `out`, with sequence and receive time still open: [`seal`] sets them.
/// The sequence and time inside of a publication are ignored.
///
/// Client id and topic are at most 65,535 bytes by their types, and so are, in sum,
/// properties and payload at most an MQTT packet.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let (kind, flags) = match record {
        Record::Publication { publication, packet_id } => {
            encode_publication(publication, *packet_id, out);
            (KIND_PUBLICATION, publication_flags(publication))
        }
        Record::Release { client_id, packet_id } => {
            encode_client(u32::from(*packet_id), client_id, out);
            (KIND_RELEASE, 0)
        }
        Record::SessionKept { client_id, expiry } => {
            encode_client(*expiry, client_id, out);
            (KIND_SESSION_KEPT, 0)
        }
        Record::SessionDropped { client_id } => {
            encode_client(0, client_id, out);
            (KIND_SESSION_DROPPED, 0)
        }
        Record::Mark { ceiling, durable } => {
            out.extend_from_slice(&ceiling.0.to_le_bytes());
            out.extend_from_slice(&durable.0.to_le_bytes());
            (KIND_MARK, 0)
        }
    };
    let (header, body) = out[start..].split_at_mut(HEADER_BYTES);
    header[0..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    header[24] = VERSION;
    header[25] = kind;
    header[26..28].copy_from_slice(&flags.to_le_bytes());
}

/// Completes an encoded record with its place and time.
///
/// # Panics
/// Never, for bytes that [`encode`] wrote.
pub fn seal(record: &mut [u8], sequence: Sequence, received: Micros, salt: Salt) {
    record[8..16].copy_from_slice(&sequence.0.to_le_bytes());
    record[16..24].copy_from_slice(&received.get().to_le_bytes());
    let checksum = header_checksum(&record[..28], salt);
    record[28..32].copy_from_slice(&checksum.to_le_bytes());
}

fn header_checksum(covered: &[u8], salt: Salt) -> u32 {
    crc32c::crc32c_append(salt.0, covered)
}

const fn publication_flags(publication: &Publication<'_>) -> u16 {
    publication.qos as u16
        | if publication.retain { FLAG_RETAIN } else { 0 }
        | if publication.guaranteed { FLAG_GUARANTEED } else { 0 }
}

fn encode_publication(publication: &Publication<'_>, packet_id: u16, out: &mut Vec<u8>) {
    let properties = publication.properties.as_bytes();
    out.reserve(
        PUBLICATION_FIXED_BYTES
            + publication.client_id.len()
            + publication.topic.len()
            + properties.len()
            + publication.payload.len(),
    );
    out.extend_from_slice(&packet_id.to_le_bytes());
    out.extend_from_slice(&(publication.client_id.len() as u16).to_le_bytes());
    out.extend_from_slice(&(publication.topic.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(properties.len() as u32).to_le_bytes());
    out.extend_from_slice(publication.client_id.as_bytes());
    out.extend_from_slice(publication.topic.as_bytes());
    out.extend_from_slice(properties);
    out.extend_from_slice(publication.payload);
}

fn encode_client(value: u32, client_id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(client_id.as_bytes());
}

fn le_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le_u32(bytes, at)) | u64::from(le_u32(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(0xdead_beef);

    fn publication() -> Publication<'static> {
        Publication {
            sequence: Sequence(7),
            received: Micros::saturating(1_700_000_000_000_000),
            topic: "devices/pump-7/telemetry",
            payload: b"{\"temperature\":21.5}",
            qos: Qos::ExactlyOnce,
            retain: true,
            guaranteed: true,
            client_id: "pump-7",
            properties: PublishProperties::new(&[0x01, 1]),
        }
    }

    fn sealed(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(record, &mut bytes);
        seal(&mut bytes, Sequence(7), Micros::saturating(1_700_000_000_000_000), SALT);
        bytes
    }

    #[test]
    fn every_kind_round_trips() {
        for record in [
            Record::Publication { publication: publication(), packet_id: 9 },
            Record::Release { client_id: "pump-7", packet_id: 9 },
            Record::SessionKept { client_id: "pump-7", expiry: 60 },
            Record::SessionDropped { client_id: "pump-7" },
            Record::Mark { ceiling: Sequence(1 << 40), durable: Sequence(6) },
        ] {
            let bytes = sealed(&record);
            let (header, decoded) = decode(&bytes, Some(SALT)).unwrap();
            assert_eq!(decoded, record);
            assert_eq!((header.sequence, header.record_bytes()), (Sequence(7), bytes.len()));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = sealed(&Record::Publication { publication: publication(), packet_id: 9 });
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode(&damaged, Some(SALT)).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_record_of_another_journal_is_none() {
        let bytes = sealed(&Record::SessionDropped { client_id: "pump-7" });
        assert_eq!(decode(&bytes, Some(Salt(7))).unwrap_err(), RecordError::Damaged);
        let planted = [&[1; 100], bytes.as_slice()].concat();
        assert_eq!(find_header(&planted, Salt(7)), None);
        assert_eq!(find_header(&planted, SALT).unwrap().0, 100);
    }

    #[test]
    fn a_cut_is_noticed_at_every_byte() {
        let bytes = sealed(&Record::Release { client_id: "pump-7", packet_id: 9 });
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], Some(SALT)).unwrap_err(), RecordError::Short);
        }
        assert_eq!(decode(&[0; 64], Some(SALT)).unwrap_err(), RecordError::Unwritten);
    }
}
