//! Which event is the newest of each topic: what a snapshot shows first, and what clients of the latest values
//! get at each of their turns.
//!
//! Only places in the journal are kept, never events: whoever wants one takes it from the window or from the
//! journal. The index follows the journal when somebody asks, at their expense; the first who asks reads all
//! that is kept, for its topics alone. It is bounded by [`limits::STREAM_TOPICS`]: beyond, topics go that have
//! not changed for longest, and `floor` says so. An event without a topic stands for itself.
//!
//! Invariant: of the records above `floor` that the journal still has, up to `position`, every newest of a topic
//! is in `order`, and nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{
    Filter,
    shown::Candidate,
    source::{Next, Source},
};
use crate::{
    journal::{Journal, ReadError, Slice, Watermark},
    limits,
    stream::frame::GapReason,
    types::Sequence,
};

/// Entries that one look passes at most, so that others get their turn.
const LOOK_ENTRIES: usize = 4096;

/// Events that one look finds at most.
const LOOK_EVENTS: usize = 64;

/// See the module.
#[derive(Default)]
pub struct Current {
    /// Whose turn it is to read on.
    turn: tokio::sync::Mutex<()>,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    newest: HashMap<Arc<str>, Sequence, foldhash::fast::RandomState>,
    order: BTreeMap<Sequence, Option<Arc<str>>>,
    /// Everything up to here is taken in; none before the first question.
    position: Option<Sequence>,
    floor: Sequence,
    /// Records were damaged: a topic's newest may be among them.
    is_damaged: bool,
}

/// What a look has found.
#[derive(Debug)]
pub struct Look {
    /// Of newest events whose topics are wanted, in order.
    pub places: Vec<Sequence>,
    /// What was looked at.
    pub reached: Sequence,
}

impl Current {
    /// Takes in what is visible; returns up to where. Cancel safe: the next to ask goes on.
    pub async fn catch_up(&self, journal: &Journal) -> Result<Sequence, ReadError> {
        let visible = journal.watermark(Watermark::Visible);
        let known = self.index.lock().position;
        if let Some(position) = known.filter(|position| *position >= visible) {
            return Ok(position);
        }
        let _turn = self.turn.lock().await;
        let oldest = journal.oldest().previous();
        let start = self.index.lock().position.map_or(oldest, |position| position.max(oldest));
        let mut source = Source::new(journal, start);
        while source.position() < visible {
            match source.advance().await? {
                Next::Records(slice) => self.index.lock().take(&slice),
                Next::CaughtUp => break,
                Next::Lost(reason) => self.index.lock().is_damaged |= reason == GapReason::Damage,
            }
            self.index.lock().position = Some(source.position());
            tokio::task::yield_now().await;
        }
        let mut index = self.index.lock();
        index.forget_before(journal.oldest());
        let position = index.position.unwrap_or(start).max(source.position());
        index.position = Some(position);
        Ok(position)
    }

    /// The next newest events behind `after`, up to `end`, of the topics that are wanted.
    pub fn behind(&self, after: Sequence, end: Sequence, filter: &Filter) -> Look {
        let index = self.index.lock();
        let (mut places, mut looked, mut reached) = (Vec::new(), 0, end.max(after));
        if after >= end {
            return Look { places, reached };
        }
        for (sequence, topic) in index.order.range((Bound::Excluded(after), Bound::Included(end))) {
            if looked == LOOK_ENTRIES || places.len() == LOOK_EVENTS {
                reached = sequence.previous();
                break;
            }
            looked += 1;
            if filter.matches_topic(topic.as_deref()) {
                places.push(*sequence);
            }
        }
        Look { places, reached }
    }

    /// All newest events behind `after`, up to `end`, of the topics that are wanted, as they are at one moment: 8
    /// bytes each.
    pub fn all_behind(&self, after: Sequence, end: Sequence, filter: &Filter) -> VecDeque<Sequence> {
        if after >= end {
            return VecDeque::new();
        }
        let index = self.index.lock();
        let changed = index.order.range((Bound::Excluded(after), Bound::Included(end)));
        let wanted = changed.filter(|(_, topic)| filter.matches_topic(topic.as_deref()));
        wanted.map(|(sequence, _)| *sequence).collect()
    }

