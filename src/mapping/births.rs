//! Birth certificates of Sparkplug nodes and devices, each with its place in the journal.
//!
//! A later message names metrics by alias; what the aliases mean, the last birth in front of that
//! message says. So the answer depends on the journal alone, whoever asks, in whatever order, as
//! long as the births in front of the message were seen. Every reader of the journal teaches what
//! it passes; a birth that is taught twice changes nothing. What has changed is handed out as rows
//! ([`Births::take_changes`]), so that the next start knows as much.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use super::decode::{Birth, Message};
use crate::{
    limits,
    types::{Publication, Sequence},
};

/// All that are known.
#[derive(Debug, Default)]
pub struct Births(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The births of each source, oldest first.
    by_source: HashMap<Box<str>, Vec<(Sequence, Arc<Birth>)>>,
    /// Metrics of all births, and one for each birth.
    metrics: usize,
    /// Births that came or went since this was last asked for.
    changes: HashMap<(Box<str>, Sequence), Option<Arc<Birth>>>,
}

impl Births {
    /// Learns a publication's, where it is a birth certificate, and returns what its own aliases
    /// mean.
    pub fn of(&self, publication: &Publication<'_>) -> Arc<Birth> {
        let Some(message) = Message::of(publication.topic) else { return Arc::default() };
        let source = message.source();
        if message.birth
            && let Ok(birth) = Birth::read(publication.payload)
        {
            return self.0.write().learn(source, publication.sequence, birth);
        }
        self.0.read().in_force(&source, publication.sequence)
    }

    /// Learns a publication's, where it is a birth certificate.
    pub fn learn(&self, publication: &Publication<'_>) {
        if Message::of(publication.topic).is_some_and(|message| message.birth) {
            self.of(publication);
        }
    }

    /// What has changed since the last call, as rows: keys with their values, or without where they are gone.
    pub fn take_changes(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changes = std::mem::take(&mut self.0.write().changes);
        let row = |((source, sequence), birth): ((Box<str>, Sequence), Option<Arc<Birth>>)| {
            (key(&source, sequence), birth.map(|birth| birth.to_payload()))
        };
        changes.into_iter().map(row).collect()
    }

    /// Takes a row back; whether it is one.
    pub fn restore(&self, key: &[u8], value: &[u8]) -> bool {
        let Some((source, sequence)) = split_key(key) else { return false };
        let Ok(birth) = Birth::read(value) else { return false };
        let mut known = self.0.write();
        known.learn(source.to_owned(), sequence, birth);
        known.changes.remove(&(source.into(), sequence));
        true
    }
}

/// A source, which has no U+0000, and the sequence of a birth, so that rows are in their order.
fn key(source: &str, sequence: Sequence) -> Vec<u8> {
    [source.as_bytes(), &[0], &sequence.0.to_be_bytes()].concat()
}

fn split_key(key: &[u8]) -> Option<(&str, Sequence)> {
    let (rest, sequence) = key.split_last_chunk()?;
    let source = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some((source, Sequence(u64::from_be_bytes(*sequence))))
}

impl Known {
    fn learn(&mut self, source: String, sequence: Sequence, birth: Birth) -> Arc<Birth> {
        let birth = Arc::new(birth);
        if self.metrics + birth.len() + 1 > limits::MAXIMUM_BIRTH_METRICS {
            tracing::warn!(
                metrics = self.metrics,
                "too many Sparkplug metrics: aliases of further births stay as they are"
            );
            return birth;
        }
        let source: Box<str> = source.into();
        let births = self.by_source.entry(source.clone()).or_default();
        let place = births.partition_point(|(known, _)| *known < sequence);
        if births.get(place).is_some_and(|(known, _)| *known == sequence) {
            return birth;
        }
        births.insert(place, (sequence, Arc::clone(&birth)));
        self.metrics += birth.len() + 1;
        self.changes.insert((source.clone(), sequence), Some(Arc::clone(&birth)));
        if births.len() > limits::KEPT_BIRTHS {
            let (oldest, gone) = births.remove(0);
            self.metrics -= gone.len() + 1;
            self.changes.insert((source, oldest), None);
        }
        birth
    }

