//! Values without order and without holes, found by hash.
//!
//! The values lie side by side in one vector; a table beside it holds their places, four bytes
//! each. A removal moves the last value into the hole, so there is no list of free places, and
//! memory goes back as values go. The vector grows by an eighth and not to the double: with a
//! million values, the room kept free is what costs most. A few values have no table and are
//! looked through.
//!
//! Owned by a [`FilterTree`](super::FilterTree), or by one of its filters. Invariant: there is no table, or it holds each
//! place once, under the hash of the value there. Nothing here fails.

use hashbrown::HashTable;

/// Values up to which looking through them all is quicker than a table, or as good.
const LOOKED_THROUGH: usize = 16;

pub(super) struct Dense<T> {
    values: Vec<T>,
    places: HashTable<u32>,
}

impl<T> Default for Dense<T> {
    fn default() -> Self {
        Self { values: Vec::new(), places: HashTable::new() }
    }
}

impl<T> Dense<T> {
    pub(super) const fn as_slice(&self) -> &[T] {
        self.values.as_slice()
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.values.get(place)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.values.get_mut(place)
    }

    /// Where the value is that has this hash and is the wanted one.
    pub(super) fn find(&self, hash: u64, is_wanted: impl Fn(&T) -> bool) -> Option<usize> {
        if self.places.is_empty() {
            return self.values.iter().position(is_wanted);
        }
        let place = self.places.find(hash, |&place| self.get(place as usize).is_some_and(&is_wanted));
        place.map(|&place| place as usize)
    }

    /// All values that have this hash, and perhaps some that do not.
    pub(super) fn with_hash(&self, hash: u64) -> impl Iterator<Item = &T> {
        let looked_through = if self.places.is_empty() { self.values.as_slice() } else { &[] };
        looked_through.iter().chain(self.places.iter_hash(hash).filter_map(|&place| self.get(place as usize)))
    }

    /// Adds a value that is not here yet. Places have 32 bits; memory ends long before they do.
    pub(super) fn push(&mut self, value: T, hash_of: impl Fn(&T) -> u64) {
        let Ok(place) = u32::try_from(self.values.len()) else { return };
        if self.values.len() == self.values.capacity() {
            self.values.reserve_exact((self.values.len() / 8).max(1));
        }
        let hash = hash_of(&value);
        self.values.push(value);
        if !self.places.is_empty() {
            let values = &self.values;
            self.places.insert_unique(hash, place, |&place| hash_at(values, place, &hash_of));
        } else if self.values.len() > LOOKED_THROUGH {
            self.make_table(hash_of);
        }
    }

    /// Takes out the value at a place; the last value moves there.
    pub(super) fn swap_remove(&mut self, place: usize, hash_of: impl Fn(&T) -> u64) -> Option<T> {
        if place >= self.values.len() {
            return None;
        }
        let removed = self.values.swap_remove(place);
        if self.values.len() <= LOOKED_THROUGH / 2 {
            self.places = HashTable::new();
        } else if !self.places.is_empty() {
            self.forget_place(place, hash_of(&removed));
            if let Some(moved) = self.values.get(place) {
                self.correct_place(self.values.len(), place, hash_of(moved));
            }
        }
        self.shrink(hash_of);
        Some(removed)
    }

    fn make_table(&mut self, hash_of: impl Fn(&T) -> u64) {
        let values = &self.values;
        for (place, value) in (0..).zip(values) {
            self.places.insert_unique(hash_of(value), place, |&place| hash_at(values, place, &hash_of));
        }
    }

    fn forget_place(&mut self, place: usize, hash: u64) {
        if let Ok(entry) = self.places.find_entry(hash, |&known| known as usize == place) {
            entry.remove();
        }
    }

    fn correct_place(&mut self, from: usize, to: usize, hash: u64) {
        if let (Some(known), Ok(to)) = (self.places.find_mut(hash, |&known| known as usize == from), u32::try_from(to))
        {
            *known = to;
        }
    }

    fn shrink(&mut self, hash_of: impl Fn(&T) -> u64) {
        let length = self.values.len();
        if self.values.capacity() / 2 > length {
            self.values.shrink_to(length + length / 8);
        }
        if self.places.capacity() / 4 > length {
            let values = &self.values;
            self.places.shrink_to(length * 2, |&place| hash_at(values, place, &hash_of));
        }
    }
}

fn hash_at<T>(values: &[T], place: u32, hash_of: impl Fn(&T) -> u64) -> u64 {
    values.get(place as usize).map_or(0, hash_of)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Few hashes, so that many values share one.
    fn hash_of(value: &u8) -> u64 {
        u64::from(value % 5).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn find(dense: &Dense<u8>, wanted: u8) -> Option<usize> {
        dense.find(hash_of(&wanted), |&value| value == wanted)
    }

    proptest! {
        #[test]
        fn holds_what_a_set_holds(changes in prop::collection::vec((any::<bool>(), 0..60u8), 0..300)) {
            let mut dense = Dense::default();
            let mut model = BTreeSet::new();
            for (adds, value) in changes {
                match find(&dense, value) {
                    None if adds => {
                        dense.push(value, hash_of);
                        prop_assert!(model.insert(value));
                    }
                    Some(place) if !adds => {
                        prop_assert_eq!(dense.swap_remove(place, hash_of), Some(value));
                        prop_assert!(model.remove(&value));
                    }
                    found => prop_assert_eq!(found.is_some(), model.contains(&value)),
                }
                prop_assert_eq!(dense.as_slice().iter().copied().collect::<BTreeSet<_>>(), model.clone());
                for wanted in 0..60 {
                    let found = find(&dense, wanted).and_then(|place| dense.get(place).copied());
                    prop_assert_eq!(found, model.contains(&wanted).then_some(wanted));
                }
            }
        }
    }

    #[test]
    fn gives_memory_back_as_values_go() {
        let hash_of = |&value: &u32| u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dense = Dense::default();
        (0..10_000).for_each(|value| dense.push(value, hash_of));
        assert!(dense.values.capacity() < 11_500);
        (0..9_000).for_each(|_| assert!(dense.swap_remove(0, hash_of).is_some()));
        assert!(dense.values.capacity() < 2_500, "{}", dense.values.capacity());
        assert!(dense.places.capacity() < 5_000, "{}", dense.places.capacity());
        (0..1_000).for_each(|_| assert!(dense.swap_remove(0, hash_of).is_some()));
        assert_eq!((dense.values.capacity(), dense.places.capacity()), (0, 0));
        assert!(dense.swap_remove(0, hash_of).is_none());
    }
}
