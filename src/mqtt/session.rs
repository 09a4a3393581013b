//! Sessions: what outlives a connection (MQTT 5.0 section 4.1), and who owns them.
//!
//! A session is shared by the dispatcher, which fills its mailbox, and at most one connection,
//! which owns the rest of its state by holding a lock for as long as it lives. A new connection
//! with the same client identifier raises a claim, which makes the old one end and let go.
//!
//! What of a session must survive a crash is in the [`ledger`](super::ledger), which follows the
//! journal. This is its living half: it runs ahead of the ledger and is rebuilt from it at a start.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{acknowledge::Unrecorded, mailbox::Mailbox, presence::Presence, seldom::Seldom, window::Window};
use crate::{
    auth::User,
    types::{ClientId, Sequence, Signal},
};

type Random = foldhash::fast::RandomState;

/// A session's number in the journal. Never used for another while records of it matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A session that is or was connected.
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// Whose it is.
    pub client_id: ClientId,
    /// The account that it belongs to, once one has had it: no other gets it, nor anyone without.
    owner: OnceLock<User>,
    /// Rings when the mailbox was filled, an append was settled, a change of the session was applied,
    /// or the connection must end.
    pub signal: Arc<Signal>,
    /// Messages that wait.
    pub mailbox: Mutex<Mailbox>,
    /// Filters it has subscribed to, ahead of the ledger.
    pub subscriptions: Mutex<Seldom<HashSet<Box<str>, Random>>>,
    /// Numbers of sent messages that were given to other members of a shared subscription.
    pub given_away: Mutex<Vec<u64>>,
    /// Its connection, while it has one.
    pub presence: Mutex<Option<Arc<Presence>>>,
    /// Whether the dispatcher has already listed it to be woken.
    pub listed: AtomicBool,
    /// Whether the ledger keeps its queue, and must be told what is acknowledged.
    pub tracked: AtomicBool,
    /// Messages with a number that were queued before it was tracked: the ledger counts from there. The
    /// dispatcher's.
    pub untracked: AtomicU64,
    /// A lower bound of the records in flight, or the end of numbers.
    in_flight: AtomicU64,
    /// Connections that wait for the session. Those that have it leave as long as there are any: so each that waits
    /// gets it, in whatever order they were counted and queued.
    claims: AtomicU64,
    /// Rises with every connection that has got it.
    arrivals: AtomicU64,
    state: Arc<AsyncMutex<SessionState>>,
}

/// The part of a session that only its connection touches.
#[derive(Default)]
pub struct SessionState {
    /// Whether a client has ever had it.
    pub established: bool,
    /// Seconds it outlives its connection.
    pub expiry: u32,
    /// The record of its last CONNECT: nothing is delivered before the ledger has it.
    pub connected_at: Sequence,
    /// QoS 2 packet identifiers received and not released, with the record each stands for.
    pub held: Seldom<HashMap<u16, Sequence, Random>>,
    /// Messages sent and not acknowledged.
    pub window: Seldom<Window>,
    /// Set once it is over: whoever waited for it must look for a new one.
    pub ended: bool,
}

/// A session owned by a connection.
pub struct OwnedSession {
    /// The shared part.
    pub session: Arc<Session>,
    /// The owned part.
    pub state: OwnedMutexGuard<SessionState>,
}

/// A connection that waits for a session.
struct Claim<'a>(&'a Session);

impl<'a> Claim<'a> {
    fn raise(session: &'a Session) -> Self {
        session.claims.fetch_add(1, Ordering::AcqRel);
        session.signal.ring();
        Self(session)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claims.fetch_sub(1, Ordering::AcqRel);
    }
}

impl OwnedSession {
    /// Whether there is anything to resume.
    #[must_use]
    pub fn existed(&self) -> bool {
        self.state.established
    }

    /// Whether another connection wants it.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.session.claims.load(Ordering::Acquire) > 0
    }

    /// Whether it outlives its connection.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.state.expiry > 0
    }

    /// Takes back what could not be put on record.
    pub fn forget(&mut self, unrecorded: Unrecorded) {
        match unrecorded {
            Unrecorded::Held(packet_id, held_with) => self.state.forget_held(packet_id, held_with),
            Unrecorded::Receipt(packet_id) => self.state.window.forget_receipt(packet_id),
            Unrecorded::Subscription(filter) => {
                self.session.subscriptions.lock().remove(&filter);
            }
        }
    }
}

