//! Rows in the form that `COPY … (FORMAT binary)` takes (PostgreSQL manual, `sql-copy`).

mod part;

use uuid::Uuid;

pub use part::Part;

use super::{
    layout::{Form, Layout, SubjectId},
    table::Table,
};
use crate::types::{
    ImportedEvent, Measurements, MessageKey, Micros, Publication, Sequence, SynapEvent, write_json_string,
};

const MEASUREMENT_COLUMNS: i16 = 5;
const DEAD_LETTER_COLUMNS: i16 = 12;
const JSONB_VERSION: u8 = 1;

/// The length of a field that is null.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// What the older table's `version` is for SynapEvent v1.
const EVENT_VERSION: i32 = 1;

const MICROS_PER_MINUTE: i64 = 60_000_000;

/// 2000-01-01T00:00:00Z, where PostgreSQL counts from, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Encoded rows of consecutive journal records. Reused: keeps its memory when cleared.
///
/// Invariant: holds every publication, and whatever else becomes an event, after `after` and up to `through`, each once.
#[derive(Debug, Default)]
pub struct RowBatch {
    layout: Layout,
    /// The rows of each table.
    bytes: [Vec<u8>; Table::COUNT],
    rows: Vec<Row>,
    /// Minutes that measurements lie in, each with the place of its publication among the rows.
    minutes: Vec<(usize, i64)>,
    /// Events that may be repeats, by their place among the rows.
    keyed: Vec<(usize, MessageKey)>,
    after: Sequence,
    through: Sequence,
}

/// What became of one publication.
#[derive(Debug)]
struct Row {
    sequence: Sequence,
    id: Uuid,
    /// The event's own.
    time: Micros,
    /// Where its rows begin in each table's.
    starts: [usize; Table::COUNT],
}

