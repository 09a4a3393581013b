//! What waits for a session, in as few bytes as it takes: a reference to a journal record and how
//! it is to be delivered, never a payload. Three to five bytes each where little happens between
//! one and the next, so that a hundred thousand of them fit into half a megabyte.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::{
    routing::GroupId,
    varint::{read_varint, unzigzag, write_varint, zigzag},
};
use crate::{
    journal::OwnedRecord,
    types::{Qos, Sequence},
};

const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const FROM_RETAINED: u8 = 1 << 3;
const IDENTIFIERS: u8 = 1 << 4;
const SHARED: u8 = 1 << 5;
const VOID: u8 = 1 << 6;
const DUP: u8 = 1 << 7;

/// Identifiers of subscriptions; seldom more than one.
pub type Identifiers = SmallVec<[u32; 4]>;

/// How a message is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record's place in the journal.
    pub sequence: Sequence,
    /// The QoS it is delivered with.
    pub qos: Qos,
    /// The retain flag it is delivered with.
    pub retain: bool,
    /// Whether it was a retained message already when the subscription was made: then its record may
    /// be older than the journal.
    pub from_retained: bool,
    /// The shared subscription that it came through: another member may get it instead.
    pub group: Option<GroupId>,
    /// Whether another member gets it instead: it takes its number and nothing else.
    pub void: bool,
    /// Whether it may have been sent in an earlier life.
    pub dup: bool,
    /// Bytes of topic, properties and payload, for the queue's limit.
    pub size: u32,
    /// Identifiers of the subscriptions that it matched.
    pub identifiers: Identifiers,
}

/// A message on its way to a client.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// How.
    pub entry: Entry,
    /// The message itself, where it does not lie in the journal.
    pub record: Option<Arc<OwnedRecord>>,
}

/// A queue of entries, each encoded against the one before it.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    /// Where the first entry starts.
    head: usize,
    count: usize,
    /// The sequence that the first entry is encoded against.
    before_first: u64,
    /// The last entry's sequence.
    last: u64,
}

impl Packed {
    /// Adds an entry at the end.
    pub fn push(&mut self, entry: &Entry) {
        let flag = |condition, flag| if condition { flag } else { 0 };
        self.bytes.push(
            u8::from(entry.qos)
                | flag(entry.retain, RETAIN)
                | flag(entry.from_retained, FROM_RETAINED)
                | flag(!entry.identifiers.is_empty(), IDENTIFIERS)
                | flag(entry.group.is_some(), SHARED)
                | flag(entry.void, VOID)
                | flag(entry.dup, DUP),
        );
        // Mostly forward; backward where retained messages come in between.
        write_varint(&mut self.bytes, zigzag(entry.sequence.0.wrapping_sub(self.last).cast_signed()));
        write_varint(&mut self.bytes, u64::from(entry.size));
        if let Some(group) = entry.group {
            write_varint(&mut self.bytes, group.0);
        }
        if !entry.identifiers.is_empty() {
            write_varint(&mut self.bytes, entry.identifiers.len() as u64);
            entry.identifiers.iter().for_each(|&identifier| write_varint(&mut self.bytes, u64::from(identifier)));
        }
        self.last = entry.sequence.0;
        self.count += 1;
    }

    /// Takes the first entry.
    pub fn pop(&mut self) -> Option<Entry> {
        let mut reader = self.bytes.get(self.head..)?;
        let entry = read(&mut reader, self.before_first)?;
        self.head = self.bytes.len() - reader.len();
        self.before_first = entry.sequence.0;
        self.count -= 1;
        if self.count == 0 {
            *self = Self::default();
        } else if self.head > self.bytes.len() / 2 && self.head >= COMPACT_BYTES {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        Some(entry)
    }

    /// The first entry.
    #[must_use]
    pub fn front(&self) -> Option<Entry> {
        self.iter().next()
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        let mut reader = self.bytes.get(self.head..).unwrap_or_default();
        let mut before = self.before_first;
        std::iter::from_fn(move || {
            let entry = read(&mut reader, before)?;
            before = entry.sequence.0;
            Some(entry)
        })
    }

    /// The sequence of the entry that was added last, also after it was taken.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        Sequence(self.last)
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that the entries take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// The entries as they are stored.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.count as u64);
        write_varint(out, self.before_first);
        out.extend_from_slice(self.bytes.get(self.head..).unwrap_or_default());
    }

