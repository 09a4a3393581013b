//! The front of the journal: admission, sequence numbers, watermarks and the memory tail.
//!
//! Any task appends; one committer thread writes. They share [`Shared`], whose mutex is held
//! for moments only: to give numbers to a batch (a header checksum a record), or to clone `Arc`s.
//!
//! Watermarks, each never ahead of the next: *durable* (synced), *visible* (what streams show:
//! everything up to the first record that still must be synced), *appended*.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{
    batch::{Batch, BatchBuilder, Outcome},
    storage::Clock,
};
use crate::types::{Micros, Sequence, Signal};

/// Why records were not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk or the journal's maximum size is reached. May pass.
    #[error("the journal is full")]
    Full,
    /// A write or sync failed earlier: nothing is acknowledged any more until a restart.
    #[error("the journal has failed and accepts nothing until a restart")]
    Failed,
    /// The bridge is shutting down.
    #[error("the journal is closed")]
    Closed,
}

/// Which records a consumer may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// Those on stable storage.
    Durable,
    /// Those that are durable or need not be, as far as none before them is still in doubt.
    Visible,
    /// All.
    Appended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Full,
    Failed,
    Closed,
}

struct Inner {
    state: State,
    /// The next sequence to give.
    next: Sequence,
    /// Sequences from here on are not yet reserved on disk.
    ceiling: Sequence,
    last_received: Micros,
    /// Appended, not yet taken by the committer.
    pending: Vec<Arc<Batch>>,
    /// The first record of the oldest batch that must be synced and is not.
    in_doubt: Option<Sequence>,
    /// Memory of batches appended and not yet written.
    unwritten_bytes: usize,
    /// Appended batches still in memory, oldest first; all that are not yet written, and as
    /// many older ones as the budget allows.
    tail: VecDeque<Arc<Batch>>,
    tail_bytes: usize,
    /// All in the tail up to here are written, so they can be read from disk instead.
    written: Sequence,
}

/// Byte budgets of the front.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    /// Written records kept for tailing readers.
    pub tail: usize,
    /// Unwritten records above which appends wait.
    pub pending: usize,
}

/// What appenders, committer and readers share.
pub struct Shared {
    inner: Mutex<Inner>,
    work: Condvar,
    /// Woken when appends that waited may try again.
    room: tokio::sync::Notify,
    budget: MemoryBudget,
    clock: Arc<dyn Clock>,
    durable: AtomicU64,
    visible: watch::Sender<Sequence>,
    durable_watch: watch::Sender<Sequence>,
    appended: watch::Sender<Sequence>,
}

/// Where a reader finds the records after its position.
pub enum TailRead {
    /// In memory.
    Batch(Arc<Batch>),
    /// On disk only.
    Disk,
    /// There are none yet.
    CaughtUp,
}

impl Shared {
    /// A front whose next record gets `next`. Full until [`Shared::reopen`].
    pub fn new(next: Sequence, budget: MemoryBudget, clock: Arc<dyn Clock>) -> Self {
        let last = next.previous();
        Self {
            inner: Mutex::new(Inner {
                state: State::Full,
                next,
                ceiling: next,
                last_received: Micros::MIN,
                pending: Vec::new(),
                in_doubt: None,
                unwritten_bytes: 0,
                tail: VecDeque::new(),
                tail_bytes: 0,
                written: last,
            }),
            work: Condvar::new(),
            room: tokio::sync::Notify::new(),
            budget,
            clock,
            durable: AtomicU64::new(last.0),
            visible: watch::Sender::new(last),
            durable_watch: watch::Sender::new(last),
            appended: watch::Sender::new(last),
        }
    }

