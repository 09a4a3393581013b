//! A question about one metric over time, and its answer: `GET /api/series`, whichever store answers.

use std::collections::BTreeMap;

use super::Micros;

/// Which values are wanted, and how many of them make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// The device's name.
    pub device: String,
    /// Names and indexes that lead to the number in an event's `data`.
    pub path: Vec<String>,
    /// The first instant.
    pub from: Micros,
    /// The first instant behind.
    pub to: Micros,
    /// Width of a bucket in microseconds, 1 or more. Buckets begin at multiples of it since 1970.
    pub width: i64,
}

/// What was measured in one stretch of time. One without a value is not there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Its first instant.
    pub start: Micros,
    /// How many values.
    pub count: u64,
    /// Their sum by their number.
    pub average: f64,
    /// The least.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
    /// The one at the latest instant; the greatest of those, where there are several.
    pub last: f64,
}

/// Makes buckets of values in any order, at constant memory a bucket.
#[derive(Debug)]
pub struct SeriesBuilder {
    width: i64,
    buckets: BTreeMap<i64, (Micros, Bucket)>,
}

impl SeriesBuilder {
    /// No values yet.
    #[must_use]
    pub const fn new(width: i64) -> Self {
        Self { width, buckets: BTreeMap::new() }
    }

    /// Takes a value in.
    pub fn push(&mut self, time: Micros, value: f64) {
        let start = time.get().div_euclid(self.width) * self.width;
        let first = Bucket {
            start: Micros::saturating(start),
            count: 0,
            average: 0.0,
            minimum: value,
            maximum: value,
            last: value,
        };
        let (latest, bucket) = self.buckets.entry(start).or_insert((time, first));
        bucket.count += 1;
        // Welford's way: a sum of many large values would lose their differences.
        bucket.average += (value - bucket.average) / bucket.count as f64;
        bucket.minimum = bucket.minimum.min(value);
        bucket.maximum = bucket.maximum.max(value);
        if time > *latest || time == *latest && value > bucket.last {
            (*latest, bucket.last) = (time, value);
        }
    }

    /// The buckets, by time.
    #[must_use]
    pub fn finish(self) -> Vec<Bucket> {
        self.buckets.into_values().map(|(_, bucket)| bucket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_was_measured_in_any_order() {
        let mut builder = SeriesBuilder::new(10);
        for (time, value) in [(25, 1.0), (3, 4.0), (9, 8.0), (0, 6.0), (-1, 5.0), (25, 2.0), (25, 1.5)] {
            builder.push(Micros::saturating(time), value);
        }
        let bucket = |start, count, average, minimum, maximum, last| Bucket {
            start: Micros::saturating(start),
            count,
            average,
            minimum,
            maximum,
            last,
        };
        assert_eq!(
            builder.finish(),
            [bucket(-10, 1, 5.0, 5.0, 5.0, 5.0), bucket(0, 3, 6.0, 4.0, 8.0, 8.0), bucket(20, 3, 1.5, 1.0, 2.0, 2.0)]
        );
    }
}
