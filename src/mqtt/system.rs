//! The `$SYS` topics: what the broker tells of itself, under the names that mosquitto 2 has given them, so
//! that dashboards find them. Belongs to the dispatcher.
//!
//! They are no events: nothing of them is in the journal, and no consumer of it sees them. They live in
//! memory, are retained as long as the process lives, and are delivered with QoS 0, from mailbox entries
//! that bring their record along. A topic is published again when its text has changed. A start begins
//! anew.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    directory::in_flight,
    dispatch::Dispatch,
    mailbox::Entry,
    routing::{GroupId, Target},
    statistics::Statistics,
};
use crate::{
    journal::{Clock, OwnedRecord, SystemClock},
    types::{Publication, PublishProperties, Qos, Sequence, TopicFilter},
};

/// What every topic of the broker's own begins with. Clients may not publish there.
pub const PREFIX: &str = "$SYS/";

/// The averages of a load, by the ends of their topics, and the seconds over which each fades.
const AVERAGES: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// What a load is counted by.
type Total = fn(&Statistics) -> u64;

/// Counters whose rise in a minute is averaged.
const LOADS: [(&str, Total); 9] = [
    ("messages/received", |statistics| statistics.incoming.packets.get()),
    ("messages/sent", |statistics| statistics.outgoing.packets.get()),
    ("publish/received", |statistics| statistics.received.get()),
    ("publish/sent", |statistics| statistics.delivered.get()),
    ("publish/dropped", dropped),
    ("bytes/received", |statistics| statistics.incoming.bytes.get()),
    ("bytes/sent", |statistics| statistics.outgoing.bytes.get()),
    ("sockets", |statistics| statistics.sockets.get()),
    ("connections", |statistics| statistics.connected.get()),
];

/// Messages that were accepted and reached nobody, or not everybody.
fn dropped(statistics: &Statistics) -> u64 {
    statistics.shed.get() + statistics.dropped.get() + statistics.lost.get()
}

/// A counter's rise in a minute, averaged with exponentially fading weights.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    total: u64,
    averages: [f64; AVERAGES.len()],
}

impl Load {
    /// Takes into account what was counted since the last time.
    fn follow(&mut self, total: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let a_minute = total.saturating_sub(self.total) as f64 * 60.0 / seconds;
        self.total = total;
        for (average, (_, fades_in)) in self.averages.iter_mut().zip(AVERAGES) {
            let kept = (-seconds / fades_in).exp();
            *average = a_minute + kept * (*average - a_minute);
        }
    }
}

/// What is counted only when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
struct Stock {
    sessions: u64,
    shared_subscriptions: u64,
    /// Messages that wait, counted once for each session they wait for.
    queued: u64,
    queued_bytes: u64,
    /// Messages sent and not acknowledged, of sessions whose queue is kept.
    in_flight: u64,
}

#[derive(Debug)]
struct Topic {
    text: String,
    record: Arc<OwnedRecord>,
}

/// All topics with their values.
#[derive(Debug)]
pub struct SystemTopics {
    interval: Duration,
    started: Instant,
    last: Option<Instant>,
    topics: BTreeMap<String, Topic>,
    loads: [Load; LOADS.len()],
}

