//! The durable queue of one session: every message that needs an identifier and is not acknowledged,
//! numbered in the order of the journal.
//!
//! Kept in chunks, each a row of the store: a chunk is written again while it is small and grows, and
//! removed once everything in it is acknowledged.

use std::collections::{BTreeSet, VecDeque};

use super::super::{
    mailbox::{Entry, Packed},
    window::Acknowledged,
};

/// Size at which a chunk is closed, in bytes: what a checkpoint writes again for one new message.
const CHUNK_BYTES: usize = 4 << 10;

/// A stretch of the queue.
#[derive(Debug)]
struct Chunk {
    first: u64,
    entries: Packed,
    /// Whether the store has an older form of it, or none.
    changed: bool,
    /// Whether the store has any form of it.
    stored: bool,
}

impl Chunk {
    const fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

/// What must be done with a message whose client is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is to be sent, perhaps again.
    Open,
    /// The client has received it: only the PUBREL is due.
    Received,
    /// It is done with.
    Done,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    /// The first number that is not acknowledged.
    base: u64,
    /// The number that the next message gets.
    next: u64,
    chunks: VecDeque<Chunk>,
    /// Acknowledged numbers above `base`.
    beyond: BTreeSet<u64>,
    /// Numbers whose messages the client has received.
    received: BTreeSet<u64>,
    /// Rows that the store has and the queue needs no more.
    obsolete: Vec<u64>,
}

impl Queue {
    /// A queue whose first message gets this number.
    pub fn starting_at(base: u64) -> Self {
        Self { base, next: base, ..Self::default() }
    }

    /// A queue of an earlier life, without its chunks.
    pub fn restored(base: u64, beyond: BTreeSet<u64>, received: BTreeSet<u64>) -> Self {
        Self { beyond, received, ..Self::starting_at(base) }
    }

    /// Adds the next chunk of an earlier life; whether it fits there.
    pub fn restore_chunk(&mut self, first: u64, entries: Packed) -> bool {
        let fits = self.chunks.back().map_or(first <= self.base, |last| last.end() == first);
        let chunk = Chunk { first, entries, changed: false, stored: true };
        self.next = self.next.max(chunk.end());
        self.chunks.push_back(chunk);
        fits
    }

    /// Adds a message.
    pub fn push(&mut self, entry: &Entry) {
        let number = self.next;
        let open = self.chunks.back_mut().filter(|chunk| chunk.entries.bytes() < CHUNK_BYTES);
        match open {
            Some(chunk) => {
                chunk.entries.push(entry);
                chunk.changed = true;
            }
            None => {
                let mut entries = Packed::default();
                entries.push(entry);
                self.chunks.push_back(Chunk { first: number, entries, changed: true, stored: false });
            }
        }
        self.next += 1;
    }

    /// Takes what the client has acknowledged into account.
    pub fn acknowledge(&mut self, acknowledged: &Acknowledged) {
        self.advance_to(acknowledged.below);
        acknowledged.beyond.iter().for_each(|&number| self.finish(number));
    }

    /// One message is done with.
    pub fn finish(&mut self, number: u64) {
        if number >= self.base && number < self.next {
            self.received.remove(&number);
            self.beyond.insert(number);
            self.advance_to(self.base);
        }
    }

    /// The client has received a message.
    pub fn receive(&mut self, number: u64) {
        if number >= self.base && number < self.next && !self.beyond.contains(&number) {
            self.received.insert(number);
        }
    }

    /// Everything below `to`, and what follows it without a gap, is done with.
    fn advance_to(&mut self, to: u64) {
        self.base = to.clamp(self.base, self.next);
        while self.beyond.first().is_some_and(|&number| number <= self.base) {
            if let Some(number) = self.beyond.pop_first() {
                self.base = self.base.max(number + 1);
            }
        }
        while self.received.first().is_some_and(|&number| number < self.base) {
            self.received.pop_first();
        }
        while let Some(chunk) = self.chunks.front()
            && chunk.end() <= self.base
        {
            if chunk.stored {
                self.obsolete.push(chunk.first);
            }
            self.chunks.pop_front();
        }
    }

