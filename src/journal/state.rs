//! State derived from the journal, checkpointed so that a start replays only the tail.
//!
//! Nothing here is a source of truth: everything can be derived again from the records, except
//! what lies in segments that retention has removed. That is why a checkpoint is written, and
//! synced, with the sequence it is complete up to, in one atomic batch; and why the cursor that
//! a checkpoint stands for may only advance once [`StateStore::commit`] has returned.

use std::{collections::BTreeMap, ops::Bound, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use uuid::Uuid;

use crate::types::Sequence;

const META: &str = "meta";
const JOURNAL_KEY: &str = "journal";

/// Size of the store's own log on disk, in bytes: the least that it allows.
const STORE_LOG_BYTES: u64 = 64 << 20;

/// Changes of one space that are in memory before they are written to a table, in bytes. The
/// store's default, 64 MiB for each of a few spaces, is more than the whole bridge may take; and what a device that
/// is connected and says nothing has in it stays there for as long.
const SPACE_MEMORY_BYTES: u64 = 1 << 20;

/// Why derived state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The embedded store refused.
    #[error("the state store failed: {0}")]
    Store(#[from] fjall::Error),
    /// A value is not in the form that this program writes.
    #[error("the state store holds an unreadable value in {space}")]
    Value {
        /// Which keyspace.
        space: &'static str,
    },
}

/// Who keeps state here. Each has spaces and a position of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// Sessions, queues and retained messages.
    Dispatcher,
    /// What is known of devices.
    Devices,
    /// What messages refer to that came before them.
    Lessons,
    /// The lives whose stream ids are valid.
    Streams,
    /// Keys of publications that came by HTTP.
    Publishing,
    /// Events that have become messages to devices.
    Egress,
}

impl Consumer {
    const fn position_key(self) -> &'static str {
        match self {
            Self::Dispatcher => "checkpoint",
            Self::Devices => "devices",
            Self::Lessons => "lessons",
            Self::Streams => "streams",
            Self::Publishing => "publishing",
            Self::Egress => "egress",
        }
    }
}

/// Changes that belong together, complete up to one sequence.
#[derive(Debug, Default)]
pub struct Checkpoint {
    spaces: BTreeMap<&'static str, Vec<Change>>,
}

/// A key with its new value, or none where it is removed.
type Change = (Vec<u8>, Option<Vec<u8>>);

impl Checkpoint {
    /// Sets a key of a space, or removes it.
    pub fn set(&mut self, space: &'static str, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.spaces.entry(space).or_default().push((key.into(), value));
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The embedded store.
pub struct StateStore {
    database: Database,
    meta: Keyspace,
}

impl StateStore {
    /// Opens the store of one journal. State of another journal is removed: its sequences mean
    /// nothing here.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn open(path: &Path, journal: Uuid, cache_bytes: u64) -> Result<Self, StateError> {
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .worker_threads(1)
            .max_journaling_size(STORE_LOG_BYTES)
            .open()?;
        let meta = database.keyspace(META, space_options)?;
        let store = Self { database, meta };
        if store.meta.get(JOURNAL_KEY)?.is_none_or(|id| &*id != journal.as_bytes()) {
            store.forget_everything()?;
            store.meta.insert(JOURNAL_KEY, journal.as_bytes().as_slice())?;
            store.database.persist(PersistMode::SyncAll)?;
        }
        Ok(store)
    }

    /// Everything up to here is in the state that `consumer` keeps.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn position(&self, consumer: Consumer) -> Result<Sequence, StateError> {
        let Some(value) = self.meta.get(consumer.position_key())? else { return Ok(Sequence::ZERO) };
        let bytes = value.as_ref().try_into().map_err(|_| StateError::Value { space: META })?;
        Ok(Sequence(u64::from_le_bytes(bytes)))
    }

