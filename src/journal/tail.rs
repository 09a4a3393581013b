//! The end of the journal in memory: everything not yet written, and as much of what is
//! written as the budget allows, so that readers who keep up need no disk.
//!
//! Invariant: every record above `evicted` that was appended and not given up is here.

use std::{collections::VecDeque, sync::Arc};

use super::batch::Batch;
use crate::types::Sequence;

/// Where a reader finds the records after its position.
pub enum TailRead {
    /// In memory.
    Batch(Arc<Batch>),
    /// On disk only.
    Disk,
    /// There are none yet.
    CaughtUp,
}

/// Batches in memory, oldest first.
pub struct Tail {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    unwritten_bytes: usize,
    written: Sequence,
    evicted: Sequence,
}

impl Tail {
    /// An empty tail behind what a start found.
    pub const fn new(last: Sequence) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, unwritten_bytes: 0, written: last, evicted: last }
    }

    /// Adds a batch that is still to be written.
    pub fn push(&mut self, batch: &Arc<Batch>) {
        self.bytes += batch.footprint();
        self.unwritten_bytes += batch.footprint();
        self.batches.push_back(Arc::clone(batch));
    }

    /// Takes note that `batches`, the oldest unwritten ones, can be read from disk, and lets go
    /// of what `budget` has no room for.
    pub fn set_written(&mut self, batches: &[Arc<Batch>], budget: usize) {
        let Some(last) = batches.last() else { return };
        self.written = last.last();
        self.unwritten_bytes -= batches.iter().map(|batch| batch.footprint()).sum::<usize>();
        while self.bytes > budget
            && let Some(oldest) = self.batches.front()
            && oldest.last() <= self.written
        {
            self.bytes -= oldest.footprint();
            self.evicted = oldest.last();
            self.batches.pop_front();
        }
    }

    /// Takes out everything that is not written.
    pub fn give_up_unwritten(&mut self) -> Vec<Arc<Batch>> {
        let written = self.batches.partition_point(|batch| batch.last() <= self.written);
        self.bytes -= self.unwritten_bytes;
        self.unwritten_bytes = 0;
        self.batches.split_off(written).into()
    }

    /// Every record up to here is on disk, if it is anywhere.
    pub const fn written(&self) -> Sequence {
        self.written
    }

    /// Memory of what is not yet written, in bytes.
    pub const fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// The first record of the oldest unwritten batch that must be synced.
    pub fn first_unwritten_guaranteed(&self) -> Option<Sequence> {
        let written = self.batches.partition_point(|batch| batch.last() <= self.written);
        self.batches.range(written..).find(|batch| batch.guaranteed()).map(|batch| batch.first())
    }

    /// Where the first batch is that reaches beyond `after`.
    pub fn find_after(&self, after: Sequence) -> TailRead {
        if after < self.evicted {
            return TailRead::Disk;
        }
        let is_behind = |at: usize| self.batches.get(at).is_some_and(|batch| batch.last() <= after);
        let at = partition_from_end(self.batches.len(), is_behind);
        self.batches.get(at).map_or(TailRead::CaughtUp, |batch| TailRead::Batch(Arc::clone(batch)))
    }

    /// The batch with the nearest records below `before`, where there is one.
    pub fn find_before(&self, before: Sequence) -> Option<Arc<Batch>> {
        let behind = self.batches.partition_point(|batch| batch.first() < before);
        self.batches.get(behind.checked_sub(1)?).map(Arc::clone)
    }
}

/// The first place below `length` for which `is_behind` does not hold; it holds for all in front of that and for
/// none after it. Searched from the end, in steps that double: a reader that keeps up wants one of the last, and
/// there may be a hundred thousand.
fn partition_from_end(length: usize, is_behind: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high, mut step) = (0, length, 1);
    while low < high {
        let probe = high - step.min(high);
        if is_behind(probe) {
            low = probe + 1;
            break;
        }
        high = probe;
        step *= 2;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if is_behind(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_from_the_end() {
        for length in 0..70 {
            for place in 0..=length {
                assert_eq!(partition_from_end(length, |at| at < place), place, "of {length}");
            }
        }
    }
}