impl RowBatch {
    /// An empty one, for a table with these columns.
    pub fn new(layout: Layout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Empties it; its records will be those after `after`.
    pub fn begin(&mut self, after: Sequence) {
        self.bytes.iter_mut().for_each(Vec::clear);
        self.rows.clear();
        self.minutes.clear();
        self.keyed.clear();
        (self.after, self.through) = (after, after);
    }

    /// Begins with the next event; what follows is of it.
    pub fn next(&mut self, event: &SynapEvent<'_>) {
        self.keyed.extend(event.message_key.map(|key| (self.rows.len(), key)));
        let starts = self.bytes.each_ref().map(Vec::len);
        self.rows.push(Row { sequence: event.sequence, id: event.id, time: event.timestamp, starts });
    }

    /// Adds the event's row.
    pub fn push(&mut self, event: &SynapEvent<'_>) {
        let ([out, ..], layout) = (&mut self.bytes, &self.layout);
        let mut buffer = Uuid::encode_buffer();
        let (subject_type, is_named) = layout.subject_type(event.subject_type);
        let columns = layout.form.columns().len() as i16 + i16::from(layout.correlated);
        out.extend_from_slice(&columns.to_be_bytes());
        field(out, &[event.id.as_bytes()]);
        field(out, &[&time(event.timestamp)]);
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
        if layout.correlated {
            correlation(out, event.correlation_id);
        }
    }

    /// Begins with the next event of a file, at this place of it; what follows is of it. Columns are those of a
    /// layout that is `correlated`.
    pub fn next_imported(&mut self, place: Sequence, event: &ImportedEvent) {
        let starts = self.bytes.each_ref().map(Vec::len);
        self.rows.push(Row { sequence: place, id: event.id, time: event.timestamp, starts });
    }

    /// Adds the row of such an event.
    pub fn push_imported(&mut self, event: &ImportedEvent) {
        let ([out, ..], layout) = (&mut self.bytes, &self.layout);
        let (subject_type, is_named) = layout.subject_type(&event.subject_type);
        out.extend_from_slice(&(layout.form.columns().len() as i16 + 1).to_be_bytes());
        field(out, &[event.id.as_bytes()]);
        field(out, &[&time(event.timestamp)]);
        field(out, &[event.event_type.as_bytes()]);
        match (layout.subject_id, Uuid::try_parse(&event.subject_id)) {
            (SubjectId::Uuid, Ok(id)) => field(out, &[id.as_bytes()]),
            _ => field(out, &[event.subject_id.as_bytes()]),
        }
        field(out, &[subject_type.as_bytes()]);
        field(out, &[&[JSONB_VERSION], event.data.as_bytes()]);
        if is_named {
            field(out, &[&[JSONB_VERSION], &with_subject_type(&event.metadata, &event.subject_type)]);
        } else {
            field(out, &[&[JSONB_VERSION], event.metadata.as_bytes()]);
        }
        field(out, &[event.source.as_bytes()]);
        field(out, &[event.user_id.as_bytes()]);
        if layout.form == Form::Aggregates {
            field(out, &[&EVENT_VERSION.to_be_bytes()]);
        }
        correlation(out, event.correlation_id);
    }

    /// Adds rows of the event's numbers.
    pub fn push_measurements(&mut self, event: Uuid, measurements: &Measurements) {
        let [_, out, _] = &mut self.bytes;
        let (row, known) = (self.rows.len().saturating_sub(1), self.minutes.len());
        for measurement in measurements.iter() {
            out.extend_from_slice(&MEASUREMENT_COLUMNS.to_be_bytes());
            field(out, &[&time(measurement.time)]);
            field(out, &[measurements.subject().as_bytes()]);
            field(out, &[measurement.metric.as_bytes()]);
            field(out, &[&measurement.value.to_be_bytes()]);
            field(out, &[event.as_bytes()]);
            let minute = measurement.time.get().div_euclid(MICROS_PER_MINUTE);
            if !self.minutes.iter().skip(known).any(|(_, known)| *known == minute) {
                self.minutes.push((row, minute));
            }
        }
    }

    /// Adds the row of a dead letter.
    pub fn push_dead_letter(
        &mut self,
        journal: Uuid,
        publication: &Publication<'_>,
        reason: &str,
        event: &SynapEvent<'_>,
    ) {
        let [_, _, out] = &mut self.bytes;
        let mut json = Vec::new();
        event.write_json(&mut json);
        out.extend_from_slice(&DEAD_LETTER_COLUMNS.to_be_bytes());
        field(out, &[journal.as_bytes()]);
        field(out, &[&publication.sequence.0.to_be_bytes()]);
        field(out, &[&time(publication.received)]);
        field(out, &[publication.topic.as_bytes()]);
        field(out, &[publication.client_id.as_bytes()]);
        field(out, &[publication.payload]);
        field(out, &[reason.as_bytes()]);
        field(out, &[&json]);
        field(out, &[&i16::from(u8::from(publication.qos)).to_be_bytes()]);
        field(out, &[&[u8::from(publication.retain)]]);
        field(out, &[&[u8::from(publication.guaranteed)]]);
        field(out, &[publication.properties.as_bytes()]);
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

    /// How many publications it holds.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.bytes.iter().map(Vec::len).sum()
    }

    /// All of it.
    pub const fn whole(&self) -> Part<'_> {
        Part { batch: self, start: 0, end: self.rows.len(), without: &[] }
    }

    /// Where a publication's rows begin; the end of the bytes for the one behind the last.
    fn offset(&self, table: Table, row: usize) -> usize {
        let start = self.rows.get(row).and_then(|row| row.starts.get(table as usize));
        start.copied().unwrap_or_else(|| self.of(table).len())
    }

    /// The rows of some publications; none where they have none.
    fn between(&self, table: Table, start: usize, end: usize) -> Option<&[u8]> {
        self.of(table).get(self.offset(table, start)..self.offset(table, end)).filter(|rows| !rows.is_empty())
    }

    fn of(&self, table: Table) -> &[u8] {
        self.bytes.get(table as usize).map_or(&[], Vec::as_slice)
    }
}

