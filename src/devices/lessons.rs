//! What some publications say of those behind them, and mapping must know: Sparkplug birth certificates.
//!
//! Every reader of the journal teaches the mapper what it passes. A start must know as much as the life before it, before
//! anyone maps: so what was learned is in the state store, complete up to a record, and a start reads on from there.

use std::sync::Arc;

use crate::{
    journal::{Checkpoint, Consumer, Journal, ReadError, Record, Slice, StateError, StateStore, Watermark},
    limits,
    types::{EventMapper, Sequence},
};

/// Where lessons are in the store.
const SPACE: &str = "lessons";

/// Why it is not known what the life before knew.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// The store cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

/// The mapper's knowledge in the store.
pub struct Lessons {
    store: Arc<StateStore>,
    /// What the store is complete up to.
    stored: Sequence,
}

impl Lessons {
    /// Teaches the mapper what the life before knew: what the store has, and what durable records say behind that. The
    /// first start of a version that keeps this reads all there is. Blocks.
    ///
    /// # Errors
    /// [`RecallError`]
    pub fn recall(journal: &Journal, mapper: &dyn EventMapper, store: Arc<StateStore>) -> Result<Self, RecallError> {
        let stored = store.position(Consumer::Lessons)?;
        let mut is_whole = true;
        store.load(SPACE, |key, value| is_whole &= mapper.remember(key, value))?;
        if !is_whole {
            return Err(StateError::Value { space: SPACE }.into());
        }
        let mut reader = journal.reader(stored, Watermark::Durable);
        while reader.position() < journal.watermark(Watermark::Durable) {
            match reader.read_disk() {
                Ok(Some(slice)) => Slice::records(&slice).for_each(|record| learn(mapper, &record)),
                Ok(None) => break,
                // Whoever reads it for its events says so.
                Err(error) if error.is_loss() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut lessons = Self { store, stored };
        if let Some(checkpoint) = lessons.changes(mapper, reader.position()) {
            lessons.store.commit(Consumer::Lessons, checkpoint, reader.position())?;
        }
        Ok(lessons)
    }

    /// What was learned since the last time, to be stored as complete up to `position`; none when that is not worth a write.
    pub fn changes(&mut self, mapper: &dyn EventMapper, position: Sequence) -> Option<Checkpoint> {
        let learned = mapper.take_learned();
        if learned.is_empty() && position.0.saturating_sub(self.stored.0) < limits::DEVICES_CHECKPOINT_RECORDS {
            return None;
        }
        let mut checkpoint = Checkpoint::default();
        for (key, value) in learned {
            checkpoint.set(SPACE, key, value);
        }
        self.stored = position;
        Some(checkpoint)
    }
}

/// Learns what a record says of those behind it.
pub fn learn(mapper: &dyn EventMapper, record: &Record<'_>) {
    if let Record::Publication { publication, .. } = record {
        mapper.learn(publication);
    }
}
