//! What answers for which part of a span of time.
//!
//! A rollup stands for its whole minute or hour. So it answers only where buckets are made of whole
//! minutes or hours, only within the span, and only while it says what its rows say: not before it
//! has been computed again after rows were added.

use std::ops::Range;

use crate::limits;

/// Microseconds.
pub const MINUTE: i64 = 60_000_000;
/// Microseconds.
pub const HOUR: i64 = 60 * MINUTE;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Measurements.
    Rows,
    /// Measurements and rollups, of each minute those that count more: rows where some have come since the
    /// rollup was computed, the rollup where rows have been removed since. That is what the rollup will be.
    Either,
    /// Rollups of a minute.
    Minutes,
    /// Rollups of an hour.
    Hours,
    /// Of each hour, what [`Level::Either`] gives for its minutes or the rollup of the hour, whichever counts more:
    /// rollups of a minute may have been removed too.
    EitherHours,
}

/// A part of the span, in microseconds since 1970.
pub type Stretch = (Level, Range<i64>);

/// Whether rollups can answer a question for buckets of this width, in microseconds.
pub const fn has_rollups(width: i64) -> bool {
    width % MINUTE == 0
}

/// The whole minutes of a span.
pub const fn whole_minutes(span: &Range<i64>) -> Range<i64> {
    whole(span, MINUTE)
}

/// The whole hours of a span whose rollups can answer for buckets of this width; none where they cannot.
pub const fn whole_hours(span: &Range<i64>, width: i64) -> Range<i64> {
    if width % HOUR == 0 { whole(span, HOUR) } else { span.start..span.start }
}

const fn whole(span: &Range<i64>, unit: i64) -> Range<i64> {
    let start = (span.start + unit - 1).div_euclid(unit) * unit;
    let end = span.end.div_euclid(unit) * unit;
    if start < end { start..end } else { start..start }
}

/// Divides a span into stretches, for buckets of `width`; all microseconds. `due` are the minutes for
/// which no rollup answers yet, rising.
pub fn divide(span: Range<i64>, width: i64, due: &[Range<i64>]) -> Vec<Stretch> {
    let minutes = whole_minutes(&span);
    if !has_rollups(width) || minutes.is_empty() {
        return vec![(Level::Rows, span)];
    }
    let mut stretches = Vec::new();
    let mut put = |level, stretch: Range<i64>| {
        if !stretch.is_empty() {
            stretches.push((level, stretch));
        }
    };
    put(Level::Rows, span.start..minutes.start);
    put(Level::Rows, minutes.end..span.end);
    let hours = whole_hours(&span, width);
    let (minutes_before, minutes_behind) = match hours.is_empty() {
        true => (minutes.clone(), minutes.end..minutes.end),
        false => (minutes.start..hours.start, hours.end..minutes.end),
    };
    for part in [minutes_before, minutes_behind] {
        alternate(part, [Level::Minutes, Level::Either], due.iter().cloned(), &mut put);
    }
    // An hour with a due minute is due.
    let due_hours =
        due.iter().map(|due| due.start.div_euclid(HOUR) * HOUR..(due.end + HOUR - 1).div_euclid(HOUR) * HOUR);
    alternate(hours, [Level::Hours, Level::EitherHours], due_hours, &mut put);
    stretches
}

/// Divides a span between what is due, which rises, and what is not.
fn alternate(
    span: Range<i64>,
    [settled, either]: [Level; 2],
    due: impl Iterator<Item = Range<i64>>,
    put: &mut impl FnMut(Level, Range<i64>),
) {
    let mut at = span.start;
    for due in due {
        let (start, end) = (due.start.clamp(at, span.end), due.end.clamp(at, span.end));
        put(settled, at..start);
        put(either, start..end);
        at = end;
    }
    put(settled, at..span.end);
}

