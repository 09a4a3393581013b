//! A start: the store's checkpoint, then the journal's records behind it, applied as if they came now;
//! then living sessions from what is on record.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Broker,
    codec::Subscription,
    dispatch::{Closures, Dispatch, Pass},
    ledger::{
        Account, Standing,
        change::{self, Change},
        store,
    },
    mailbox::{Delivery, Entry},
    routing::{Made, SubscriptionOptions},
    session::SessionState,
    window::{MAXIMUM_SPAN, Window},
};
use crate::{
    journal::{Consumer, OwnedRecord, ReadError, Record, Slice, StateError, StateStore, Watermark},
    types::{Micros, Sequence},
};

/// Why the broker's state cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store with the checkpoint.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal behind the checkpoint.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

/// Retained messages by sequence, for the queues that refer to them.
type BySequence = HashMap<Sequence, Arc<OwnedRecord>, foldhash::fast::RandomState>;

impl Dispatch {
    /// Brings everything back that is on record. Returns the last record taken into account. Blocks.
    ///
    /// # Errors
    /// [`RestoreError`]
    pub fn restore(broker: Arc<Broker>, store: &StateStore, now: Micros) -> Result<(Self, Sequence), RestoreError> {
        let (mut dispatch, replayed) = Self::replay(broker, store)?;
        dispatch.end_connections(now);
        dispatch.end_expired(now);
        dispatch.record_closed();
        dispatch.replay = None;
        dispatch.best_effort_to = replayed;
        dispatch.revive();
        dispatch.settle_limits();
        dispatch.commands.all_due();
        let changes = dispatch.ledger.take_changes();
        store.commit(Consumer::Dispatcher, changes.checkpoint(), replayed)?;
        Ok((dispatch, replayed))
    }

    /// What is on record, as the dispatcher had it when the last record was applied.
    fn replay(broker: Arc<Broker>, store: &StateStore) -> Result<(Self, Sequence), RestoreError> {
        let checkpoint = store.position(Consumer::Dispatcher)?;
        let mut dispatch = Self::new(Arc::clone(&broker));
        dispatch.load(store)?;
        let mut closures = Closures::default();
        each_record(&broker, checkpoint, |record| note_closure(record, &mut closures))?;
        dispatch.replay = Some(closures);
        dispatch.retained_limits = store::load_limits(store)?.unwrap_or(dispatch.retained_limits);
        let replayed = each_record(&broker, checkpoint, |record| dispatch.apply(record, Pass::Durable))?;
        Ok((dispatch, replayed))
    }

    fn load(&mut self, store: &StateStore) -> Result<(), RestoreError> {
        let broker = Arc::clone(&self.broker);
        let sessions = &broker.sessions;
        let stored = store::load(store, |id, client_id| sessions.restore(id, client_id, SessionState::default()))?;
        self.retained.restore(stored.retained);
        self.ledger.left_open.restore(stored.connections);
        self.commands.restore(stored.commands);
        self.ledger.restore_owed(stored.owed);
        for (text, group, turn) in stored.groups {
            self.routing.restore_group(&text, group, turn);
        }
        for (id, session) in stored.sessions {
            let living = Arc::clone(&session.account.session);
            if session.account.ended {
                sessions.forget(id);
            }
            self.ledger.open_stored(session.account);
            for (filter, options, identifier) in session.subscriptions {
                let Some(subscription) = change::subscription(&filter, options) else { continue };
                self.resubscribe(&living, &subscription, identifier);
            }
        }
        Ok(())
    }

    fn resubscribe(&mut self, session: &Arc<super::session::Session>, wanted: &Subscription<'_>, identifier: u32) {
        let options = SubscriptionOptions::of(wanted, identifier);
        let made = self.routing.subscribe(wanted.filter, session, options, Sequence::ZERO, Sequence::ZERO);
        if let Some(Made::Shared(group)) = made
            && let Some(account) = self.ledger.change(session.id)
        {
            account.join(group);
        }
        session.subscriptions.lock().insert(wanted.filter.into());
    }

    /// Whoever was connected is not any more: what the end of a connection does is done.
    fn end_connections(&mut self, now: Micros) {
        let connected: Vec<_> =
            self.ledger.iter().filter(|(_, account)| account.connected).map(|(id, _)| *id).collect();
        for &id in &connected {
            let Some(account) = self.ledger.change(id) else { continue };
            account.connected = false;
            account.since = now;
            account.will_pending = account.will.is_some();
            // What it had acknowledged last may be missing, so any of them may have been sent.
            account.sent = account.queue.next();
        }
        for id in connected {
            if self.ledger.get(id).is_some_and(|account| !account.is_kept()) {
                self.end(id);
            }
        }
        let all: Vec<_> = self.ledger.iter().map(|(id, _)| *id).collect();
        all.into_iter().for_each(|id| self.ledger.set_deadline(id));
    }

