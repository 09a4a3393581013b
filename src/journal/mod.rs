//! The journal: an append-only, segmented log that everything arrives in, and everything that
//! leaves reads from.
//!
//! **Guarantees.** A batch whose outcome is [`Outcome::Durable`] is on stable storage, survives
//! power loss, and is read by everyone in the order of its sequences. Sequences rise and are
//! never used twice, not even for records that a crash took. Nothing above the lowest
//! [`Cursor`] is removed. **Non-guarantees.** Records that were visible but not durable (QoS 0)
//! may be gone after a crash; sequences may have holes; [`Outcome::Refused`] batches leave none
//! of their records behind.
//!
//! Data flows `appender` (numbers, `watermark`s, memory `tail`) → `committer` (one thread, group
//! commit) → `log` (segments) → `reader`. `record` has the format, `recovery` the start;
//! docs/decisions/0003-journal.md has the reasons.

mod appender;
mod batch;
mod command_body;
mod committer;
mod cursor;
mod event_body;
mod gather;
mod log;
mod presence_body;
mod reader;
pub mod record;
mod recovery;
mod segment;
mod segment_header;
#[cfg(test)]
mod simulation;
mod state;
mod storage;
mod tail;
#[cfg(test)]
mod tests;
mod watermark;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

pub use appender::{AppendError, MemoryBudget};
pub use batch::{Batch, BatchBuilder, Outcome, OwnedRecord};
pub use cursor::Cursor;
pub use log::{LogOptions, OpenError};
pub use reader::{ReadError, Reader, Slice, Step};
pub use record::{Origin, Record, StateChange};
pub use recovery::Recovery;
pub use segment::Damage;
pub use state::{Checkpoint, Consumer, StateError, StateStore};
pub use storage::{Clock, Directory, SegmentFile, Storage, SystemClock};
pub use watermark::Watermark;

use crate::{
    limits,
    types::{Epoch, Micros, Sequence, Signal},
};

/// How a journal behaves.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Disk space.
    pub log: LogOptions,
    /// Memory.
    pub memory: MemoryBudget,
    /// Longest time that records stay unsynced.
    pub sync_interval: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self::within(limits::MEMORY)
    }
}

impl JournalOptions {
    /// The defaults, with memory as the journal's share of the budget, in bytes.
    #[must_use]
    pub fn within(memory: u64) -> Self {
        let share = |share| usize::try_from(limits::scaled(memory, share)).unwrap_or(usize::MAX);
        Self {
            log: LogOptions::default(),
            memory: MemoryBudget {
                tail: share(limits::share::JOURNAL_TAIL),
                pending: share(limits::share::JOURNAL_PENDING),
            },
            sync_interval: limits::SYNC_INTERVAL,
        }
    }
}

/// A journal that is open. Cheap to clone; closed by [`Journal::close`], or, if that was not
/// called, when the last clone is dropped, which then blocks as long.
#[derive(Clone)]
pub struct Journal {
    id: Uuid,
    shared: Arc<appender::Shared>,
    segments: log::Segments,
    cursors: Arc<cursor::Cursors>,
    bytes: Arc<AtomicU64>,
    committer: Arc<CommitterThread>,
}

struct CommitterThread {
    shared: Arc<appender::Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CommitterThread {
    fn close(&self) {
        self.shared.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's committer panicked");
        }
    }
}

impl Drop for CommitterThread {
    fn drop(&mut self) {
        self.close();
    }
}