    fn in_force(&self, source: &str, at: Sequence) -> Arc<Birth> {
        let births = self.by_source.get(source).map_or(&[][..], Vec::as_slice);
        let place = births.partition_point(|(known, _)| *known < at);
        place.checked_sub(1).and_then(|place| births.get(place)).map(|(_, birth)| Arc::clone(birth)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Micros, PublishProperties, Qos};

    fn publication<'a>(sequence: u64, topic: &'a str, payload: &'a [u8]) -> Publication<'a> {
        Publication {
            sequence: Sequence(sequence),
            received: Micros::default(),
            topic,
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            guaranteed: true,
            client_id: "node",
            properties: PublishProperties::default(),
        }
    }

    /// A birth with one metric of this one-letter name and alias 1.
    fn birth(name: u8) -> [u8; 7] {
        [0x12, 5, 0x0A, 1, name, 0x10, 1]
    }

    #[test]
    fn aliases_mean_what_the_last_birth_before_says_whoever_asks() {
        let births = Births::default();
        let (first, second) = (birth(b'a'), birth(b'b'));
        for _ in 0..2 {
            births.of(&publication(20, "spBv1.0/g/NBIRTH/n", &second));
            births.of(&publication(10, "spBv1.0/g/NBIRTH/n", &first));
        }
        let read = |bytes: &[u8]| Birth::read(bytes).unwrap();
        for (at, expected) in [(9, Birth::default()), (11, read(&first)), (20, read(&first)), (21, read(&second))] {
            assert_eq!(*births.of(&publication(at, "spBv1.0/g/NDATA/n", b"")), expected, "{at}");
        }
        for other in ["spBv1.0/g/DDATA/n/d", "spBv1.0/h/NDATA/n", "g/NDATA/n"] {
            assert_eq!(*births.of(&publication(99, other, b"")), Birth::default(), "{other}");
        }
    }

    #[test]
    fn a_source_that_is_born_again_and_again_keeps_the_last_ones() {
        let births = Births::default();
        for sequence in 1..=100 {
            births.of(&publication(sequence, "spBv1.0/g/NBIRTH/n", &birth(b'a')));
        }
        let known = births.0.read();
        assert_eq!((known.metrics, known.by_source["g/n"].len()), (2 * limits::KEPT_BIRTHS, limits::KEPT_BIRTHS));
    }

    #[test]
    fn what_was_learned_is_known_again_from_its_rows() {
        let mut rows = std::collections::BTreeMap::new();
        let mut write = |births: &Births| {
            for (key, value) in births.take_changes() {
                match value {
                    Some(value) => drop(rows.insert(key, value)),
                    None => drop(rows.remove(&key)),
                }
            }
            rows.clone()
        };
        let births = Births::default();
        for sequence in (1..=20).rev().chain(21..=30) {
            births.of(&publication(sequence, "spBv1.0/g/NBIRTH/n", &birth(b'a' + (sequence / 3 % 5) as u8)));
            if sequence % 7 == 0 {
                write(&births);
            }
        }
        births.learn(&publication(31, "spBv1.0/g/DBIRTH/n/d", &birth(b'z')));
        births.learn(&publication(32, "spBv1.0/g/NDATA/n", &birth(b'y')));
        let stored = write(&births);
        assert_eq!(stored.len(), limits::KEPT_BIRTHS + 1, "those that make room are gone from the rows too");
        let again = Births::default();
        assert!(stored.iter().all(|(key, value)| again.restore(key, value)));
        let told = |births: &Births| births.0.read().by_source.clone();
        assert_eq!(told(&again), told(&births));
        assert_eq!(again.take_changes(), [], "what was restored is no change");
        assert!(!again.restore(b"short", b"") && !again.restore(&[0; 9], &[0x12, 9]));
    }
}
