//! What is done about a database that fails: when to try again, and what is said about it.

use std::time::Duration;

use tokio::time::Instant;

use super::pause::jittered;
use crate::limits;

/// Pauses, and one line in the log for each reason of an outage, however often they take turns.
pub struct Retry {
    failures: u32,
    outage: Option<Outage>,
    words: &'static Words,
}

struct Outage {
    since: Instant,
    told: Vec<String>,
}

/// What is said.
pub struct Words {
    /// When it begins.
    pub failed: &'static str,
    /// When there is another reason.
    pub still: &'static str,
    /// When it is over.
    pub works: &'static str,
}

impl Retry {
    pub const fn new(words: &'static Words) -> Self {
        Self { failures: 0, outage: None, words }
    }

    /// Whether the last attempt failed, or the one before it.
    pub const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Counts a failure.
    pub fn failed(&mut self, reason: String) {
        self.failures += 1;
        match &mut self.outage {
            Some(Outage { told, .. }) if told.contains(&reason) || told.len() >= limits::TIMESCALE_TOLD_REASONS => {}
            Some(Outage { told, .. }) => {
                tracing::warn!(error = reason, "{}", self.words.still);
                told.push(reason);
            }
            None => {
                tracing::warn!(error = reason, "{}", self.words.failed);
                self.outage = Some(Outage { since: Instant::now(), told: vec![reason] });
            }
        }
    }

    /// Ends an outage; `lag` is what has to be caught up with, in whatever is counted.
    pub fn worked(&mut self, lag: u64) {
        self.failures = 0;
        if let Some(Outage { since, .. }) = self.outage.take() {
            tracing::info!(outage = ?since.elapsed(), lag, "{}", self.words.works);
        }
    }

    /// Twice as long each time up to a maximum, less up to half by chance.
    pub fn pause(&self) -> Duration {
        let longest = limits::TIMESCALE_RETRY_MINIMUM * 2_u32.saturating_pow(self.failures.min(16));
        jittered(longest.min(limits::TIMESCALE_RETRY_MAXIMUM), 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words = Words { failed: "", still: "", works: "" };

    #[test]
    fn reasons_that_take_turns_are_told_once_each_until_it_works_again() {
        let mut retry = Retry::new(&WORDS);
        let told = |retry: &Retry| retry.outage.as_ref().map_or(0, |outage| outage.told.len());
        for round in 0..10 {
            for reason in ["one", "other"] {
                retry.failed(reason.to_owned());
            }
            assert_eq!((told(&retry), retry.failures), (2, 2 * (round + 1)));
        }
        retry.worked(0);
        assert_eq!((told(&retry), retry.failures), (0, 0));
    }

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        let mut retry = Retry::new(&WORDS);
        for _ in 0..40 {
            let pause = retry.pause();
            assert!(pause >= limits::TIMESCALE_RETRY_MINIMUM / 2 && pause <= limits::TIMESCALE_RETRY_MAXIMUM);
            retry.failures += 1;
        }
        assert!(retry.pause() >= limits::TIMESCALE_RETRY_MAXIMUM / 2);
    }
}
