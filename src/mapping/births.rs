//! Birth certificates of Sparkplug nodes and devices, each with its place in the journal.
//!
//! A later message names metrics by alias; what the aliases mean, the last birth in front of that
//! message says. So the answer depends on the journal alone, whoever asks, in whatever order, as
//! long as the births in front of the message were seen. Every reader of the journal teaches what
//! it passes; a birth that is taught twice changes nothing.

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
        let births = self.by_source.entry(source.into()).or_default();
        let place = births.partition_point(|(known, _)| *known < sequence);
        if births.get(place).is_some_and(|(known, _)| *known == sequence) {
            return birth;
        }
        births.insert(place, (sequence, Arc::clone(&birth)));
        self.metrics += birth.len() + 1;
        if births.len() > limits::KEPT_BIRTHS {
            let (_, oldest) = births.remove(0);
            self.metrics -= oldest.len() + 1;
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
}
