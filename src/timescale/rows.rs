//! Rows in the form that `COPY … (FORMAT binary)` takes (PostgreSQL manual, `sql-copy`).

use uuid::Uuid;

use super::layout::{Form, Layout, SubjectId};
use crate::types::{Sequence, SynapEvent, write_json_string};

const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const JSONB_VERSION: u8 = 1;

/// What the older table's `version` is for SynapEvent v1.
const EVENT_VERSION: i32 = 1;

/// Where a row has its id: behind the number of columns and the length of the first.
const ID_OFFSET: usize = 2 + 4;

/// 2000-01-01T00:00:00Z, where PostgreSQL counts from, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Encoded rows of consecutive journal records. Reused: keeps its memory when cleared.
///
/// Invariant: holds every publication after `after` and up to `through`, each once.
#[derive(Debug, Default)]
pub struct RowBatch {
    layout: Layout,
    bytes: Vec<u8>,
    rows: Vec<(Sequence, usize)>,
    after: Sequence,
    through: Sequence,
}

impl RowBatch {
    /// An empty one, for a table with these columns.
    pub fn new(layout: Layout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Empties it; its records will be those after `after`.
    pub fn begin(&mut self, after: Sequence) {
        self.bytes.clear();
        self.rows.clear();
        (self.after, self.through) = (after, after);
    }

    /// Adds an event's row.
    pub fn push(&mut self, event: &SynapEvent<'_>) {
        self.rows.push((event.sequence, self.bytes.len()));
        let (out, layout) = (&mut self.bytes, &self.layout);
        let mut buffer = Uuid::encode_buffer();
        let (subject_type, is_named) = layout.subject_type(event.subject_type);
        out.extend_from_slice(&(layout.form.columns().len() as i16).to_be_bytes());
        field(out, &[event.id.as_bytes()]);
        field(out, &[&(event.timestamp.get() - POSTGRES_EPOCH).to_be_bytes()]);
        field(out, &[event.event_type.as_bytes()]);
        match layout.subject_id {
            SubjectId::Text => field(out, &[event.subject_id.hyphenated().encode_lower(&mut buffer).as_bytes()]),
            SubjectId::Uuid => field(out, &[event.subject_id.as_bytes()]),
        }
        field(out, &[subject_type.as_bytes()]);
        field(out, &[&[JSONB_VERSION], event.data.as_bytes()]);
        if is_named {
            field(out, &[&[JSONB_VERSION], &with_subject_type(&event.metadata, event.subject_type)]);
        } else {
            field(out, &[&[JSONB_VERSION], event.metadata.as_bytes()]);
        }
        field(out, &[event.source.as_str().as_bytes()]);
        field(out, &[event.user_id.as_bytes()]);
        if layout.form == Form::Aggregates {
            field(out, &[&EVENT_VERSION.to_be_bytes()]);
        }
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

    /// All of it.
    pub const fn whole(&self) -> Part<'_> {
        Part { batch: self, start: 0, end: self.rows.len() }
    }

    /// Where a row begins; the end of the bytes for the row behind the last.
    fn offset(&self, row: usize) -> usize {
        self.rows.get(row).map_or(self.bytes.len(), |(_, offset)| *offset)
    }
}

/// Consecutive rows of a batch, and the positions of the journal that they lead from and to.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    batch: &'a RowBatch,
    start: usize,
    end: usize,
}

impl Part<'_> {
    /// How many rows it has.
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// The position before its first record.
    pub fn after(&self) -> Sequence {
        let before = self.start.checked_sub(1).and_then(|row| self.batch.rows.get(row));
        before.map_or(self.batch.after, |(sequence, _)| *sequence)
    }

    /// The position that is reached once it is stored.
    pub fn through(&self) -> Sequence {
        if self.end == self.batch.rows.len() {
            return self.batch.through;
        }
        self.last().map_or(self.batch.after, |(sequence, _)| sequence)
    }

    /// The last row's sequence and event id.
    pub fn last(&self) -> Option<(Sequence, Uuid)> {
        let row = self.end.checked_sub(1).filter(|row| *row >= self.start)?;
        let (sequence, offset) = *self.batch.rows.get(row)?;
        let id = self.batch.bytes.get(offset + ID_OFFSET..)?.first_chunk()?;
        Some((sequence, Uuid::from_bytes(*id)))
    }

    /// Its two halves, where it has more than one row.
    pub fn halves(self) -> Option<[Self; 2]> {
        let middle = self.start + self.len() / 2;
        (middle > self.start).then_some([Self { end: middle, ..self }, Self { start: middle, ..self }])
    }

    /// What to send for its rows, in order.
    pub fn copy_data(&self) -> [&[u8]; 3] {
        let (start, end) = (self.batch.offset(self.start), self.batch.offset(self.end));
        [HEADER, self.batch.bytes.get(start..end).unwrap_or_default(), &TRAILER]
    }
}

/// Metadata, which is never an empty object, with the subject's type in it.
fn with_subject_type(metadata: &str, subject_type: &str) -> Vec<u8> {
    let mut out = b"{\"subjectType\":".to_vec();
    write_json_string(subject_type, &mut out);
    out.push(b',');
    out.extend_from_slice(metadata.strip_prefix('{').unwrap_or(metadata).as_bytes());
    out
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::types::{Micros, Reliability, Source};

    fn batch(sequences: &[u64]) -> RowBatch {
        let mut batch = RowBatch::default();
        batch.begin(Sequence(10));
        for &sequence in sequences {
            batch.push(&SynapEvent {
                sequence: Sequence(sequence),
                id: Uuid::from_u128(sequence.into()),
                event_type: Cow::Borrowed("a.b.c"),
                subject_id: Uuid::nil(),
                subject_type: "device",
                device: None,
                topic: "t",
                data: Cow::Borrowed("{}"),
                metadata: Cow::Borrowed("{}"),
                user_id: "owner",
                source: Source::Api,
                timestamp: Micros::default(),
                reliability: Reliability::Guaranteed,
                streamed: true,
            });
        }
        batch.reach(Sequence(40));
        batch
    }

    #[test]
    fn parts_lead_from_where_the_one_before_ends_and_hold_each_row_once() {
        let batch = batch(&[12, 15, 20, 21, 33]);
        let mut parts = vec![batch.whole()];
        let (mut position, mut rows) = (Sequence(10), Vec::new());
        let mut bytes = Vec::new();
        while let Some(part) = parts.pop() {
            if let Some([first, second]) = part.halves() {
                parts.extend([second, first]);
                continue;
            }
            assert_eq!((part.len(), part.after()), (1, position));
            position = part.through();
            let (sequence, id) = part.last().unwrap();
            assert_eq!(id.as_u128(), u128::from(sequence.0));
            rows.push(sequence.0);
            bytes.extend_from_slice(part.copy_data()[1]);
        }
        assert_eq!((rows, position), (vec![12, 15, 20, 21, 33], Sequence(40)));
        assert_eq!(bytes, batch.whole().copy_data()[1]);
    }

    #[test]
    fn a_batch_without_rows_only_moves_on() {
        let batch = batch(&[]);
        let whole = batch.whole();
        assert_eq!((whole.len(), whole.after(), whole.through()), (0, Sequence(10), Sequence(40)));
        assert!(whole.last().is_none() && whole.halves().is_none());
    }
}
