//! Buckets become the points of a curve: gaps are marked, and of too many points those stay that
//! give the curve its shape.

use crate::types::{Bucket, Micros};

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Point<'a> {
    /// A bucket as it is.
    Values(&'a Bucket),
    /// Buckets are missing from here on. A line drawn through the points ends before it.
    Gap(Micros),
}

/// At most `most` points, 1 or more, and whether some buckets were left out for it. `extent` says between which
/// values the curve goes in a bucket.
///
/// - A point of a bucket has that bucket's own time and values: nothing is averaged again.
/// - The first and the last bucket stay where there may be two points; where there may be ten, those with the lowest
///   and the highest value of all, and of each stretch of time.
/// - Between two points there is a gap if, and only if, buckets are missing there; the longest is shown.
pub fn points(
    buckets: &[Bucket],
    width: i64,
    most: usize,
    extent: impl Fn(&Bucket) -> (f64, f64),
) -> (Vec<Point<'_>>, bool) {
    let gaps = buckets.windows(2).filter_map(|pair| gap(pair, width)).count();
    if buckets.len() + gaps <= most {
        return (joined(buckets, 0..buckets.len(), width), false);
    }
    // There are fewer gaps than points on either side of them.
    let kept = most.saturating_sub(gaps).max(most.div_ceil(2));
    (joined(buckets, shape(buckets, kept, extent), width), true)
}

/// Where buckets are missing between two, and how long.
fn gap(pair: &[Bucket], width: i64) -> Option<(i64, i64)> {
    let [one, next] = pair else { return None };
    let expected = one.start.get() + width;
    (next.start.get() > expected).then(|| (next.start.get() - expected, expected))
}

/// The places of at most `most` buckets that keep the shape, rising.
fn shape(buckets: &[Bucket], most: usize, extent: impl Fn(&Bucket) -> (f64, f64)) -> Vec<usize> {
    let Some(last) = buckets.len().checked_sub(1) else { return Vec::new() };
    if most <= 1 || last == 0 {
        return vec![last];
    }
    // All but the ends, in stretches of which each gives two.
    let (between, stretches) = (last - 1, (most - 2) / 2);
    let mut places = vec![0];
    for stretch in 0..stretches {
        let places_of = 1 + stretch * between / stretches..1 + (stretch + 1) * between / stretches;
        let all = || places_of.clone().filter_map(|place| Some((place, extent(buckets.get(place)?))));
        let lowest = all().min_by(|(_, (one, _)), (_, (other, _))| one.total_cmp(other));
        let highest = all().max_by(|(_, (_, one)), (_, (_, other))| one.total_cmp(other));
        let mut found: Vec<_> = lowest.into_iter().chain(highest).map(|(place, _)| place).collect();
        found.sort_unstable();
        places.extend(found);
    }
    places.push(last);
    places.dedup();
    places
}

/// The buckets at these places, with a gap between two where there is one.
fn joined(buckets: &[Bucket], places: impl IntoIterator<Item = usize>, width: i64) -> Vec<Point<'_>> {
    let (mut points, mut before) = (Vec::new(), None);
    for place in places {
        let skipped = before.and_then(|before| buckets.get(before..=place)).unwrap_or_default();
        let longest = skipped.windows(2).filter_map(|pair| gap(pair, width)).max_by_key(|(length, _)| *length);
        points.extend(longest.map(|(_, start)| Point::Gap(Micros::saturating(start))));
        points.extend(buckets.get(place).map(Point::Values));
        before = Some(place);
    }
    points
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTH: i64 = 10;

    fn bucket(slot: i64, minimum: f64, maximum: f64) -> Bucket {
        let start = Micros::saturating(slot * WIDTH);
        Bucket { start, count: 1, average: (minimum + maximum) / 2.0, minimum, maximum, last: maximum }
    }

    fn extent(bucket: &Bucket) -> (f64, f64) {
        (bucket.minimum, bucket.maximum)
    }

    #[test]
    fn each_gap_is_one_point() {
        let buckets = [0, 1, 5].map(|slot| bucket(slot, 0.0, 1.0));
        let [first, second, third] = &buckets;
        let expected =
            vec![Point::Values(first), Point::Values(second), Point::Gap(Micros::saturating(20)), Point::Values(third)];
        assert_eq!(points(&buckets, WIDTH, 10, extent), (expected, false));
        assert_eq!(points(&[], WIDTH, 10, extent), (vec![], false));
        assert_eq!(points(&buckets, WIDTH, 1, extent), (vec![Point::Values(third)], true));
    }

    #[test]
    fn a_spike_of_one_bucket_in_a_week_of_minutes_stays() {
        let buckets: Vec<_> = (0..10_080).map(|n| bucket(n, 20.0, if n == 7_001 { 99.0 } else { 21.0 })).collect();
        let (points, is_thinned) = points(&buckets, WIDTH, 400, extent);
        assert!(is_thinned && points.len() <= 400 && points.contains(&Point::Values(&buckets[7_001])));
    }

    fn curves() -> impl Strategy<Value = Vec<Bucket>> {
        prop::collection::vec((1_i64..4, -50.0..50.0, 0.0..9.0), 0..300).prop_map(|steps| {
            let slots = steps.iter().scan(0, |slot, (step, ..)| {
                // Two of three steps lead to the next bucket.
                *slot += if *step < 3 { 1 } else { 7 };
                Some(*slot)
            });
            slots.zip(&steps).map(|(slot, (_, low, height))| bucket(slot, *low, low + height)).collect()
        })
    }

    proptest! {
        #[test]
        fn few_points_have_the_extremes_the_ends_and_the_gaps(buckets in curves(), most in 1_usize..320) {
            let (points, is_thinned) = points(&buckets, WIDTH, most, extent);
            prop_assert!(points.len() <= most);
            prop_assert!(is_thinned || points.iter().filter(|point| matches!(point, Point::Values(_))).count() == buckets.len());
            let values: Vec<_> = points.iter().filter_map(|point| match point { Point::Values(one) => Some(*one), Point::Gap(_) => None }).collect();
            prop_assert!(values.iter().all(|one| buckets.contains(one)), "a value that was never measured");
            if most >= 3 && !buckets.is_empty() {
                prop_assert_eq!((values.first().copied(), values.last().copied()), (buckets.first(), buckets.last()));
            }
            if most >= 10 {
                let lowest = |all: &mut dyn Iterator<Item = &Bucket>| all.map(|one| one.minimum).fold(f64::INFINITY, f64::min);
                let highest = |all: &mut dyn Iterator<Item = &Bucket>| all.map(|one| one.maximum).fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(lowest(&mut values.iter().copied()), lowest(&mut buckets.iter()));
                prop_assert_eq!(highest(&mut values.iter().copied()), highest(&mut buckets.iter()));
            }
            let mut before: Option<&Bucket> = None;
            let mut gap_seen = None;
            for point in &points {
                match point {
                    Point::Gap(time) => gap_seen = Some(*time),
                    Point::Values(one) => {
                        if let Some(before) = before {
                            let missing = (before.start.get() / WIDTH + 1..one.start.get() / WIDTH)
                                .filter(|slot| !buckets.iter().any(|bucket| bucket.start.get() == slot * WIDTH)).count();
                            prop_assert_eq!(gap_seen.is_some(), missing > 0);
                            prop_assert!(gap_seen.is_none_or(|time| before.start < time && time < one.start));
                        }
                        (before, gap_seen) = (Some(*one), None);
                    }
                }
            }
        }
    }
}
