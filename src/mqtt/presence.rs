//! Who is connected, for people who ask: what a connection knows and its session does not keep.
//!
//! Made once a connection, by its own task, and hung to the session that it owns; nothing on the way of a
//! message looks at it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::codec::ProtocolVersion;
use crate::types::{Micros, Peer};

/// A connection past CONNECT.
#[derive(Debug)]
pub struct Presence {
    /// Where it comes from.
    pub peer: Peer,
    /// What it speaks.
    pub version: ProtocolVersion,
    /// Longest silence: one and a half times its keep alive. None for no limit.
    pub silence: Option<Duration>,
    /// When it came.
    pub since: Micros,
    in_flight: AtomicU64,
}

impl Presence {
    /// A connection that has just come.
    #[must_use]
    pub const fn new(peer: Peer, version: ProtocolVersion, silence: Option<Duration>, since: Micros) -> Self {
        Self { peer, version, silence, since, in_flight: AtomicU64::new(0) }
    }

    /// Tells how many messages are sent and not acknowledged: the connection does, each turn.
    pub fn set_in_flight(&self, messages: usize) {
        self.in_flight.store(messages as u64, Ordering::Relaxed);
    }

    /// Messages sent and not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}