impl SessionState {
    /// Lets go of a QoS 2 packet identifier if it is held with this sequence.
    pub fn forget_held(&mut self, packet_id: u16, held_with: Sequence) {
        if self.held.get(&packet_id) == Some(&held_with) {
            self.held.remove(&packet_id);
        }
    }
}

impl Session {
    pub(super) fn new(id: SessionId, client_id: ClientId, state: SessionState) -> Self {
        Self {
            id,
            client_id,
            owner: OnceLock::new(),
            signal: Arc::default(),
            mailbox: Mutex::default(),
            subscriptions: Mutex::default(),
            given_away: Mutex::default(),
            presence: Mutex::default(),
            listed: AtomicBool::new(false),
            tracked: AtomicBool::new(false),
            untracked: AtomicU64::new(0),
            in_flight: AtomicU64::new(u64::MAX),
            claims: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
            state: Arc::new(AsyncMutex::new(state)),
        }
    }

    /// The account that it belongs to.
    #[must_use]
    pub fn owner(&self) -> Option<&User> {
        self.owner.get()
    }

    /// Makes it belong to an account, where it belongs to none; whether the client with this account, or
    /// with none, may have it.
    pub fn belongs_to(&self, user: Option<&User>) -> bool {
        match user {
            Some(user) => self.owner.get_or_init(|| Arc::clone(user)) == user,
            None => self.owner.get().is_none(),
        }
    }

    fn is_foreign_to(&self, user: Option<&User>) -> bool {
        self.owner.get().is_some_and(|owner| Some(owner) != user)
    }

    /// The number that the ledger has for the message with this number. A start does not know what was
    /// queued before the ledger began to count.
    #[must_use]
    pub fn on_record(&self, number: u64) -> u64 {
        // As long as it does not count, it has none of what was sent.
        if !self.tracked.load(Ordering::Acquire) {
            return 0;
        }
        number.saturating_sub(self.untracked.load(Ordering::Relaxed))
    }

    /// The first record that it may still have to read.
    fn oldest_needed(&self) -> Option<Sequence> {
        // In this order: what is taken from the mailbox counts as in flight before the lock is released.
        let waiting = self.mailbox.lock().oldest();
        let in_flight = Some(Sequence(self.in_flight.load(Ordering::Acquire))).filter(|at| at.0 < u64::MAX);
        [waiting, in_flight].into_iter().flatten().min()
    }

    /// A record is about to be read for the connection, which alone calls this.
    pub fn note_in_flight(&self, sequence: Sequence) {
        if sequence.0 < self.in_flight.load(Ordering::Relaxed) {
            self.in_flight.store(sequence.0, Ordering::Release);
        }
    }

    /// Tells a lower bound of the records in flight.
    pub fn set_in_flight(&self, oldest: Option<Sequence>) {
        self.in_flight.store(oldest.map_or(u64::MAX, |sequence| sequence.0), Ordering::Release);
    }

    /// Sets the state of a session that no connection has had yet in this life.
    pub(super) fn establish(&self, state: SessionState) {
        // Nobody has it: this is before the first listener.
        if let Ok(mut known) = self.state.try_lock() {
            *known = state;
        }
    }

    /// A client has come, and not only wanted to.
    pub fn note_arrival(&self) {
        self.arrivals.fetch_add(1, Ordering::AcqRel);
    }

    /// How many have come in this life: whether another one has since.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Acquire)
    }

    /// Owns the session if nobody does and nobody wants to.
    pub fn own_abandoned(self: &Arc<Self>) -> Option<OwnedSession> {
        let state = Arc::clone(&self.state).try_lock_owned().ok()?;
        let owned = OwnedSession { session: Arc::clone(self), state };
        (!owned.state.ended && !owned.is_claimed()).then_some(owned)
    }
}

/// All sessions.
#[derive(Default)]
pub struct Registry(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    by_client: HashMap<ClientId, Arc<Session>, Random>,
    /// Also those that have ended, until the ledger knows.
    by_id: HashMap<SessionId, Arc<Session>, Random>,
    last: u64,
}