    /// Gives the records their place and queues them for the committer. Waits while too much
    /// is unwritten. `signal` rings when the outcome is known.
    ///
    /// Cancel safe: nothing is appended until the future is ready.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is appended then.
    pub async fn append(
        &self,
        mut builder: BatchBuilder,
        signal: Option<&Arc<Signal>>,
    ) -> Result<Arc<Batch>, AppendError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            builder = match self.try_append(builder, signal)? {
                Ok(batch) => return Ok(batch),
                Err(builder) => builder,
            };
            room.await;
        }
    }

    /// As [`Shared::append`], but hands the builder back where it would have to wait.
    fn try_append(
        &self,
        builder: BatchBuilder,
        signal: Option<&Arc<Signal>>,
    ) -> Result<Result<Arc<Batch>, BatchBuilder>, AppendError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        let behind = Sequence(inner.next.0 + builder.len() as u64);
        let over_budget = inner.unwritten_bytes > 0 && inner.unwritten_bytes + builder.bytes() > self.budget.pending;
        if over_budget || behind > inner.ceiling {
            self.work.notify_one();
            return Ok(Err(builder));
        }
        // Under the lock, so that time never runs backwards along the journal.
        let received = self.clock.now().max(inner.last_received);
        inner.last_received = received;
        let batch = Arc::new(builder.seal(inner.next, received, signal.cloned()));
        inner.next = behind;
        inner.unwritten_bytes += batch.footprint();
        inner.tail_bytes += batch.footprint();
        inner.tail.push_back(Arc::clone(&batch));
        let was_idle = inner.pending.is_empty();
        inner.pending.push(Arc::clone(&batch));
        if batch.guaranteed() && inner.in_doubt.is_none() {
            inner.in_doubt = Some(batch.first());
        }
        self.show(&inner, batch.best_effort());
        drop(inner);
        if was_idle {
            self.work.notify_one();
        }
        Ok(Ok(batch))
    }

    /// Moves the watermarks that need no sync. Whoever waits for appended records is woken only
    /// where it is worth it: for those that it may pass on.
    fn show(&self, inner: &Inner, worth_waking: bool) {
        let appended = inner.next.previous();
        self.appended.send_if_modified(|now| {
            *now = appended;
            worth_waking
        });
        self.visible.send_if_modified(|visible| {
            let now = inner.in_doubt.map_or(appended, Sequence::previous).max(*visible);
            std::mem::replace(visible, now) != now
        });
    }

    /// Takes everything appended since the last call, waiting for at most `timeout` until
    /// there is something; nothing after that time. Committer only.
    pub fn take(&self, timeout: Duration) -> Vec<Arc<Batch>> {
        let mut inner = self.inner.lock();
        if inner.pending.is_empty() && inner.state != State::Closed {
            self.work.wait_for(&mut inner, timeout);
        }
        std::mem::take(&mut inner.pending)
    }

    /// Records in `batches` can be read from disk from now on: the tail may let go of them.
    /// Committer only.
    pub fn written(&self, batches: &[Arc<Batch>]) {
        let Some(last) = batches.last() else { return };
        let mut inner = self.inner.lock();
        inner.written = last.last();
        let footprint: usize = batches.iter().map(|batch| batch.footprint()).sum();
        inner.unwritten_bytes = inner.unwritten_bytes.saturating_sub(footprint);
        inner.evict(self.budget.tail);
        drop(inner);
        self.room.notify_waiters();
    }

    /// Everything written is on stable storage, and sequences below `ceiling` are reserved.
    /// `batches` are those of it whose outcome is still open. Committer only.
    pub fn synced(&self, batches: &[Arc<Batch>], ceiling: Sequence) {
        let mut inner = self.inner.lock();
        inner.ceiling = ceiling;
        inner.in_doubt = inner.pending.iter().find(|batch| batch.guaranteed()).map(|batch| batch.first());
        let durable = inner.written;
        self.durable.store(durable.0, Ordering::Release);
        self.durable_watch.send_replace(durable);
        self.show(&inner, true);
        drop(inner);
        for batch in batches {
            batch.settle(Outcome::Durable);
        }
        self.room.notify_waiters();
    }

    /// There was no room for `batches`: they are forgotten, and so is what was appended
    /// behind them, until [`Shared::reopen`]. Committer only.
    pub fn refuse(&self, batches: &[Arc<Batch>]) {
        self.give_up(State::Full, Outcome::Refused, batches);
    }

    /// A write or sync failed: nothing is acknowledged from here on. Committer only.
    pub fn fail(&self, batches: &[Arc<Batch>]) {
        self.give_up(State::Failed, Outcome::Failed, batches);
    }

    fn give_up(&self, state: State, outcome: Outcome, batches: &[Arc<Batch>]) {
        let mut inner = self.inner.lock();
        inner.state = state;
        let behind = std::mem::take(&mut inner.pending);
        inner.unwritten_bytes = 0;
        while inner.tail.back().is_some_and(|batch| batch.last() > inner.written) {
            let gone = inner.tail.pop_back().map_or(0, |batch| batch.footprint());
            inner.tail_bytes -= gone;
        }
        if outcome == Outcome::Refused {
            inner.in_doubt = None;
            self.show(&inner, true);
        }
        drop(inner);
        for batch in batches.iter().chain(&behind) {
            batch.settle(outcome);
        }
        self.room.notify_waiters();
    }

    /// There is room, and sequences below `ceiling` are reserved. Committer only.
    pub fn reopen(&self, ceiling: Sequence) {
        let mut inner = self.inner.lock();
        inner.ceiling = ceiling;
        if inner.state == State::Full {
            inner.state = State::Open;
        }
    }

    /// The sequence that the next record gets.
    pub fn next(&self) -> Sequence {
        self.inner.lock().next
    }

    /// Accepts nothing more; what was appended is still committed.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        if inner.state != State::Failed {
            inner.state = State::Closed;
        }
        drop(inner);
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Whether [`Shared::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().state == State::Closed
    }

    /// Whether appends are accepted, and why not.
    ///
    /// # Errors
    /// The error that an append would get.
    pub fn check(&self) -> Result<(), AppendError> {
        self.inner.lock().check()
    }

    /// Everything up to here is on stable storage.
    pub fn durable(&self) -> Sequence {
        Sequence(self.durable.load(Ordering::Acquire))
    }

    /// A watermark as it moves.
    pub fn watch(&self, watermark: Watermark) -> watch::Receiver<Sequence> {
        match watermark {
            Watermark::Durable => self.durable_watch.subscribe(),
            Watermark::Visible => self.visible.subscribe(),
            Watermark::Appended => self.appended.subscribe(),
        }
    }

    /// A watermark as it is.
    pub fn watermark(&self, watermark: Watermark) -> Sequence {
        match watermark {
            Watermark::Durable => self.durable(),
            Watermark::Visible => *self.visible.borrow(),
            Watermark::Appended => *self.appended.borrow(),
        }
    }

    /// Where the first batch is that reaches beyond `after`.
    pub fn find_after(&self, after: Sequence) -> TailRead {
        let inner = self.inner.lock();
        if after >= inner.next.previous() {
            return TailRead::CaughtUp;
        }
        match inner.tail.front() {
            // Nothing between `after` and the tail was ever appended and evicted when `after`
            // is at or past the record before the tail's first.
            Some(front) if after >= front.first().previous() => {
                let at = inner.tail.partition_point(|batch| batch.last() <= after);
                inner.tail.get(at).map_or(TailRead::CaughtUp, |batch| TailRead::Batch(Arc::clone(batch)))
            }
            _ if after < inner.written => TailRead::Disk,
            _ => TailRead::CaughtUp,
        }
    }

    /// The batch in memory with the nearest records below `before`, where memory has any.
    pub fn find_before(&self, before: Sequence) -> Option<Arc<Batch>> {
        let inner = self.inner.lock();
        let behind = inner.tail.partition_point(|batch| batch.first() < before);
        inner.tail.get(behind.checked_sub(1)?).map(Arc::clone)
    }

    /// Every record up to here is on disk, if it is anywhere.
    pub fn on_disk(&self) -> Sequence {
        self.inner.lock().written
    }

    /// The oldest record in memory.
    pub fn tail_first(&self) -> Option<Sequence> {
        self.inner.lock().tail.front().map(|batch| batch.first())
    }
}

impl Inner {
    const fn check(&self) -> Result<(), AppendError> {
        match self.state {
            State::Open => Ok(()),
            State::Full => Err(AppendError::Full),
            State::Failed => Err(AppendError::Failed),
            State::Closed => Err(AppendError::Closed),
        }
    }

    fn evict(&mut self, budget: usize) {
        while self.tail_bytes > budget && self.tail.front().is_some_and(|batch| batch.last() <= self.written) {
            let gone = self.tail.pop_front().map_or(0, |batch| batch.footprint());
            self.tail_bytes -= gone;
        }
    }
}
