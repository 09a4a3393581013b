//! Connections that are open on record: opened, and not closed.
//!
//! Apart from sessions, for which a connection that is back makes up for the end of the one before: each that was
//! opened is closed once, whatever becomes of its session. A start closes those that an earlier life has left open.
//! Only a start needs to know them, so those of this life are rows in the store and take no memory.

use std::collections::BTreeMap;

use super::super::varint::{read_str, read_varint, unzigzag, write_bytes, write_varint, zigzag};
use crate::types::{Micros, Presence, PresenceChange, Sequence};

/// The row of the store that a record changes, and its value: none where the connection is closed.
pub fn row(presence: &Presence<'_>) -> (Sequence, Option<Box<[u8]>>) {
    let (opened, since) = presence.connection();
    let value = match presence.change {
        PresenceChange::Opened => Some(encode(since, presence.client_id, presence.device).into()),
        PresenceChange::Closed { .. } => None,
    };
    (opened, value)
}

/// A device that has its client's name is written as none.
fn encode(since: Micros, client_id: &str, device: &str) -> Vec<u8> {
    let device = if device == client_id { "" } else { device };
    let mut out = Vec::with_capacity(16 + client_id.len() + device.len());
    write_varint(&mut out, zigzag(since.get()));
    write_bytes(&mut out, client_id.as_bytes());
    write_bytes(&mut out, device.as_bytes());
    out
}

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
    /// Reads the value of a [`row`].
    pub fn decode(mut value: &[u8]) -> Option<Self> {
        let from = &mut value;
        let since = Micros::saturating(unzigzag(read_varint(from)?));
        let (client_id, device) = (read_str(from)?, read_str(from)?);
        let device = if device.is_empty() { client_id } else { device };
        from.is_empty().then(|| Self { since, client_id: client_id.into(), device: device.into() })
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

    /// Takes in a record.
    pub fn note(&mut self, presence: &Presence<'_>) {
        let (opened, since) = presence.connection();
        match presence.change {
            PresenceChange::Opened => {
                let (client_id, device) = (presence.client_id.into(), presence.device.into());
                self.0.insert(opened, OpenConnection { since, client_id, device });
            }
            PresenceChange::Closed { .. } => {
                self.0.remove(&opened);
            }
        }
    }

    /// All, oldest first, to be closed.
    pub fn take(&mut self) -> impl Iterator<Item = (Sequence, OpenConnection)> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }

    /// All, oldest first.
    #[cfg(test)]
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
        for device in ["7", "sensor-7"] {
            let opened = Presence {
                sequence: Sequence(5),
                received,
                client_id: "sensor-7",
                device,
                change: PresenceChange::Opened,
                details: "",
            };
            open.note(&opened);
            let (key, value) = row(&opened);
            let value = value.unwrap();
            let stored = OpenConnection::decode(&value).unwrap();
            assert_eq!((key, open.iter().collect::<Vec<_>>()), (Sequence(5), vec![(Sequence(5), &stored)]));
            assert_eq!(OpenConnection::decode(&value[..5]), None);
            let change = PresenceChange::Closed { opened: Sequence(5), since: received, reason: "closed" };
            let closed = Presence { sequence: Sequence(9), change, ..opened };
            open.note(&closed);
            assert_eq!((row(&closed), open.iter().count()), ((Sequence(5), None), 0));
        }
    }

    #[test]
    fn a_row_of_an_earlier_version_names_the_device_always() {
        let value = [1, 1, b'a', 1, b'a'];
        let open = OpenConnection::decode(&value).unwrap();
        assert_eq!((&*open.client_id, &*open.device), ("a", "a"));
    }
}
