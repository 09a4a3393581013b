//! The committer: one thread that turns whatever was appended since its last turn into one
//! write and, where anything in it must be durable, one fsync (group commit).
//!
//! - Records that need no sync are synced within the sync interval.
//! - No room: the batches concerned are refused, appends fail until there is room again.
//! - A failed write or sync: the disk's state is unknown, and a second fsync could lie, so the
//!   journal fails for good, says so, and the process should be restarted.

use std::{
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
    log::{Log, WriteError},
    storage::Clock,
};

/// How often segments are looked at for removal, and a full disk for room.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

/// The committer's state.
pub struct Committer {
    /// Where it writes.
    pub log: Log,
    /// Whom it works for.
    pub shared: Arc<Shared>,
    /// What must be kept.
    pub cursors: Arc<Cursors>,
    /// Time, for marks and ages.
    pub clock: Arc<dyn Clock>,
    /// Longest time that records stay unsynced.
    pub sync_interval: Duration,
    /// Told the size of all segments.
    pub bytes: Arc<AtomicU64>,
}

/// The thread's own account of unsynced and overdue work.
struct Turn {
    /// Written and not yet synced batches that someone waits for, oldest first.
    unsynced: Vec<Arc<Batch>>,
    unsynced_since: Option<Instant>,
    housekeeping: Instant,
    full: bool,
    sync_times: Histogram,
}

impl Committer {
    /// Works until the journal is closed and drained, or has failed.
    pub fn run(mut self, full: bool) {
        let mut turn = Turn {
            unsynced: Vec::new(),
            unsynced_since: None,
            housekeeping: Instant::now(),
            full,
            sync_times: metrics::histogram!("synap_mqtt_journal_fsync_seconds"),
        };
        loop {
            let batches = self.shared.take(self.wait_time(&turn));
            let idle = batches.is_empty();
            if !self.commit(batches, &mut turn) {
                return;
            }
            if turn.housekeeping.elapsed() >= HOUSEKEEPING_INTERVAL {
                self.keep_house(&mut turn);
            }
            if idle && self.shared.is_closed() {
                self.finish(turn);
                return;
            }
        }
    }

    fn wait_time(&self, turn: &Turn) -> Duration {
        let sync = turn
            .unsynced_since
            .map_or(HOUSEKEEPING_INTERVAL, |since| self.sync_interval.saturating_sub(since.elapsed()));
        sync.min(HOUSEKEEPING_INTERVAL)
    }

    /// Writes, and syncs when due. False when the journal has failed.
    fn commit(&mut self, batches: Vec<Arc<Batch>>, turn: &mut Turn) -> bool {
        let (written, result) = self.log.write(&batches, self.shared.durable(), self.clock.now());
        let (done, rest) = batches.split_at(written);
        self.shared.written(done);
        let must_sync = done.iter().any(|batch| batch.guaranteed());
        turn.unsynced.extend(done.iter().filter(|batch| batch.guaranteed()).cloned());
        if !done.is_empty() {
            turn.unsynced_since.get_or_insert_with(Instant::now);
        }
        if let Err(WriteError::Io(error)) = &result {
            return self.fail(error, rest, turn);
        }
        if must_sync || turn.unsynced_since.is_some_and(|since| since.elapsed() >= self.sync_interval) {
            if let Err(error) = self.sync(turn) {
                return self.fail(&error, rest, turn);
            }
        }
        if let Err(WriteError::Full(reason)) = result {
            if !turn.full {
                tracing::error!(
                    reason,
                    "the journal is full: QoS 1 and 2 are refused, QoS 0 is dropped until there is room"
                );
            }
            turn.full = true;
            self.shared.refuse(rest);
        }
        true
    }

    fn sync(&self, turn: &mut Turn) -> std::io::Result<()> {
        let started = Instant::now();
        self.log.sync()?;
        turn.sync_times.record(started.elapsed());
        self.shared.synced(&turn.unsynced, self.log.ceiling());
        turn.unsynced.clear();
        turn.unsynced_since = None;
        Ok(())
    }

    fn fail(&self, error: &std::io::Error, rest: &[Arc<Batch>], turn: &mut Turn) -> bool {
        tracing::error!(%error, "the journal cannot be written: nothing is acknowledged until a restart");
        turn.unsynced.extend_from_slice(rest);
        self.shared.fail(&turn.unsynced);
        false
    }

    /// Removes what may go, and looks whether a full journal has room again.
    fn keep_house(&mut self, turn: &mut Turn) {
        turn.housekeeping = Instant::now();
        match self.log.retire(self.cursors.lowest().min(self.shared.durable()), self.clock.now()) {
            Ok(0) => {}
            Ok(segments) => tracing::info!(segments, "retired journal segments"),
            Err(error) => tracing::error!(%error, "cannot retire journal segments"),
        }
        self.bytes.store(self.log.bytes(), Ordering::Relaxed);
        if turn.full && self.begin().is_ok() {
            tracing::warn!("the journal has room again");
            turn.full = false;
        }
    }

    /// Starts a segment and accepts appends.
    ///
    /// # Errors
    /// [`WriteError`]; appends are then still refused.
    pub fn begin(&mut self) -> Result<(), WriteError> {
        self.log.begin(self.shared.next(), self.clock.now())?;
        self.shared.reopen(self.log.ceiling());
        Ok(())
    }

    fn finish(mut self, mut turn: Turn) {
        let closed = self.sync(&mut turn).and_then(|()| self.log.close());
        if let Err(error) = closed {
            self.fail(&error, &[], &mut turn);
        }
    }
}
