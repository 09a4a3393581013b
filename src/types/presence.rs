//! That a client which is a device has come or gone, as the journal has it.

use super::{Micros, Sequence};

/// A borrowed view of one record of presence. It says all that its event does, so that making the event takes no
/// other record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence<'a> {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When it was appended.
    pub received: Micros,
    /// The client.
    pub client_id: &'a str,
    /// The device that the client is: a part of its identifier, or all of it.
    pub device: &'a str,
    /// What has happened.
    pub change: PresenceChange<'a>,
    /// What else is known, as members of a JSON object without its braces: `"keepAlive":60`. Empty where nothing is.
    pub details: &'a str,
}

/// What has happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceChange<'a> {
    /// The client was let in.
    Opened,
    /// The connection is over.
    Closed {
        /// The record of its opening, by which it is known.
        opened: Sequence,
        /// When that was.
        since: Micros,
        /// Why: one of the words in docs/mapping.md.
        reason: &'a str,
    },
}

impl Presence<'_> {
    /// The record by which its connection is known, and when that was.
    #[must_use]
    pub const fn connection(&self) -> (Sequence, Micros) {
        match self.change {
            PresenceChange::Opened => (self.sequence, self.received),
            PresenceChange::Closed { opened, since, .. } => (opened, since),
        }
    }
}
