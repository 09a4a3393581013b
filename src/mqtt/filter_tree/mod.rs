//! Values by topic filter, and for a topic the values of all filters that match it.
//!
//! A tree by level in what it does, two hash tables in what it is:
//! - `filters` has an entry for each filter with a value, found by the hash of its path;
//! - `prefixes` counts, for each path, the filters with wildcards that lie beyond it.
//!
//! The filter without wildcards that matches a topic is the topic itself: one look-up. For the
//! others a walk follows the topic's levels, taking each as itself and as `+`, for as long as
//! `prefixes` knows the path. Filters without wildcards, the most frequent kind, need no
//! prefixes: one entry, no nodes. A filter's text is shared with whoever else holds the
//! [`TopicFilter`]. Figures and alternatives: docs/decisions/0006-filter-tree.md.
//!
//! Owned by `routing::Routing`, under its lock. Invariants: an entry has a value at
//! least; an entry's filter has wildcards ⇔ it is counted under each of its proper prefixes.
//! Hashes only say where to look. Whatever a client makes collide, each filter found is matched
//! against the topic, and each path is looked at once, so a value is visited once and only
//! where section 4.7 says so. Nothing here fails; time and memory go with the levels of topics
//! and filters, which [`limits`](crate::limits) bounds.

mod dense;
mod hashing;
mod prefixes;
#[cfg(test)]
mod tests;
mod values;

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use smallvec::{SmallVec, smallvec};

use crate::types::TopicFilter;

use dense::Dense;
use hashing::{Hashing, ROOT};
use prefixes::Prefixes;
use values::Values;

/// What tells the values of one filter apart.
pub trait Keyed {
    /// Cheap to copy, such as an address or a number.
    type Key: Copy + Eq + Hash;

    /// Must stay the same for as long as the value is in the tree.
    fn key(&self) -> Self::Key;
}

/// See the module. `S` makes the hashes, as in a `HashMap`.
pub struct FilterTree<V, S = RandomState> {
    hashing: Hashing<S>,
    filters: Dense<Entry<V>>,
    prefixes: Prefixes,
    values: usize,
}

struct Entry<V> {
    path: u64,
    filter: TopicFilter,
    values: Values<V>,
}

/// Where a walk is: a path, and how many levels it has.
struct Step {
    path: u64,
    depth: usize,
}

/// Levels of a topic up to which a match allocates nothing.
const INLINE_LEVELS: usize = 16;

/// Filters up to which a match allocates nothing.
const INLINE_CANDIDATES: usize = 32;

impl<V, S: BuildHasher + Default> Default for FilterTree<V, S> {
    fn default() -> Self {
        Self { hashing: Hashing::default(), filters: Dense::default(), prefixes: Prefixes::default(), values: 0 }
    }
}

impl<V: Keyed, S: BuildHasher> FilterTree<V, S> {
    /// How many values there are, of all filters.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// How many filters have a value.
    #[must_use]
    pub const fn filters(&self) -> usize {
        self.filters.as_slice().len()
    }

    /// The values of exactly this filter, in no order; never an empty slice.
    #[must_use]
    pub fn get(&self, filter: &TopicFilter) -> Option<&[V]> {
        let entry = self.filters.get(self.place(filter)?)?;
        Some(entry.values.as_slice())
    }

    /// The value of exactly this filter that has this key.
    pub fn get_mut(&mut self, filter: &TopicFilter, key: V::Key) -> Option<&mut V> {
        let place = self.place(filter)?;
        self.filters.get_mut(place)?.values.get_mut(key, &self.hashing)
    }

    /// Adds a value. One with the same key and filter gives way and is returned.
    pub fn insert(&mut self, filter: &TopicFilter, value: V) -> Option<V> {
        let path = self.hashing.of_filter(filter);
        let place = self.filters.find(path, |entry| entry.is(path, filter));
        if let Some(entry) = place.and_then(|place| self.filters.get_mut(place)) {
            if let Some(known) = entry.values.get_mut(value.key(), &self.hashing) {
                return Some(std::mem::replace(known, value));
            }
            entry.values.push(value, &self.hashing);
        } else {
            self.filters.push(Entry { path, filter: filter.clone(), values: Values::One(value) }, Entry::path);
            if has_wildcards(filter) {
                self.hashing.prefixes(filter).for_each(|(path, next)| self.prefixes.add(path, next));
            }
        }
        self.values += 1;
        None
    }

    /// Removes the value of exactly this filter that has this key, and the filter after its last.
    pub fn remove(&mut self, filter: &TopicFilter, key: V::Key) -> Option<V> {
        let place = self.place(filter)?;
        let values = &mut self.filters.get_mut(place)?.values;
        let removed = values.remove(key, &self.hashing)?;
        self.values -= 1;
        if values.as_slice().is_empty() {
            self.filters.swap_remove(place, Entry::path);
            if has_wildcards(filter) {
                self.hashing.prefixes(filter).for_each(|(path, next)| self.prefixes.remove(path, next));
            }
        }
        Some(removed)
    }

    /// Shows all values whose filters match a topic name (MQTT 5.0 section 4.7), each once, in no
    /// order.
    pub fn visit_matches<'a>(&'a self, topic: &str, visit: impl FnMut(&'a V)) {
        // One stage after the other, so that the memory accesses of many candidates overlap.
        let candidates = self.candidates(topic);
        let at = |path: u64| self.filters.with_hash(path).filter(move |entry| entry.path == path);
        let found: SmallVec<[&Entry<V>; INLINE_CANDIDATES]> = candidates.iter().flat_map(|&path| at(path)).collect();
        let matching = found.into_iter().filter(|entry| entry.filter.as_str() == topic || entry.filter.matches(topic));
        matching.flat_map(|entry| entry.values.as_slice()).for_each(visit);
    }

    /// Paths of all filters that may match, each once, there or not.
    fn candidates(&self, topic: &str) -> SmallVec<[u64; INLINE_CANDIDATES]> {
        let levels: SmallVec<[u64; INLINE_LEVELS]> =
            topic.split('/').map(|level| self.hashing.of_level(level)).collect();
        let whole = levels.iter().fold(ROOT, |path, &level| self.hashing.join(path, level));
        let mut candidates = smallvec![whole];
        let mut steps: SmallVec<[Step; 2 * INLINE_LEVELS]> = smallvec![Step { path: ROOT, depth: 0 }];
        while let Some(Step { path, depth }) = steps.pop() {
            let next = levels.get(depth);
            if next.is_none() {
                candidates.push(path);
            }
            let Some(beyond) = self.prefixes.get(path) else { continue };
            if beyond.multi > 0 {
                candidates.push(self.hashing.join(path, self.hashing.multi));
            }
            if let Some(&level) = next
                && beyond.further > 0
            {
                let onward = |level| Step { path: self.hashing.join(path, level), depth: depth + 1 };
                steps.extend([onward(level), onward(self.hashing.single)]);
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    fn place(&self, filter: &TopicFilter) -> Option<usize> {
        let path = self.hashing.of_filter(filter);
        self.filters.find(path, |entry| entry.is(path, filter))
    }
}

impl<V> Entry<V> {
    fn is(&self, path: u64, filter: &TopicFilter) -> bool {
        self.path == path && self.filter == *filter
    }

    const fn path(&self) -> u64 {
        self.path
    }
}

fn has_wildcards(filter: &TopicFilter) -> bool {
    filter.as_str().contains(['+', '#'])
}
