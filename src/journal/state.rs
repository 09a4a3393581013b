//! State derived from the journal, checkpointed so that a start replays only the tail.
//!
//! Nothing here is a source of truth: everything can be derived again from the records, except
//! what lies in segments that retention has removed. That is why a checkpoint is written, and
//! synced, with the sequence it is complete up to, in one atomic batch; and why the cursor that
//! a checkpoint stands for may only advance once [`StateStore::commit`] has returned.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use uuid::Uuid;

use crate::types::Sequence;

const META: &str = "meta";
const JOURNAL_KEY: &str = "journal";
const CHECKPOINT_KEY: &str = "checkpoint";

/// Size of the store's own log on disk, in bytes.
const STORE_LOG_BYTES: u64 = 64 << 20;

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

/// Changes that belong together, complete up to one sequence.
#[derive(Debug, Default)]
pub struct Checkpoint {
    changes: Vec<(&'static str, Vec<u8>, Option<Vec<u8>>)>,
}

impl Checkpoint {
    /// Sets a key of a space, or removes it.
    pub fn set(&mut self, space: &'static str, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.changes.push((space, key.into(), value));
    }
}

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
        let meta = database.keyspace(META, KeyspaceCreateOptions::default)?;
        let store = Self { database, meta };
        if store.meta.get(JOURNAL_KEY)?.is_none_or(|id| &*id != journal.as_bytes()) {
            store.forget_everything()?;
            store.meta.insert(JOURNAL_KEY, journal.as_bytes().as_slice())?;
            store.database.persist(PersistMode::SyncAll)?;
        }
        Ok(store)
    }

    /// Everything up to here is in the store.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn position(&self) -> Result<Sequence, StateError> {
        let Some(value) = self.meta.get(CHECKPOINT_KEY)? else { return Ok(Sequence::ZERO) };
        let bytes = value.as_ref().try_into().map_err(|_| StateError::Value { space: META })?;
        Ok(Sequence(u64::from_le_bytes(bytes)))
    }

    /// Writes changes and the position they are complete up to, atomically, and syncs. Blocks.
    ///
    /// # Errors
    /// [`StateError`]; nothing has changed then, as far as a later start is concerned.
    pub fn commit(&self, checkpoint: Checkpoint, complete_to: Sequence) -> Result<(), StateError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (space, key, value) in checkpoint.changes {
            let space = self.space(space)?;
            match value {
                Some(value) => batch.insert(&space, key, value),
                None => batch.remove(&space, key),
            }
        }
        batch.insert(&self.meta, CHECKPOINT_KEY, complete_to.0.to_le_bytes().as_slice());
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

    fn space(&self, name: &str) -> Result<Keyspace, StateError> {
        Ok(self.database.keyspace(name, KeyspaceCreateOptions::default)?)
    }

    fn forget_everything(&self) -> Result<(), StateError> {
        for name in self.database.list_keyspace_names() {
            self.space(&name)?.clear()?;
        }
        Ok(())
    }
}
