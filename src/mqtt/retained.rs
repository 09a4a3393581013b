//! Retained messages (MQTT 5.0 section 3.3.1.3): the newest of each topic, in the order of the
//! journal. Belongs to the dispatcher.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::topic_match::literal_prefix;
use crate::{
    journal::OwnedRecord,
    types::{Publication, Sequence, TopicFilter},
};

/// Bounds of what is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Topics.
    pub messages: usize,
    /// Bytes of all messages with their topics and properties.
    pub bytes: u64,
}

/// The messages by topic.
#[derive(Debug, Default)]
pub struct Retained {
    messages: BTreeMap<Box<str>, Arc<OwnedRecord>>,
    bytes: u64,
}

/// What a publication with the retain flag has changed.
#[derive(Debug)]
pub enum Change {
    /// It is retained now.
    Set(Arc<OwnedRecord>),
    /// Its topic has no retained message any more.
    Removed,
    /// There was none to be removed.
    Nothing,
    /// It needs more room than what its topic had, and is beyond a limit. What there was is gone: it is not the
    /// newest any more.
    Full,
}

impl Retained {
    /// Takes a publication with the retain flag into account; an empty payload removes.
    pub fn retain(&mut self, publication: &Publication<'_>, limits: RetainedLimits) -> Change {
        let before = self.remove(publication.topic);
        if publication.payload.is_empty() {
            return if before.is_some() { Change::Removed } else { Change::Nothing };
        }
        let record = Arc::new(OwnedRecord::of(publication));
        let bytes = record.as_bytes().len() as u64;
        // Where the limits have been lowered, what there is goes on and only grows no more.
        let one_more = before.is_none() && self.messages.len() >= limits.messages;
        let larger = before.is_none_or(|before| bytes > before) && self.bytes + bytes > limits.bytes;
        if one_more || larger {
            return Change::Full;
        }
        self.bytes += bytes;
        self.messages.insert(publication.topic.into(), Arc::clone(&record));
        Change::Set(record)
    }

    /// Removes what a topic has; its bytes.
    fn remove(&mut self, topic: &str) -> Option<u64> {
        let removed = self.messages.remove(topic)?.as_bytes().len() as u64;
        self.bytes -= removed;
        Some(removed)
    }

    /// Puts messages of an earlier life back.
    pub fn restore(&mut self, messages: Vec<(Box<str>, Arc<OwnedRecord>)>) {
        self.bytes = messages.iter().map(|(_, record)| record.as_bytes().len() as u64).sum();
        self.messages = messages.into_iter().collect();
    }

    /// Messages that match, by topic.
    pub fn matching<'a>(&'a self, filter: &'a TopicFilter) -> impl Iterator<Item = &'a Arc<OwnedRecord>> {
        self.candidates(filter, "").filter(|(topic, _)| filter.matches(topic)).map(|(_, record)| record)
    }

