//! The segments as one log: opened, recovered, written, synced, retired. Owned by the
//! committer thread; readers share the list of segments.
//!
//! Invariants: only the last segment grows; `durable ≤ written`; a segment is removed only when
//! every record in it is at or below the lowest cursor; the newest segment is never removed.

use std::{io, sync::Arc, time::Duration};

use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    batch::Batch,
    record::{self, Record},
    recovery::{Recovery, recover},
    segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader},
    storage::Storage,
};
use crate::{
    limits,
    types::{Micros, Sequence},
};

/// The segments, oldest first, shared with readers.
pub type Segments = Arc<RwLock<Vec<Arc<Segment>>>>;

/// How the log keeps and spends disk space.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
    /// Age at which a segment may go.
    pub retain_age: Duration,
    /// Size above which the oldest segments may go, in bytes.
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
    /// A file with a segment's name that is none, with others behind it.
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
    segments: Segments,
    /// The segment being written; none until the first write after a start.
    active: Option<Arc<Segment>>,
    /// Space promised by the file system to the active segment.
    active_capacity: u64,
    /// The last record written.
    written: Sequence,
    /// What recovery may take as reserved, as last written.
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
            segments: Arc::new(RwLock::new(segments)),
            active: None,
            active_capacity: 0,
            written: recovery.next.previous(),
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

    /// Writes batches in order, in as few calls as segments allow. Returns how many of them
    /// were written whole, and why not all.
    pub fn write(&mut self, batches: &[Arc<Batch>], durable: Sequence, now: Micros) -> (usize, Result<(), WriteError>) {
        let mut done = 0;
        while let Some(rest) = batches.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_run(rest, durable, now) {
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

    /// Writes as many batches as fit into one segment.
    fn write_run(&mut self, batches: &[Arc<Batch>], durable: Sequence, now: Micros) -> Result<usize, WriteError> {
        let Some(head) = batches.first() else { return Ok(0) };
        self.fill_buffer_mark(head.last(), durable, now);
        let mark_bytes = self.buffer.len() as u64;
        let active = self.segment_for(mark_bytes + head.as_bytes().len() as u64, head.first(), now)?;
        let mut room = self.active_capacity.saturating_sub(active.length() + mark_bytes);
        let mut count = 0;
        for batch in batches {
            let bytes = batch.as_bytes();
            if bytes.len() as u64 > room {
                break;
            }
            room -= bytes.len() as u64;
            self.buffer.extend_from_slice(bytes);
            self.written = batch.last();
            count += 1;
        }
        match active.append(&self.buffer, head.first(), now) {
            Ok(()) => Ok(count),
            Err(error) if is_full(&error) => Err(WriteError::Full("the disk is full")),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts the buffer with a mark that reserves sequences well beyond `upcoming`.
    fn fill_buffer_mark(&mut self, upcoming: Sequence, durable: Sequence, now: Micros) {
        if upcoming.0 + limits::SEQUENCE_BLOCK / 2 >= self.ceiling.0 {
            self.ceiling = Sequence(upcoming.0 + limits::SEQUENCE_BLOCK);
        }
        self.buffer.clear();
        record::encode(&Record::Mark { ceiling: self.ceiling, durable }, &mut self.buffer);
        record::seal(&mut self.buffer, self.written, now);
    }

    /// The active segment if `bytes` fit into it, else a new one.
    fn segment_for(&mut self, bytes: u64, first: Sequence, now: Micros) -> Result<Arc<Segment>, WriteError> {
        if let Some(active) = &self.active
            && active.length() + bytes <= self.active_capacity
        {
            return Ok(Arc::clone(active));
        }
        self.new_segment(self.options.segment_bytes.max(SEGMENT_HEADER_BYTES + bytes), first, now)
    }

    /// Seals the active segment and starts the next.
    fn new_segment(&mut self, capacity: u64, base: Sequence, now: Micros) -> Result<Arc<Segment>, WriteError> {
        self.close()?;
        if self.bytes() + capacity > self.options.maximum_bytes {
            return Err(WriteError::Full("the journal has reached its maximum size"));
        }
        let header = SegmentHeader { journal: self.journal, base, created: now, ceiling: self.ceiling };
        let file = self.storage.create(&header.file_name(), capacity).map_err(|error| {
            if is_full(&error) { WriteError::Full("the disk is full") } else { WriteError::Io(error) }
        })?;
        let segment = Arc::new(Segment::create(header, file)?);
        self.storage.sync_directory()?;
        self.segments.write().push(Arc::clone(&segment));
        self.remove_empty_segments(base)?;
        self.active = Some(Arc::clone(&segment));
        self.active_capacity = capacity;
        Ok(segment)
    }

    /// Removes what starts without any write have left; their reservation lives on in `newest`.
    fn remove_empty_segments(&self, newest: Sequence) -> io::Result<()> {
        let is_empty =
            |segment: &Arc<Segment>| segment.length() <= SEGMENT_HEADER_BYTES && segment.header.base < newest;
        let empty: Vec<_> = self.segments.read().iter().filter(|segment| is_empty(segment)).cloned().collect();
        for segment in &empty {
            self.storage.remove(&segment.header.file_name())?;
            self.segments.write().retain(|other| !Arc::ptr_eq(other, segment));
        }
        Ok(())
    }

    /// Makes sure that there is a segment to write to, with sequences from `next` on reserved:
    /// what a start does first, and what ends a full state.
    ///
    /// # Errors
    /// [`WriteError`], as a write would fail.
    pub fn begin(&mut self, next: Sequence, now: Micros) -> Result<(), WriteError> {
        self.ceiling = self.ceiling.max(Sequence(next.0 + limits::SEQUENCE_BLOCK));
        self.new_segment(self.options.segment_bytes, next, now).map(drop)
    }

    /// Removes the oldest segments that are past their age or over the size, as far as every
    /// record in them is at or below `lowest_cursor`. Returns the number removed.
    ///
    /// # Errors
    /// As the file system says; what is left is consistent.
    pub fn retire(&self, lowest_cursor: Sequence, now: Micros) -> io::Result<usize> {
        let age = i64::try_from(self.options.retain_age.as_micros()).unwrap_or(i64::MAX);
        let mut removed = 0;
        loop {
            let oldest = {
                let segments = self.segments.read();
                let [oldest, next, ..] = segments.as_slice() else { break };
                let expired = next.header.created.get() < now.get().saturating_sub(age);
                let needed = next.header.base.previous() > lowest_cursor;
                let bytes: u64 = segments.iter().map(|segment| segment.length()).sum();
                if needed || !(expired || bytes > self.options.retain_bytes) {
                    break;
                }
                Arc::clone(oldest)
            };
            self.storage.remove(&oldest.header.file_name())?;
            self.segments.write().remove(0);
            removed += 1;
        }
        if removed > 0 {
            self.storage.sync_directory()?;
        }
        Ok(removed)
    }

    /// Seals the active segment: nothing is left to repair at the next start.
    ///
    /// # Errors
    /// As the file system says.
    pub fn close(&mut self) -> io::Result<()> {
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

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
