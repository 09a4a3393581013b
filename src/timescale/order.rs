//! In which order the rows of a batch are sent.
//!
//! A hypertable has a chunk for each day, each with its own indexes. Late and mixed-up events would go back and
//! forth between them row by row; in the order of time each chunk gets its rows at once. What a batch has is stored
//! together or not at all, so its order means nothing to readers.

use crate::{limits, types::Micros};

/// The places of rows in the order of their times; none where they follow each other closely enough as they are.
pub fn by_time(times: impl Iterator<Item = Micros> + Clone) -> Option<Vec<usize>> {
    let span = limits::TIMESCALE_LATE.as_micros();
    let mut latest = Micros::MIN;
    let is_late = |time: Micros| {
        latest = latest.max(time);
        u128::from(latest.get().abs_diff(time.get())) > span
    };
    if !times.clone().any(is_late) {
        return None;
    }
    let mut order: Vec<(Micros, usize)> = times.zip(0..).collect();
    order.sort_unstable();
    Some(order.into_iter().map(|(_, place)| place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(minutes: &[i64]) -> Option<Vec<usize>> {
        by_time(minutes.iter().map(|minute| Micros::saturating(minute * 60_000_000)))
    }

    #[test]
    fn what_is_nearly_in_order_stays_as_it_is() {
        assert_eq!(order(&[]), None);
        assert_eq!(order(&[5, 4, 60, 3, 61]), None);
        assert_eq!(order(&[1, 100_000, 200_000]), None);
    }

    #[test]
    fn what_is_late_goes_where_it_belongs() {
        assert_eq!(order(&[500, 3, 500, 1]), Some(vec![3, 1, 0, 2]));
    }
}