    /// Takes back what [`Packed::write`] has written; none if it is damaged.
    #[must_use]
    pub fn read(mut from: &[u8]) -> Option<Self> {
        let count = usize::try_from(read_varint(&mut from)?).ok()?;
        let before_first = read_varint(&mut from)?;
        let mut packed = Self { bytes: from.to_vec(), head: 0, count, before_first, last: before_first };
        packed.last = packed.iter().last().map_or(before_first, |entry| entry.sequence.0);
        (packed.iter().count() == count).then_some(packed)
    }
}

/// Taken entries leave bytes behind; they are given back in pieces of at least this.
const COMPACT_BYTES: usize = 4 << 10;

fn read(from: &mut &[u8], before: u64) -> Option<Entry> {
    let (&flags, rest) = from.split_first()?;
    *from = rest;
    let sequence = before.wrapping_add(unzigzag(read_varint(from)?).cast_unsigned());
    let size = u32::try_from(read_varint(from)?).ok()?;
    let group = if flags & SHARED == 0 { None } else { Some(GroupId(read_varint(from)?)) };
    let mut identifiers = Identifiers::new();
    if flags & IDENTIFIERS != 0 {
        for _ in 0..read_varint(from)? {
            identifiers.push(u32::try_from(read_varint(from)?).ok()?);
        }
    }
    Some(Entry {
        sequence: Sequence(sequence),
        qos: Qos::try_from(flags & QOS_BITS).ok()?,
        retain: flags & RETAIN != 0,
        from_retained: flags & FROM_RETAINED != 0,
        group,
        void: flags & VOID != 0,
        dup: flags & DUP != 0,
        size,
        identifiers,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let flags = (any::<bool>(), any::<bool>(), prop::option::of(any::<u64>()));
        (any::<u64>(), 0..3_u8, flags, any::<u32>(), prop::collection::vec(any::<u32>(), 0..6)).prop_map(
            |(sequence, qos, (retain, from_retained, group), size, identifiers)| Entry {
                sequence: Sequence(sequence),
                qos: Qos::try_from(qos).unwrap(),
                retain,
                from_retained,
                group: group.map(GroupId),
                void: size % 2 == 0,
                dup: size % 3 == 0,
                size,
                identifiers: identifiers.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_packed_queue_is_a_queue(steps in prop::collection::vec(prop::option::weighted(0.6, entry()), 0..200)) {
            let (mut packed, mut plain) = (Packed::default(), VecDeque::new());
            for step in steps {
                match step {
                    Some(entry) => {
                        packed.push(&entry);
                        plain.push_back(entry);
                    }
                    None => prop_assert_eq!(packed.pop(), plain.pop_front()),
                }
                prop_assert_eq!((packed.len(), packed.front()), (plain.len(), plain.front().cloned()));
            }
            let mut stored = Vec::new();
            packed.write(&mut stored);
            prop_assert!(Packed::read(&stored).unwrap().iter().eq(plain.iter().cloned()));
        }
    }

    #[test]
    fn consecutive_messages_take_few_bytes() {
        let mut packed = Packed::default();
        for n in 0..100_000 {
            packed.push(&Entry {
                sequence: Sequence(1_000_000 + n * 3),
                qos: Qos::AtLeastOnce,
                retain: false,
                from_retained: false,
                group: None,
                void: false,
                dup: false,
                size: 120,
                identifiers: Identifiers::new(),
            });
        }
        assert!(packed.bytes() < 400_000, "{}", packed.bytes());
    }

    #[test]
    fn damage_is_noticed() {
        assert!(Packed::read(&[]).is_none());
        assert!(Packed::read(&[2, 0, 1, 2]).is_none(), "fewer entries than it says");
    }
}
