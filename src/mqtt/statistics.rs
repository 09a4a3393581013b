//! What the broker has done since its start, in plain counters that cost next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{authenticate::Unauthenticated, end::End, traffic::Traffic};

/// A number that only rises, or with [`Counter::sub`] one that also falls.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets it to what somebody else has counted.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Sets it to `n` unless it is higher.
    pub fn raise(&self, n: u64) {
        self.0.fetch_max(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of the broker.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Connections that are open and past CONNECT.
    pub connections: Counter,
    /// The most there were at a time.
    pub most_connections: Counter,
    /// Connections that have come past CONNECT.
    pub connected: Counter,
    /// Sockets accepted, also those whose TLS handshake came to nothing.
    pub sockets: Counter,
    /// What clients have sent, once a CONNECT is whole.
    pub incoming: Traffic,
    /// What was sent to clients.
    pub outgoing: Traffic,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections refused or ended because of what the client sent.
    pub protocol_errors: Counter,
    /// Connections refused or ended because the client did not prove who it is; among those above.
    pub unauthenticated: Counter,
    /// Connections closed unheard because their descriptors are kept for others.
    pub turned_away: Counter,
    /// Connections closed before they were let in to make room for later ones.
    pub pushed_out: Counter,
    /// PUBLISH packets received, of any QoS.
    pub received: Counter,
    /// Publications acknowledged with success.
    pub acknowledged: Counter,
    /// PUBLISH packets sent to subscribers, repeats included.
    pub delivered: Counter,
    /// QoS 0 publications dropped because the journal had no room.
    pub shed: Counter,
    /// QoS 1 and 2 publications refused because the journal had no room.
    pub refused: Counter,
    /// Messages dropped because a session's queue was full or its client takes no packets of
    /// that size.
    pub dropped: Counter,
    /// Messages with the retain flag that were not retained because of the limits.
    pub not_retained: Counter,
    /// Publications to topics that are the broker's own, which clients may not publish to.
    pub reserved: Counter,
    /// Publications whose payload is not the UTF-8 that it is said to be.
    pub invalid_payloads: Counter,
    /// Connections not let in because the client had failed too often.
    pub banned: Counter,
    /// Publications that no access rule allows.
    pub may_not_publish: Counter,
    /// Topic filters, in SUBSCRIBE, likewise; those that were granted and are filtered are not among them.
    pub may_not_subscribe: Counter,
    /// Messages that were not sent to a subscriber because no access rule allows that.
    pub may_not_receive: Counter,
    /// Wills that no access rule allows, in CONNECT or when they were due.
    pub may_not_have_will: Counter,
    /// Connections refused because the session belongs to another account.
    pub foreign_sessions: Counter,
    /// Sessions ended because their clients stayed away.
    pub expired: Counter,
    /// Subscriptions there are.
    pub subscriptions: Counter,
    /// Topics with a retained message.
    pub retained: Counter,
    /// Bytes of retained messages.
    pub retained_bytes: Counter,
    /// Messages that a session was promised and that the journal no longer had.
    pub lost: Counter,
}

impl Statistics {
    /// Counts a connection that ended because of what the client sent.
    pub(super) fn note_refusal(&self, end: &End) {
        self.protocol_errors.add(1);
        if matches!(end, End::Unauthenticated(Unauthenticated::Banned)) {
            self.banned.add(1);
        }
        if matches!(end, End::Unauthenticated(_)) {
            self.unauthenticated.add(1);
        }
    }
}