    /// Sessions whose time has passed meanwhile are not there for a client that comes at once.
    fn end_expired(&mut self, now: Micros) {
        let is_over = |account: &Account| account.expires_at().is_some_and(|end| end <= now);
        let expired: Vec<_> = self.ledger.iter().filter(|(_, account)| is_over(account)).map(|(id, _)| *id).collect();
        expired.into_iter().for_each(|id| self.end(id));
    }

    /// Queues that the ledger has as closed, and no record yet, are to be on record as that: until they are, members of
    /// their groups who have room do not get their messages.
    fn record_closed(&mut self) {
        let is_unrecorded = |account: &Account| account.closed && !account.full;
        let closed = self.ledger.iter().filter(|(_, account)| is_unrecorded(account)).map(|(id, _)| *id);
        // The store has them as closed, so no message of any record did fit.
        self.closing = closed.map(|id| (id, Change::Close { at: 0, kept: 0 })).collect();
    }

    /// From here on the limits of this life hold, and are on record before anything that they decide. What is
    /// retained beyond them was acknowledged as that, and stays.
    fn settle_limits(&mut self) {
        let limits = self.broker.settings.retained;
        self.retained_limits = limits;
        self.ledger.changes.set_limits(limits);
        if self.retained.exceeds(limits) {
            tracing::warn!(
                messages = self.retained.len(),
                bytes = self.retained.bytes(),
                maximum_messages = limits.messages,
                maximum_bytes = limits.bytes,
                "more is retained than the limits now let in: it is kept, and nothing is retained beside it"
            );
        }
    }

    /// Fills the living sessions with what waits for them.
    fn revive(&self) {
        let retained = self.retained_by_sequence();
        for (_, account) in self.ledger.iter().filter(|(_, account)| !account.ended) {
            let state = revive(account, &retained);
            account.session.establish(state);
        }
    }

    /// Retained messages that a queue refers to.
    fn retained_by_sequence(&self) -> BySequence {
        let waits = |account: &Account| account.queue.iter().any(|(_, entry, _)| entry.from_retained);
        if !self.ledger.iter().any(|(_, account)| waits(account)) {
            return BySequence::default();
        }
        let numbered = |record: &Arc<OwnedRecord>| Some((record.publication()?.sequence, Arc::clone(record)));
        self.retained.iter().filter_map(numbered).collect()
    }
}

/// The living state of a session whose client is away.
fn revive(account: &Account, retained: &BySequence) -> SessionState {
    let mut window = Window::starting_at(account.queue.base());
    let mut mailbox = account.session.mailbox.lock();
    let in_flight_to = in_flight_to(account);
    for (number, entry, standing) in account.queue.iter() {
        let record = if entry.from_retained { retained.get(&entry.sequence).cloned() } else { None };
        // A retained message that is no more was followed by a newer one, or the journal has it.
        let entry = Entry { from_retained: record.is_some(), ..entry };
        match standing {
            _ if number >= in_flight_to => {
                let (void, dup) = (standing == Standing::Done, number < account.sent);
                mailbox.restore(&Entry { void, dup, ..entry }, record.as_ref());
            }
            Standing::Done => window.restore_done(),
            Standing::Received => window.restore_received(Delivery { entry, record }),
            Standing::Open => window.restore_sent(Delivery { entry, record }),
        }
    }
    drop(mailbox);
    account.session.set_in_flight(window.oldest());
    SessionState {
        established: true,
        expiry: account.expiry,
        held: account.held.clone(),
        window: window.into(),
        ..SessionState::default()
    }
}

/// The number behind the messages that are in the window again: what the client has received must be,
/// and as much in front and behind it as a connection takes at a time.
fn in_flight_to(account: &Account) -> u64 {
    let queue = &account.queue;
    let received = queue.received().last().map_or(queue.base(), |last| last + 1);
    // Numbers further apart would share a packet identifier.
    let span = queue.base() + MAXIMUM_SPAN as u64;
    queue.reach(account.receive_maximum).min(account.sent).min(span).max(received)
}

fn note_closure(record: &Record<'_>, closures: &mut Closures) {
    if let Record::State(state) = record
        && let Some((id, Change::Close { at, kept })) = change::decode(state.body)
    {
        closures.insert((id, Sequence(at)), kept);
    }
}

/// Every durable record behind `after`, in order; the last one's sequence.
fn each_record(broker: &Broker, after: Sequence, mut visit: impl FnMut(&Record<'_>)) -> Result<Sequence, ReadError> {
    let mut reader = broker.journal.reader(after, Watermark::Durable);
    while reader.position() < broker.journal.watermark(Watermark::Durable) {
        match reader.read_disk() {
            Ok(Some(slice)) => Slice::records(&slice).for_each(|record| visit(&record)),
            Ok(None) => break,
            Err(error) if error.is_loss() => tracing::error!(%error, "a part of the journal is lost"),
            Err(error) => return Err(error),
        }
    }
    Ok(reader.position())
}

#[cfg(test)]
mod tests;
