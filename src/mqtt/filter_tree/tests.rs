//! The tree against the plain definition: a list of filters, and [`TopicFilter::matches`].

use std::{
    collections::BTreeMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{limits, types::Qos};

/// Carries a number beside its key, so that a replaced value can be told from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    key: u8,
    number: usize,
}

impl Keyed for Value {
    type Key = u8;

    fn key(&self) -> u8 {
        self.key
    }
}

fn filter(text: &str) -> TopicFilter {
    text.parse().unwrap()
}

fn value(key: u8) -> Value {
    Value { key, number: 0 }
}

/// Has four hashes for everything there is.
#[derive(Default)]
struct Colliding(u64);

impl Hasher for Colliding {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, &byte| sum.wrapping_mul(31) + u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0 & 0b11
    }
}

fn matches(tree: &FilterTree<Value, impl BuildHasher>, topic: &str) -> Vec<Value> {
    let mut found = Vec::new();
    tree.visit_matches(topic, |&value| found.push(value));
    found.sort_unstable();
    found
}

/// The list of all filters and values.
#[derive(Default)]
struct Model(BTreeMap<(TopicFilter, u8), Value>);

impl Model {
    fn matches(&self, topic: &str) -> Vec<Value> {
        let mut found: Vec<_> =
            self.0.iter().filter(|((filter, _), _)| filter.matches(topic)).map(|(_, &value)| value).collect();
        found.sort_unstable();
        found
    }

    fn values_of(&self, wanted: &TopicFilter) -> Vec<Value> {
        self.0.iter().filter(|((filter, _), _)| filter == wanted).map(|(_, &value)| value).collect()
    }

    fn filters(&self) -> usize {
        let mut filters: Vec<_> = self.0.keys().map(|(filter, _)| filter).collect();
        filters.dedup();
        filters.len()
    }
}

#[derive(Clone, Debug)]
enum Change {
    Insert(TopicFilter, u8),
    Remove(TopicFilter, u8),
    /// One of those that are there.
    RemoveKnown(usize),
}

/// Few levels, so that filters and topics meet; an empty one and one with `$` among them.
fn filters() -> impl Strategy<Value = TopicFilter> {
    "(#|(\\+|a|bb|\\$s|)(/(\\+|a|bb|\\$s|)){0,4}(/#)?)"
        .prop_filter_map("a filter has a character", |text| text.parse().ok())
}

fn topics() -> impl Strategy<Value = String> {
    "(a|bb|\\$s|)(/(a|bb|\\$s|)){0,5}".prop_filter("a topic has a character", |text| !text.is_empty())
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    // Among them some filters that get many values each.
    let filters = || prop_oneof![filters(), prop::sample::select(vec![filter("a/+"), filter("a/bb"), filter("#")])];
    let change = prop_oneof![
        6 => (filters(), 0..40u8).prop_map(|(filter, key)| Change::Insert(filter, key)),
        1 => (filters(), 0..40u8).prop_map(|(filter, key)| Change::Remove(filter, key)),
        3 => any::<usize>().prop_map(Change::RemoveKnown),
    ];
    prop::collection::vec(change, 0..250)
}

proptest! {
    #[test]
    fn finds_what_the_definition_finds(changes in changes(), topics in prop::collection::vec(topics(), 1..40)) {
        compare(FilterTree::<_, RandomState>::default(), changes, &topics)?;
    }

    #[test]
    fn is_right_even_if_everything_collides(changes in changes(), topics in prop::collection::vec(topics(), 1..40)) {
        compare(FilterTree::<_, BuildHasherDefault<Colliding>>::default(), changes, &topics)?;
    }
}

