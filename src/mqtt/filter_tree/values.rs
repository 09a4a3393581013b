//! What one filter has: one value nearly always, seldom two, sometimes as many as there are
//! sessions. One lies in place; many are a table by key, so that the hundred thousandth
//! subscriber of the same filter comes and goes as quickly as the first.

use std::hash::BuildHasher;

use super::{Hashing, Keyed, dense::Dense};

/// Invariant: `Many` has two at least; no two values have the same key. The three variants take
/// no more room than a value that holds a `bool` or an enum.
#[derive(Default)]
pub(super) enum Values<V> {
    #[default]
    None,
    One(V),
    Many(Box<Dense<V>>),
}

impl<V: Keyed> Values<V> {
    pub(super) fn as_slice(&self) -> &[V] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values.as_slice(),
        }
    }

    pub(super) fn get_mut(&mut self, key: V::Key, hashing: &Hashing<impl BuildHasher>) -> Option<&mut V> {
        match self {
            Self::One(value) if value.key() == key => Some(value),
            Self::Many(values) => values.get_mut(place(values, key, hashing)?),
            Self::None | Self::One(_) => None,
        }
    }

    /// Adds a value with a key that is not here yet.
    pub(super) fn push(&mut self, value: V, hashing: &Hashing<impl BuildHasher>) {
        let hash_of = |value: &V| hashing.of_key(value.key());
        *self = match std::mem::take(self) {
            Self::None => Self::One(value),
            Self::One(first) => {
                let mut values = Dense::default();
                values.push(first, hash_of);
                values.push(value, hash_of);
                Self::Many(values.into())
            }
            Self::Many(mut values) => {
                values.push(value, hash_of);
                Self::Many(values)
            }
        };
    }

    pub(super) fn remove(&mut self, key: V::Key, hashing: &Hashing<impl BuildHasher>) -> Option<V> {
        let hash_of = |value: &V| hashing.of_key(value.key());
        let (removed, rest) = match std::mem::take(self) {
            Self::One(value) if value.key() == key => (Some(value), Self::None),
            Self::Many(mut values) => {
                let removed = place(&values, key, hashing).and_then(|place| values.swap_remove(place, hash_of));
                (removed, Self::Many(values))
            }
            rest => (None, rest),
        };
        *self = match rest {
            Self::Many(mut values) if values.as_slice().len() == 1 => {
                values.swap_remove(0, hash_of).map_or(Self::None, Self::One)
            }
            rest => rest,
        };
        removed
    }
}

fn place<V: Keyed>(values: &Dense<V>, key: V::Key, hashing: &Hashing<impl BuildHasher>) -> Option<usize> {
    values.find(hashing.of_key(key), |value| value.key() == key)
}