impl SystemTopics {
    /// None yet. Published every `interval`, or never where that is zero.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            started: Instant::now(),
            last: None,
            topics: BTreeMap::new(),
            loads: <[Load; LOADS.len()]>::default(),
        }
    }

    /// Whether it is time to publish.
    fn is_due(&self) -> bool {
        !self.interval.is_zero() && self.last.is_none_or(|last| last.elapsed() >= self.interval)
    }

    /// Topics that a filter matches.
    pub fn matching<'a>(&'a self, filter: &'a TopicFilter) -> impl Iterator<Item = &'a Arc<OwnedRecord>> {
        // Wildcards in front match nothing of this, and most filters are of no interest.
        let is_of_interest = filter.as_str().starts_with('$');
        let topics = if is_of_interest { Some(&self.topics) } else { None };
        topics.into_iter().flatten().filter(|(topic, _)| filter.matches(topic)).map(|(_, topic)| &topic.record)
    }

    /// Takes all values in; the records of those that have changed.
    fn update(&mut self, statistics: &Statistics, stock: &Stock, at: Sequence) -> Vec<Arc<OwnedRecord>> {
        let now = Instant::now();
        let elapsed = now - self.last.replace(now).unwrap_or(self.started);
        let mut values = values(statistics, stock, now - self.started);
        for (load, (name, total)) in self.loads.iter_mut().zip(LOADS) {
            load.follow(total(statistics), elapsed);
            let averages = AVERAGES.iter().zip(load.averages);
            values.extend(averages.map(|((end, _), value)| (format!("load/{name}/{end}"), format!("{value:.2}"))));
        }
        let changed =
            values.into_iter().filter_map(|(name, text)| self.set(format!("{PREFIX}broker/{name}"), text, at));
        changed.collect()
    }

    fn set(&mut self, topic: String, text: String, at: Sequence) -> Option<Arc<OwnedRecord>> {
        if self.topics.get(&topic).is_some_and(|known| known.text == text) {
            return None;
        }
        let record = Arc::new(OwnedRecord::of(&Publication {
            sequence: at,
            received: SystemClock.now(),
            topic: &topic,
            payload: text.as_bytes(),
            qos: Qos::AtMostOnce,
            retain: true,
            guaranteed: false,
            client_id: "",
            properties: PublishProperties::default(),
        }));
        self.topics.insert(topic, Topic { text, record: Arc::clone(&record) });
        Some(record)
    }
}

