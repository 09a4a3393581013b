//! What the journal says of sessions: everything of them that must survive a crash, and nothing else.
//!
//! The dispatcher owns the ledger and applies the journal's records to it in their order, live and at
//! a start alike, so that both come to the same result. The living sessions, which connections own,
//! run ahead of it; after a start they are made from it. What has changed is written to the store
//! every few seconds, complete up to one sequence; records behind that are applied again at a start.

pub mod change;
pub mod connections;
pub mod owed;
mod queue;
pub mod store;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hashbrown::{HashMap, HashSet};

use connections::OpenConnections;
use owed::{Debts, Owed};
pub use queue::{Queue, Standing};
use store::Changes;

use super::{
    mailbox::Entry,
    routing::GroupId,
    seldom::Seldom,
    session::{Session, SessionId},
    will::Will,
};
use crate::types::{ClientId, Micros, Presence, Sequence};

type Random = foldhash::fast::RandomState;

/// What is on record of one session.
pub struct Account {
    /// Its living half.
    pub session: Arc<Session>,
    /// Seconds it outlives its connection; 0xFFFF_FFFF for ever.
    pub expiry: u32,
    /// Messages that may be in flight to the client.
    pub receive_maximum: u16,
    /// Whether a client is connected.
    pub connected: bool,
    /// When it connected, or when its connection ended.
    pub since: Micros,
    /// What is published for it.
    pub will: Option<Box<Will>>,
    /// Whether the connection has ended and the will waits for its time.
    pub will_pending: bool,
    /// Whether the session is over and only the will is left of it.
    pub ended: bool,
    /// QoS 2 packet identifiers received and not released.
    pub held: Seldom<HashMap<u16, Sequence, Random>>,
    /// Messages to be delivered.
    pub queue: Seldom<Queue>,
    /// Messages from this number on were never sent, but perhaps by a connection that still lives.
    pub sent: u64,
    /// Whether the queue takes nothing more for now.
    pub closed: bool,
    /// Whether that is on record, so that members of its groups who have room get their messages.
    pub full: bool,
    /// Groups it is a member of.
    pub groups: Vec<GroupId>,
    /// Whether the queue is kept: the session outlives its connection, or others may get its messages.
    pub tracked: bool,
    /// Whether the store has any of it.
    stored: bool,
    /// The record that was queued from last, and how many messages it has brought.
    latest: (Sequence, u64),
}

impl Account {
    /// An account of a session that has just come into being.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            expiry: 0,
            receive_maximum: u16::MAX,
            connected: false,
            since: Micros::MIN,
            will: None,
            will_pending: false,
            ended: false,
            held: Seldom::default(),
            queue: Seldom::default(),
            sent: 0,
            closed: false,
            full: false,
            groups: Vec::new(),
            tracked: false,
            stored: false,
            latest: (Sequence::ZERO, 0),
        }
    }

    /// Whether it outlives its connection.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.expiry > 0
    }

    /// Makes it a member of a group. In the order of their numbers, which is the same at every reading of
    /// the journal: messages move group by group.
    pub fn join(&mut self, group: GroupId) {
        if let Err(at) = self.groups.binary_search(&group) {
            self.groups.insert(at, group);
        }
    }

    /// How many messages the record `at` has brought before this call, which counts one.
    pub fn count(&mut self, at: Sequence) -> u64 {
        if self.latest.0 != at {
            self.latest = (at, 0);
        }
        self.latest.1 += 1;
        self.latest.1 - 1
    }

    /// When its will is to be published, if one waits.
    #[must_use]
    pub fn will_due(&self) -> Option<Micros> {
        let will = self.will.as_ref().filter(|_| self.will_pending)?;
        if self.ended {
            return Some(self.since);
        }
        // Due when its delay is over or the session ends, whichever is first.
        let due = after(self.since, will.delay);
        Some(self.expires_at().map_or(due, |end| end.min(due)))
    }

    /// When the session ends, if its client stays away.
    #[must_use]
    pub fn expires_at(&self) -> Option<Micros> {
        let ends = !self.connected && !self.ended && self.expiry != u32::MAX;
        ends.then(|| after(self.since, Duration::from_secs(u64::from(self.expiry))))
    }

    fn deadline(&self) -> Option<Micros> {
        if self.connected { None } else { [self.will_due(), self.expires_at()].into_iter().flatten().min() }
    }
}

