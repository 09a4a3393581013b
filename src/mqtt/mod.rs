//! The MQTT broker: what devices and subscribers talk to.
//!
//! Data flows `listener` (accepts, TLS) → `connect` (CONNECT, session) → `connection` (one task
//! a client: reads, journals, acknowledges) → journal → `dispatcher` (one task: who gets it) →
//! `mailbox` → `connection` (reads the journal, delivers). Side rooms: `codec` (bytes),
//! `routing` (subscriptions, retained), `session` (what outlives a connection), `window` and
//! `acknowledge` (packet identifiers out and in), `will`, `checkpoint` (what outlives a process).
//!
//! Invariant: PUBACK, PUBREC and PUBCOMP leave only after the record they stand for is durable,
//! and in the order of the packets they answer. A client that breaks a rule loses its own
//! connection and nothing else.

mod acknowledge;
mod checkpoint;
pub mod codec;
mod connect;
mod connection;
mod deliver;
mod dispatcher;
mod end;
pub mod filter_tree;
mod listener;
mod mailbox;
mod receive;
mod routing;
mod session;
mod statistics;
mod subscribe;
mod will;
mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use dispatcher::Dispatcher;
pub use listener::Listener;
pub use mailbox::MailboxLimits;
pub use statistics::{Counter, Statistics};

use checkpoint::Derived;
use routing::Routing;
use session::Registry;

use crate::{
    journal::{Journal, ReadError, StateError, StateStore, Watermark},
    limits,
    types::Sequence,
};

/// How the broker treats its clients.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest packet accepted, in bytes.
    pub maximum_packet_size: u32,
    /// QoS 1 and 2 messages in flight, in either direction.
    pub receive_maximum: u16,
    /// Highest topic alias a client may use.
    pub topic_alias_maximum: u16,
    /// Longest session expiry granted, in seconds.
    pub maximum_session_expiry: u32,
    /// Subscriptions a session may have.
    pub maximum_subscriptions: usize,
    /// Bytes of journal that sessions may hold back together.
    pub maximum_backlog_bytes: u64,
    /// Bounds of a session's queue.
    pub mailbox: MailboxLimits,
    /// Time for the TLS handshake, and again for CONNECT.
    pub handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maximum_packet_size: limits::MAXIMUM_PACKET_SIZE,
            receive_maximum: limits::RECEIVE_MAXIMUM,
            topic_alias_maximum: limits::TOPIC_ALIAS_MAXIMUM,
            maximum_session_expiry: limits::MAXIMUM_SESSION_EXPIRY,
            maximum_subscriptions: limits::MAXIMUM_SUBSCRIPTIONS,
            maximum_backlog_bytes: limits::MAXIMUM_JOURNAL_BYTES / limits::SESSION_BACKLOG_DIVISOR,
            mailbox: MailboxLimits {
                messages: limits::MAXIMUM_QUEUED_MESSAGES,
                best_effort: limits::MAXIMUM_QUEUED_BEST_EFFORT,
            },
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
        }
    }
}

/// Decides whether a QoS 0 publication to a topic must be durable before it is passed on.
pub type GuaranteePolicy = dyn Fn(&str) -> bool + Send + Sync;

/// What all connections share.
pub struct Broker {
    journal: Journal,
    settings: Settings,
    guarantees: Box<GuaranteePolicy>,
    sessions: Registry,
    routing: Mutex<Routing>,
    statistics: Statistics,
    stopping: AtomicBool,
    connections: TaskTracker,
    /// Ends what waits in the background: session expiries and delayed wills.
    background: CancellationToken,
}

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

impl Broker {
    /// A broker on an open journal.
    #[must_use]
    pub fn new(journal: Journal, settings: Settings, guarantees: Box<GuaranteePolicy>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            settings,
            guarantees,
            sessions: Registry::default(),
            routing: Mutex::default(),
            statistics: Statistics::default(),
            stopping: AtomicBool::new(false),
            connections: TaskTracker::new(),
            background: CancellationToken::new(),
        })
    }

    /// Brings retained messages and kept sessions back: the checkpoint, then the records behind
    /// it. Returns the last record taken into account. Blocks.
    ///
    /// # Errors
    /// [`RestoreError`]
    pub fn restore(self: &Arc<Self>, store: &StateStore) -> Result<Sequence, RestoreError> {
        let checkpoint = store.position()?;
        let mut reader = self.journal.reader(checkpoint, Watermark::Durable);
        let mut tail = Derived::default();
        while reader.position() < self.journal.watermark(Watermark::Durable) {
            match reader.read_disk() {
                Ok(Some(slice)) => slice.records().for_each(|record| tail.apply(&record)),
                Ok(None) => break,
                Err(error) if error.is_loss() => tracing::error!(%error, "a part of the journal is lost"),
                Err(error) => return Err(error.into()),
            }
        }
        checkpoint::restore(store, &tail, &mut self.routing.lock(), &self.sessions)?;
        let replayed = reader.position();
        store.commit(tail.checkpoint(), replayed)?;
        Ok(replayed)
    }

    /// Starts the clock of sessions that came back without a client.
    pub fn expire_restored_sessions(self: &Arc<Self>) {
        for session in self.sessions.all() {
            if let Some(owned) = self.sessions.own_abandoned(&session, 0) {
                self.release(owned);
            }
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Sessions, subscriptions and retained messages there are now.
    #[must_use]
    pub fn census(&self) -> Census {
        let routing = self.routing.lock();
        Census {
            sessions: self.sessions.count(),
            subscriptions: routing.subscriptions(),
            retained: routing.retained_count(),
        }
    }

    /// Ends all connections: what they have sent is still made durable and acknowledged, then
    /// they are closed. Returns when all are gone. Cancel safe.
    pub async fn drain(&self) {
        self.stopping.store(true, Ordering::Release);
        self.background.cancel();
        self.sessions.ring_all();
        self.connections.close();
        self.connections.wait().await;
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// See [`Broker::census`].
#[derive(Clone, Copy, Debug)]
pub struct Census {
    /// Connected or not.
    pub sessions: usize,
    /// Of all sessions.
    pub subscriptions: usize,
    /// Topics with a retained message.
    pub retained: usize,
}