/// Everything but loads, by the rest of its name. Names behind another are mosquitto's older ones.
fn values(statistics: &Statistics, stock: &Stock, uptime: Duration) -> Vec<(String, String)> {
    let connected = statistics.connections.get();
    let disconnected = stock.sessions.saturating_sub(connected);
    let stored = stock.queued + statistics.retained.get();
    let numbers = [
        ("clients/total", stock.sessions),
        ("clients/maximum", statistics.most_connections.get()),
        ("clients/connected", connected),
        ("clients/active", connected),
        ("clients/disconnected", disconnected),
        ("clients/inactive", disconnected),
        ("clients/expired", statistics.expired.get()),
        ("messages/received", statistics.incoming.packets.get()),
        ("messages/sent", statistics.outgoing.packets.get()),
        ("messages/inflight", stock.in_flight),
        ("messages/stored", stored),
        ("store/messages/count", stored),
        ("store/messages/bytes", stock.queued_bytes + statistics.retained_bytes.get()),
        ("publish/messages/received", statistics.received.get()),
        ("publish/messages/sent", statistics.delivered.get()),
        ("publish/messages/dropped", dropped(statistics)),
        ("publish/bytes/received", statistics.incoming.publish_bytes.get()),
        ("publish/bytes/sent", statistics.outgoing.publish_bytes.get()),
        ("bytes/received", statistics.incoming.bytes.get()),
        ("bytes/sent", statistics.outgoing.bytes.get()),
        ("subscriptions/count", statistics.subscriptions.get()),
        ("shared_subscriptions/count", stock.shared_subscriptions),
        ("retained messages/count", statistics.retained.get()),
    ];
    let mut values = vec![
        ("version".to_owned(), concat!("synap-mqtt version ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("uptime".to_owned(), format!("{} seconds", uptime.as_secs())),
    ];
    values.extend(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
    values
}

impl Dispatch {
    /// Publishes what has changed, where it is time for that.
    pub(super) fn publish_system(&mut self) {
        if !self.system.is_due() {
            return;
        }
        let stock = self.stock();
        let changed = self.system.update(&self.broker.statistics, &stock, self.best_effort_to);
        changed.iter().for_each(|record| self.pass_on_system(record));
        self.wake();
    }

    /// One look at every session. As often as the interval says, and no dearer than what the dispatcher
    /// looks at them for anyway.
    fn stock(&self) -> Stock {
        let mut stock = Stock {
            sessions: self.broker.sessions.count() as u64,
            shared_subscriptions: self.routing.shared_subscriptions() as u64,
            ..Stock::default()
        };
        for (_, account) in self.ledger.iter().filter(|(_, account)| !account.ended) {
            let mailbox = account.session.mailbox.lock();
            stock.queued += mailbox.len() as u64;
            stock.queued_bytes += mailbox.bytes();
            stock.in_flight += in_flight(account, &mailbox).unwrap_or(0);
        }
        stock
    }

    fn pass_on_system(&mut self, record: &Arc<OwnedRecord>) {
        let Some(publication) = record.publication() else { return };
        let targets = self.routing.targets(publication.topic);
        for target in &targets.sessions {
            self.deliver_system(target, record, None);
        }
        for &id in &targets.groups {
            let target = self.routing.group_mut(id).and_then(|group| group.next_online());
            if let Some(target) = target {
                self.deliver_system(&target, record, Some(id));
            }
        }
    }

    fn deliver_system(&mut self, target: &Target, record: &Arc<OwnedRecord>, group: Option<GroupId>) {
        let entry = Entry {
            sequence: self.best_effort_to,
            qos: Qos::AtMostOnce,
            retain: target.retain_as_published,
            // Its record is its own.
            from_retained: true,
            group,
            void: false,
            dup: false,
            size: record.as_bytes().len() as u32,
            identifiers: target.identifiers.clone(),
        };
        self.post(&target.session, &entry, Some(record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_rises_to_a_steady_rate_and_fades() {
        let mut load = Load::default();
        // Two a second, looked at in uneven steps: 1 - e^(-t/T) of 120 a minute after the time t.
        let (mut seconds, mut total) = (0, 0);
        for step in [1, 9, 10, 40] {
            seconds += step;
            total += 2 * step;
            load.follow(total, Duration::from_secs(step));
            for (average, (end, fades_in)) in load.averages.iter().zip(AVERAGES) {
                let expected = 120.0 * (1.0 - (-(seconds as f64) / fades_in).exp());
                assert!((average - expected).abs() < 1e-9, "{end} after {seconds} s: {average}, not {expected}");
            }
        }
        let before = load.averages;
        load.follow(total, Duration::ZERO);
        assert_eq!(load.averages, before, "no time, no rate");
        load.follow(total, Duration::from_secs(60));
        for ((now, before), (_, fades_in)) in load.averages.iter().zip(before).zip(AVERAGES) {
            assert!((now - before * (-60.0 / fades_in).exp()).abs() < 1e-9);
        }
    }

    #[test]
    fn only_what_has_changed_is_published() {
        let (mut topics, statistics) = (SystemTopics::new(Duration::from_secs(1)), Statistics::default());
        assert!(topics.is_due());
        let all = topics.update(&statistics, &Stock::default(), Sequence(1)).len();
        assert!(!topics.is_due());
        statistics.received.add(1);
        let changed = topics.update(&statistics, &Stock::default(), Sequence(2));
        let changed: Vec<_> = changed.iter().map(|record| record.publication().unwrap().topic).collect();
        assert_eq!(changed[0], "$SYS/broker/publish/messages/received");
        assert!(
            changed[1..].iter().all(|topic| topic.starts_with("$SYS/broker/load/publish/received/")),
            "{changed:?}"
        );
        let matching = |filter: &str| topics.matching(&filter.parse().unwrap()).count();
        assert_eq!((matching("$SYS/#"), matching("$SYS/broker/uptime"), matching("+/broker/uptime")), (all, 1, 0));
        assert!(!SystemTopics::new(Duration::ZERO).is_due());
    }
}