/// The same changes to a tree and to the model, which must agree throughout, and at the end on
/// these topics. Then everything is removed.
fn compare(
    mut tree: FilterTree<Value, impl BuildHasher>,
    changes: Vec<Change>,
    topics: &[String],
) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for (number, change) in changes.into_iter().enumerate() {
        match change {
            Change::Insert(filter, key) => {
                let value = Value { key, number };
                let replaced = model.0.insert((filter.clone(), key), value);
                prop_assert_eq!(tree.insert(&filter, value), replaced);
            }
            Change::Remove(filter, key) => {
                prop_assert_eq!(tree.remove(&filter, key), model.0.remove(&(filter, key)));
            }
            Change::RemoveKnown(number) => {
                let Some((filter, key)) = model.0.keys().nth(number % model.0.len().max(1)).cloned() else { continue };
                let removed = model.0.remove(&(filter.clone(), key));
                prop_assert_eq!(tree.get_mut(&filter, key).copied(), removed);
                prop_assert_eq!(tree.remove(&filter, key), removed);
            }
        }
        prop_assert_eq!(tree.len(), model.0.len());
        prop_assert_eq!(tree.filters(), model.filters());
    }
    for topic in topics {
        prop_assert_eq!(matches(&tree, topic), model.matches(topic), "{}", topic);
    }
    for (filter, _) in model.0.keys() {
        let mut values = tree.get(filter).unwrap_or_default().to_vec();
        values.sort_unstable();
        prop_assert_eq!(values, model.values_of(filter));
    }
    for (filter, key) in model.0.keys() {
        prop_assert!(tree.remove(filter, *key).is_some());
    }
    prop_assert!(is_as_new(&tree));
    Ok(())
}

fn is_as_new(tree: &FilterTree<Value, impl BuildHasher>) -> bool {
    tree.is_empty() && tree.filters() == 0 && tree.prefixes.capacity() == 0
}

#[test]
fn matches_as_in_section_4_7() {
    let filters = [
        "#", "+", "+/+", "a", "a/#", "a/+", "a/b", "a/b/#", "+/b", "/", "/+", "/#", "a//b", "$SYS/#", "$SYS/+", "+/b/+",
    ];
    let topics = ["a", "a/b", "a/b/c", "b/b", "/", "/a", "//", "a//b", "a/", "$SYS/x", "$SYS", "$", "x/b/y", "b"];
    for topic in topics {
        for text in filters {
            let mut tree = <FilterTree<_>>::default();
            tree.insert(&filter(text), value(1));
            assert_eq!(matches(&tree, topic).len() == 1, filter(text).matches(topic), "{text} and {topic}");
        }
    }
}

#[test]
fn a_value_with_the_same_key_and_filter_gives_way() {
    let mut tree: FilterTree<Value> = FilterTree::default();
    assert_eq!(tree.insert(&filter("a/+"), Value { key: 1, number: 1 }), None);
    assert_eq!(tree.insert(&filter("a/#"), Value { key: 1, number: 2 }), None);
    assert_eq!(tree.insert(&filter("a/+"), Value { key: 1, number: 3 }), Some(Value { key: 1, number: 1 }));
    assert_eq!((tree.len(), tree.filters()), (2, 2));
    tree.get_mut(&filter("a/#"), 1).unwrap().number = 4;
    assert_eq!(matches(&tree, "a/b"), [Value { key: 1, number: 3 }, Value { key: 1, number: 4 }]);
    assert!(tree.get_mut(&filter("a/#"), 2).is_none());
    assert!(tree.get(&filter("a")).is_none());
}

#[test]
fn the_deepest_topic_and_filter_meet() {
    let deepest = |level: &str| vec![level; limits::MAXIMUM_TOPIC_LEVELS].join("/");
    let mut tree: FilterTree<Value> = FilterTree::default();
    tree.insert(&filter(&deepest("+")), value(1));
    tree.insert(&filter(&deepest("a")), value(2));
    tree.insert(&filter(&(deepest("+") + "/#")), value(3));
    tree.insert(&filter(&(deepest("a") + "/+")), value(4));
    assert_eq!(matches(&tree, &deepest("a")), [value(1), value(2), value(3)]);
}

/// Levels that only tell apart how a path is cut must not be taken for each other.
#[test]
fn a_separator_is_no_character_of_a_level() {
    let mut tree: FilterTree<Value> = FilterTree::default();
    for (key, text) in (0..).zip(["ab/c", "a/bc", "abc", "/abc", "abc/", "a/b/c", "+/bc", "ab/+", "//abc"]) {
        tree.insert(&filter(text), value(key));
    }
    assert_eq!(matches(&tree, "ab/c"), [value(0), value(7)]);
    assert_eq!(matches(&tree, "a/bc"), [value(1), value(6)]);
    assert_eq!(matches(&tree, "abc/"), [value(4)]);
}

/// A million filters: each byte of an entry is a megabyte.
#[test]
fn a_single_value_lies_in_place() {
    struct Subscription {
        _session: Arc<()>,
        _since: u64,
        _identifier: u32,
        _maximum_qos: Qos,
        _flags: [bool; 2],
    }
    assert_eq!(size_of::<Values<Subscription>>(), 24);
    assert_eq!(size_of::<Entry<Subscription>>(), 48);
}
