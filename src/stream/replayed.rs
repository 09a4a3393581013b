//! What was last read from the journal for clients that are behind, encoded: the next body of the same client comes
//! from there, and so does everything for others that are as far behind, as after a restart.
//!
//! Filled by clients, each with one read at a time; the oldest goes first. Invariant: of the events after a
//! stretch's `start` and up to its `end`, every one that is streamed at all is in its chunk.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use super::chunk::Chunk;
use crate::types::Sequence;

/// A stretch of the journal.
pub struct Stretch {
    pub start: Sequence,
    pub end: Sequence,
    /// None where nothing in it is streamed.
    pub chunk: Option<Chunk>,
}

/// See the module.
pub struct Replayed {
    stretches: Mutex<VecDeque<Arc<Stretch>>>,
    capacity: usize,
}

impl Replayed {
    /// Nothing yet; about `capacity` bytes at most, or one stretch.
    pub const fn new(capacity: usize) -> Self {
        Self { stretches: Mutex::new(VecDeque::new()), capacity }
    }

    /// The stretch that has what follows `cursor`.
    pub fn behind(&self, cursor: Sequence) -> Option<Arc<Stretch>> {
        let stretches = self.stretches.lock();
        stretches.iter().rev().find(|stretch| stretch.start <= cursor && cursor < stretch.end).map(Arc::clone)
    }

    /// Keeps a stretch for others.
    pub fn keep(&self, stretch: Stretch) -> Arc<Stretch> {
        let stretch = Arc::new(stretch);
        let mut stretches = self.stretches.lock();
        stretches.push_back(Arc::clone(&stretch));
        let mut bytes: usize = stretches.iter().map(|stretch| stretch.footprint()).sum();
        while bytes > self.capacity && stretches.len() > 1 {
            bytes -= stretches.pop_front().map_or(0, |oldest| oldest.footprint());
        }
        stretch
    }

    /// Forgets everything: nobody watches.
    pub fn clear(&self) {
        self.stretches.lock().clear();
    }
}

impl Stretch {
    fn footprint(&self) -> usize {
        self.chunk.as_ref().map_or(0, Chunk::footprint) + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(start: u64, end: u64) -> Stretch {
        Stretch { start: Sequence(start), end: Sequence(end), chunk: None }
    }

    #[test]
    fn a_cursor_finds_what_follows_it_as_long_as_that_is_kept() {
        let replayed = Replayed::new(2 * size_of::<Stretch>());
        for (start, end) in [(0, 10), (10, 20)] {
            replayed.keep(stretch(start, end));
        }
        let found = |cursor| replayed.behind(Sequence(cursor)).map(|stretch| stretch.end.0);
        assert_eq!([found(0), found(9), found(10), found(20)], [Some(10), Some(10), Some(20), None]);
        replayed.keep(stretch(30, 40));
        assert_eq!([found(5), found(15), found(25), found(30)], [None, Some(20), None, Some(40)]);
        replayed.clear();
        assert_eq!(found(30), None);
    }
}
