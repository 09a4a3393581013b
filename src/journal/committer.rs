//! The committer: one thread that turns whatever was appended since its last turn into one
//! write and, where anything in it must be durable, one fsync (group commit).
//!
//! - Records that need no sync are synced within the sync interval, or once they are many.
//! - No room: the batches concerned are refused, appends fail until there is room again.
//! - A failed write or sync: the disk's state is unknown, and a second fsync could lie, so the
//!   journal fails for good, says so, and the process should be restarted.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::Histogram;

use super::{
    appender::Shared,
    batch::Batch,
    cursor::Cursors,
    gather::Gathering,
    log::{Log, WriteError},
    storage::Clock,
    watermark::Watermark,
};

/// How often segments are looked at for removal, and a full disk for room.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

/// Unsynced records are kept in memory until they are synced; this many bytes are enough.
const UNSYNCED_BYTES: usize = 4 << 20;

/// The thread's own account of unsynced and overdue work.
#[derive(Default)]
struct Turn {
    /// Written and not yet synced, oldest first.
    unsynced: Vec<Arc<Batch>>,
    unsynced_bytes: usize,
    unsynced_since: Option<Instant>,
    /// Whether any of it must not wait.
    urgent: bool,
    full: bool,
}

/// Whether the committer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// All is committed and the log is sealed, or the journal has failed.
    Stop,
}

/// The committer's state.
pub struct Committer {
    log: Log,
    shared: Arc<Shared>,
    cursors: Arc<Cursors>,
    clock: Arc<dyn Clock>,
    sync_interval: Duration,
    /// Told the size of all segments.
    bytes: Arc<AtomicU64>,
    sync_times: Histogram,
    turn: Turn,
    gathering: Gathering,
}

impl Committer {
    /// A committer that starts a segment and accepts appends; or finds that there is no room,
    /// and looks again later.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin(
        log: Log,
        shared: Arc<Shared>,
        cursors: Arc<Cursors>,
        clock: Arc<dyn Clock>,
        sync_interval: Duration,
        bytes: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let sync_times = metrics::histogram!("synap_mqtt_journal_fsync_seconds");
        let turn = Turn::default();
        let mut committer = Self {
            log,
            shared,
            cursors,
            clock,
            sync_interval,
            bytes,
            sync_times,
            turn,
            gathering: Gathering::default(),
        };
        match committer.start_segment() {
            Ok(()) => {}
            Err(WriteError::Full(reason)) => committer.note_full(reason),
            Err(WriteError::Io(error)) => return Err(error),
        }
        committer.tell_bytes();
        Ok(committer)
    }

    /// Works until the journal is closed and drained, or has failed.
    pub fn run(mut self) {
        let mut housekeeping = Instant::now();
        while self.work(self.wait_time()) == Flow::Continue {
            if housekeeping.elapsed() >= HOUSEKEEPING_INTERVAL {
                housekeeping = Instant::now();
                if self.keep_house() == Flow::Stop {
                    return;
                }
            }
        }
    }

    /// Commits what was appended, waiting for at most `timeout` until there is something.
    pub fn work(&mut self, timeout: Duration) -> Flow {
        let batches = self.shared.take(timeout);
        let done = batches.is_empty() && self.shared.is_closed();
        match self.commit(&batches) {
            Ok(()) if done => self.finish(),
            Ok(()) => Flow::Continue,
            Err(error) => self.fail(&error),
        }
    }

    fn wait_time(&self) -> Duration {
        let sync = self
            .turn
            .unsynced_since
            .map_or(HOUSEKEEPING_INTERVAL, |since| self.sync_interval.saturating_sub(since.elapsed()));
        sync.min(HOUSEKEEPING_INTERVAL)
    }

    /// Writes, and syncs when due.
    fn commit(&mut self, batches: &[Arc<Batch>]) -> io::Result<()> {
        let (written, result) = self.log.write(batches, self.shared.watermark(Watermark::Durable));
        let written = batches.get(..written).unwrap_or_default();
        self.shared.written(written);
        self.turn.add(written);
        let full = match result {
            Ok(()) => None,
            Err(WriteError::Full(reason)) => Some(reason),
            Err(WriteError::Io(error)) => return Err(error),
        };
        if full.is_some() || self.turn.must_sync(self.sync_interval) {
            self.sync()?;
        }
        if let Some(reason) = full {
            self.note_full(reason);
            self.shared.refuse();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let started = Instant::now();
        self.log.sync()?;
        self.sync_times.record(started.elapsed());
        self.shared.synced(&self.turn.unsynced, self.log.ceiling());
        self.gathering.add(&self.turn.unsynced, |gathered| self.shared.gathered(gathered));
        self.turn.set_synced();
        Ok(())
    }

    fn note_full(&mut self, reason: &'static str) {
        if !self.turn.full {
            tracing::error!(
                reason,
                "the journal is full: QoS 1 and 2 are refused, QoS 0 is dropped until there is room"
            );
        }
        self.turn.full = true;
    }

    fn fail(&mut self, error: &io::Error) -> Flow {
        tracing::error!(%error, "the journal cannot be written: nothing is acknowledged until a restart");
        self.shared.fail(&self.turn.unsynced);
        Flow::Stop
    }

    /// Removes what may go, and looks whether a full journal has room again.
    pub fn keep_house(&mut self) -> Flow {
        let needed_behind = self.cursors.lowest().min(self.shared.watermark(Watermark::Durable));
        match self.log.retire(needed_behind, self.clock.now()) {
            Ok(0) => {}
            Ok(segments) => tracing::info!(segments, "retired journal segments"),
            Err(error) => tracing::error!(%error, "cannot retire journal segments"),
        }
        self.tell_bytes();
        if self.turn.full {
            match self.start_segment() {
                Ok(()) => {
                    tracing::warn!("the journal has room again");
                    self.turn.full = false;
                }
                Err(WriteError::Full(_)) => {}
                Err(WriteError::Io(error)) => return self.fail(&error),
            }
        }
        Flow::Continue
    }

    fn tell_bytes(&self) {
        self.bytes.store(self.log.bytes(), Ordering::Relaxed);
    }

    fn start_segment(&mut self) -> Result<(), WriteError> {
        let (next, latest) = self.shared.next();
        self.log.begin(next, self.clock.now().max(latest))?;
        self.shared.reopen(self.log.ceiling());
        Ok(())
    }

    fn finish(&mut self) -> Flow {
        let latest = self.shared.next().1;
        match self.sync().and_then(|()| self.log.finish(latest)) {
            Ok(()) => Flow::Stop,
            Err(error) => self.fail(&error),
        }
    }
}

impl Drop for Committer {
    /// A committer that panicked must not leave publishers waiting for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(&self.turn.unsynced);
        }
    }
}

impl Turn {
    fn add(&mut self, written: &[Arc<Batch>]) {
        if written.is_empty() {
            return;
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.urgent |= written.iter().any(|batch| batch.guaranteed());
        self.unsynced_bytes += written.iter().map(|batch| batch.footprint()).sum::<usize>();
        self.unsynced.extend_from_slice(written);
    }

    fn must_sync(&self, interval: Duration) -> bool {
        self.urgent
            || self.unsynced_bytes >= UNSYNCED_BYTES
            || self.unsynced_since.is_some_and(|since| since.elapsed() >= interval)
    }

    fn set_synced(&mut self) {
        *self = Self { full: self.full, unsynced: std::mem::take(&mut self.unsynced), ..Self::default() };
        self.unsynced.clear();
    }
}