fn correlation(out: &mut Vec<u8>, id: Option<Uuid>) {
    match id {
        Some(id) => field(out, &[id.as_bytes()]),
        None => out.extend_from_slice(&NULL),
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

/// A time as PostgreSQL has it.
const fn time(time: Micros) -> [u8; 8] {
    (time.get() - POSTGRES_EPOCH).to_be_bytes()
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

    use super::{
        part::{HEADER, TRAILER},
        *,
    };
    use crate::types::{Kept, Micros, Reliability, Source};

    fn batch(sequences: &[u64]) -> RowBatch {
        dated(sequences, |_| Micros::default())
    }

    /// With times that follow from sequences.
    fn dated(sequences: &[u64], time: fn(u64) -> Micros) -> RowBatch {
        let mut batch = RowBatch::default();
        batch.begin(Sequence(10));
        for &sequence in sequences {
            let event = SynapEvent {
                sequence: Sequence(sequence),
                id: Uuid::from_u128(sequence.into()),
                event_type: Cow::Borrowed("a.b.c"),
                subject_id: Uuid::nil(),
                subject_type: "device",
                device: None,
                topic: Some("t"),
                data: Cow::Borrowed("{}"),
                metadata: Cow::Borrowed("{}"),
                user_id: "owner",
                source: Source::Api,
                timestamp: time(sequence),
                correlation_id: None,
                reliability: Reliability::Guaranteed,
                streamed: true,
                kept: Kept::Both,
                rejected: None,
                message_key: None,
            };
            let mut measurements = Measurements::default();
            measurements.begin("device");
            measurements.push("m", 1.0, Micros::saturating(sequence.cast_signed() * MICROS_PER_MINUTE));
            batch.next(&event);
            if sequence != 15 {
                batch.push(&event);
            }
            batch.push_measurements(event.id, &measurements);
        }
        batch.reach(Sequence(40));
        batch
    }

    #[test]
    fn parts_lead_from_where_the_one_before_ends_and_hold_each_row_once() {
        let batch = batch(&[12, 15, 20, 21, 33]);
        let mut parts = vec![batch.whole()];
        let (mut position, mut rows) = (Sequence(10), Vec::new());
        let mut bytes: [Vec<u8>; Table::COUNT] = Default::default();
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
            assert_eq!((part.events(), part.minutes()), (u64::from(sequence.0 != 15), vec![sequence.0.cast_signed()]));
            for (table, bytes) in Table::ALL.into_iter().zip(&mut bytes) {
                bytes.extend_from_slice(part.copy_data(table).map_or(&[], |pieces| pieces[1]));
            }
        }
        assert_eq!((rows, position), (vec![12, 15, 20, 21, 33], Sequence(40)));
        for (table, bytes) in [Table::Events, Table::Measurements].into_iter().zip(&bytes) {
            assert_eq!(bytes, batch.whole().copy_data(table).unwrap()[1]);
        }
        assert_eq!(batch.whole().minutes(), [12, 15, 20, 21, 33]);
    }

    #[test]
    fn rows_that_are_left_out_are_in_no_piece() {
        let batch = batch(&[12, 14, 20, 21, 33]);
        let all = batch.whole().copy_data(Table::Measurements).unwrap()[1];
        let row = |row: usize| &all[row * all.len() / 5..(row + 1) * all.len() / 5];
        let some = batch.whole().without(&[0, 2, 4]);
        assert_eq!(some.events(), 2);
        assert_eq!(some.copy_data(Table::Measurements).unwrap(), [HEADER, row(1), row(3), &TRAILER]);
        let [first, second] = some.halves().unwrap();
        assert_eq!(first.copy_data(Table::Measurements).unwrap()[1], row(1));
        assert_eq!(second.copy_data(Table::Measurements).unwrap()[1], row(3));
        assert!(batch.whole().without(&[0, 1, 2, 3, 4]).copy_data(Table::Events).is_none());
    }

    #[test]
    fn rows_whose_times_lie_far_apart_go_in_the_order_of_time() {
        let days = |sequence: u64| Micros::saturating((100 - sequence.cast_signed()) * 86_400_000_000);
        let batch = dated(&[12, 14, 20, 21], days);
        let all = batch.whole().copy_data(Table::Measurements).unwrap();
        let row = |row: usize| batch.between(Table::Measurements, row, row + 1).unwrap();
        assert_eq!(all, [HEADER, row(3), row(2), row(1), row(0), &TRAILER]);
        let some = batch.whole().without(&[0, 2]).copy_data(Table::Measurements).unwrap();
        assert_eq!(some, [HEADER, row(3), row(1), &TRAILER]);
        let [_, second] = batch.whole().halves().unwrap();
        assert_eq!(second.copy_data(Table::Events).unwrap().len(), 4);
    }

    #[test]
    fn a_batch_without_rows_only_moves_on() {
        let batch = batch(&[]);
        let whole = batch.whole();
        assert_eq!((whole.len(), whole.after(), whole.through()), (0, Sequence(10), Sequence(40)));
        assert!(whole.last().is_none() && whole.halves().is_none());
        assert!(Table::ALL.into_iter().all(|table| whole.copy_data(table).is_none()));
    }
}