    /// Writes changes and the position they are complete up to, atomically, and syncs. Blocks.
    ///
    /// # Errors
    /// [`StateError`]. A later start then finds all of the changes or none. After a failed sync
    /// the store refuses every further commit.
    pub fn commit(&self, consumer: Consumer, checkpoint: Checkpoint, complete_to: Sequence) -> Result<(), StateError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (space, mut changes) in checkpoint.spaces {
            let space = self.space(space)?;
            // The store puts them in order one by one, and does so again at a start that finds them in its log: that
            // takes several times as long where one is not near the next.
            changes.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(&space, key, value),
                    None => batch.remove(&space, key),
                }
            }
        }
        batch.insert(&self.meta, consumer.position_key(), complete_to.0.to_le_bytes().as_slice());
        Ok(batch.commit()?)
    }

    /// Visits every key and value of a space, in the order of keys.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn load(&self, space: &'static str, mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        for entry in self.space(space)?.iter() {
            let (key, value) = entry.into_inner()?;
            visit(&key, &value);
        }
        Ok(())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.space(space)?.get(key)?.map(|value| value.to_vec()))
    }

    /// The first keys of a space behind `after`, with their values, in order.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn behind(&self, space: &'static str, after: &[u8], limit: usize) -> Result<Vec<Pair>, StateError> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let pairs = self.space(space)?.range::<&[u8], _>(range).take(limit).map(|entry| {
            let (key, value) = entry.into_inner()?;
            Ok((key.to_vec(), value.to_vec()))
        });
        pairs.collect()
    }

    fn space(&self, name: &str) -> Result<Keyspace, StateError> {
        Ok(self.database.keyspace(name, space_options)?)
    }

    /// Not atomic, and need not be: the identity is among what goes, and the new one is written
    /// and synced last, so a start that finds this half done does it again.
    fn forget_everything(&self) -> Result<(), StateError> {
        for name in self.database.list_keyspace_names() {
            self.space(&name)?.clear()?;
        }
        Ok(())
    }
}

fn space_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(SPACE_MEMORY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "retained";
    const JOURNAL: Uuid = Uuid::from_u128(1);

    fn open(path: &Path, journal: Uuid) -> StateStore {
        StateStore::open(path, journal, 1 << 20).unwrap()
    }

    fn all(store: &StateStore) -> Vec<(Vec<u8>, usize)> {
        let mut found = Vec::new();
        store.load(SPACE, |key, value| found.push((key.to_vec(), value.len()))).unwrap();
        found
    }

    fn set(store: &StateStore, key: &str, value: Option<Vec<u8>>, complete_to: u64) {
        let mut checkpoint = Checkpoint::default();
        checkpoint.set(SPACE, key, value);
        store.commit(Consumer::Dispatcher, checkpoint, Sequence(complete_to)).unwrap();
    }

    #[test]
    fn a_checkpoint_and_its_position_are_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), JOURNAL);
        assert_eq!(store.position(Consumer::Dispatcher).unwrap(), Sequence::ZERO);
        set(&store, "b", Some(vec![0; 2]), 7);
        set(&store, "a", Some(vec![0; 1]), 8);
        set(&store, "b", None, 9);
        drop(store);
        let store = open(directory.path(), JOURNAL);
        assert_eq!(store.position(Consumer::Dispatcher).unwrap(), Sequence(9));
        assert_eq!(all(&store), [(b"a".to_vec(), 1)]);
    }

    #[test]
    fn a_checkpoint_without_changes_moves_the_position() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), JOURNAL);
        store.commit(Consumer::Dispatcher, Checkpoint::default(), Sequence(5)).unwrap();
        drop(store);
        assert_eq!(open(directory.path(), JOURNAL).position(Consumer::Dispatcher).unwrap(), Sequence(5));
    }

    #[test]
    fn state_of_another_journal_is_forgotten_and_what_follows_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        set(&open(directory.path(), JOURNAL), "old", Some(vec![0; 9]), 7);
        let other = Uuid::from_u128(2);
        let store = open(directory.path(), other);
        assert_eq!((store.position(Consumer::Dispatcher).unwrap(), all(&store)), (Sequence::ZERO, vec![]));
        // More than fits in memory, so that some of it goes to tables.
        let keys: Vec<_> = (0..12).map(|n| format!("{n:02}")).collect();
        for key in &keys {
            set(&store, key, Some(vec![1; 1 << 20]), 8);
        }
        drop(store);
        for _ in 0..2 {
            let store = open(directory.path(), other);
            let expected: Vec<_> = keys.iter().map(|key| (key.clone().into_bytes(), 1 << 20)).collect();
            assert_eq!((store.position(Consumer::Dispatcher).unwrap(), all(&store)), (Sequence(8), expected));
        }
    }

    #[test]
    fn consumers_have_positions_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), JOURNAL);
        set(&store, "a", Some(vec![0; 1]), 7);
        let mut checkpoint = Checkpoint::default();
        for name in ["p1", "p2", "p3"] {
            checkpoint.set("devices", name, Some(name.into()));
        }
        store.commit(Consumer::Devices, checkpoint, Sequence(5)).unwrap();
        assert_eq!(store.position(Consumer::Dispatcher).unwrap(), Sequence(7));
        assert_eq!(store.position(Consumer::Devices).unwrap(), Sequence(5));
        assert_eq!(store.get("devices", b"p2").unwrap().as_deref(), Some(&b"p2"[..]));
        assert_eq!(store.get("devices", b"p").unwrap(), None);
        let keys = |after: &[u8]| -> Vec<_> {
            store.behind("devices", after, 2).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b""), [b"p1", b"p2"]);
        assert_eq!(keys(b"p2"), [b"p3"]);
    }
}
