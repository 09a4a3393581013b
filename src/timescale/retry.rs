//! What is done about a database that fails: when to try again, and what is said about it.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use crate::limits;

/// Pauses, and one line in the log for each change of state.
pub struct Retry {
    failures: u32,
    outage: Option<(Instant, String)>,
    words: &'static Words,
}

/// What is said.
pub struct Words {
    /// When it begins.
    pub failed: &'static str,
    /// When the reason has changed.
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
            Some((_, known)) if *known == reason => {}
            Some((_, known)) => {
                tracing::warn!(error = reason, "{}", self.words.still);
                *known = reason;
            }
            None => {
                tracing::warn!(error = reason, "{}", self.words.failed);
                self.outage = Some((Instant::now(), reason));
            }
        }
    }

    /// Ends an outage; `lag` is what has to be caught up with, in whatever is counted.
    pub fn worked(&mut self, lag: u64) {
        self.failures = 0;
        if let Some((since, _)) = self.outage.take() {
            tracing::info!(outage = ?since.elapsed(), lag, "{}", self.words.works);
        }
    }

    /// Twice as long each time up to a maximum, less up to half by chance.
    pub fn pause(&self) -> Duration {
        let longest = limits::TIMESCALE_RETRY_MINIMUM * 2_u32.saturating_pow(self.failures.min(16));
        let longest = longest.min(limits::TIMESCALE_RETRY_MAXIMUM);
        let chance = RandomState::new().hash_one(self.failures) % 1024;
        longest - longest / 2 * (chance as u32) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        const WORDS: Words = Words { failed: "", still: "", works: "" };
        let mut retry = Retry::new(&WORDS);
        for _ in 0..40 {
            let pause = retry.pause();
            assert!(pause >= limits::TIMESCALE_RETRY_MINIMUM / 2 && pause <= limits::TIMESCALE_RETRY_MAXIMUM);
            retry.failures += 1;
        }
        assert!(retry.pause() >= limits::TIMESCALE_RETRY_MAXIMUM / 2);
    }
}
