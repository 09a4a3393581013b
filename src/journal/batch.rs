//! Records that travel together: from one read of one connection into the journal, and from
//! the journal to its readers.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use parking_lot::Mutex;

use super::record::{self, HEADER_BYTES, Header, Origin, Record, Salt};
use crate::types::{Micros, Publication, Sequence, Signal};

/// What the allocator and the reference count take for a batch besides its own bytes: three allocations. Where
/// each record travels alone, that counts.
const ALLOCATOR_BYTES: usize = 64;

/// Encodes records for one append. The connection does this work, outside of any lock.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    guaranteed: bool,
    hurries: bool,
    best_effort: bool,
    has_messages: bool,
}

impl BatchBuilder {
    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        match record {
            Record::Publication { publication, .. } if !publication.guaranteed => self.best_effort = true,
            Record::State(change) if !change.guaranteed => {}
            // Nobody waits for it, but it must not be shown before.
            Record::Presence(_) => self.guaranteed = true,
            _ => (self.guaranteed, self.hurries) = (true, true),
        }
        self.has_messages |= matches!(record, Record::Publication { .. } | Record::Event(_));
        self.offsets.push(self.bytes.len() as u32);
        record::encode(record, &mut self.bytes);
    }

    /// How many records it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether it holds no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of all records.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether any record must be synced before anyone may rely on it.
    #[must_use]
    pub const fn guaranteed(&self) -> bool {
        self.guaranteed
    }

    /// Gives the records their places, `first` onwards, and their time.
    pub(super) fn seal(mut self, first: Sequence, received: Micros, salt: Salt, signal: Option<Arc<Signal>>) -> Batch {
        let mut sequence = first;
        for &offset in &self.offsets {
            record::seal(&mut self.bytes[offset as usize..], sequence, received, salt);
            sequence = sequence.next();
        }
        Batch {
            first,
            last: sequence.previous(),
            received,
            guaranteed: self.guaranteed,
            hurries: self.hurries,
            best_effort: self.best_effort,
            has_messages: self.has_messages,
            bytes: self.bytes,
            offsets: self.offsets,
            outcome: AtomicU8::new(Outcome::Pending as u8),
            signal: Mutex::new(signal),
        }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Not yet on disk.
    Pending = 0,
    /// On stable storage: it may be acknowledged.
    Durable = 1,
    /// There was no room for it: it is neither on disk nor in any later life of the journal,
    /// which goes on. Readers of [`Watermark::Durable`](super::Watermark::Durable) never see it;
    /// the others may have, as far as it was visible or appended before.
    Refused = 2,
    /// A write or sync failed: nothing more is acknowledged by this process.
    Failed = 3,
}

/// Sealed records, immutable but for their outcome. Sequences rise along a batch; in one that
/// was appended they are dense, in one read from disk they may have holes.
#[derive(Debug)]
pub struct Batch {
    first: Sequence,
    last: Sequence,
    received: Micros,
    guaranteed: bool,
    hurries: bool,
    best_effort: bool,
    has_messages: bool,
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    outcome: AtomicU8,
    /// Until the outcome is known: it holds on to a connection's task, and a batch may stay in memory for long.
    signal: Mutex<Option<Arc<Signal>>>,
}

impl Batch {
    /// Wraps verified records that were read from disk. `offsets` are their starts and must
    /// not be empty.
    pub(super) fn from_disk(bytes: Vec<u8>, offsets: Vec<u32>, first: Header, last: Sequence) -> Self {
        Self {
            first: first.sequence,
            last,
            received: first.received,
            guaranteed: true,
            hurries: true,
            best_effort: true,
            has_messages: true,
            bytes,
            offsets,
            outcome: AtomicU8::new(Outcome::Durable as u8),
            signal: Mutex::new(None),
        }
    }

    /// The records of batches that follow each other and are durable, as one; none of none.
    pub(super) fn gathered(of: &[Arc<Self>]) -> Option<Self> {
        let (first, last) = (of.first()?, of.last()?);
        let mut bytes = Vec::with_capacity(of.iter().map(|batch| batch.bytes.len()).sum());
        let mut offsets = Vec::with_capacity(of.iter().map(|batch| batch.offsets.len()).sum());
        for batch in of {
            let start = u32::try_from(bytes.len()).ok()?;
            offsets.extend(batch.offsets.iter().map(|offset| start + offset));
            bytes.extend_from_slice(&batch.bytes);
        }
        Some(Self {
            first: first.first,
            last: last.last,
            received: first.received,
            guaranteed: of.iter().any(|batch| batch.guaranteed),
            hurries: of.iter().any(|batch| batch.hurries),
            best_effort: of.iter().any(|batch| batch.best_effort),
            has_messages: of.iter().any(|batch| batch.has_messages),
            bytes,
            offsets,
            outcome: AtomicU8::new(Outcome::Durable as u8),
            signal: Mutex::new(None),
        })
    }

