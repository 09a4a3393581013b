//! The state that a start needs, derived from records: retained messages, kept sessions, and
//! the QoS 2 packet identifiers they hold.
//!
//! Keys in the store: `retained` topic → the record; `sessions` client id → expiry, u32;
//! `held` client id, 0, packet identifier (u16, big-endian) → sequence, u64. Integers are
//! little-endian unless they are part of a key.

use hashbrown::HashMap;

use super::{routing::Routing, session::Registry};
use crate::{
    journal::{Checkpoint, OwnedRecord, Record, StateError, StateStore},
    types::{ClientId, Publication, Sequence},
};

const RETAINED: &str = "retained";
const SESSIONS: &str = "sessions";
const HELD: &str = "held";

type Random = foldhash::fast::RandomState;

/// Changes since the last checkpoint; what was set and removed again leaves one removal.
#[derive(Default)]
pub struct Derived {
    retained: HashMap<Box<str>, Option<OwnedRecord>, Random>,
    sessions: HashMap<Box<str>, Option<u32>, Random>,
    held: HashMap<(Box<str>, u16), Option<Sequence>, Random>,
}

impl Derived {
    /// Takes a durable record into account.
    pub fn apply(&mut self, record: &Record<'_>) {
        match *record {
            Record::Publication { publication, packet_id } => {
                if publication.retain {
                    self.retain(&publication);
                }
                if packet_id != 0 {
                    self.held.insert((publication.client_id.into(), packet_id), Some(publication.sequence));
                }
            }
            Record::Release { client_id, packet_id } => {
                self.held.insert((client_id.into(), packet_id), None);
            }
            Record::SessionKept { client_id, expiry } => {
                self.sessions.insert(client_id.into(), Some(expiry));
            }
            Record::SessionDropped { client_id } => {
                self.sessions.insert(client_id.into(), None);
            }
            Record::Mark { .. } => {}
        }
    }

    fn retain(&mut self, publication: &Publication<'_>) {
        let record = (!publication.payload.is_empty()).then(|| OwnedRecord::of(publication));
        self.retained.insert(publication.topic.into(), record);
    }

    /// Everything, leaving nothing.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Puts changes that could not be written back, under those made since.
    pub fn put_back(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        self.retained.extend(newer.retained);
        self.sessions.extend(newer.sessions);
        self.held.extend(newer.held);
    }

    /// The changes in the store's form.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        for (topic, record) in &self.retained {
            checkpoint.set(RETAINED, topic.as_bytes(), record.as_ref().map(|record| record.as_bytes().to_vec()));
        }
        for (client_id, expiry) in &self.sessions {
            checkpoint.set(SESSIONS, client_id.as_bytes(), expiry.map(|expiry| expiry.to_le_bytes().to_vec()));
        }
        for ((client_id, packet_id), sequence) in &self.held {
            let key = [client_id.as_bytes(), &[0], &packet_id.to_be_bytes()].concat();
            checkpoint.set(HELD, key, sequence.map(|sequence| sequence.0.to_le_bytes().to_vec()));
        }
        checkpoint
    }
}

/// Restores retained messages and kept sessions from the store and the changes behind it.
///
/// # Errors
/// [`StateError`]
pub fn restore(
    store: &StateStore,
    tail: &Derived,
    routing: &mut Routing,
    sessions: &Registry,
) -> Result<(), StateError> {
    let mut all = load(store)?;
    all.retained.extend(tail.retained.iter().map(|(topic, record)| (topic.clone(), record.clone())));
    all.sessions.extend(tail.sessions.iter().map(|(client, expiry)| (client.clone(), *expiry)));
    all.held.extend(tail.held.iter().map(|(key, sequence)| (key.clone(), *sequence)));
    for record in all.retained.into_values().flatten() {
        routing.restore_retained(record);
    }
    let mut held: HashMap<Box<str>, HashMap<u16, Sequence, Random>, Random> = HashMap::default();
    for ((client_id, packet_id), sequence) in all.held {
        if let Some(sequence) = sequence {
            held.entry(client_id).or_default().insert(packet_id, sequence);
        }
    }
    for (client_id, expiry) in all.sessions {
        let Some(expiry) = expiry else { continue };
        let client: ClientId = client_id.parse().map_err(|_| StateError::Value { space: SESSIONS })?;
        sessions.restore(client, expiry, held.remove(&client_id).unwrap_or_default());
    }
    Ok(())
}

fn load(store: &StateStore) -> Result<Derived, StateError> {
    let mut derived = Derived::default();
    let mut damaged = None;
    store.load(RETAINED, |_, value| match OwnedRecord::from_bytes(value.to_vec()) {
        Some(record) => {
            let topic = record.publication().map(|publication| publication.topic.into());
            derived.retained.extend(topic.map(|topic| (topic, Some(record))));
        }
        None => damaged = Some(RETAINED),
    })?;
    store.load(SESSIONS, |key, value| match (std::str::from_utf8(key), value.try_into()) {
        (Ok(client_id), Ok(expiry)) => {
            derived.sessions.insert(client_id.into(), Some(u32::from_le_bytes(expiry)));
        }
        _ => damaged = Some(SESSIONS),
    })?;
    store.load(HELD, |key, value| match (split_held_key(key), value.try_into()) {
        (Some(key), Ok(sequence)) => {
            derived.held.insert(key, Some(Sequence(u64::from_le_bytes(sequence))));
        }
        _ => damaged = Some(HELD),
    })?;
    damaged.map_or(Ok(derived), |space| Err(StateError::Value { space }))
}

fn split_held_key(key: &[u8]) -> Option<(Box<str>, u16)> {
    let (rest, packet_id) = key.split_last_chunk()?;
    let client_id = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some((client_id.into(), u16::from_be_bytes(*packet_id)))
}
