//! What most sessions have as it is by default: a device that only publishes has no window, no queue and no
//! subscriptions. It takes the space of a pointer until it is changed for the first time
//! (docs/decisions/0009-idle-connections.md).

use std::{
    ops::{Deref, DerefMut},
    sync::LazyLock,
};

use hashbrown::{HashMap, HashSet};

use super::{ledger::Queue, window::Window};
use crate::types::Sequence;

type Random = foldhash::fast::RandomState;

/// A value that is mostly the default one. Looking at it never makes one; [`DerefMut`] does, so whoever changes it in
/// passing asks [`Seldom::present_mut`] first.
#[derive(Clone, Debug, Default)]
pub struct Seldom<T>(Option<Box<T>>);

impl<T> Seldom<T> {
    /// The value, where it was ever changed.
    pub fn present_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Self(Some(Box::new(value)))
    }
}

impl<T: Vacant> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::vacant(),
        }
    }
}

impl<T: Vacant> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

/// What has one default value for all.
pub trait Vacant: Default + 'static {
    /// That value.
    fn vacant() -> &'static Self;
}

macro_rules! vacant {
    ($($type:ty),+) => {$(
        impl Vacant for $type {
            fn vacant() -> &'static Self {
                static VACANT: LazyLock<$type> = LazyLock::new(Default::default);
                &VACANT
            }
        }
    )+};
}

vacant!(Queue, Window, HashMap<u16, Sequence, Random>, HashSet<Box<str>, Random>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_makes_a_value() {
        let mut seldom = Seldom::<HashSet<Box<str>, Random>>::default();
        assert!(seldom.is_empty() && !seldom.contains("a"));
        assert!(seldom.present_mut().is_none());
        seldom.insert("a".into());
        assert!(seldom.contains("a") && seldom.present_mut().is_some());
        assert!(Seldom::<HashSet<Box<str>, Random>>::default().is_empty(), "others are as they were");
        assert_eq!(size_of::<Seldom<Window>>(), size_of::<usize>());
    }
}
