//! The MQTT broker: what devices and subscribers talk to.
//!
//! Data flows `listener` (accepts, PROXY protocol, TLS, WebSocket) → `connect` (CONNECT, session) → `connection` (one task
//! a client: reads, journals, acknowledges) → journal → `dispatcher` (one task: who gets it) →
//! `mailbox` → `connection` (reads the journal, delivers). Side rooms: `codec` (bytes); `dispatch`
//! (what a record does), with `routing` (subscriptions), `retained` and `ledger` (what outlives a
//! process), `restore` (a start); `session` (what outlives a connection); `window` and `acknowledge`
//! (packet identifiers out and in); `access` (what a client may do); `will`; `handover` (shared subscriptions); `system` (`$SYS` topics), from
//! `statistics` and `traffic`; `publishing` (what comes by HTTP) and `commands` (what devices are to answer); `directory` (what sessions there are, for people), from
//! `presence` and the ledger; `announce` (devices that come and go, for events) and `orphans` (those of an earlier life).
//!
//! Invariant: PUBACK, PUBREC and PUBCOMP leave only after the record they stand for is durable,
//! and in the order of the packets they answer. A client that breaks a rule loses its own
//! connection and nothing else.

mod access;
mod acknowledge;
mod announce;
mod authenticate;
pub mod codec;
mod commands;
mod connect;
mod connection;
mod deliver;
mod directory;
mod dispatch;
mod dispatcher;
mod end;
mod farewell;
pub mod filter_tree;
mod handover;
mod known;
mod ledger;
mod listener;
mod mailbox;
mod orphans;
mod part;
mod presence;
mod profile;
mod publishing;
mod receive;
mod restore;
mod retained;
mod retained_delivery;
mod routing;
mod seldom;
mod session;
mod statistics;
mod subscribe;
mod system;
mod topic_match;
mod traffic;
mod varint;
mod will;
mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use commands::{CommandError, CommandSettings, Commands};
pub use directory::{DirectoryError, RetainedPage};
pub use dispatcher::Dispatcher;
pub use ledger::change::rewrite as rewrite_state_change;
pub use listener::{Door, Listener, ListenerOptions, Terms, TlsTerms};
pub use mailbox::MailboxLimits;
pub use profile::Profile;
pub use publishing::{PublishError, Publishing};
pub use restore::RestoreError;
pub use retained::RetainedLimits;
pub use statistics::{Counter, Statistics};

use commands::Desk;
use directory::Directory;
use known::KnownAddresses;
use session::Registry;

use crate::{
    auth::access::{AccessControl, Rules},
    journal::{Clock, Journal, SystemClock},
    limits,
    types::{DeviceClients, Micros, Sequence},
};

/// How the broker treats its clients.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What clients are allowed where their listener does not say otherwise.
    pub profile: Profile,
    /// Longest session expiry granted, in seconds.
    pub maximum_session_expiry: u32,
    /// Subscriptions a session may have.
    pub maximum_subscriptions: usize,
    /// Bytes of journal that sessions may hold back together.
    pub maximum_backlog_bytes: u64,
    /// Bounds of what is retained.
    pub retained: RetainedLimits,
    /// How often the `$SYS` topics are published; zero for never.
    pub sys_interval: Duration,
    /// Time for what comes before MQTT, and again for CONNECT and authentication.
    pub handshake_timeout: Duration,
    /// Connections of one listener that are not let in yet.
    pub maximum_handshakes: usize,
    /// Clients whose coming and going is told.
    pub devices: DeviceClients,
    /// Where commands go.
    pub commands: CommandSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            maximum_session_expiry: limits::MAXIMUM_SESSION_EXPIRY,
            maximum_subscriptions: limits::MAXIMUM_SUBSCRIPTIONS,
            maximum_backlog_bytes: limits::MAXIMUM_JOURNAL_BYTES / limits::SESSION_BACKLOG_DIVISOR,
            retained: RetainedLimits {
                messages: limits::MAXIMUM_RETAINED_MESSAGES,
                bytes: limits::MAXIMUM_RETAINED_BYTES,
            },
            sys_interval: limits::SYS_INTERVAL,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            maximum_handshakes: limits::MAXIMUM_HANDSHAKES,
            devices: DeviceClients::default(),
            commands: CommandSettings::default(),
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
    directory: Directory,
    commands: Arc<Desk>,
    started: Micros,
    /// Everything in the journal up to here has been dispatched and applied.
    applied: AtomicU64,
    statistics: Statistics,
    access: AccessControl,
    /// How often clients had to be looked at again.
    reviews: AtomicU64,
    known: KnownAddresses,
    stopping: AtomicBool,
    connections: TaskTracker,
    /// Ends what waits for clients that have not come as far as a session.
    background: CancellationToken,
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
            directory: Directory::default(),
            commands: Arc::default(),
            started: SystemClock.now(),
            applied: AtomicU64::new(0),
            statistics: Statistics::default(),
            access: AccessControl::default(),
            reviews: AtomicU64::new(0),
            known: KnownAddresses::default(),
            stopping: AtomicBool::new(false),
            connections: TaskTracker::new(),
            background: CancellationToken::new(),
        })
    }

    /// Counters since the start.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Goes by these access rules from now on, also towards clients that are connected; by none:
    /// everybody may do everything.
    pub fn set_rules(&self, rules: Option<Rules>) {
        self.access.replace(rules);
        self.sessions.ring_all();
    }

    /// Looks again at every client that has said who it is: whoever's certificate has been revoked, or whose account
    /// is gone, is disconnected.
    pub fn review(&self) {
        self.reviews.fetch_add(1, Ordering::Release);
        self.sessions.ring_all();
    }

    fn reviews(&self) -> u64 {
        self.reviews.load(Ordering::Acquire)
    }

    /// Sessions, what waits for them, subscriptions and retained messages there are now. Looks at every
    /// session.
    #[must_use]
    pub fn census(&self) -> Census {
        let sessions = self.sessions.all();
        let queued = sessions.iter().map(|session| {
            let mailbox = session.mailbox.lock();
            (mailbox.waiting() as u64, mailbox.bytes())
        });
        let (queued, queued_bytes) = queued.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Census {
            sessions: sessions.len(),
            queued,
            queued_bytes,
            subscriptions: self.statistics.subscriptions.get(),
            retained: self.statistics.retained.get(),
            retained_bytes: self.statistics.retained_bytes.get(),
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

    /// Everything in the journal up to here has been dispatched and applied.
    fn applied(&self) -> Sequence {
        Sequence(self.applied.load(Ordering::Acquire))
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
    /// Messages that wait for sessions, counted once for each.
    pub queued: u64,
    /// Bytes of those of QoS 1 and 2: topic, properties and payload.
    pub queued_bytes: u64,
    /// Of all sessions.
    pub subscriptions: u64,
    /// Topics with a retained message.
    pub retained: u64,
    /// Bytes of them, with topics and properties.
    pub retained_bytes: u64,
}
