//! The dispatcher: one task that follows the journal and puts each message into the mailboxes
//! of the sessions that subscribe to it.
//!
//! It reads the journal twice. Best-effort publications are passed on as soon as they are
//! appended; all others once they are durable, in the order of the journal. So QoS 0 never waits
//! for a disk, and what a subscriber has got with QoS 1 or 2 no crash can take back. MQTT orders
//! messages within a topic and a QoS only (MQTT 5.0 section 4.6).
//!
//! It also keeps the state that a start needs (retained messages, kept sessions, QoS 2 packet
//! identifiers), derived from the same records, and checkpoints it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    Broker,
    checkpoint::Derived,
    mailbox::{Delivery, Source},
    session::Session,
};
use crate::{
    journal::{Cursor, ReadError, Reader, Record, Slice, StateStore, Step, Watermark},
    types::{Publication, Qos, Sequence},
};

/// How often derived state is written, at most.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// The task's own state.
pub struct Dispatcher {
    broker: Arc<Broker>,
    store: Arc<StateStore>,
    derived: Derived,
    /// Everything up to here is in the store.
    checkpoint: Cursor,
    /// Everything up to here has been put into mailboxes, and no mailbox needs it any more.
    needed: Cursor,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    BestEffort,
    Durable,
}

impl Dispatcher {
    /// A dispatcher that starts behind everything there is: what came before has been
    /// dispatched by an earlier life.
    #[must_use]
    pub fn new(broker: Arc<Broker>, store: Arc<StateStore>, replayed: Sequence) -> Self {
        let checkpoint = broker.journal.register_cursor("checkpoint", replayed);
        let needed = broker.journal.register_cursor("sessions", replayed);
        Self { broker, store, derived: Derived::default(), checkpoint, needed }
    }

    /// Works until `stop` fires; then takes what is durable and writes a last checkpoint.
    pub async fn run(mut self, stop: CancellationToken) {
        let start = self.checkpoint.position();
        let mut best_effort = self.broker.journal.reader(start, Watermark::Appended);
        let mut durable = self.broker.journal.reader(start, Watermark::Durable);
        let mut last_checkpoint = Instant::now();
        loop {
            let busy =
                self.pass(&mut best_effort, Pass::BestEffort).await | self.pass(&mut durable, Pass::Durable).await;
            if last_checkpoint.elapsed() >= CHECKPOINT_INTERVAL {
                self.write_checkpoint(durable.position()).await;
                last_checkpoint = Instant::now();
            }
            if busy {
                // Those it has woken must get their turn, or their mailboxes overflow.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                result = best_effort.changed() => if result.is_err() { break },
                result = durable.changed() => if result.is_err() { break },
                () = tokio::time::sleep(CHECKPOINT_INTERVAL) => {}
                () = stop.cancelled() => break,
            }
        }
        while self.pass(&mut durable, Pass::Durable).await {}
        self.write_checkpoint(durable.position()).await;
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
        if pass == Pass::Durable || slice.batch().best_effort() {
            self.dispatch(&slice, pass);
        }
        true
    }

    fn dispatch(&mut self, slice: &Slice, pass: Pass) {
        let mut woken = Vec::new();
        let mut routing = self.broker.routing.lock();
        for record in slice.records() {
            if pass == Pass::Durable {
                self.derived.apply(&record);
            }
            let Record::Publication { publication, .. } = record else { continue };
            if publication.guaranteed == (pass == Pass::Durable) {
                for target in routing.targets(publication.topic).iter() {
                    deliver(&self.broker, target, &publication, &mut woken);
                }
            }
            if publication.retain && (pass == Pass::Durable || !publication.guaranteed) {
                routing.retain(&publication);
            }
            if publication.retain && pass == Pass::Durable {
                routing.forget_removed(&publication);
            }
        }
        drop(routing);
        for session in woken {
            session.listed.store(false, Ordering::Release);
            session.signal.ring();
        }
    }

    async fn write_checkpoint(&mut self, complete_to: Sequence) {
        let lowest = self.broker.sessions.oldest_needed().map_or(complete_to, Sequence::previous);
        let backlog = self.broker.journal.position_within(self.broker.settings.maximum_backlog_bytes);
        if lowest < backlog {
            tracing::warn!(oldest = %lowest.next(), "messages for sessions that have not taken them for too long may be lost");
        }
        self.needed.set(lowest.max(backlog).min(complete_to));
        if complete_to <= self.checkpoint.position() {
            return;
        }
        let store = Arc::clone(&self.store);
        let changes = self.derived.take();
        let written = tokio::task::spawn_blocking(move || (store.commit(changes.checkpoint(), complete_to), changes));
        match written.await {
            Ok((Ok(()), _)) => self.checkpoint.set(complete_to),
            Ok((Err(error), changes)) => {
                tracing::error!(%error, "cannot write a checkpoint; trying again");
                self.derived.put_back(changes);
            }
            // The changes are gone: going on would leave them out of every later checkpoint.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
}

fn deliver(
    broker: &Broker,
    target: &super::routing::Target,
    publication: &Publication<'_>,
    woken: &mut Vec<Arc<Session>>,
) {
    let session = &target.session;
    if target.no_local && session.client_id.as_str() == publication.client_id {
        return;
    }
    let precedes = publication.sequence <= target.since;
    if precedes && !publication.retain {
        return;
    }
    let delivery = Delivery {
        source: Source::Journal(publication.sequence),
        qos: publication.qos.min(target.maximum_qos),
        retain: publication.retain && (target.retain_as_published || precedes),
        identifiers: target.identifiers.clone(),
    };
    let guaranteed = delivery.qos > Qos::AtMostOnce;
    let mut mailbox = session.mailbox.lock();
    let queued = mailbox.put(delivery, broker.settings.mailbox);
    let first_drop = !queued && guaranteed && mailbox.dropped() == 1;
    drop(mailbox);
    if !queued {
        broker.statistics.dropped.add(1);
        if first_drop {
            tracing::warn!(client.id = %session.client_id, "the session's queue is full: messages are dropped");
        }
    }
    if !session.listed.swap(true, Ordering::AcqRel) {
        woken.push(Arc::clone(session));
    }
}
