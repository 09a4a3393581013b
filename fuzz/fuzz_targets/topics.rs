//! Topic filters: what is one, what it matches, and whether the tree of them finds just that. The first line is a
//! topic name, each further one a filter.

#![no_main]

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher},
    iter::repeat,
};

use libfuzzer_sys::fuzz_target;
use synap_mqtt::{
    limits,
    mqtt::filter_tree::{FilterTree, Keyed},
    types::{TopicFilter, TopicName},
};

/// Levels of topics that are looked for where nearly everything collides.
const COLLIDING_LEVELS: usize = 8;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let topic = lines.next().unwrap_or_default();
    assert_eq!(TopicName::check(topic).is_ok(), is_name(topic), "{topic:?}");
    assert_eq!(topic.parse::<TopicName>().is_ok(), is_name(topic), "{topic:?}");
    let filters: Vec<_> = lines.filter_map(parse).collect();
    if !is_name(topic) || levels(topic).len() > limits::MAXIMUM_TOPIC_LEVELS {
        return;
    }
    let expected = expected(&filters, topic);
    for (place, filter) in filters.iter().enumerate() {
        assert_eq!(filter.matches(topic), expected.contains(&place), "{filter:?} {topic:?}");
    }
    check_tree::<RandomHashes>(&filters, topic, &expected);
    // Where every path seems to be known, a walk takes both ways at each level.
    if levels(topic).len() <= COLLIDING_LEVELS {
        check_tree::<FewHashes>(&filters, topic, &expected);
    }
});

/// A filter within the limits that the broker keeps.
fn parse(text: &str) -> Option<TopicFilter> {
    let filter = text.parse::<TopicFilter>();
    assert_eq!(filter.is_ok(), is_filter(text), "{text:?}");
    assert_eq!(TopicFilter::check(text).is_ok(), filter.is_ok(), "{text:?}");
    filter.ok().filter(|_| levels(text).len() <= limits::MAXIMUM_WILDCARD_LEVELS)
}

fn expected(filters: &[TopicFilter], topic: &str) -> Vec<usize> {
    let is_own = topic.starts_with('$');
    let matches = |filter: &TopicFilter| {
        !(is_own && filter.as_str().starts_with(['+', '#'])) && matches(&levels(filter.as_str()), &levels(topic))
    };
    (0..filters.len()).filter(|&place| matches(&filters[place])).collect()
}

fn check_tree<S: BuildHasher + Default>(filters: &[TopicFilter], topic: &str, expected: &[usize]) {
    let mut tree = FilterTree::<Value, S>::default();
    for (place, filter) in filters.iter().enumerate() {
        assert!(tree.insert(filter, Value(place)).is_none());
    }
    let mut found = Vec::new();
    tree.visit_matches(topic, |value| found.push(value.0));
    found.sort_unstable();
    assert_eq!(found, expected, "{filters:?} {topic:?}");
    for (place, filter) in filters.iter().enumerate() {
        assert_eq!(tree.remove(filter, place).map(|value| value.0), Some(place));
    }
    assert!(tree.is_empty() && tree.filters() == 0);
    tree.visit_matches(topic, |value| panic!("{} was removed", value.0));
}

/// MQTT 5.0 section 4.7.3, as it reads.
fn is_text(text: &str) -> bool {
    (1..=65_535).contains(&text.len()) && !text.contains('\0')
}

fn is_name(text: &str) -> bool {
    is_text(text) && !text.contains(['+', '#'])
}

/// MQTT 5.0 section 4.7.1, as it reads.
fn is_filter(text: &str) -> bool {
    let levels = levels(text);
    let is_last = repeat(false).take(levels.len() - 1).chain([true]);
    is_text(text)
        && levels.iter().zip(is_last).all(|(level, is_last)| match *level {
            "+" => true,
            "#" => is_last,
            level => !level.contains(['+', '#']),
        })
}

fn levels(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([level, filter @ ..], [name, topic @ ..]) => level == name && matches(filter, topic),
        _ => false,
    }
}

/// A value that is its own key.
struct Value(usize);

impl Keyed for Value {
    type Key = usize;

    fn key(&self) -> usize {
        self.0
    }
}

/// Hashes as good as any, and the same in each run.
#[derive(Default)]
struct RandomHashes;

impl BuildHasher for RandomHashes {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher::new()
    }
}

/// Two bits of hash: nearly everything collides.
#[derive(Default)]
struct FewHashes;

struct TwoBits(DefaultHasher);

impl BuildHasher for FewHashes {
    type Hasher = TwoBits;

    fn build_hasher(&self) -> TwoBits {
        TwoBits(DefaultHasher::new())
    }
}

impl Hasher for TwoBits {
    fn finish(&self) -> u64 {
        self.0.finish() & 0b11
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}
