//! How far a device's clock may be from the bridge's to be believed.
//!
//! A broken clock would put events where nobody looks, and each day of its fancy makes a chunk of
//! the hypertable.

use std::time::Duration;

use crate::{limits, types::Micros};

/// Around the time of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// Before it: for what devices have kept while they were away.
    pub past: Duration,
    /// After it.
    pub ahead: Duration,
}

impl Default for TimeWindow {
    fn default() -> Self {
        Self { past: limits::EVENT_TIME_PAST, ahead: limits::EVENT_TIME_AHEAD }
    }
}

impl TimeWindow {
    /// Whether a device's time is believed.
    pub fn holds(self, received: Micros, own: Micros) -> bool {
        let micros = |span: Duration| i128::try_from(span.as_micros()).unwrap_or(i128::MAX);
        let distance = i128::from(own.get()) - i128::from(received.get());
        -micros(self.past) <= distance && distance <= micros(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_has_both_its_ends() {
        let window = TimeWindow { past: Duration::from_secs(2), ahead: Duration::from_secs(1) };
        let at = |seconds: i64, micros: i64| Micros::saturating(seconds * 1_000_000 + micros);
        for (own, expected) in [(at(8, -1), false), (at(8, 0), true), (at(11, 0), true), (at(11, 1), false)] {
            assert_eq!(window.holds(at(10, 0), own), expected, "{own}");
        }
        let forever = TimeWindow { past: Duration::MAX, ahead: Duration::MAX };
        assert!(forever.holds(Micros::MIN, Micros::MAX) && forever.holds(Micros::MAX, Micros::MIN));
    }
}