impl Sessions {
    fn make(&mut self, client_id: &ClientId) -> Arc<Session> {
        self.last += 1;
        Arc::new(Session::new(SessionId(self.last), client_id.clone(), SessionState::default()))
    }

    fn create(&mut self, client_id: &ClientId) -> Arc<Session> {
        let session = self.make(client_id);
        self.insert(&session);
        session
    }

    fn insert(&mut self, session: &Arc<Session>) {
        self.last = self.last.max(session.id.0);
        self.by_id.insert(session.id, Arc::clone(session));
        self.by_client.insert(session.client_id.clone(), Arc::clone(session));
    }
}

impl Registry {
    /// Owns the session of a client, made if there is none; any connection that has it ends
    /// first. None where it belongs to another account, whose connection stays. Cancel safe: the other connection may end
    /// all the same.
    pub async fn own(&self, client_id: &ClientId, user: Option<&User>) -> Option<OwnedSession> {
        loop {
            let session = {
                let mut sessions = self.0.lock();
                let known = sessions.by_client.get(client_id).cloned();
                known.unwrap_or_else(|| {
                    let session = sessions.create(client_id);
                    session.belongs_to(user);
                    session
                })
            };
            if session.is_foreign_to(user) {
                return None;
            }
            let claim = Claim::raise(&session);
            let state = Arc::clone(&session.state).lock_owned().await;
            drop(claim);
            if !state.ended {
                // One that belonged to nobody may have become another's while this one waited.
                return session.belongs_to(user).then_some(OwnedSession { session, state });
            }
        }
    }

    /// A new session of a client that has one, to take its place with [`Registry::replace`].
    pub async fn prepare(&self, client_id: &ClientId, user: Option<&User>) -> OwnedSession {
        let session = {
            let mut sessions = self.0.lock();
            let session = sessions.make(client_id);
            session.belongs_to(user);
            sessions.by_id.insert(session.id, Arc::clone(&session));
            session
        };
        let state = Arc::clone(&session.state).lock_owned().await;
        OwnedSession { session, state }
    }

    /// Ends a session; the next connection of its client gets the other.
    pub fn replace(&self, mut old: OwnedSession, new: &OwnedSession) {
        self.0.lock().insert(&new.session);
        old.state.ended = true;
    }

    /// Puts a session of an earlier life back, as far as it matters before its client returns.
    pub fn restore(&self, id: SessionId, client_id: ClientId, state: SessionState) -> Arc<Session> {
        let session = Arc::new(Session::new(id, client_id, state));
        self.0.lock().insert(&session);
        session
    }

    /// Ends an owned session: the next connection gets a new one.
    pub fn end(&self, owned: &mut OwnedSession) {
        owned.state.ended = true;
        let mut sessions = self.0.lock();
        let client_id = &owned.session.client_id;
        if sessions.by_client.get(client_id).is_some_and(|known| Arc::ptr_eq(known, &owned.session)) {
            sessions.by_client.remove(client_id);
        }
    }

    /// The session of a client.
    pub fn of_client(&self, client_id: &str) -> Option<Arc<Session>> {
        self.0.lock().by_client.get(client_id).cloned()
    }

    /// The session with this number, also one that has ended.
    pub fn find(&self, id: SessionId) -> Option<Arc<Session>> {
        self.0.lock().by_id.get(&id).cloned()
    }

    /// Forgets the number of a session that has ended, and its client's name if nobody else has it.
    pub fn forget(&self, id: SessionId) {
        let mut sessions = self.0.lock();
        if let Some(session) = sessions.by_id.remove(&id)
            && sessions.by_client.get(&session.client_id).is_some_and(|known| known.id == id)
        {
            sessions.by_client.remove(&session.client_id);
        }
    }

    /// How many sessions there are, connected or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().by_client.len()
    }

    /// Every session.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.0.lock().by_client.values().cloned().collect()
    }

    /// Rings every session's signal, so that connections look at the broker's state.
    pub fn ring_all(&self) {
        for session in self.all() {
            session.signal.ring();
        }
    }

    /// The first journal record that any session may still have to read.
    #[must_use]
    pub fn oldest_needed(&self) -> Option<Sequence> {
        self.all().iter().filter_map(|session| session.oldest_needed()).min()
    }
}
