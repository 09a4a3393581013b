//! The segments as one log: opened, recovered, written, synced, retired. Owned by the
//! committer thread; readers share the list of segments.
//!
//! Invariants: only the last segment grows; a batch that was refused left nothing on disk; a
//! segment is removed only when every record in it is at or below the lowest cursor; the newest
//! segment is never removed.

use std::{io, sync::Arc, time::Duration};

use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    batch::Batch,
    record::{self, Record, Salt},
    recovery::{Recovery, recover},
    segment::Segment,
    segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader},
    storage::{Storage, is_full},
};
use crate::{
    limits,
    types::{Micros, Sequence},
};

/// What one write gathers at most, in bytes; a larger batch is written alone.
const WRITE_BYTES: usize = 1 << 20;

/// The segments, oldest first, shared with readers.
pub type Segments = Arc<RwLock<Vec<Arc<Segment>>>>;

/// How the log keeps and spends disk space.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
    /// Age at which a segment may go.
    pub retain_age: Duration,
    /// Size above which the oldest segments may go, in bytes; they also may when the maximum
    /// would leave no room for another segment.
    pub retain_bytes: u64,
    /// Size that is never exceeded, in bytes.
    pub maximum_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES,
            retain_age: limits::RETAIN_AGE,
            retain_bytes: limits::RETAIN_BYTES,
            maximum_bytes: limits::MAXIMUM_JOURNAL_BYTES,
        }
    }
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("cannot {action} in the journal directory: {source}")]
    Io {
        /// Verb and object.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// A file with a segment's name that is none.
    #[error("{file} is not a journal segment, or its first 64 bytes are damaged")]
    Foreign {
        /// The file's name.
        file: String,
    },
    /// Segments of two journals lie in one directory.
    #[error("{file} belongs to another journal than the files before it")]
    Mixed {
        /// The file's name.
        file: String,
    },
    /// A later version of this program wrote here.
    #[error("{file} was written by a later version of synap-mqtt: {error}")]
    Newer {
        /// The file's name.
        file: String,
        /// What is unknown.
        error: record::RecordError,
    },
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No room, now. What was not written is refused; later writes may succeed.
    #[error("no room for the journal: {0}")]
    Full(&'static str),
    /// The state of the disk is in doubt.
    #[error("the journal cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// The writing end.
pub struct Log {
    storage: Arc<dyn Storage>,
    options: LogOptions,
    journal: Uuid,
    salt: Salt,
    segments: Segments,
    /// The segment being written; none until the first write after a start.
    active: Option<Arc<Segment>>,
    /// Space promised by the file system to the active segment.
    active_capacity: u64,
    /// The last record written.
    written: Sequence,
    /// First sequence that is not reserved, as last written.
    ceiling: Sequence,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log and repairs its end.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(storage: Arc<dyn Storage>, options: LogOptions) -> Result<(Self, Recovery), OpenError> {
        let (segments, recovery) = recover(&*storage)?;
        let log = Self {
            storage,
            options,
            journal: recovery.journal,
            salt: recovery.salt,
            segments: Arc::new(RwLock::new(segments)),
            active: None,
            active_capacity: 0,
            written: recovery.last,
            ceiling: recovery.next,
            buffer: Vec::new(),
        };
        Ok((log, recovery))
    }

    /// The list that readers share.
    pub fn segments(&self) -> Segments {
        Arc::clone(&self.segments)
    }

    /// The ceiling that the last write, once synced, has made safe.
    pub const fn ceiling(&self) -> Sequence {
        self.ceiling
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.read().iter().map(|segment| segment.length()).sum()
    }

    /// Writes batches in order, in as few calls as buffer and segments allow. Returns how many
    /// of them were written whole, and why not all. Of those that were not, nothing is left.
    pub fn write(&mut self, batches: &[Arc<Batch>], durable: Sequence) -> (usize, Result<(), WriteError>) {
        let Some(upcoming) = batches.last().map(|batch| batch.last()) else { return (0, Ok(())) };
        let mut done = 0;
        while let Some(rest) = batches.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_run(rest, upcoming, durable) {
                Ok(count) => done += count,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// As the file system says: what was written is then in doubt for good.
    pub fn sync(&self) -> io::Result<()> {
        self.active.as_ref().map_or(Ok(()), |segment| segment.sync())
    }

    /// Writes a mark, and as many batches as fit behind it.
    fn write_run(
        &mut self,
        batches: &[Arc<Batch>],
        upcoming: Sequence,
        durable: Sequence,
    ) -> Result<usize, WriteError> {
        let Some(head) = batches.first() else { return Ok(0) };
        let ceiling = self.ceiling_beyond(upcoming);
        self.start_buffer(Record::Mark { ceiling, durable }, head.first().previous(), head.received());
        let active = self.segment_for(self.buffer.len() + head.as_bytes().len(), head.first(), head.received())?;
        let room = usize::try_from(self.active_capacity - active.length()).unwrap_or(usize::MAX).min(WRITE_BYTES);
        let (mut count, mut written) = (0, self.written);
        for batch in batches {
            if count > 0 && self.buffer.len() + batch.as_bytes().len() > room {
                break;
            }
            self.buffer.extend_from_slice(batch.as_bytes());
            written = batch.last();
            count += 1;
        }
        if let Err(error) = active.append(&self.buffer) {
            if !is_full(&error) {
                return Err(error.into());
            }
            // A part may have been written: refused records must not be found by a later start.
            self.close()?;
            return Err(WriteError::Full("the disk is full"));
        }
        (self.written, self.ceiling) = (written, ceiling);
        self.buffer.shrink_to(WRITE_BYTES);
        Ok(count)
    }

    /// A ceiling that leaves appends plenty of room beyond `upcoming`.
    fn ceiling_beyond(&self, upcoming: Sequence) -> Sequence {
        if upcoming.0 + limits::SEQUENCE_BLOCK / 2 < self.ceiling.0 {
            return self.ceiling;
        }
        Sequence(upcoming.0 + limits::SEQUENCE_BLOCK)
    }

    fn start_buffer(&mut self, mark: Record<'_>, sequence: Sequence, received: Micros) {
        self.buffer.clear();
        record::encode(&mark, &mut self.buffer);
        record::seal(&mut self.buffer, sequence, received, self.salt);
    }

    /// The active segment if `bytes` fit into it, else a new one.
    fn segment_for(&mut self, bytes: usize, first: Sequence, received: Micros) -> Result<Arc<Segment>, WriteError> {
        let bytes = bytes as u64;
        if let Some(active) = &self.active
            && active.length() + bytes <= self.active_capacity
        {
            return Ok(Arc::clone(active));
        }
        self.new_segment(self.options.segment_bytes.max(SEGMENT_HEADER_BYTES + bytes), first, self.ceiling, received)
    }

    /// Seals the active segment and starts the next.
    fn new_segment(
        &mut self,
        capacity: u64,
        base: Sequence,
        ceiling: Sequence,
        created: Micros,
    ) -> Result<Arc<Segment>, WriteError> {
        self.close()?;
        if self.bytes() + capacity > self.options.maximum_bytes {
            return Err(WriteError::Full("the journal has reached its maximum size"));
        }
        let (journal, salt, previous) = (self.journal, self.salt, self.written);
        let header = SegmentHeader { journal, base, created, ceiling, previous, salt };
        let segment = match self.create_segment(header, capacity) {
            Ok(segment) => Arc::new(segment),
            Err(error) if is_full(&error) => return Err(WriteError::Full("the disk is full")),
            Err(error) => return Err(error.into()),
        };
        self.segments.write().push(Arc::clone(&segment));
        self.remove_empty_segment_before(&segment)?;
        self.active = Some(Arc::clone(&segment));
        self.active_capacity = capacity;
        self.ceiling = ceiling;
        Ok(segment)
    }

    fn create_segment(&self, header: SegmentHeader, capacity: u64) -> io::Result<Segment> {
        let name = header.file_name();
        let file = self.storage.create(&name, capacity)?;
        let segment = match Segment::create(header, file) {
            Ok(segment) => segment,
            Err(error) => {
                self.storage.remove(&name)?;
                return Err(error);
            }
        };
        self.storage.sync_directory()?;
        Ok(segment)
    }

    /// Removes what a start without any write has left; its reservation lives on in `newest`.
    fn remove_empty_segment_before(&self, newest: &Segment) -> io::Result<()> {
        let empty = {
            let segments = self.segments.read();
            let [.., before, _] = segments.as_slice() else { return Ok(()) };
            // A segment that has lost its records to damage is none of these.
            if before.length() > SEGMENT_HEADER_BYTES || before.header.previous != newest.header.previous {
                return Ok(());
            }
            Arc::clone(before)
        };
        self.storage.remove(&empty.header.file_name())?;
        self.segments.write().retain(|segment| !Arc::ptr_eq(segment, &empty));
        Ok(())
    }

    /// Makes sure that there is a segment to write to, with sequences from `next` on reserved:
    /// what a start does first, and what ends a full state. `latest` is the time of the last record.
    ///
    /// # Errors
    /// [`WriteError`], as a write would fail.
    pub fn begin(&mut self, next: Sequence, latest: Micros) -> Result<(), WriteError> {
        let ceiling = self.ceiling.max(Sequence(next.0 + limits::SEQUENCE_BLOCK));
        self.new_segment(self.options.segment_bytes, next, ceiling, latest).map(drop)
    }

    /// Removes the oldest segments that are past their age or over the size, as far as every
    /// record in them is at or below `lowest_cursor`. Returns the number removed.
    ///
    /// # Errors
    /// As the file system says; what is left is consistent.
    pub fn retire(&self, lowest_cursor: Sequence, now: Micros) -> io::Result<usize> {
        let mut removed = 0;
        while let Some(oldest) = self.retirable(lowest_cursor, now) {
            match self.storage.remove(&oldest.header.file_name()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.segments.write().remove(0);
            // One by one, so that no power loss can leave a gap between segments.
            self.storage.sync_directory()?;
            removed += 1;
        }
        Ok(removed)
    }

    fn retirable(&self, lowest_cursor: Sequence, now: Micros) -> Option<Arc<Segment>> {
        let age = i64::try_from(self.options.retain_age.as_micros()).unwrap_or(i64::MAX);
        let bytes = self.options.maximum_bytes.saturating_sub(self.options.segment_bytes);
        let segments = self.segments.read();
        let [oldest, next, ..] = segments.as_slice() else { return None };
        let expired = next.header.created.get() < now.get().saturating_sub(age);
        let oversized =
            || segments.iter().map(|segment| segment.length()).sum::<u64>() > bytes.min(self.options.retain_bytes);
        (next.header.previous <= lowest_cursor && (expired || oversized())).then(|| Arc::clone(oldest))
    }

    /// Vouches for everything written, so that a start can tell later damage from a torn end,
    /// and seals the active segment. To be called once all is synced.
    ///
    /// # Errors
    /// As the file system says.
    pub fn finish(&mut self, latest: Micros) -> io::Result<()> {
        if let Some(active) = self.active.clone().filter(|active| active.length() > SEGMENT_HEADER_BYTES) {
            let mark = Record::Mark { ceiling: self.ceiling, durable: self.written };
            self.start_buffer(mark, self.written, latest);
            match active.append(&self.buffer) {
                Err(error) if !is_full(&error) => return Err(error),
                _ => {}
            }
        }
        self.close()
    }

    /// Seals the active segment. Also the only one that could hold anything unsynced.
    fn close(&mut self) -> io::Result<()> {
        self.active.take().map_or(Ok(()), |active| active.seal(active.length()))
    }
}

/// The position behind which the newest segments of at most `bytes` in sum begin.
pub fn position_within(segments: &Segments, bytes: u64) -> Sequence {
    let segments = segments.read();
    let mut left = bytes;
    let within = |segment: &&Arc<Segment>| {
        let fits = segment.length() <= left;
        left = left.saturating_sub(segment.length());
        fits
    };
    let oldest = segments.iter().rev().take_while(within).last().or(segments.last());
    oldest.map_or(Sequence::ZERO, |segment| segment.header.base.previous())
}
