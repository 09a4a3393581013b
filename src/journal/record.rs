//! The record format, version 2: what lies in a segment and in memory alike.
//!
//! All integers are little-endian. A record is a header of [`HEADER_BYTES`], then a body.
//!
//! | bytes | header field |
//! | --- | --- |
//! | 0..4 | body length |
//! | 4..8 | CRC-32C of the body |
//! | 8..16 | sequence |
//! | 16..24 | receive time, microseconds since 1970 |
//! | 24 | format version, 2 |
//! | 25 | kind |
//! | 26..28 | flags: QoS in bits 0–1, retain in bit 2, guaranteed in bit 3, will in bit 4 |
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
//! id length u16, topic length u16, reserved u16, properties length u32, with the will flag a session's
//! number u64, then client id, topic, properties, payload. A *state change* is what its room has
//! written. A *mark* is two u64: the ceiling below which sequences may be assigned, and the durable
//! watermark. The committer puts one in front of every write, with the sequence before that of the
//! first record in it, and one at the end of a journal that is closed. An *event* of another writer has its
//! layout in `event_body`, *presence* in `presence_body`, what happens to a *command* in `command_body`.

use std::ops::RangeInclusive;

use super::{command_body, event_body, presence_body};
use crate::types::{Command, Micros, PodEvent, Presence, Publication, PublishProperties, Qos, Sequence};

/// Length of a record's header.
pub const HEADER_BYTES: usize = 32;

/// Largest body a reader accepts: the largest MQTT packet, and room for our own fields.
pub const MAXIMUM_BODY_BYTES: u32 = (256 << 20) + (256 << 10);

const VERSION: u8 = 2;
const KIND_PUBLICATION: u8 = 1;
const KIND_STATE: u8 = 2;
const KIND_MARK: u8 = 3;
const KIND_EVENT: u8 = 4;
const KIND_PRESENCE: u8 = 5;
const KIND_COMMAND: u8 = 6;
const KINDS: RangeInclusive<u8> = KIND_PUBLICATION..=KIND_COMMAND;

const FLAG_RETAIN: u16 = 1 << 2;
const FLAG_GUARANTEED: u16 = 1 << 3;
const FLAG_WILL: u16 = 1 << 4;
const QOS_BITS: u16 = 0b11;

const PUBLICATION_FIXED_BYTES: usize = 12;

/// What every header checksum of a journal starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub u32);

