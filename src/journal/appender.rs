//! The front of the journal: admission, sequence numbers, and the committer's other side.
//!
//! Any task appends; one committer thread writes. They share [`Shared`], whose mutex is held
//! for moments only: to give numbers to a batch (a header checksum a record), or to clone `Arc`s.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{
    batch::{Batch, BatchBuilder, Outcome},
    gather::Gathered,
    record::Salt,
    storage::Clock,
    tail::{Tail, TailRead},
    watermark::{Shown, Watermark, Watermarks},
};
use crate::types::{Micros, Sequence, Signal};

/// How long the committer lets records gather that nobody waits for, so that a thousand connections do not
/// make a thousand writes.
const LINGER: Duration = Duration::from_millis(1);

/// Bytes of them that are enough for a write.
const LINGER_BYTES: usize = 64 << 10;

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
    pending_bytes: usize,
    /// Whether somebody waits for any of it, or it is much: then the committer does not linger.
    hurry: bool,
    /// The first record of the oldest batch that must be synced and is not.
    in_doubt: Option<Sequence>,
    tail: Tail,
}

/// Byte budgets of the front.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    /// Records kept for tailing readers.
    pub tail: usize,
    /// Unwritten records above which appends wait.
    pub pending: usize,
}

/// Where a journal goes on.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The sequence that the next record gets.
    pub next: Sequence,
    /// No record is younger.
    pub latest: Micros,
    /// What header checksums start from.
    pub salt: Salt,
}

/// What appenders, committer and readers share.
pub struct Shared {
    inner: Mutex<Inner>,
    work: Condvar,
    /// Woken when appends that waited may try again.
    room: tokio::sync::Notify,
    budget: MemoryBudget,
    clock: Arc<dyn Clock>,
    salt: Salt,
    watermarks: Watermarks,
}