    /// The first record's sequence.
    #[must_use]
    pub const fn first(&self) -> Sequence {
        self.first
    }

    /// The last record's sequence.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// When the first record was appended.
    #[must_use]
    pub const fn received(&self) -> Micros {
        self.received
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.offsets.len()
    }

    /// True only for an append of nothing, which no reader ever sees.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Whether any record had to be synced before anyone may rely on it.
    #[must_use]
    pub const fn guaranteed(&self) -> bool {
        self.guaranteed
    }

    /// Whether somebody waits until it is synced.
    pub(super) const fn hurries(&self) -> bool {
        self.hurries
    }

    /// Whether any record may be passed on before it is synced.
    #[must_use]
    pub const fn best_effort(&self) -> bool {
        self.best_effort
    }

    /// Whether there is anything that may wait for somebody; else it is told only what clients do.
    pub(super) const fn has_messages(&self) -> bool {
        self.has_messages
    }

    /// The records' bytes as they lie on disk.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Memory it takes, in bytes.
    pub(super) const fn footprint(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * size_of::<u32>() + size_of::<Self>() + ALLOCATOR_BYTES
    }

    /// What became of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::Acquire) {
            0 => Outcome::Pending,
            1 => Outcome::Durable,
            2 => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }

    pub(super) fn settle(&self, outcome: Outcome) {
        self.outcome.store(outcome as u8, Ordering::Release);
        let signal = self.signal.lock().take();
        if let Some(signal) = signal {
            signal.ring();
        }
    }

    /// The record at `index`, where there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let start = *self.offsets.get(index)? as usize;
        record::decode(self.bytes.get(start..)?, None).ok().map(|(_, record)| record)
    }

    /// The record with this sequence, where it is here.
    #[must_use]
    pub fn find(&self, sequence: Sequence) -> Option<Record<'_>> {
        if sequence > self.last {
            return None;
        }
        let index = self.first_after(sequence.previous());
        (self.sequence_at(index)? == sequence).then(|| self.get(index))?
    }

    /// Records with a sequence above `after`, in order.
    pub fn after(&self, after: Sequence) -> impl Iterator<Item = Record<'_>> {
        (self.first_after(after)..self.len()).filter_map(|index| self.get(index))
    }

    fn first_after(&self, after: Sequence) -> usize {
        if after < self.first {
            return 0;
        }
        self.offsets.partition_point(|&offset| sequence_in(&self.bytes, offset as usize) <= after)
    }

    fn sequence_at(&self, index: usize) -> Option<Sequence> {
        self.offsets.get(index).map(|&offset| sequence_in(&self.bytes, offset as usize))
    }
}

fn sequence_in(bytes: &[u8], start: usize) -> Sequence {
    bytes
        .get(start..start + HEADER_BYTES)
        .and_then(|header| header[8..16].try_into().ok())
        .map_or(Sequence::ZERO, |field| Sequence(u64::from_le_bytes(field)))
}

/// Records outside of the journal are not searched for, so they need no secret.
const OWNED: Salt = Salt(0);

/// One publication that outlives its batch, as a sealed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord(Box<[u8]>);

impl OwnedRecord {
    /// Copies a publication, with its sequence and receive time.
    #[must_use]
    pub fn of(publication: &Publication<'_>) -> Self {
        let mut bytes = Vec::new();
        record::encode(&Record::Publication { publication: *publication, origin: Origin::Plain }, &mut bytes);
        record::seal(&mut bytes, publication.sequence, publication.received, OWNED);
        Self(bytes.into())
    }

    /// Takes bytes of [`OwnedRecord::as_bytes`] back; none when they are damaged.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        matches!(record::decode(&bytes, Some(OWNED)), Ok((_, Record::Publication { .. }))).then(|| Self(bytes.into()))
    }

    /// The sealed record.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The publication.
    #[must_use]
    pub fn publication(&self) -> Option<Publication<'_>> {
        match record::decode(&self.0, None) {
            Ok((_, Record::Publication { publication, .. })) => Some(publication),
            _ => None,
        }
    }
}

/// Splits `bytes` into whole records, calling `visit` with each header and its offset, until
/// the bytes end, a record is not whole, or `visit` returns false. Returns the offset reached
/// and why it stopped there, where that was not the end or `visit`.
pub(super) fn scan(
    bytes: &[u8],
    salt: Salt,
    mut visit: impl FnMut(usize, &Header, &Record<'_>) -> bool,
) -> (usize, Option<record::RecordError>) {
    let mut at = 0;
    while at < bytes.len() {
        match record::decode(&bytes[at..], Some(salt)) {
            Ok((header, record)) => {
                if !visit(at, &header, &record) {
                    return (at, None);
                }
                at += header.record_bytes();
            }
            Err(error) => return (at, Some(error)),
        }
    }
    (at, None)
}
