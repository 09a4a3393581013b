//! Named positions that hold retention back.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::types::Sequence;

/// The position of a consumer that must not lose data: records above it are kept until it
/// advances, as far as the journal's maximum size allows appending at all.
#[derive(Debug, Clone)]
pub struct Cursor {
    name: &'static str,
    position: Arc<AtomicU64>,
}

impl Cursor {
    /// What it was registered as.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The last record that is not needed any more.
    #[must_use]
    pub fn position(&self) -> Sequence {
        Sequence(self.position.load(Ordering::Acquire))
    }

    /// Moves it; also back, where the consumer knows better.
    pub fn set(&self, position: Sequence) {
        self.position.store(position.0, Ordering::Release);
    }
}

/// All cursors of a journal.
#[derive(Debug, Default)]
pub struct Cursors {
    all: Mutex<Vec<(&'static str, Weak<AtomicU64>)>>,
    complete: AtomicBool,
}

impl Cursors {
    /// Registers a consumer; it counts until the last clone of its cursor is dropped.
    pub fn register(&self, name: &'static str, position: Sequence) -> Cursor {
        let position = Arc::new(AtomicU64::new(position.0));
        self.all.lock().push((name, Arc::downgrade(&position)));
        Cursor { name, position }
    }

    /// Every consumer of this start has registered: what none of them needs may go.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// The lowest position; the end of numbers when there is no consumer; zero as long as some
    /// may not have registered yet.
    pub fn lowest(&self) -> Sequence {
        if !self.complete.load(Ordering::Acquire) {
            return Sequence::ZERO;
        }
        let mut cursors = self.all.lock();
        cursors.retain(|(_, cursor)| cursor.strong_count() > 0);
        let positions = cursors.iter().filter_map(|(_, cursor)| cursor.upgrade());
        Sequence(positions.map(|position| position.load(Ordering::Acquire)).min().unwrap_or(u64::MAX))
    }

    /// Every cursor's name and position.
    pub fn all(&self) -> Vec<(&'static str, Sequence)> {
        let cursors = self.all.lock();
        let position = |cursor: &Weak<AtomicU64>| cursor.upgrade().map(|at| Sequence(at.load(Ordering::Acquire)));
        cursors.iter().filter_map(|(name, cursor)| Some((*name, position(cursor)?))).collect()
    }
}
