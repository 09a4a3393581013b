//! The numbers of one event, each with the name of what was measured.

use std::ops::Range;

use super::Micros;

/// Measurements of one event. Reused: keeps its memory when cleared.
#[derive(Debug, Default)]
pub struct Measurements {
    text: String,
    subject: Range<usize>,
    found: Vec<(Range<usize>, f64, Micros)>,
    /// Whether some of the event's numbers are not among them, because a limit was reached.
    pub is_partial: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement<'a> {
    /// What was measured: `temperature`, `motor.rpm`, `sensors.0.value`.
    pub metric: &'a str,
    /// A finite number.
    pub value: f64,
    /// When.
    pub time: Micros,
}

impl Measurements {
    /// Empties it, for an event of this subject.
    pub fn begin(&mut self, subject: &str) {
        self.text.clear();
        self.found.clear();
        self.text.push_str(subject);
        self.subject = 0..subject.len();
        self.is_partial = false;
    }

    /// Adds one.
    pub fn push(&mut self, metric: &str, value: f64, time: Micros) {
        let start = self.text.len();
        self.text.push_str(metric);
        self.found.push((start..self.text.len(), value, time));
    }

    /// Of those with the same metric and time, keeps the last.
    pub fn keep_last(&mut self) {
        let text = &self.text;
        // Stable, so that those with the same key keep their order; then the last comes first.
        self.found
            .sort_by(|(one, _, at), (other, _, then)| (&text[one.clone()], at).cmp(&(&text[other.clone()], then)));
        self.found.reverse();
        self.found.dedup_by(|(one, _, at), (other, _, then)| text[one.clone()] == text[other.clone()] && at == then);
        self.found.reverse();
    }

    /// The name of the event's subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text.get(self.subject.clone()).unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All, ordered by metric and time.
    pub fn iter(&self) -> impl Iterator<Item = Measurement<'_>> {
        let measurement = |(metric, value, time): &(Range<usize>, f64, Micros)| Measurement {
            metric: self.text.get(metric.clone()).unwrap_or_default(),
            value: *value,
            time: *time,
        };
        self.found.iter().map(measurement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_with_one_name_and_time_the_last_is_kept() {
        let mut found = Measurements::default();
        for _ in 0..2 {
            found.begin("pump-7");
            let (now, later) = (Micros::saturating(5), Micros::saturating(6));
            for (metric, value, time) in [("b", 1.0, now), ("a", 2.0, later), ("b", 3.0, now), ("a", 4.0, now)] {
                found.push(metric, value, time);
            }
            found.keep_last();
            let all: Vec<_> = found.iter().map(|one| (one.metric, one.value, one.time.get())).collect();
            assert_eq!(all, [("a", 4.0, 5), ("a", 2.0, 6), ("b", 3.0, 5)]);
            assert_eq!((found.subject(), found.len(), found.is_empty()), ("pump-7", 3, false));
        }
    }
}
