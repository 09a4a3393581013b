//! Rows in the form that `COPY … (FORMAT binary)` takes (PostgreSQL manual, `sql-copy`).

use crate::types::{Sequence, SynapEvent};

/// Columns of a row, in the order of [`RowBatch::push`].
pub const COLUMNS: &str = "id, timestamp, type, subject_id, subject_type, data, metadata, source, user_id";

const COLUMN_COUNT: i16 = 9;
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const JSONB_VERSION: u8 = 1;

/// 2000-01-01T00:00:00Z, where PostgreSQL counts from, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Encoded rows of consecutive journal records. Reused: keeps its memory when cleared.
///
/// Invariant: holds every publication after `after` and up to `through`, each once.
#[derive(Debug, Default)]
pub struct RowBatch {
    bytes: Vec<u8>,
    rows: Vec<(Sequence, usize)>,
    after: Sequence,
    through: Sequence,
}

impl RowBatch {
    /// Empties it; its records will be those after `after`.
    pub fn begin(&mut self, after: Sequence) {
        self.bytes.clear();
        self.bytes.extend_from_slice(HEADER);
        self.rows.clear();
        (self.after, self.through) = (after, after);
    }

    /// Adds an event's row.
    pub fn push(&mut self, event: &SynapEvent<'_>) {
        self.rows.push((event.sequence, self.bytes.len()));
        let out = &mut self.bytes;
        let mut buffer = uuid::Uuid::encode_buffer();
        out.extend_from_slice(&COLUMN_COUNT.to_be_bytes());
        field(out, &[event.id.as_bytes()]);
        field(out, &[&(event.timestamp.get() - POSTGRES_EPOCH).to_be_bytes()]);
        field(out, &[event.event_type.as_bytes()]);
        field(out, &[event.subject_id.hyphenated().encode_lower(&mut buffer).as_bytes()]);
        field(out, &[event.subject_type.as_bytes()]);
        field(out, &[&[JSONB_VERSION], event.data.as_bytes()]);
        field(out, &[&[JSONB_VERSION], event.metadata.as_bytes()]);
        field(out, &[event.source.as_str().as_bytes()]);
        field(out, &[event.user_id.as_bytes()]);
    }

    /// Says that every record up to `through` is in it.
    pub fn reach(&mut self, through: Sequence) {
        debug_assert!(through >= self.through);
        self.through = through;
    }

    /// The position before its first record.
    pub const fn after(&self) -> Sequence {
        self.after
    }

    /// The position that is reached once it is stored.
    pub const fn through(&self) -> Sequence {
        self.through
    }

    /// How many rows it holds.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all rows.
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The sequence of a row.
    pub fn sequence(&self, row: usize) -> Option<Sequence> {
        self.rows.get(row).map(|(sequence, _)| *sequence)
    }

    /// What to send for all rows, in order.
    pub fn copy_data(&self) -> [&[u8]; 3] {
        [&self.bytes, &TRAILER, &[]]
    }

    /// What to send for the rows from `start` up to `end`, in order.
    pub fn copy_data_of(&self, start: usize, end: usize) -> [&[u8]; 3] {
        let offset = |row: usize| self.rows.get(row).map_or(self.bytes.len(), |(_, offset)| *offset);
        [HEADER, self.bytes.get(offset(start)..offset(end)).unwrap_or_default(), &TRAILER]
    }
}

/// A field of a row: its length, then its bytes. A field is shorter than 2 GiB because a
/// packet is shorter than 256 MiB.
fn field(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.extend_from_slice(&(length as i32).to_be_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}
