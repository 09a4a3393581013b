//! How often somebody may come: a bucket of tokens for each, filled at a steady rate, as large as one second's worth.
//!
//! There are so many buckets at most; those that are full again are nobody's, and make room.

use std::{
    hash::Hash,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// See the module.
#[derive(Debug)]
pub struct Rates<K> {
    /// Tokens a second; 0 for no limit.
    rate: u32,
    most: usize,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it is full again, if nothing is taken.
    full: Instant,
}

/// Whether it is somebody's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Now,
    /// It will be.
    In(Duration),
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// So many a second each, for so many at one time.
    #[must_use]
    pub fn new(rate: u32, most: usize) -> Self {
        Self { rate, most, buckets: Mutex::default() }
    }

    /// Takes a token of somebody's bucket.
    pub fn take(&self, whose: &K, now: Instant) -> Turn {
        self.look(whose, now, true)
    }

    /// Whether there is one, without taking it.
    pub fn peek(&self, whose: &K, now: Instant) -> Turn {
        self.look(whose, now, false)
    }

    fn look(&self, whose: &K, now: Instant, takes: bool) -> Turn {
        if self.rate == 0 {
            return Turn::Now;
        }
        let one = Duration::from_secs(1) / self.rate;
        let mut buckets = self.buckets.lock();
        let full = buckets.get(whose).map_or(now, |bucket| bucket.full.max(now));
        let wait = (full + one).saturating_duration_since(now + Duration::from_secs(1));
        if !wait.is_zero() {
            return Turn::In(wait);
        }
        if !takes {
            return Turn::Now;
        }
        if buckets.len() >= self.most && !buckets.contains_key(whose) {
            buckets.retain(|_, bucket| bucket.full > now);
            if buckets.len() >= self.most {
                buckets.clear();
            }
        }
        buckets.insert(whose.clone(), Bucket { full: full + one });
        Turn::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_s_worth_at_once_and_then_at_the_rate() {
        let rates = Rates::new(4, 2);
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        for _ in 0..4 {
            assert_eq!(rates.take(&"a", at(0)), Turn::Now);
        }
        assert_eq!(rates.take(&"a", at(0)), Turn::In(Duration::from_millis(250)));
        assert_eq!(rates.take(&"b", at(0)), Turn::Now, "others have their own");
        assert_eq!(rates.take(&"a", at(250)), Turn::Now);
        assert!(matches!(rates.peek(&"a", at(250)), Turn::In(_)));
        // Full ones make room.
        assert_eq!(rates.take(&"c", at(600)), Turn::Now);
        assert_eq!(rates.buckets.lock().len(), 2);
        assert_eq!(rates.peek(&"a", at(2000)), Turn::Now);
        assert_eq!(Rates::new(0, 1).take(&"a", at(0)), Turn::Now);
    }
}