    /// Up to where topics may be missing because there are too many.
    pub fn floor(&self) -> Sequence {
        self.index.lock().floor
    }

    /// Whether it has every topic of the journal behind `oldest`.
    pub fn is_complete(&self, oldest: Sequence) -> bool {
        let index = self.index.lock();
        !index.is_damaged && index.floor < oldest
    }
}

impl Index {
    fn take(&mut self, slice: &Slice) {
        for record in slice.records() {
            let Some(candidate) = Candidate::of(&record) else { continue };
            self.set(candidate.topic(), candidate.sequence());
        }
    }

    fn set(&mut self, topic: Option<&str>, sequence: Sequence) {
        let topic = match topic.and_then(|topic| self.newest.get_mut(topic)) {
            Some(newest) => self.order.remove(&std::mem::replace(newest, sequence)).flatten(),
            None => topic.map(|topic| {
                let topic: Arc<str> = topic.into();
                self.newest.insert(Arc::clone(&topic), sequence);
                topic
            }),
        };
        self.order.insert(sequence, topic);
        while self.order.len() > limits::STREAM_TOPICS {
            if let Some(oldest) = self.remove_first() {
                self.floor = oldest;
            }
        }
    }

    /// Lets go of what is not in the journal any more.
    fn forget_before(&mut self, oldest: Sequence) {
        while self.order.first_key_value().is_some_and(|(sequence, _)| *sequence < oldest) {
            self.remove_first();
        }
    }

    fn remove_first(&mut self) -> Option<Sequence> {
        let (sequence, topic) = self.order.pop_first()?;
        if let Some(topic) = topic {
            self.newest.remove(&topic);
        }
        Some(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(current: &Current, after: u64, end: u64) -> Vec<u64> {
        let look = current.behind(Sequence(after), Sequence(end), &Filter::default());
        look.places.iter().map(|sequence| sequence.0).collect()
    }

    #[test]
    fn only_the_newest_of_a_topic_is_known_and_what_has_no_topic_stands_for_itself() {
        let current = Current::default();
        for (sequence, topic) in [(1, Some("a")), (2, Some("b")), (4, None), (5, Some("a")), (6, None)] {
            current.index.lock().set(topic, Sequence(sequence));
        }
        assert_eq!(sequences(&current, 0, 10), [2, 4, 5, 6]);
        assert_eq!(sequences(&current, 2, 5), [4, 5]);
        assert_eq!(current.all_behind(Sequence(2), Sequence(5), &Filter::default()), [Sequence(4), Sequence(5)]);
        let only_a = Filter { topics: vec!["a".parse().unwrap()], ..Filter::default() };
        let look = current.behind(Sequence(0), Sequence(6), &only_a);
        assert_eq!((look.places, look.reached), (vec![Sequence(5)], Sequence(6)));
        current.index.lock().forget_before(Sequence(5));
        assert_eq!(sequences(&current, 0, 10), [5, 6]);
        assert_eq!(current.index.lock().newest.len(), 1);
    }

    #[test]
    fn too_many_topics_push_the_oldest_out() {
        let current = Current::default();
        let count = limits::STREAM_TOPICS as u64 + 3;
        for sequence in 1..=count {
            current.index.lock().set(Some(&format!("t/{sequence}")), Sequence(sequence));
        }
        assert_eq!(current.floor(), Sequence(3));
        assert!(!current.is_complete(Sequence(1)) && current.is_complete(Sequence(4)));
        let look = current.behind(Sequence(0), Sequence(count), &Filter::default());
        assert_eq!((look.places.len(), look.places[0]), (LOOK_EVENTS, Sequence(4)));
        assert_eq!(look.reached, *look.places.last().unwrap());
        assert_eq!(current.index.lock().newest.len(), limits::STREAM_TOPICS);
    }
}
