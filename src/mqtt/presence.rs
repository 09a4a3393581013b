//! Who is connected, for people who ask: what a connection knows and its session does not keep.
//!
//! Entered and left once a connection, by its own task, while it owns the session; nothing on the way of a
//! message looks at it.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{codec::ProtocolVersion, session::SessionId};
use crate::types::{Micros, Peer};

/// A connection past CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    /// Where it comes from.
    pub peer: Peer,
    /// What it speaks.
    pub version: ProtocolVersion,
    /// Longest silence: one and a half times its keep alive. None for no limit.
    pub silence: Option<Duration>,
    /// When it came.
    pub since: Micros,
}

/// Connections by session.
#[derive(Debug, Default)]
pub struct Presences(Mutex<HashMap<SessionId, Presence, foldhash::fast::RandomState>>);

impl Presences {
    /// A session has a connection.
    pub fn enter(&self, id: SessionId, presence: Presence) {
        self.0.lock().insert(id, presence);
    }

    /// It has none any more.
    pub fn leave(&self, id: SessionId) {
        self.0.lock().remove(&id);
    }

    /// The connection of a session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<Presence> {
        self.0.lock().get(&id).copied()
    }
}