/// Widens these to whole minutes, and unites them until there are few enough to ask about: of what then lies
/// between two, measurements and rollups are both asked, which costs time and changes no answer.
pub fn unite(mut due: Vec<Range<i64>>) -> Vec<Range<i64>> {
    due.sort_unstable_by_key(|due| due.start);
    let mut united: Vec<Range<i64>> = Vec::new();
    for Range { start, end } in due {
        let (start, end) = (start.div_euclid(MINUTE) * MINUTE, (end + MINUTE - 1).div_euclid(MINUTE) * MINUTE);
        match united.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => united.push(start..end),
        }
    }
    let mut gaps: Vec<_> = united.windows(2).filter_map(gap).collect();
    gaps.sort_unstable();
    let too_many = gaps.len().saturating_sub(limits::SERIES_DUE_STRETCHES - 1);
    let Some(&narrow) = too_many.checked_sub(1).and_then(|last| gaps.get(last)) else { return united };
    let mut few: Vec<Range<i64>> = Vec::new();
    for next in united {
        match few.last_mut() {
            Some(last) if next.start - last.end <= narrow => last.end = next.end,
            _ => few.push(next),
        }
    }
    few
}

fn gap(pair: &[Range<i64>]) -> Option<i64> {
    let [one, next] = pair else { return None };
    Some(next.start - one.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_span_is_answered_by_the_coarsest_that_fits() {
        let minutes = |minutes: i64| minutes * MINUTE;
        let due = vec![minutes(200)..minutes(202), minutes(202)..minutes(202)];
        let span = minutes(10) + 5..minutes(400) + 7;
        let mut expected = vec![
            (Level::Rows, minutes(10) + 5..minutes(11)),
            (Level::Rows, minutes(400)..minutes(400) + 7),
            (Level::Minutes, minutes(11)..minutes(60)),
            (Level::Minutes, minutes(360)..minutes(400)),
            (Level::Hours, minutes(60)..minutes(180)),
            (Level::EitherHours, minutes(180)..minutes(240)),
            (Level::Hours, minutes(240)..minutes(360)),
        ];
        assert_eq!(divide(span.clone(), HOUR, &due), expected);
        expected = vec![
            (Level::Rows, minutes(10) + 5..minutes(11)),
            (Level::Rows, minutes(400)..minutes(400) + 7),
            (Level::Minutes, minutes(11)..minutes(200)),
            (Level::Either, minutes(200)..minutes(202)),
            (Level::Minutes, minutes(202)..minutes(400)),
        ];
        assert_eq!(divide(span, MINUTE, &due), expected);
        expected = vec![(Level::Rows, 1..minutes(3))];
        assert_eq!(divide(1..minutes(3), 90_000_000, &[]), expected, "no bucket is whole minutes");
        assert_eq!(divide(1..MINUTE, MINUTE, &[]), [(Level::Rows, 1..MINUTE)]);
    }

    fn spans() -> impl Strategy<Value = Vec<Range<i64>>> {
        prop::collection::vec((-50_000_i64..50_000, 1_i64..900), 0..60).prop_map(|due| {
            due.into_iter().map(|(start, length)| start * 1_000_000..(start + length) * 1_000_000).collect()
        })
    }

    proptest! {
        #[test]
        fn every_instant_is_answered_once_and_due_ones_by_rows_too(
            start in -40_000_i64..40_000,
            length in 1_i64..80_000,
            width in prop::sample::select(vec![MINUTE, 7 * MINUTE, HOUR, 24 * HOUR, 90_000_000]),
            due in spans(),
        ) {
            let span = start * 1_000_003..(start + length) * 1_000_003;
            let united = unite(due.clone());
            prop_assert!(united.len() <= limits::SERIES_DUE_STRETCHES);
            prop_assert!(due.iter().all(|due| united.iter().any(|one| one.start <= due.start && due.end <= one.end)));
            let mut stretches = divide(span.clone(), width, &united);
            stretches.sort_by_key(|(_, stretch)| stretch.start);
            let mut at = span.start;
            for (level, stretch) in stretches {
                prop_assert_eq!(stretch.start, at);
                at = stretch.end;
                let unit = match level {
                    Level::Rows => 1,
                    Level::Either | Level::Minutes => MINUTE,
                    Level::EitherHours | Level::Hours => HOUR,
                };
                prop_assert!(stretch.start % unit == 0 && stretch.end % unit == 0 && (unit == 1 || width % unit == 0));
                let is_due = due.iter().any(|due| due.start < stretch.end && stretch.start < due.end);
                let asks_rows = matches!(level, Level::Rows | Level::Either | Level::EitherHours);
                prop_assert!(!is_due || asks_rows, "{:?} {:?}", level, stretch);
            }
            prop_assert_eq!(at, span.end);
        }
    }
}