impl Shared {
    /// A front at `start`. Full until [`Shared::reopen`].
    pub fn new(start: Start, budget: MemoryBudget, clock: Arc<dyn Clock>) -> Self {
        let last = start.next.previous();
        Self {
            inner: Mutex::new(Inner {
                state: State::Full,
                next: start.next,
                ceiling: start.next,
                last_received: start.latest,
                pending: Vec::new(),
                pending_bytes: 0,
                hurry: false,
                in_doubt: None,
                tail: Tail::new(last),
            }),
            work: Condvar::new(),
            room: tokio::sync::Notify::new(),
            budget,
            clock,
            salt: start.salt,
            watermarks: Watermarks::new(last),
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
    pub fn try_append(
        &self,
        builder: BatchBuilder,
        signal: Option<&Arc<Signal>>,
    ) -> Result<Result<Arc<Batch>, BatchBuilder>, AppendError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        let behind = Sequence(inner.next.0 + builder.len() as u64);
        let unwritten = inner.tail.unwritten_bytes();
        let over_budget = unwritten > 0 && unwritten + builder.bytes() > self.budget.pending;
        if over_budget || behind > inner.ceiling {
            return Ok(Err(builder));
        }
        // Under the lock, so that time never runs backwards along the journal.
        let received = self.clock.now().max(inner.last_received);
        let batch = Arc::new(builder.seal(inner.next, received, self.salt, signal.cloned()));
        if batch.is_empty() {
            batch.settle(Outcome::Durable);
            return Ok(Ok(batch));
        }
        inner.last_received = received;
        inner.next = behind;
        inner.tail.push(&batch);
        let was_idle = inner.pending.is_empty();
        inner.pending.push(Arc::clone(&batch));
        inner.pending_bytes += batch.footprint();
        let hurries = !inner.hurry && (batch.hurries() || inner.pending_bytes >= LINGER_BYTES);
        inner.hurry |= hurries;
        if batch.guaranteed() && inner.in_doubt.is_none() {
            inner.in_doubt = Some(batch.first());
        }
        let shown = inner.shown(batch.best_effort());
        drop(inner);
        self.watermarks.show(shown);
        if was_idle || hurries {
            self.work.notify_one();
        }
        Ok(Ok(batch))
    }

    /// Takes everything appended since the last call, waiting for at most `timeout` until
    /// there is something, and a moment more for more of what nobody waits for; nothing after that time.
    /// Committer only.
    pub fn take(&self, timeout: Duration) -> Vec<Arc<Batch>> {
        let mut inner = self.inner.lock();
        if inner.pending.is_empty() && inner.state != State::Closed {
            self.work.wait_for(&mut inner, timeout);
        }
        if !inner.pending.is_empty() && !inner.hurry && inner.state == State::Open {
            self.work.wait_for(&mut inner, timeout.min(LINGER));
        }
        inner.take_pending()
    }

    /// Records in `batches` can be read from disk from now on. Committer only.
    pub fn written(&self, batches: &[Arc<Batch>]) {
        if batches.is_empty() {
            return;
        }
        self.inner.lock().tail.set_written(batches, self.budget.tail);
        self.room.notify_waiters();
    }

    /// One batch takes the place of small ones that are durable. Committer only.
    pub fn gathered(&self, Gathered { of, batch }: Gathered) {
        self.inner.lock().tail.replace(&of, &batch);
    }

    /// Everything written is on stable storage, and sequences below `ceiling` are reserved.
    /// `batches` are those of it whose outcome is still open. Committer only.
    pub fn synced(&self, batches: &[Arc<Batch>], ceiling: Sequence) {
        let mut inner = self.inner.lock();
        inner.ceiling = ceiling;
        inner.in_doubt = inner.tail.first_unwritten_guaranteed();
        let (shown, durable) = (inner.shown(true), inner.tail.written());
        drop(inner);
        self.watermarks.show(shown);
        self.watermarks.set_durable(durable);
        for batch in batches {
            batch.settle(Outcome::Durable);
        }
        self.room.notify_waiters();
    }

    /// There was no room: all that is not written is given up, and nothing is accepted until
    /// [`Shared::reopen`]. Committer only.
    pub fn refuse(&self) {
        let mut inner = self.inner.lock();
        if inner.state == State::Open {
            inner.state = State::Full;
        }
        let refused = inner.give_up_unwritten();
        inner.in_doubt = inner.in_doubt.filter(|&first| first <= inner.tail.written());
        let shown = inner.shown(true);
        drop(inner);
        self.watermarks.show(shown);
        self.settle_lost(&refused, Outcome::Refused);
    }

    /// A write or sync failed: nothing is acknowledged from here on, `unsynced` neither.
    /// Committer only.
    pub fn fail(&self, unsynced: &[Arc<Batch>]) {
        let mut inner = self.inner.lock();
        inner.state = State::Failed;
        let unwritten = inner.give_up_unwritten();
        drop(inner);
        self.settle_lost(unsynced, Outcome::Failed);
        self.settle_lost(&unwritten, Outcome::Failed);
    }

    fn settle_lost(&self, batches: &[Arc<Batch>], outcome: Outcome) {
        for batch in batches {
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

    /// The sequence that the next record gets, and the time that it has at least.
    pub fn next(&self) -> (Sequence, Micros) {
        let inner = self.inner.lock();
        (inner.next, inner.last_received)
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

    /// A watermark as it moves.
    pub fn watch(&self, watermark: Watermark) -> watch::Receiver<Sequence> {
        self.watermarks.watch(watermark)
    }

    /// A watermark as it is.
    pub fn watermark(&self, watermark: Watermark) -> Sequence {
        self.watermarks.get(watermark)
    }

    /// Where the first batch is that reaches beyond `after`.
    pub fn find_after(&self, after: Sequence) -> TailRead {
        self.inner.lock().tail.find_after(after)
    }

    /// The batch in memory with the nearest records below `before`, where memory has any.
    pub fn find_before(&self, before: Sequence) -> Option<Arc<Batch>> {
        self.inner.lock().tail.find_before(before)
    }

    /// Every record up to here is on disk, if it is anywhere.
    pub fn on_disk(&self) -> Sequence {
        self.inner.lock().tail.written()
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

    /// What has been appended, and what of it may be visible. Whoever waits for appended records
    /// is woken only where it is worth it: for those that it may pass on.
    fn shown(&self, worth_waking: bool) -> Shown {
        let appended = self.next.previous();
        Shown { appended, visible: self.in_doubt.map_or(appended, Sequence::previous), worth_waking }
    }

    fn take_pending(&mut self) -> Vec<Arc<Batch>> {
        self.pending_bytes = 0;
        self.hurry = false;
        std::mem::take(&mut self.pending)
    }

    fn give_up_unwritten(&mut self) -> Vec<Arc<Batch>> {
        self.take_pending();
        self.tail.give_up_unwritten()
    }
}
