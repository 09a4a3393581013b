//! A set of counters that mostly grows by its next member.

use std::collections::BTreeMap;

/// Counters seen: everything below `next` except the gaps. Costs nothing per message while they
/// arrive in order, and memory only per gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterSet {
    next: u64,
    /// Start and end (exclusive) of each stretch below `next` that is not in the set.
    gaps: BTreeMap<u64, u64>,
    missing: u64,
}

/// How an inserted counter relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// Greater than all before.
    InOrder,
    /// New, but a greater one came before it.
    Late,
    /// Already in the set.
    Duplicate,
}

impl CounterSet {
    /// The counters 0 to `end`, exclusive.
    #[must_use]
    pub fn all_below(end: u64) -> Self {
        Self { next: end, ..Self::default() }
    }

    /// Adds a counter.
    pub fn insert(&mut self, counter: u64) -> Insertion {
        if counter >= self.next {
            if counter > self.next {
                self.gaps.insert(self.next, counter);
                self.missing += counter - self.next;
            }
            self.next = counter + 1;
            return Insertion::InOrder;
        }
        let Some((&start, &end)) = self.gaps.range(..=counter).next_back() else { return Insertion::Duplicate };
        if counter >= end {
            return Insertion::Duplicate;
        }
        self.gaps.remove(&start);
        if start < counter {
            self.gaps.insert(start, counter);
        }
        if counter + 1 < end {
            self.gaps.insert(counter + 1, end);
        }
        self.missing -= 1;
        Insertion::Late
    }

    /// Members.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next - self.missing
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many members of `self` are not in `other`.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> u64 {
        let above = (other.next < self.next).then_some((other.next, self.next));
        let gaps = other.gaps.iter().map(|(&start, &end)| (start, end.min(self.next)));
        gaps.chain(above).filter(|(start, end)| start < end).map(|(start, end)| self.count_within(start, end)).sum()
    }

    /// Members from `start` to `end`, exclusive; `end` is at most `next`.
    fn count_within(&self, start: u64, end: u64) -> u64 {
        let overlap = |(&from, &to): (&u64, &u64)| to.min(end).saturating_sub(from.max(start));
        let straddling = self.gaps.range(..start).next_back().map_or(0, overlap);
        end - start - straddling - self.gaps.range(start..end).map(overlap).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn order_lateness_and_repeats_are_told_apart() {
        let mut set = CounterSet::default();
        assert_eq!(set.insert(0), Insertion::InOrder);
        assert_eq!(set.insert(5), Insertion::InOrder);
        assert_eq!(set.insert(3), Insertion::Late);
        assert_eq!(set.insert(3), Insertion::Duplicate);
        assert_eq!(set.insert(5), Insertion::Duplicate);
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn agrees_with_a_plain_set() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let (mut ours, mut plain) =
                ([CounterSet::default(), CounterSet::default()], [BTreeSet::new(), BTreeSet::new()]);
            for _ in 0..random(80) {
                let (which, counter) = (random(2) as usize, random(40));
                let insertion = ours[which].insert(counter);
                assert_eq!(insertion == Insertion::Duplicate, !plain[which].insert(counter));
            }
            let [a, b] = &ours;
            assert_eq!(a.len(), plain[0].len() as u64);
            assert_eq!(a.missing_from(b), plain[0].difference(&plain[1]).count() as u64, "{a:?} {b:?}");
        }
    }
}
