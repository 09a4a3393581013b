//! The dispatcher: one task that follows the journal and applies what it says, [`Dispatch`].
//!
//! It reads the journal twice. Best-effort publications are passed on as soon as they are
//! appended; everything else happens once it is durable, in the order of the journal. So QoS 0 never
//! waits for a disk, and what a subscriber has got with QoS 1 or 2 no crash can take back. MQTT orders
//! messages within a topic and a QoS only (MQTT 5.0 section 4.6).
//!
//! It also writes checkpoints, publishes wills that are due, ends sessions whose clients stay away,
//! opens queues that have room again, closes connections that an earlier life has left open, does what is due for commands, publishes the `$SYS` topics, and answers what is asked about sessions.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Broker, RestoreError,
    commands::CommandActs,
    directory::Question,
    dispatch::{Dispatch, Pass},
    ledger::{change::Change, store::Changes},
    orphans::Orphans,
    session::{OwnedSession, SessionId},
};
use crate::{
    journal::{
        AppendError, Batch, BatchBuilder, Clock, Consumer, Cursor, Outcome, ReadError, Reader, Slice, StateError,
        StateStore, Step, SystemClock, Watermark,
    },
    types::{Micros, Sequence},
};

/// How often derived state is written, at most.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// How often deadlines and full queues are looked at.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is looked whether clients have room for more of the retained messages that they have asked for.
const UNSENT_INTERVAL: Duration = Duration::from_millis(10);

/// The task's own state.
pub struct Dispatcher {
    dispatch: Dispatch,
    store: Arc<StateStore>,
    /// Everything up to here is in the store.
    checkpoint: Cursor,
    /// Everything up to here has been put into mailboxes, and no mailbox needs it any more.
    needed: Cursor,
    questions: mpsc::Receiver<Question>,
    orphans: Orphans,
    commands: CommandActs,
    writing: Option<Writing>,
    /// Sessions whose will or end is on its way to the disk. Nobody else can own them meanwhile.
    coming_due: Vec<ComingDue>,
    /// Closed queues that are on their way to the disk.
    closures: Option<(Arc<Batch>, Closing)>,
}

