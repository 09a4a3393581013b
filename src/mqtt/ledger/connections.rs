//! Connections that are open on record: opened, and not closed.
//!
//! Apart from sessions, for which a connection that is back makes up for the end of the one before: each that was
//! opened is closed once, whatever becomes of its session. A start closes those that an earlier life has left open.

use std::collections::BTreeMap;

use super::super::varint::{read_str, read_varint, unzigzag, write_bytes, write_varint, zigzag};
use crate::types::{Micros, Presence, PresenceChange, Sequence};

/// A connection that is open on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// When it was opened.
    pub since: Micros,
    /// Its client.
    pub client_id: Box<str>,
    /// The device that the client is.
    pub device: Box<str>,
}

impl OpenConnection {
    /// As the store has it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(&mut out, zigzag(self.since.get()));
        write_bytes(&mut out, self.client_id.as_bytes());
        write_bytes(&mut out, self.device.as_bytes());
        out
    }

    /// Reads what [`OpenConnection::encode`] has written.
    pub fn decode(mut value: &[u8]) -> Option<Self> {
        let from = &mut value;
        let since = Micros::saturating(unzigzag(read_varint(from)?));
        let (client_id, device) = (read_str(from)?.into(), read_str(from)?.into());
        from.is_empty().then_some(Self { since, client_id, device })
    }
}

/// All of them, by the record of their opening.
#[derive(Debug, Default)]
pub struct OpenConnections(BTreeMap<Sequence, OpenConnection>);

impl OpenConnections {
    /// Puts back what the store has.
    pub fn restore(&mut self, stored: Vec<(Sequence, OpenConnection)>) {
        self.0.extend(stored);
    }

    /// Takes in a record; the row of the store that it changes, with its value.
    pub fn note(&mut self, presence: &Presence<'_>) -> (Sequence, Option<Vec<u8>>) {
        let (opened, since) = presence.connection();
        match presence.change {
            PresenceChange::Opened => {
                let (client_id, device) = (presence.client_id.into(), presence.device.into());
                let open = OpenConnection { since, client_id, device };
                let row = open.encode();
                self.0.insert(opened, open);
                (opened, Some(row))
            }
            PresenceChange::Closed { .. } => {
                self.0.remove(&opened);
                (opened, None)
            }
        }
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Sequence, &OpenConnection)> {
        self.0.iter().map(|(opened, open)| (*opened, open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_open_until_it_is_closed_and_comes_back_from_the_store() {
        let mut open = OpenConnections::default();
        let received = Micros::saturating(-7);
        let opened = Presence {
            sequence: Sequence(5),
            received,
            client_id: "sensor-7",
            device: "7",
            change: PresenceChange::Opened,
            details: "",
        };
        let (key, row) = open.note(&opened);
        let stored = OpenConnection::decode(&row.unwrap()).unwrap();
        assert_eq!((key, open.iter().collect::<Vec<_>>()), (Sequence(5), vec![(Sequence(5), &stored)]));
        assert_eq!(OpenConnection::decode(&stored.encode()[..5]), None);
        let change = PresenceChange::Closed { opened: Sequence(5), since: received, reason: "closed" };
        assert_eq!(open.note(&Presence { sequence: Sequence(9), change, ..opened }), (Sequence(5), None));
        assert_eq!(open.iter().count(), 0);
    }
}