/// One record, borrowed from the batch it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An accepted PUBLISH, or a will.
    Publication {
        /// What was published.
        publication: Publication<'a>,
        /// What it changes beside.
        origin: Origin,
    },
    /// A change of state that shares the order, the batch and the fsync of publications.
    State(StateChange<'a>),
    /// An event that another writer has put in the pod's table.
    Event(PodEvent<'a>),
    /// A client that is a device has come or gone.
    Presence(Presence<'a>),
    /// Something has happened to a command.
    Command(Command<'a>),
    /// Starts a write. Tells recovery what was true on disk before it.
    Mark {
        /// First sequence that is not reserved: those below may be in use.
        ceiling: Sequence,
        /// All records up to here were synced, so if one is unreadable, it was damaged later.
        durable: Sequence,
    },
}

/// What a publication changes in the session that it comes from, by being on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nothing.
    #[default]
    Plain,
    /// The session of its client now holds this QoS 2 packet identifier; never 0.
    Held(u16),
    /// The will of the session with this number has been published.
    Will(u64),
}

/// An opaque change of state: its room writes and reads the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange<'a> {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When it was appended.
    pub received: Micros,
    /// Whether somebody waits for it to be synced.
    pub guaranteed: bool,
    /// What its room makes of it.
    pub body: &'a [u8],
}

impl<'a> StateChange<'a> {
    /// A change to be appended: its place and time come with that.
    #[must_use]
    pub const fn new(body: &'a [u8], guaranteed: bool) -> Self {
        Self { sequence: Sequence::ZERO, received: Micros::MIN, guaranteed, body }
    }
}

impl Record<'_> {
    /// The record's sequence; a mark has none.
    #[must_use]
    pub const fn sequence(&self) -> Option<Sequence> {
        match self {
            Self::Publication { publication, .. } => Some(publication.sequence),
            Self::State(change) => Some(change.sequence),
            Self::Event(event) => Some(event.sequence),
            Self::Presence(presence) => Some(presence.sequence),
            Self::Command(command) => Some(command.sequence),
            Self::Mark { .. } => None,
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
        if version != VERSION || !KINDS.contains(&kind) {
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
            && KINDS.contains(&window[25])
            && le_u16(window, 26) <= QOS_BITS | FLAG_RETAIN | FLAG_GUARANTEED | FLAG_WILL;
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
    match header.kind {
        KIND_PUBLICATION => decode_publication(header, body),
        KIND_STATE => Some(Record::State(StateChange {
            sequence: header.sequence,
            received: header.received,
            guaranteed: header.flags & FLAG_GUARANTEED != 0,
            body,
        })),
        KIND_EVENT => event_body::decode(header.sequence, header.received, body).map(Record::Event),
        KIND_PRESENCE => presence_body::decode(header.sequence, header.received, body).map(Record::Presence),
        KIND_COMMAND => command_body::decode(header.sequence, header.received, body).map(Record::Command),
        _ => {
            let both: &[u8; 16] = body.try_into().ok()?;
            Some(Record::Mark { ceiling: Sequence(le_u64(both, 0)), durable: Sequence(le_u64(both, 8)) })
        }
    }
}

fn decode_publication<'a>(header: &Header, body: &'a [u8]) -> Option<Record<'a>> {
    let (fixed, mut rest) = body.split_first_chunk::<PUBLICATION_FIXED_BYTES>()?;
    let mut origin = match le_u16(fixed, 0) {
        0 => Origin::Plain,
        packet_id => Origin::Held(packet_id),
    };
    if header.flags & FLAG_WILL != 0 {
        let (session, behind) = rest.split_first_chunk()?;
        origin = Origin::Will(u64::from_le_bytes(*session));
        rest = behind;
    }
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
    Some(Record::Publication { publication, origin })
}

/// Appends `record` to `out`, with sequence and receive time still open: [`seal`] sets them.
/// The sequence and time inside of a publication, event, presence or command are ignored.
///
/// Client id and topic are at most 65,535 bytes by their types, and so are, in sum,
/// properties and payload at most an MQTT packet.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let (kind, flags) = match record {
        Record::Publication { publication, origin } => {
            encode_publication(publication, *origin, out);
            let will = if matches!(origin, Origin::Will(_)) { FLAG_WILL } else { 0 };
            (KIND_PUBLICATION, publication_flags(publication) | will)
        }
        Record::State(change) => {
            out.extend_from_slice(change.body);
            (KIND_STATE, if change.guaranteed { FLAG_GUARANTEED } else { 0 })
        }
        Record::Event(event) => {
            event_body::encode(event, out);
            (KIND_EVENT, FLAG_GUARANTEED)
        }
        Record::Presence(presence) => {
            presence_body::encode(presence, out);
            (KIND_PRESENCE, FLAG_GUARANTEED)
        }
        Record::Command(command) => {
            command_body::encode(command, out);
            (KIND_COMMAND, FLAG_GUARANTEED)
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

fn encode_publication(publication: &Publication<'_>, origin: Origin, out: &mut Vec<u8>) {
    let packet_id = if let Origin::Held(packet_id) = origin { packet_id } else { 0 };
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
    if let Origin::Will(session) = origin {
        out.extend_from_slice(&session.to_le_bytes());
    }
    out.extend_from_slice(publication.client_id.as_bytes());
    out.extend_from_slice(publication.topic.as_bytes());
    out.extend_from_slice(properties);
    out.extend_from_slice(publication.payload);
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
    use uuid::Uuid;

    use super::*;
    use crate::types::{CommandAnswer, CommandChange, CommandOrder, PresenceChange};

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

    fn state(body: &[u8], guaranteed: bool) -> StateChange<'_> {
        let received = Micros::saturating(1_700_000_000_000_000);
        StateChange { sequence: Sequence(7), received, guaranteed, body }
    }

    fn event() -> PodEvent<'static> {
        PodEvent {
            sequence: Sequence(7),
            received: Micros::saturating(1_700_000_000_000_000),
            arrival: 1 << 40,
            id: Uuid::from_u128(1),
            event_type: "notes.creation.completed",
            subject_id: "7",
            subject_type: "note",
            topic: Some("notes/7"),
            data: "{}",
            metadata: Some(""),
            user_id: "owner",
            source: Some("api"),
            timestamp: Micros::saturating(-1),
            correlation_id: Some(Uuid::nil()),
        }
    }

    fn closed() -> Presence<'static> {
        let received = Micros::saturating(1_700_000_000_000_000);
        let change =
            PresenceChange::Closed { opened: Sequence(3), since: Micros::saturating(-5), reason: "taken-over" };
        let (client_id, device) = ("sensor-7", "7");
        Presence { sequence: Sequence(7), received, client_id, device, change, details: "\"reasonCode\":142" }
    }

    fn opened() -> Presence<'static> {
        Presence { device: "sensor-7", change: PresenceChange::Opened, ..closed() }
    }

    fn command(change: CommandChange<'static>) -> Record<'static> {
        let received = Micros::saturating(1_700_000_000_000_000);
        let requested = if matches!(change, CommandChange::Requested(_)) { received } else { Micros::saturating(-9) };
        let (id, device) = (Uuid::from_u128(8), "pump-7");
        Record::Command(Command { sequence: Sequence(7), received, id, device, requested, change })
    }

    fn order() -> CommandOrder<'static> {
        CommandOrder {
            topic: "devices/pump-7/commands",
            answer_topic: "devices/pump-7/responses",
            qos: Qos::ExactlyOnce,
            expires: Micros::saturating(1_700_000_009_000_000),
            key: "7c1b",
            digest: Uuid::from_u128(9),
            properties: PublishProperties::new(&[0x01, 1]),
            payload: b"{\"speed\":3}",
        }
    }

    fn answer() -> CommandAnswer<'static> {
        CommandAnswer {
            sequence: Sequence(6),
            received: Micros::saturating(1_600_000_000_000_000),
            topic: "devices/pump-7/responses",
            client_id: "pump-7",
            is_late: true,
            properties: PublishProperties::new(&[]),
            payload: b"\xff",
        }
    }

    fn commands() -> [Record<'static>; 5] {
        [
            CommandChange::Requested(order()),
            CommandChange::Requested(CommandOrder { key: "", payload: b"", qos: Qos::AtMostOnce, ..order() }),
            CommandChange::Delivered { client_id: "pump-7" },
            CommandChange::Completed(answer()),
            CommandChange::Expired { was_sent: true, was_delivered: false },
        ]
        .map(command)
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
            Record::Publication { publication: publication(), origin: Origin::Plain },
            Record::Publication { publication: publication(), origin: Origin::Held(9) },
            Record::Publication { publication: publication(), origin: Origin::Will(1 << 33) },
            Record::State(state(b"a change", true)),
            Record::State(state(b"", false)),
            Record::Event(event()),
            Record::Event(PodEvent { topic: None, metadata: None, source: None, correlation_id: None, ..event() }),
            Record::Presence(opened()),
            Record::Presence(closed()),
            Record::Presence(Presence { details: "", ..opened() }),
            Record::Mark { ceiling: Sequence(1 << 40), durable: Sequence(6) },
        ]
        .into_iter()
        .chain(commands())
        {
            let bytes = sealed(&record);
            let (header, decoded) = decode(&bytes, Some(SALT)).unwrap();
            assert_eq!(decoded, record);
            assert_eq!((header.sequence, header.record_bytes()), (Sequence(7), bytes.len()));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for record in [
            Record::Publication { publication: publication(), origin: Origin::Held(9) },
            Record::Event(event()),
            Record::Presence(closed()),
        ]
        .into_iter()
        .chain(commands())
        {
            let bytes = sealed(&record);
            for at in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[at / 8] ^= 1 << (at % 8);
                assert!(decode(&damaged, Some(SALT)).is_err(), "bit {at}");
            }
        }
    }

    #[test]
    fn a_record_of_another_journal_is_none() {
        let bytes = sealed(&Record::State(state(b"pump-7", true)));
        assert_eq!(decode(&bytes, Some(Salt(7))).unwrap_err(), RecordError::Damaged);
        let planted = [&[1; 100], bytes.as_slice()].concat();
        assert_eq!(find_header(&planted, Salt(7)), None);
        assert_eq!(find_header(&planted, SALT).unwrap().0, 100);
    }

    #[test]
    fn a_cut_is_noticed_at_every_byte() {
        let bytes = sealed(&Record::State(state(b"pump-7", true)));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], Some(SALT)).unwrap_err(), RecordError::Short);
        }
        assert_eq!(decode(&[0; 64], Some(SALT)).unwrap_err(), RecordError::Unwritten);
    }
}