    /// What is not acknowledged, with what is acknowledged in between.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Entry, Standing)> + '_ {
        self.chunks
            .iter()
            .flat_map(|chunk| (chunk.first..).zip(chunk.entries.iter()))
            .filter(|(number, _)| *number >= self.base)
            .map(|(number, entry)| {
                let standing = if self.beyond.contains(&number) {
                    Standing::Done
                } else if self.received.contains(&number) {
                    Standing::Received
                } else {
                    Standing::Open
                };
                (number, entry, standing)
            })
    }

    /// The first number that is not acknowledged.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// The number that the next message gets.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Acknowledged numbers above [`Queue::base`].
    pub const fn beyond(&self) -> &BTreeSet<u64> {
        &self.beyond
    }

    /// Numbers whose messages the client has received.
    pub const fn received(&self) -> &BTreeSet<u64> {
        &self.received
    }

    /// The number behind the first `receive_maximum` messages that are open.
    pub fn reach(&self, receive_maximum: u16) -> u64 {
        let open = self.iter().filter(|(_, _, standing)| *standing == Standing::Open);
        open.take(usize::from(receive_maximum)).last().map_or(self.base, |(number, ..)| number + 1)
    }

    /// Rows of chunks that the store lacks, and what they hold; or nothing where one is to be removed.
    pub fn take_rows(&mut self, mut row: impl FnMut(u64, Option<Vec<u8>>)) {
        self.obsolete.drain(..).for_each(|first| row(first, None));
        for chunk in self.chunks.iter_mut().rev().take_while(|chunk| chunk.changed) {
            let mut value = Vec::with_capacity(chunk.entries.bytes() + 20);
            chunk.entries.write(&mut value);
            (chunk.changed, chunk.stored) = (false, true);
            row(chunk.first, Some(value));
        }
    }

    /// Rows of all chunks that the store may have.
    pub fn rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.obsolete.iter().copied().chain(self.chunks.iter().filter(|chunk| chunk.stored).map(|chunk| chunk.first))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        mqtt::mailbox::Identifiers,
        types::{Qos, Sequence},
    };

    fn entry(sequence: u64) -> Entry {
        Entry {
            sequence: Sequence(sequence),
            qos: Qos::ExactlyOnce,
            retain: false,
            from_retained: false,
            group: None,
            void: false,
            dup: false,
            size: 1,
            identifiers: Identifiers::new(),
        }
    }

    fn numbers(queue: &Queue) -> Vec<(u64, Standing)> {
        queue.iter().map(|(number, _, standing)| (number, standing)).collect()
    }

    #[test]
    fn messages_are_done_with_in_any_order() {
        let mut queue = Queue::default();
        (10..15).for_each(|sequence| queue.push(&entry(sequence)));
        queue.receive(1);
        queue.acknowledge(&Acknowledged { below: 1, beyond: vec![3] });
        let (open, done) = (Standing::Open, Standing::Done);
        assert_eq!(numbers(&queue), [(1, Standing::Received), (2, open), (3, done), (4, open)]);
        assert_eq!((queue.reach(1), queue.reach(2), queue.reach(9)), (3, 5, 5));
        queue.finish(1);
        queue.finish(2);
        assert_eq!((queue.base(), numbers(&queue)), (4, vec![(4, open)]));
        queue.finish(9);
        queue.acknowledge(&Acknowledged { below: 9, beyond: vec![] });
        assert_eq!((queue.base(), queue.next()), (5, 5), "never beyond what there is");
    }

    #[test]
    fn the_store_has_after_every_checkpoint_what_the_queue_has() {
        let mut queue = Queue::default();
        let mut rows = BTreeMap::new();
        let mut most = 0;
        for step in 0..400_u64 {
            (0..step % 97).for_each(|n| queue.push(&entry(step * 1000 + n)));
            let acknowledged = queue.base() + (queue.next() - queue.base()) * (step % 5) / 20;
            queue.acknowledge(&Acknowledged { below: acknowledged, beyond: vec![acknowledged + 2] });
            queue.take_rows(|first, value| match value {
                Some(value) => drop(rows.insert(first, value)),
                None => assert!(rows.remove(&first).is_some()),
            });
            let mut restored = Queue::restored(queue.base(), queue.beyond().clone(), queue.received().clone());
            for (first, value) in &rows {
                assert!(restored.restore_chunk(*first, Packed::read(value).unwrap()));
            }
            assert!(restored.iter().eq(queue.iter()), "step {step}");
            assert_eq!(queue.rows().collect::<Vec<_>>(), rows.keys().copied().collect::<Vec<_>>());
            most = most.max(rows.len());
            assert!(restored.next() == queue.next() || queue.base() == queue.next());
        }
        assert!(most > 1, "several chunks at a time");
    }
}