/// Queues that must be put on record as closed.
type Closing = Vec<(SessionId, Change<'static>)>;

struct ComingDue {
    id: SessionId,
    batch: Arc<Batch>,
    owned: Option<OwnedSession>,
    expired: bool,
}

/// A checkpoint on its way to the disk.
struct Writing {
    complete_to: Sequence,
    written: JoinHandle<(Result<(), StateError>, Changes)>,
}

impl Dispatcher {
    /// Brings back what an earlier life has left, and goes on behind it. Blocks.
    ///
    /// # Errors
    /// [`RestoreError`]
    pub fn restore(broker: &Arc<Broker>, store: Arc<StateStore>) -> Result<Self, RestoreError> {
        let (mut dispatch, replayed) = Dispatch::restore(Arc::clone(broker), &store, SystemClock.now())?;
        broker.applied.store(replayed.0, Ordering::Release);
        let checkpoint = broker.journal.register_cursor("checkpoint", replayed);
        let needed = broker.journal.register_cursor("sessions", replayed);
        let questions = broker.directory.open();
        let orphans = Orphans::new(&mut dispatch.ledger.left_open, broker.journal.latest());
        let mut dispatcher = Self {
            dispatch,
            store,
            checkpoint,
            needed,
            questions,
            orphans,
            commands: CommandActs::default(),
            writing: None,
            coming_due: Vec::new(),
            closures: None,
        };
        dispatcher.set_needed(replayed);
        dispatcher.dispatch.wake();
        Ok(dispatcher)
    }

    /// Puts on record that connections of an earlier life are over, as far as there is room; the rest follows. To be
    /// called before clients come.
    pub async fn close_orphans(&mut self) {
        self.orphans.close_all(&self.dispatch.broker.journal).await;
    }

    /// Works until `stop` fires; then takes what is durable and writes a last checkpoint.
    pub async fn run(mut self, stop: CancellationToken) {
        let start = self.checkpoint.position();
        let journal = self.dispatch.broker.journal.clone();
        let mut best_effort = journal.reader(start, Watermark::Appended);
        let mut durable = journal.reader(start, Watermark::Durable);
        let (mut last_checkpoint, mut last_upkeep) = (Instant::now(), Instant::now());
        self.dispatch.publish_system();
        loop {
            let busy =
                self.pass(&mut best_effort, Pass::BestEffort).await | self.pass(&mut durable, Pass::Durable).await;
            if last_checkpoint.elapsed() >= CHECKPOINT_INTERVAL && self.begin_checkpoint(durable.position()).await {
                last_checkpoint = Instant::now();
            }
            if last_upkeep.elapsed() >= UPKEEP_INTERVAL {
                self.keep_up().await;
                last_upkeep = Instant::now();
            }
            if let Ok(question) = self.questions.try_recv() {
                self.dispatch.answer(question);
            }
            self.dispatch.send_unsent();
            self.record_portions().await;
            self.settle_due();
            self.record_closures().await;
            self.commands.act(&mut self.dispatch).await;
            if busy {
                // Those it has woken must get their turn, or their mailboxes overflow.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                result = best_effort.changed() => if result.is_err() { break },
                result = durable.changed() => if result.is_err() { break },
                Some(question) = self.questions.recv() => self.dispatch.answer(question),
                () = tokio::time::sleep(if self.dispatch.has_unsent() { UNSENT_INTERVAL } else { UPKEEP_INTERVAL }) => {}
                () = stop.cancelled() => break,
            }
        }
        while self.pass(&mut durable, Pass::Durable).await {}
        self.finish_checkpoint().await;
        if self.begin_checkpoint(durable.position()).await {
            self.finish_checkpoint().await;
        }
    }

    /// One slice of one reader; whether there was one.
    async fn pass(&mut self, reader: &mut Reader, pass: Pass) -> bool {
        let slice = match reader.step() {
            Step::Slice(slice) => slice,
            Step::CaughtUp => return false,
            Step::Disk => match reader.read_disk_async().await {
                Ok(Some(slice)) => slice,
                Ok(None) => return true,
                Err(ReadError::Cancelled) => return false,
                Err(error) => {
                    tracing::error!(%error, "cannot dispatch a part of the journal");
                    return error.is_loss();
                }
            },
        };
        self.apply(&slice, pass);
        true
    }

    fn apply(&mut self, slice: &Slice, pass: Pass) {
        if pass == Pass::Durable || slice.batch().best_effort() {
            for record in slice.records() {
                self.dispatch.apply(&record, pass);
            }
        }
        match pass {
            Pass::BestEffort => self.dispatch.best_effort_to = slice.last(),
            // Before anyone is woken: those who wait for it look at it then.
            Pass::Durable => self.dispatch.broker.applied.store(slice.last().0, Ordering::Release),
        }
        self.dispatch.wake();
    }

    /// What no record asks for: time has passed, or a queue has become full or has room.
    async fn keep_up(&mut self) {
        let now = SystemClock.now();
        for id in self.dispatch.ledger.due(now) {
            self.come_due(id, now).await;
        }
        self.open_queues().await;
        self.orphans.close_some(&self.dispatch.broker.journal, None).await;
        self.commands.keep_up(&mut self.dispatch, now);
        self.dispatch.publish_system();
    }

    /// Publishes the will of an absent client, or ends its session, whichever is due.
    async fn come_due(&mut self, id: SessionId, now: Micros) {
        let Some(account) = self.dispatch.ledger.get(id) else { return };
        let session = Arc::clone(&account.session);
        // Held until all is appended, so that no CONNECT comes between. A client that is back, and has
        // not come this far in the journal, keeps both.
        let owned = if account.ended { None } else { session.own_abandoned() };
        if owned.is_none() && !account.ended {
            return;
        }
        let mut batch = BatchBuilder::default();
        if account.will_due().is_some_and(|due| due <= now)
            && let Some(will) = &account.will
        {
            let broker = &self.dispatch.broker;
            let guaranteed = (broker.guarantees)(&will.topic);
            if broker.may_have_will(&session, &will.topic) {
                will.publish(id, session.client_id.as_str(), guaranteed, &mut batch);
            } else {
                Change::DropWill.record(id, guaranteed, &mut batch);
            }
        }
        let expired = account.expires_at().is_some_and(|end| end <= now);
        if expired {
            // A client that comes meanwhile waits for it.
            Change::End.record(id, true, &mut batch);
        }
        if !batch.is_empty()
            && let Some(batch) = self.append(batch).await
        {
            self.dispatch.ledger.forget_deadline(id);
            self.coming_due.push(ComingDue { id, batch, owned, expired });
        }
    }

    /// Lets go of sessions whose will or end is on record. What was refused is tried again.
    fn settle_due(&mut self) {
        let settled = self.coming_due.extract_if(.., |due| due.batch.outcome() != Outcome::Pending);
        for ComingDue { id, batch, owned, expired } in settled {
            if batch.outcome() == Outcome::Refused {
                self.dispatch.ledger.set_deadline(id);
                continue;
            }
            self.dispatch.broker.statistics.expired.add(u64::from(expired));
            if let Some(mut owned) = owned.filter(|_| expired) {
                self.dispatch.broker.sessions.end(&mut owned);
            }
        }
    }

    /// Puts on record that queues are closed: at the next start, the same messages do not fit.
    async fn record_closures(&mut self) {
        match self.closures.take() {
            Some((batch, closures)) if batch.outcome() == Outcome::Pending => {
                self.closures = Some((batch, closures));
                return;
            }
            Some((batch, closures)) if batch.outcome() == Outcome::Refused => self.dispatch.closing.extend(closures),
            _ => {}
        }
        if self.dispatch.closing.is_empty() {
            return;
        }
        let mut batch = BatchBuilder::default();
        self.dispatch.closing.iter().for_each(|(id, change)| change.record(*id, true, &mut batch));
        if let Some(batch) = self.append(batch).await {
            self.closures = Some((batch, std::mem::take(&mut self.dispatch.closing)));
        }
    }

    /// Puts on record that clients get more of the retained messages that they have asked for.
    async fn record_portions(&mut self) {
        if self.dispatch.ledger.debts.is_empty() {
            return;
        }
        let (batch, asked) = self.dispatch.next_portions();
        if !asked.is_empty()
            && let Some(batch) = self.append(batch).await
        {
            self.dispatch.note_portions(&asked, &batch);
        }
    }

    /// Opens queues again that have a quarter of their room. Until that is applied, nothing is queued.
    async fn open_queues(&mut self) {
        let limits = self.dispatch.broker.settings.profile.mailbox;
        let has_room = |id: &SessionId| {
            let account = self.dispatch.ledger.get(*id);
            account.is_some_and(|account| account.session.mailbox.lock().has_room(limits))
        };
        // A start that finds it open and does not know that it was closed numbers what was dropped.
        let closing = || self.dispatch.closing.iter().chain(self.closures.iter().flat_map(|(_, closures)| closures));
        let is_recorded = |id: &SessionId| !closing().any(|(closing, _)| closing == id);
        let open: Vec<_> = self.dispatch.ledger.closed().filter(is_recorded).filter(has_room).collect();
        let mut batch = BatchBuilder::default();
        open.into_iter().for_each(|id| Change::Open.record(id, false, &mut batch));
        if !batch.is_empty() {
            self.append(batch).await;
        }
    }

    async fn append(&self, batch: BatchBuilder) -> Option<Arc<Batch>> {
        match self.dispatch.broker.journal.append(batch, None).await {
            Ok(batch) => Some(batch),
            Err(AppendError::Full | AppendError::Closed) => None,
            Err(error) => {
                tracing::debug!(%error, "cannot record a change of a session");
                None
            }
        }
    }

    /// Hands what has changed to the store, unless it is still busy with the last; whether it did.
    async fn begin_checkpoint(&mut self, complete_to: Sequence) -> bool {
        if self.writing.as_ref().is_some_and(|writing| !writing.written.is_finished()) {
            return false;
        }
        self.finish_checkpoint().await;
        self.set_needed(complete_to);
        if complete_to <= self.checkpoint.position() {
            return true;
        }
        let store = Arc::clone(&self.store);
        let changes = self.dispatch.ledger.take_changes();
        let write = move || (store.commit(Consumer::Dispatcher, changes.checkpoint(), complete_to), changes);
        self.writing = Some(Writing { complete_to, written: tokio::task::spawn_blocking(write) });
        true
    }

    async fn finish_checkpoint(&mut self) {
        let Some(Writing { complete_to, written }) = self.writing.take() else { return };
        match written.await {
            Ok((Ok(()), _)) => self.checkpoint.set(complete_to),
            Ok((Err(error), changes)) => {
                tracing::error!(%error, "cannot write a checkpoint; trying again");
                self.dispatch.ledger.changes.put_back(changes);
            }
            // The changes are gone: going on would leave them out of every later checkpoint.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }

    fn set_needed(&self, complete_to: Sequence) {
        let broker = &self.dispatch.broker;
        let lowest = broker.sessions.oldest_needed().map_or(complete_to, Sequence::previous);
        // One command that waits for a month is no reason to warn all the time: it is told of when it is lost.
        let commands = self.dispatch.commands.oldest_needed().map_or(complete_to, Sequence::previous);
        let backlog = broker.journal.position_within(broker.settings.maximum_backlog_bytes);
        if lowest < backlog {
            tracing::warn!(oldest = %lowest.next(), "messages for sessions that have not taken them for too long may be lost");
        }
        self.needed.set(lowest.min(commands).max(backlog).min(complete_to));
    }
}