    /// Messages of topics behind `after` that may match, by topic, and whether each does.
    pub fn matching_behind<'a>(
        &'a self,
        filter: &'a TopicFilter,
        after: &'a str,
    ) -> impl Iterator<Item = (bool, &'a Arc<OwnedRecord>)> {
        self.candidates(filter, after).map(|(topic, record)| (filter.matches(topic), record))
    }

    /// Messages of topics that begin as the filter does, behind `after`.
    fn candidates<'a>(
        &'a self,
        filter: &'a TopicFilter,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a Box<str>, &'a Arc<OwnedRecord>)> {
        let exact = literal_prefix(filter.as_str());
        let wildcards = exact.len() < filter.as_str().len();
        // "a/#" matches "a" as well, so the range starts without the separator.
        let prefix = if wildcards { exact.trim_end_matches('/') } else { exact };
        // No topic is empty, so nothing is left out behind the empty one.
        let start = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.messages
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(topic, _)| if wildcards { topic.starts_with(prefix) } else { topic.as_ref() == exact })
    }

    /// Those of the next `count` behind a topic that are older than a record, and where to go on if there are more.
    pub fn older_than(
        &self,
        before: Sequence,
        after: Option<&str>,
        count: usize,
    ) -> (Vec<Arc<OwnedRecord>>, Option<&str>) {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.messages.range::<str, _>((after, Bound::Unbounded)).peekable();
        let (mut found, mut last) = (Vec::new(), None);
        for (topic, record) in behind.by_ref().take(count) {
            last = Some(&**topic);
            if record.publication().is_some_and(|publication| publication.sequence < before) {
                found.push(Arc::clone(record));
            }
        }
        (found, last.filter(|_| behind.peek().is_some()))
    }

    /// The messages.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<OwnedRecord>> {
        self.messages.values()
    }

    /// Whether there is more than these limits let in.
    #[must_use]
    pub fn exceeds(&self, limits: RetainedLimits) -> bool {
        self.messages.len() > limits.messages || self.bytes > limits.bytes
    }

    /// How many topics have one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Bytes of all of them.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Micros, PublishProperties, Qos};

    const LIMITS: RetainedLimits = RetainedLimits { messages: 5, bytes: 10_000 };

    fn publication(topic: &'static str, payload: &'static str) -> Publication<'static> {
        Publication {
            sequence: Sequence(1),
            received: Micros::default(),
            topic,
            payload: payload.as_bytes(),
            qos: Qos::AtLeastOnce,
            retain: true,
            guaranteed: true,
            client_id: "publisher",
            properties: PublishProperties::default(),
        }
    }

    fn payloads(retained: &Retained, filter: &str) -> Vec<String> {
        let filter = filter.parse().unwrap();
        let payload =
            |record: &Arc<OwnedRecord>| String::from_utf8_lossy(record.publication().unwrap().payload).into_owned();
        retained.matching(&filter).map(payload).collect()
    }

    #[test]
    fn messages_are_found_by_prefix_and_wildcard() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/c/d", "ab", "b/b"] {
            retained.retain(&publication(topic, topic), LIMITS);
        }
        assert_eq!(payloads(&retained, "a/#"), ["a", "a/b", "a/c/d"]);
        assert_eq!(payloads(&retained, "+/b"), ["a/b", "b/b"]);
        assert_eq!(payloads(&retained, "ab"), ["ab"]);
        assert_eq!(payloads(&retained, "a"), ["a"]);
        assert_eq!(payloads(&retained, "#").len(), 5);
    }

    #[test]
    fn a_walk_goes_on_behind_any_topic() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/c/d", "ab", "b/b"] {
            retained.retain(&publication(topic, topic), LIMITS);
        }
        for filter in ["a/#", "+/b", "#", "a", "a/+"] {
            let filter = filter.parse().unwrap();
            let all: Vec<_> = retained.matching(&filter).map(|record| record.publication().unwrap().topic).collect();
            for after in ["", "a", "a/b", "a/bb", "ab", "z"] {
                let behind = retained.matching_behind(&filter, after).filter(|(matches, _)| *matches);
                let behind: Vec<_> = behind.map(|(_, record)| record.publication().unwrap().topic).collect();
                let expected: Vec<_> = all.iter().copied().filter(|topic| *topic > after).collect();
                assert_eq!(behind, expected, "{filter:?} behind {after}");
            }
        }
    }

    #[test]
    fn the_newest_replaces_and_an_empty_one_removes() {
        let mut retained = Retained::default();
        assert!(matches!(retained.retain(&publication("a", ""), LIMITS), Change::Nothing));
        retained.retain(&publication("a", "old"), LIMITS);
        retained.retain(&publication("a", "new"), LIMITS);
        assert_eq!(payloads(&retained, "a"), ["new"]);
        assert!(matches!(retained.retain(&publication("a", ""), LIMITS), Change::Removed));
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    #[test]
    fn beyond_a_limit_nothing_new_is_retained_and_nothing_stale_is_left() {
        let mut retained = Retained::default();
        for topic in ["a", "b", "c", "d", "e", "f"] {
            retained.retain(&publication(topic, "old"), LIMITS);
        }
        assert_eq!(payloads(&retained, "#").len(), 5);
        assert!(matches!(retained.retain(&publication("f", "x"), LIMITS), Change::Full));
        let narrow = RetainedLimits { bytes: 0, ..LIMITS };
        assert!(matches!(retained.retain(&publication("a", "longer"), narrow), Change::Full));
        assert!(payloads(&retained, "a").is_empty());
    }

    #[test]
    fn old_ones_are_found_a_step_at_a_time() {
        let mut retained = Retained::default();
        for (topic, sequence) in [("a", 5), ("b", 1), ("c", 9), ("d", 2)] {
            retained.retain(&Publication { sequence: Sequence(sequence), ..publication(topic, topic) }, LIMITS);
        }
        let step = |after, count| {
            let (found, next) = retained.older_than(Sequence(5), after, count);
            let topics: Vec<_> = found.iter().map(|record| record.publication().unwrap().topic.to_owned()).collect();
            (topics.join(" "), next)
        };
        assert_eq!(step(None, 2), ("b".to_owned(), Some("b")));
        assert_eq!(step(Some("b"), 1), (String::new(), Some("c")));
        assert_eq!(step(Some("c"), 2), ("d".to_owned(), None));
        assert_eq!(step(Some("d"), 2), (String::new(), None));
    }

    #[test]
    fn lowered_limits_take_nothing_away() {
        let mut retained = Retained::default();
        for topic in ["a", "b", "c"] {
            retained.retain(&publication(topic, "old"), LIMITS);
        }
        let narrow = RetainedLimits { messages: 1, bytes: 1 };
        assert!(retained.exceeds(narrow) && !retained.exceeds(LIMITS));
        assert!(matches!(retained.retain(&publication("a", "new"), narrow), Change::Set(_)));
        assert!(matches!(retained.retain(&publication("d", "new"), narrow), Change::Full));
        assert_eq!(payloads(&retained, "#"), ["new", "old", "old"]);
    }
}