impl Journal {
    /// Opens the journal in a directory of the machine's file system.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(directory: &Path, options: JournalOptions) -> Result<(Self, Recovery), OpenError> {
        let storage =
            Directory::open(directory).map_err(|source| OpenError::Io { action: "open the directory", source })?;
        Self::open_on(Arc::new(storage), Arc::new(SystemClock), options)
    }

    /// Opens the journal on any storage and clock.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_on(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        options: JournalOptions,
    ) -> Result<(Self, Recovery), OpenError> {
        let (journal, committer, recovery) = Self::prepare(storage, clock, options)?;
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io { action: "start the committer", source })?;
        *journal.committer.thread.lock() = Some(thread);
        Ok((journal, recovery))
    }

    /// A journal whose committer is still to be run.
    fn prepare(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        options: JournalOptions,
    ) -> Result<(Self, committer::Committer, Recovery), OpenError> {
        let (log, recovery) = log::Log::open(storage, options.log)?;
        let start = appender::Start { next: recovery.next, latest: recovery.latest, salt: recovery.salt };
        let shared = Arc::new(appender::Shared::new(start, options.memory, Arc::clone(&clock)));
        let journal = Self {
            id: recovery.journal,
            shared: Arc::clone(&shared),
            segments: log.segments(),
            cursors: Arc::default(),
            bytes: Arc::default(),
            committer: Arc::new(CommitterThread { shared: Arc::clone(&shared), thread: Mutex::default() }),
        };
        let (cursors, bytes) = (Arc::clone(&journal.cursors), Arc::clone(&journal.bytes));
        let committer = committer::Committer::begin(log, shared, cursors, clock, options.sync_interval, bytes)
            .map_err(|source| OpenError::Io { action: "start a segment", source })?;
        Ok((journal, committer, recovery))
    }

    /// The journal's random identity, made with its first segment.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// The part of the identity that stream ids carry.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch((self.id.as_u128() >> 96) as u32)
    }

    /// Appends records in order, at most [`limits::SEQUENCE_BLOCK`] / 2 of them; they get dense
    /// sequences. Waits while too much is unwritten. `signal` rings once the batch's [`Outcome`] is known. Cancel safe: nothing is appended
    /// unless this returns.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is appended then.
    pub async fn append(&self, records: BatchBuilder, signal: Option<&Arc<Signal>>) -> Result<Arc<Batch>, AppendError> {
        self.shared.append(records, signal).await
    }

    /// As [`Journal::append`], but hands the records back where it would have to wait.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is appended then.
    pub fn try_append(
        &self,
        records: BatchBuilder,
        signal: Option<&Arc<Signal>>,
    ) -> Result<Result<Arc<Batch>, BatchBuilder>, AppendError> {
        self.shared.try_append(records, signal)
    }

    /// Where the record with this sequence is, which was visible at some time: the first step of a reader in
    /// front of it, without a reader. Where it is not kept any more, what comes behind it.
    #[must_use]
    pub fn find(&self, sequence: Sequence) -> Step {
        Step::at(self.shared.find_after(sequence.previous()), sequence.previous())
    }

    /// Whether appends are accepted now.
    ///
    /// # Errors
    /// The error that an append would get.
    pub fn check(&self) -> Result<(), AppendError> {
        self.shared.check()
    }

    /// A reader of the records after `after`, up to where the watermark moves.
    #[must_use]
    pub fn reader(&self, after: Sequence, watermark: Watermark) -> Reader {
        Reader::new(Arc::clone(&self.shared), Arc::clone(&self.segments), after, watermark)
    }

    /// A watermark as it is now.
    #[must_use]
    pub fn watermark(&self, watermark: Watermark) -> Sequence {
        self.shared.watermark(watermark)
    }

    /// A watermark as it moves.
    #[must_use]
    pub fn watch(&self, watermark: Watermark) -> watch::Receiver<Sequence> {
        self.shared.watch(watermark)
    }

    /// When the last record was appended, or one will be at the earliest.
    #[must_use]
    pub fn latest(&self) -> Micros {
        self.shared.next().1
    }

    /// The oldest record that can still be read, or the next to come: a reader after its
    /// predecessor, or after anything above, misses nothing.
    #[must_use]
    pub fn oldest(&self) -> Sequence {
        reader::oldest(&self.segments)
    }

    /// A position close before the first record received at `time` or later. Reads from disk.
    ///
    /// # Errors
    /// As the file system says.
    pub fn position_at(&self, time: Micros) -> io::Result<Sequence> {
        reader::position_at(&self.segments, time)
    }

    /// The nearest records below `before`, in order; none when there are none. Some of a batch
    /// may lie at `before` or above. Damage on the way is logged and passed over. Blocks.
    ///
    /// # Errors
    /// As the file system says.
    pub fn read_before(&self, before: Sequence) -> io::Result<Option<Vec<Arc<Batch>>>> {
        reader::read_before(&self.segments, &self.shared, before)
    }

    /// The position behind which the newest segments of at most `bytes` in sum begin.
    #[must_use]
    pub fn position_within(&self, bytes: u64) -> Sequence {
        log::position_within(&self.segments, bytes)
    }

    /// Registers a consumer whose records must be kept. See [`Journal::start_retention`].
    #[must_use]
    pub fn register_cursor(&self, name: &'static str, position: Sequence) -> Cursor {
        self.cursors.register(name, position)
    }

    /// Lets old segments be removed from now on. To be called once every consumer has
    /// registered its cursor: until then, nothing is removed, because a start may have to wait
    /// for a database to learn how far it has come.
    pub fn start_retention(&self) {
        self.cursors.set_complete();
    }

    /// Every cursor's name and position.
    #[must_use]
    pub fn cursors(&self) -> Vec<(&'static str, Sequence)> {
        self.cursors.all()
    }

    /// Bytes of all segments, as of the last look half a second ago at most.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Accepts nothing more, commits what was appended, and seals the log. Blocks until done.
    pub fn close(&self) {
        self.committer.close();
    }
}