fn after(start: Micros, time: Duration) -> Micros {
    Micros::saturating(start.get().saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
}

/// All accounts.
#[derive(Default)]
pub struct Ledger {
    /// Boxed: a table keeps room for twice as many.
    accounts: HashMap<SessionId, Box<Account>, Random>,
    by_client: HashMap<ClientId, SessionId, Random>,
    deadlines: BTreeSet<(Micros, SessionId)>,
    /// Those whose queue takes nothing for now.
    closed: HashSet<SessionId, Random>,
    /// Accounts that the store does not have as they are.
    dirty: HashSet<SessionId, Random>,
    /// Connections that an earlier life has left open on record, while a start reads of them. Those of this life are
    /// in the store alone.
    pub left_open: OpenConnections,
    /// Retained messages that subscriptions have still to get.
    pub debts: Debts,
    /// What else is to be written.
    pub changes: Changes,
}

impl Ledger {
    /// Opens an account. The client's name leads to it from now on.
    pub fn open(&mut self, account: Account) {
        self.dirty.insert(account.session.id);
        self.open_stored(account);
    }

    /// As [`Ledger::open`], with an account that is as the store has it.
    pub fn open_stored(&mut self, account: Account) {
        let id = account.session.id;
        if !account.ended {
            self.by_client.insert(account.session.client_id.clone(), id);
        }
        if account.closed {
            self.closed.insert(id);
        }
        self.accounts.insert(id, Box::new(account));
    }

    /// Closes an account for good, with everything that the store has of it.
    pub fn close(&mut self, id: SessionId) {
        self.forget_deadline(id);
        self.dirty.remove(&id);
        self.closed.remove(&id);
        self.forget_debts(id);
        let Some(account) = self.accounts.remove(&id) else { return };
        self.disown(&account);
        if account.stored {
            self.changes.remove_session(id);
            self.changes.remove_chunks(id, account.queue.rows());
        }
    }

    /// Leaves nothing of a session that is over but its will, which waits.
    pub fn leave_will(&mut self, id: SessionId) {
        self.forget_deadline(id);
        self.closed.remove(&id);
        self.forget_debts(id);
        let Some(account) = self.accounts.remove(&id) else { return };
        self.disown(&account);
        if account.stored {
            self.changes.remove_chunks(id, account.queue.rows());
        }
        let left = Account {
            since: account.since,
            will: account.will,
            will_pending: true,
            ended: true,
            stored: account.stored,
            ..Account::new(account.session)
        };
        self.accounts.insert(id, Box::new(left));
        self.dirty.insert(id);
        self.set_deadline(id);
    }

    fn disown(&mut self, account: &Account) {
        let client_id = &account.session.client_id;
        if self.by_client.get(client_id) == Some(&account.session.id) {
            self.by_client.remove(client_id);
        }
    }

    /// The account of a session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Account> {
        self.accounts.get(&id).map(Box::as_ref)
    }

    /// The account of a session, to be changed: the store will have it. Deadlines follow with
    /// [`Ledger::set_deadline`].
    pub fn change(&mut self, id: SessionId) -> Option<&mut Account> {
        let account = self.accounts.get_mut(&id)?;
        self.dirty.insert(id);
        Some(account)
    }

    /// The session that a client has now.
    #[must_use]
    pub fn session_of(&self, client_id: &str) -> Option<SessionId> {
        let id = self.by_client.get(client_id)?;
        Some(*id)
    }

    /// All accounts.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionId, &Account)> {
        self.accounts.iter().map(|(id, account)| (id, &**account))
    }

    /// Queues a numbered message.
    pub fn queue(&mut self, id: SessionId, entry: &Entry) {
        if let Some(account) = self.change(id) {
            account.queue.push(entry);
        }
    }

    /// Stops or starts queueing.
    pub fn set_closed(&mut self, id: SessionId, closed: bool) {
        let Some(account) = self.change(id) else { return };
        account.closed = closed;
        account.full &= closed;
        if closed {
            self.closed.insert(id);
        } else {
            self.closed.remove(&id);
        }
    }

    /// Sessions whose queue takes nothing for now.
    pub fn closed(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.closed.iter().copied()
    }

    /// Counts the time to what an absent client's session is to do next. Call before and after a
    /// change of anything that it depends on: [`Ledger::forget_deadline`] is the other half.
    pub fn set_deadline(&mut self, id: SessionId) {
        if let Some(due) = self.accounts.get(&id).and_then(|account| account.deadline()) {
            self.deadlines.insert((due, id));
        }
    }

    /// See [`Ledger::set_deadline`].
    pub fn forget_deadline(&mut self, id: SessionId) {
        if let Some(due) = self.accounts.get(&id).and_then(|account| account.deadline()) {
            self.deadlines.remove(&(due, id));
        }
    }

    /// Every deadline is that of an account that there is.
    #[cfg(test)]
    pub fn deadlines_are_right(&self) -> bool {
        let is_right = |(due, id): &(Micros, SessionId)| {
            self.accounts.get(id).is_some_and(|account| account.deadline() == Some(*due))
        };
        self.deadlines.iter().all(is_right)
    }

    /// Sessions whose will or end is due.
    #[must_use]
    pub fn due(&self, now: Micros) -> Vec<SessionId> {
        self.deadlines.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect()
    }

    /// A device has come or gone, in this life or, as a start reads, in an earlier one.
    pub fn note_presence(&mut self, presence: &Presence<'_>, is_start: bool) {
        if is_start {
            self.left_open.note(presence);
        }
        self.changes.set_connection(presence);
    }

    /// A subscription has still to get this, and nothing else.
    pub fn set_owed(&mut self, id: SessionId, owed: Owed) {
        self.debts.remove(id, owed.wanted.filter.as_str());
        self.changes.set_owed(id, owed.wanted.filter.as_str(), Some(&owed));
        self.debts.add(id, owed);
    }

    /// A subscription has got everything, or is over.
    pub fn forget_owed(&mut self, id: SessionId, filter: &str) {
        if self.debts.remove(id, filter) {
            self.changes.set_owed(id, filter, None);
        }
    }

    fn forget_debts(&mut self, id: SessionId) {
        for owed in self.debts.remove_all(id) {
            self.changes.set_owed(id, owed.wanted.filter.as_str(), None);
        }
    }

    /// Puts back what the store has.
    pub fn restore_owed(&mut self, stored: Vec<(SessionId, Owed)>) {
        stored.into_iter().for_each(|(id, owed)| self.debts.add(id, owed));
    }

    /// Everything the store does not have, in its form.
    pub fn take_changes(&mut self) -> Changes {
        for id in std::mem::take(&mut self.dirty) {
            if let Some(account) = self.accounts.get_mut(&id) {
                self.changes.set_session(id, account);
            }
        }
        std::mem::take(&mut self.changes)
    }

    /// Keeps the queue of a session from now on.
    pub fn track(&mut self, id: SessionId) {
        let Some(account) = self.change(id) else { return };
        if !std::mem::replace(&mut account.tracked, true) {
            account.session.tracked.store(true, Ordering::Release);
        }
    }
}
