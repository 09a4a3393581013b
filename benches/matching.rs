//! One topic matched against a million subscriptions, and what it takes to add and remove them.
//! Figures and what follows from them: docs/decisions/0006-filter-tree.md.

#![expect(clippy::unwrap_used, reason = "a bench has no one to report to but its reader")]

use std::{array, fs, hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use synap_mqtt::{
    mqtt::filter_tree::{FilterTree, Keyed},
    types::{Qos, TopicFilter},
};

const FILTERS: usize = 1_000_000;

/// As large as a subscription: 24 bytes.
#[derive(Clone)]
struct Value {
    session: Arc<u64>,
    _sequence: u64,
    _identifier: u32,
    _maximum_qos: Qos,
    _flags: [bool; 2],
}

impl Keyed for Value {
    type Key = usize;

    fn key(&self) -> usize {
        Arc::as_ptr(&self.session).addr()
    }
}

impl Value {
    fn new() -> Self {
        let session = Arc::new(0);
        Self { session, _sequence: 0, _identifier: 0, _maximum_qos: Qos::AtLeastOnce, _flags: [false; 2] }
    }
}

fn exact(number: usize) -> String {
    format!("devices/device-{number:06}/telemetry")
}

/// Of ten filters one has a `+`, in each place in turn.
fn tenth_single(number: usize) -> String {
    match number % 30 {
        0 => format!("+/device-{number:06}/telemetry"),
        10 => format!("devices/device-{number:06}/+"),
        20 => format!("devices/+/telemetry-{number:06}"),
        _ => exact(number),
    }
}

fn half_multi(number: usize) -> String {
    if number.is_multiple_of(2) { exact(number) } else { format!("devices/device-{number:06}/#") }
}

/// Six levels, each one of nine names or `+`, in all combinations: whichever way a walk turns, it
/// finds filters, and a topic matches 64 of them.
fn every_way(number: usize) -> String {
    levels(number, 10)
}

fn every_way_topic(number: usize) -> String {
    levels(number, 9)
}

/// The last six digits of a number to this base, as names; the digit 9 is `+`.
fn levels(number: usize, base: usize) -> String {
    let mut rest = number;
    let levels: [_; 6] = array::from_fn(|_| {
        let digit = rest % base;
        rest /= base;
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "+"][digit]
    });
    levels.join("/")
}

fn filters(text: impl Fn(usize) -> String) -> Vec<TopicFilter> {
    (0..FILTERS).map(|number| text(number).parse().unwrap()).collect()
}

fn tree(filters: &[TopicFilter], value: &Value) -> FilterTree<Value> {
    let mut tree = FilterTree::default();
    for filter in filters {
        tree.insert(filter, value.clone());
    }
    tree
}

/// Memory of this process that is in use, in bytes; 0 where the system does not say.
fn resident() -> usize {
    let pages = |text: String| text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    fs::read_to_string("/proc/self/statm").ok().and_then(pages).unwrap_or(0) * 4096
}

fn matches(criterion: &mut Criterion) {
    type Text = fn(usize) -> String;
    let mixtures: [(&str, Text, Text); 4] = [
        ("no wildcards", exact, exact),
        ("10 % with +", tenth_single, exact),
        ("50 % with #", half_multi, exact),
        ("every level both", every_way, every_way_topic),
    ];
    let mut group = criterion.benchmark_group("match, 1,000,000 filters");
    for (name, text, topic) in mixtures {
        let filters = filters(text);
        // A prime stride, so that no topic is near the one before it.
        let topics: Vec<_> = (0..500_000).map(|number| topic(number * 7_919 % FILTERS)).collect();
        let before = resident();
        let tree = tree(&filters, &Value::new());
        let growth = resident().saturating_sub(before);
        eprintln!("{name}: {} bytes of resident memory a filter beside its text", growth / FILTERS);
        let mut topics = topics.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| tree.visit_matches(topics.next().unwrap(), |value| _ = black_box(value)));
        });
    }
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1,000,000 filters");
    group.sample_size(10);
    let value = Value::new();
    for (name, filters) in [("no wildcards", filters(exact)), ("50 % with #", filters(half_multi))] {
        group.bench_function(format!("insert, {name}"), |bencher| {
            bencher.iter_with_large_drop(|| tree(&filters, &value));
        });
        group.bench_function(format!("remove, {name}"), |bencher| {
            bencher.iter_batched_ref(
                || tree(&filters, &value),
                |tree| filters.iter().for_each(|filter| _ = tree.remove(filter, value.key())),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A million sessions that subscribe to the same filter, and leave again.
fn crowd(criterion: &mut Criterion) {
    let filter: TopicFilter = "broadcast/#".parse().unwrap();
    let values: Vec<_> = (0..FILTERS).map(|_| Value::new()).collect();
    let mut group = criterion.benchmark_group("1,000,000 values of one filter");
    group.sample_size(10);
    group.bench_function("insert and remove", |bencher| {
        bencher.iter(|| {
            let mut tree: FilterTree<Value> = FilterTree::default();
            for value in &values {
                tree.insert(&filter, value.clone());
            }
            for value in &values {
                tree.remove(&filter, value.key());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, matches, changes, crowd);
criterion_main!(benches);
