//! The end of the journal in memory: everything not yet written, and as much of what is
//! written as the budget allows, so that readers who keep up need no disk.
//!
//! Of what no message is in, less is kept: clients come and go, and once that has been followed, nobody asks for it.
//!
//! Invariant: every record above `evicted` that was appended and not given up is here.

use std::{collections::VecDeque, sync::Arc};

use super::batch::Batch;
use crate::types::Sequence;

/// Bytes above which batches without messages go, once they are the oldest: what a thousand clients a second write in
/// some seconds. Who is further behind reads from disk.
const QUIET_BYTES: usize = 1 << 20;

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
        while let Some(oldest) = self.batches.front()
            && (self.bytes > budget || (self.bytes > QUIET_BYTES && !oldest.has_messages()))
            && oldest.last() <= self.written
        {
            self.bytes -= oldest.footprint();
            self.evicted = oldest.last();
            self.batches.pop_front();
        }
    }

    /// Puts one batch in the place of those whose records it has, unless some of them are gone already. They are
    /// written.
    pub fn replace(&mut self, of: &[Arc<Batch>], by: &Arc<Batch>) {
        let start = self.batches.partition_point(|batch| batch.last() < by.first());
        let end = start + of.len();
        let is_whole = end <= self.batches.len()
            && self.batches.range(start..end).zip(of).all(|(batch, other)| Arc::ptr_eq(batch, other));
        let Some(place) = self.batches.get_mut(start).filter(|_| is_whole) else { return };
        *place = Arc::clone(by);
        self.batches.drain(start + 1..end);
        self.bytes += by.footprint();
        self.bytes -= of.iter().map(|batch| batch.footprint()).sum::<usize>();
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
    use super::{
        super::{
            batch::BatchBuilder,
            gather::{Gathered, Gathering},
            record::{Origin, Record, Salt, StateChange},
        },
        *,
    };
    use crate::types::{Micros, Publication, PublishProperties, Qos};

    fn batch(first: u64, records: usize, bytes: usize) -> Arc<Batch> {
        let mut builder = BatchBuilder::default();
        (0..records).for_each(|_| builder.push(&Record::State(StateChange::new(&vec![0; bytes], true))));
        Arc::new(builder.seal(Sequence(first), Micros::MIN, Salt(1), None))
    }

    fn footprint(tail: &Tail) -> usize {
        tail.batches.iter().map(|batch| batch.footprint()).sum()
    }

    fn sequences(tail: &Tail, mut after: Sequence) -> Vec<u64> {
        let mut found = Vec::new();
        while let TailRead::Batch(batch) = tail.find_after(after) {
            found.extend(batch.after(after).filter_map(|record| record.sequence()).map(|sequence| sequence.0));
            after = batch.last();
        }
        found
    }

    #[test]
    fn small_batches_become_one_with_the_same_records() {
        const BUDGET: usize = 1 << 20;
        let (mut tail, mut gathering, mut next) = (Tail::new(Sequence(0)), Gathering::default(), 1);
        let mut batches = Vec::new();
        // A large one in between is left alone, and so is what stands alone behind it.
        for (count, bytes) in [(150, 200), (1, 10_000), (1, 200)] {
            for _ in 0..count {
                batches.push(batch(next, 2, bytes));
                next += 2;
            }
        }
        batches.iter().for_each(|batch| tail.push(batch));
        let unwritten = batch(next, 1, 200);
        tail.push(&unwritten);
        tail.set_written(&batches, BUDGET);
        let before = tail.bytes;
        let replace = |tail: &mut Tail, Gathered { of, batch }: Gathered| tail.replace(&of, &batch);
        gathering.add(&batches, |gathered| replace(&mut tail, gathered));
        assert_eq!(tail.batches.len(), 6, "the first 150 are three batches now");
        assert!(tail.bytes < before);
        assert_eq!(tail.bytes, footprint(&tail));
        for after in [0, 1, 2, 77, 299, 300, next] {
            assert_eq!(sequences(&tail, Sequence(after)), (after + 1..=next).collect::<Vec<_>>(), "after {after}");
        }
        assert_eq!(tail.find_before(Sequence(50)).map(|batch| batch.first()), Some(Sequence(1)));
        assert_eq!(tail.give_up_unwritten().len(), 1);
        assert_eq!((tail.bytes, tail.unwritten_bytes), (footprint(&tail), 0));
    }

    #[test]
    fn of_what_no_message_is_in_little_is_kept() {
        const BUDGET: usize = 8 * QUIET_BYTES;
        let (mut tail, mut gathering) = (Tail::new(Sequence(0)), Gathering::default());
        let mut push = |tail: &mut Tail, batch: Arc<Batch>| {
            tail.push(&batch);
            tail.set_written(&[Arc::clone(&batch)], BUDGET);
            gathering.add(&[batch], |Gathered { of, batch }| tail.replace(&of, &batch));
            tail.bytes
        };
        let count = 4 * QUIET_BYTES as u64 / 1_000;
        for sequence in 1..=count {
            assert!(push(&mut tail, batch(sequence, 1, 1_000)) <= QUIET_BYTES);
        }
        assert!(matches!(tail.find_after(Sequence(0)), TailRead::Disk));
        let kept = tail.evicted;
        assert_eq!(sequences(&tail, kept), (kept.0 + 1..=count).collect::<Vec<_>>());
        // A message in front keeps what is behind it.
        let payload = &*vec![0; 1_000];
        let message = Publication {
            sequence: Sequence::ZERO,
            received: Micros::MIN,
            topic: "t",
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            guaranteed: true,
            client_id: "c",
            properties: PublishProperties::default(),
        };
        let mut builder = BatchBuilder::default();
        builder.push(&Record::Publication { publication: message, origin: Origin::Plain });
        push(&mut tail, Arc::new(builder.seal(Sequence(count + 1), Micros::MIN, Salt(1), None)));
        for sequence in count + 2..=2 * count {
            push(&mut tail, batch(sequence, 1, 1_000));
        }
        assert!(tail.evicted <= Sequence(count) && tail.bytes > QUIET_BYTES);
    }

    #[test]
    fn what_is_evicted_already_is_not_put_back() {
        let (mut tail, mut gathering) = (Tail::new(Sequence(0)), Gathering::default());
        let batches: Vec<_> = (0..200).map(|number| batch(number + 1, 1, 200)).collect();
        batches.iter().for_each(|batch| tail.push(batch));
        tail.set_written(&batches, 0);
        gathering.add(&batches, |Gathered { of, batch }| tail.replace(&of, &batch));
        assert!(tail.batches.is_empty() && tail.bytes == 0);
    }

    #[test]
    fn a_place_is_found_from_the_end() {
        for length in 0..70 {
            for place in 0..=length {
                assert_eq!(partition_from_end(length, |at| at < place), place, "of {length}");
            }
        }
    }
}
