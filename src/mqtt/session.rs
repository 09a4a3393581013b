//! Sessions: what outlives a connection (MQTT 5.0 section 4.1), and who owns them.
//!
//! A session is shared by the dispatcher, which fills its mailbox, and at most one connection,
//! which owns the rest of its state by holding a lock for as long as it lives. A new connection
//! with the same client identifier raises a claim, which makes the old one end and let go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    task::AbortHandle,
};

use super::{mailbox::Mailbox, will::Will, window::Window};
use crate::{
    journal::{BatchBuilder, Record},
    types::{ClientId, Sequence, Signal, TopicFilter},
};

/// A session that is or was connected.
pub struct Session {
    /// Whose it is.
    pub client_id: ClientId,
    /// Rings when the mailbox was filled, an append was settled, or the connection must end.
    pub signal: Arc<Signal>,
    /// Messages that wait.
    pub mailbox: Mutex<Mailbox>,
    /// Whether the dispatcher has already listed it to be woken.
    pub listed: AtomicBool,
    /// A lower bound of the records in flight, or the end of numbers.
    in_flight: AtomicU64,
    /// Rises with every connection that wants the session.
    claims: AtomicU64,
    state: Arc<AsyncMutex<SessionState>>,
}

/// The part of a session that only its connection touches.
#[derive(Default)]
pub struct SessionState {
    /// Whether a client has ever had it.
    pub established: bool,
    /// Seconds it outlives its connection.
    pub expiry: u32,
    /// Whether the journal has a record that it exists, so that it survives a restart. Such a
    /// session has no subscription: messages that wait are not kept over a restart, and a
    /// session that came back without them would lie.
    pub kept: bool,
    /// QoS 2 packet identifiers received and not released, with the record each stands for.
    pub held: HashMap<u16, Sequence, foldhash::fast::RandomState>,
    /// Messages sent and not acknowledged.
    pub window: Window,
    /// Its subscriptions.
    pub subscriptions: HashSet<TopicFilter, foldhash::fast::RandomState>,
    /// Ends the session when its client has been away for too long.
    pub expiry_timer: Option<AbortHandle>,
    /// The will of the last connection, while it waits.
    pub pending_will: Option<PendingWill>,
    /// Set once it is over: whoever waited for it must look for a new one.
    pub ended: bool,
}

/// A session owned by a connection.
pub struct OwnedSession {
    /// The shared part.
    pub session: Arc<Session>,
    /// The owned part.
    pub state: OwnedMutexGuard<SessionState>,
    claim: u64,
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
        self.session.claims.load(Ordering::Acquire) != self.claim
    }
}

/// A will that waits for its delay or the end of the session.
pub struct PendingWill {
    /// What to publish.
    pub will: Will,
    /// Publishes it in time.
    pub timer: AbortHandle,
}

impl SessionState {
    /// Lets go of a QoS 2 packet identifier if it is held with this sequence.
    pub fn forget_held(&mut self, packet_id: u16, held_with: Sequence) {
        if self.held.get(&packet_id) == Some(&held_with) {
            self.held.remove(&packet_id);
        }
    }

    /// Adds the records that end keeping the session over a restart.
    pub fn stop_keeping(&mut self, client_id: &str, records: &mut BatchBuilder) {
        if std::mem::take(&mut self.kept) {
            for &packet_id in self.held.keys() {
                records.push(&Record::Release { client_id, packet_id });
            }
            records.push(&Record::SessionDropped { client_id });
        }
    }
}

impl Session {
    pub(super) fn new(client_id: ClientId) -> Self {
        Self {
            client_id,
            signal: Arc::default(),
            mailbox: Mutex::default(),
            listed: AtomicBool::new(false),
            in_flight: AtomicU64::new(u64::MAX),
            claims: AtomicU64::new(0),
            state: Arc::default(),
        }
    }

    /// The first record that it may still have to read.
    fn oldest_needed(&self) -> Option<Sequence> {
        let in_flight = Some(Sequence(self.in_flight.load(Ordering::Acquire))).filter(|at| at.0 < u64::MAX);
        [self.mailbox.lock().oldest(), in_flight].into_iter().flatten().min()
    }

    /// Whether anything is known to be in flight.
    pub fn has_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < u64::MAX
    }

    /// Tells a lower bound of the records in flight.
    pub fn set_in_flight(&self, oldest: Option<Sequence>) {
        self.in_flight.store(oldest.map_or(u64::MAX, |sequence| sequence.0), Ordering::Release);
    }
}

/// All sessions by client identifier.
#[derive(Default)]
pub struct Registry {
    sessions: Mutex<HashMap<ClientId, Arc<Session>, foldhash::fast::RandomState>>,
}

impl Registry {
    /// Owns the session of a client, made if there is none; any connection that has it ends
    /// first. Cancel safe, but for the claim: the other connection ends all the same.
    pub async fn own(&self, client_id: &ClientId) -> OwnedSession {
        loop {
            let session = {
                let mut sessions = self.sessions.lock();
                let new = || Arc::new(Session::new(client_id.clone()));
                Arc::clone(sessions.entry(client_id.clone()).or_insert_with(new))
            };
            let claim = session.claims.fetch_add(1, Ordering::AcqRel) + 1;
            session.signal.ring();
            let mut state = Arc::clone(&session.state).lock_owned().await;
            if let Some(timer) = state.expiry_timer.take() {
                timer.abort();
            }
            if !state.ended {
                return OwnedSession { session, state, claim };
            }
        }
    }

    /// Owns a session that nobody has wanted since `claim`, if it is still there.
    pub fn own_abandoned(&self, session: &Arc<Session>, claim: u64) -> Option<OwnedSession> {
        let state = Arc::clone(&session.state).try_lock_owned().ok()?;
        let owned = OwnedSession { session: Arc::clone(session), state, claim };
        (!owned.state.ended && !owned.is_claimed()).then_some(owned)
    }

    /// Puts a session of an earlier life back.
    pub fn restore(&self, client_id: ClientId, expiry: u32, held: HashMap<u16, Sequence, foldhash::fast::RandomState>) {
        let mut session = Session::new(client_id.clone());
        session.state = Arc::new(AsyncMutex::new(SessionState {
            established: true,
            expiry,
            kept: true,
            held,
            ..SessionState::default()
        }));
        self.sessions.lock().insert(client_id, Arc::new(session));
    }

    /// Takes a session that has ended out.
    pub fn remove(&self, owned: &mut OwnedSession) {
        owned.state.ended = true;
        let mut sessions = self.sessions.lock();
        if sessions.get(&owned.session.client_id).is_some_and(|known| Arc::ptr_eq(known, &owned.session)) {
            sessions.remove(&owned.session.client_id);
        }
    }

    /// How many sessions there are, connected or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Every session.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().values().cloned().collect()
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

impl OwnedSession {
    /// Which connection owns it: see [`Registry::own_abandoned`].
    #[must_use]
    pub const fn claim(&self) -> u64 {
        self.claim
    }

    /// How long it is to outlive its connection; none for ever (0xFFFF_FFFF, section 3.1.2.11.2).
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        (self.state.expiry != u32::MAX).then(|| Duration::from_secs(u64::from(self.state.expiry)))
    }
}
