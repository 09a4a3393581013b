//! kill -9 under load, again and again: what was acknowledged is there, in order, QoS 2 exactly
//! once and QoS 1 never more often than it was sent.
//!
//! `SYNAP_TEST_ROUNDS` sets the number of kills, `SYNAP_TEST_SEED` repeats a run's choices.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    Random,
    bridge::{Bridge, Setup},
    database::Database,
    eventually,
    raw_mqtt::{Connect, Packet, Publish, RawMqtt, Version, ack, kind},
    sse::Sse,
    within,
};

/// Unacknowledged messages of one publisher.
const WINDOW: usize = 64;

/// What a publisher knows about one of its messages.
#[derive(Clone, Copy, Default)]
struct Fate {
    /// Times that its PUBLISH may have left.
    sent: usize,
    /// Whether PUBACK or PUBREC came back.
    acknowledged: bool,
}

/// Where a message in flight stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No answer yet to PUBLISH.
    Published,
    /// PUBREC came; no answer yet to PUBREL.
    Released,
}

/// A device that publishes numbers, keeps its session over connections, and remembers exactly
/// what it sent and what was acknowledged.
pub struct Publisher {
    name: String,
    qos: u8,
    version: Version,
    /// By number.
    fates: Vec<Fate>,
    in_flight: VecDeque<(usize, Stage)>,
    /// Connections that found a session with something in flight.
    resumed: usize,
    /// Rests this long after each packet.
    pace: Duration,
}

impl Publisher {
    pub fn new(qos: u8, version: Version, index: usize) -> Self {
        let name = format!("qos{qos}-{version:?}-{index}");
        Self { name, qos, version, fates: Vec::new(), in_flight: VecDeque::new(), resumed: 0, pace: Duration::ZERO }
    }

    /// The same, taking its time.
    pub fn paced(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// What its messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The messages that were acknowledged.
    pub fn acknowledged(&self) -> impl Iterator<Item = usize> {
        self.fates.iter().enumerate().filter(|(_, fate)| fate.acknowledged).map(|(number, _)| number)
    }

    /// The packet identifier of a message: unique within any window.
    fn id(number: usize) -> u16 {
        u16::try_from(number % 5000).unwrap() + 1
    }

    fn publish(&mut self, number: usize, dup: bool) -> Vec<u8> {
        self.fates[number].sent += 1;
        let payload = format!("{{\"publisher\":\"{}\",\"number\":{number}}}", self.name);
        let topic = format!("crash/{}", self.name);
        Publish { dup, ..Publish::new(&topic, payload, self.qos, Self::id(number)) }.encode(self.version)
    }

    /// Publishes until the connection ends or, without `more`, until nothing is in flight.
    pub async fn run(&mut self, address: SocketAddr, more: &AtomicBool, progress: &AtomicU64) {
        let mut connection = RawMqtt::open(address, self.version).await;
        let connect = Connect::persistent(self.version, &self.name).encode();
        if connection.try_send(&connect).await.is_err() {
            return;
        }
        let Some(connack) = connection.read().await else { return };
        assert_eq!((connack.kind(), connack.reason()), (kind::CONNACK, 0), "{connack:?}");
        let mut bytes = self.resume(connack.session_present());
        loop {
            while more.load(Ordering::Relaxed) && self.in_flight.len() < WINDOW {
                let number = self.fates.len();
                self.fates.push(Fate::default());
                self.in_flight.push_back((number, Stage::Published));
                bytes.extend(self.publish(number, false));
            }
            if self.in_flight.is_empty() || connection.try_send(&bytes).await.is_err() {
                return;
            }
            let Some(packet) = connection.read().await else { return };
            bytes = self.handle(&packet, progress);
            if !self.pace.is_zero() {
                tokio::time::sleep(self.pace).await;
            }
        }
    }

    /// Whether every message that it has sent is answered for.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// What is sent first on a new connection (MQTT 5.0 section 4.4): everything in flight, in
    /// order. If the session is lost, a QoS 2 message in flight must not be sent again, because
    /// nobody knows whether it arrived.
    fn resume(&mut self, session_present: bool) -> Vec<u8> {
        if !session_present && self.qos == 2 {
            self.in_flight.clear();
        }
        self.resumed += usize::from(session_present && !self.in_flight.is_empty());
        let waiting: Vec<_> = self.in_flight.iter().copied().collect();
        let again = |(number, stage)| match stage {
            Stage::Published => self.publish(number, session_present),
            Stage::Released => ack(kind::PUBREL, Self::id(number)),
        };
        waiting.into_iter().flat_map(again).collect()
    }

    /// Takes an acknowledgement in, and returns what is to be sent for it.
    fn handle(&mut self, packet: &Packet, progress: &AtomicU64) -> Vec<u8> {
        // Packet Identifier not found is no error in recovery (MQTT 5.0 section 3.7.2.1).
        let forgotten = packet.kind() == kind::PUBCOMP && packet.reason() == 0x92;
        assert!(packet.reason() == 0 || forgotten, "{packet:?}");
        let place = self.in_flight.iter().position(|(number, _)| Self::id(*number) == packet.id());
        let place = place.unwrap_or_else(|| panic!("{}: {packet:?} answers nothing in flight", self.name));
        let (number, stage) = self.in_flight[place];
        match (packet.kind(), self.qos, stage) {
            (kind::PUBACK, 1, _) | (kind::PUBCOMP, 2, Stage::Released) => {
                self.in_flight.remove(place);
            }
            (kind::PUBREC, 2, _) => self.in_flight[place].1 = Stage::Released,
            other => panic!("{}: {packet:?} in answer to {:?}", self.name, (other.0, other.1)),
        }
        if packet.kind() == kind::PUBCOMP {
            return Vec::new();
        }
        self.fates[number].acknowledged = true;
        progress.fetch_add(1, Ordering::Relaxed);
        if self.qos == 2 { ack(kind::PUBREL, packet.id()) } else { Vec::new() }
    }

    /// Compares what it knows with the numbers that were stored, in their order.
    pub fn check(&self, stored: &[usize]) {
        let mut counts = BTreeMap::<usize, usize>::new();
        let mut highest = None;
        for &number in stored {
            let count = counts.entry(number).or_default();
            *count += 1;
            if *count == 1 {
                assert!(highest < Some(number), "{}: {number} after {highest:?}", self.name);
                highest = Some(number);
            }
        }
        for (number, fate) in self.fates.iter().enumerate() {
            let count = counts.remove(&number).unwrap_or(0);
            assert!(count > 0 || !fate.acknowledged, "{}: {number} was acknowledged and is lost", self.name);
            let most = if self.qos == 2 { 1 } else { fate.sent };
            assert!(count <= most, "{}: {number} is there {count} times, at most {most} expected", self.name);
        }
        assert!(counts.is_empty(), "{}: never sent: {counts:?}", self.name);
    }
}

/// Runs all publishers against the bridge until all their connections have ended.
pub async fn run(publishers: &mut [Publisher], address: SocketAddr, more: &AtomicBool, progress: &AtomicU64) {
    futures_util::future::join_all(publishers.iter_mut().map(|publisher| publisher.run(address, more, progress))).await;
}

/// Runs all publishers until nothing is in flight.
pub async fn finish(publishers: &mut [Publisher], address: SocketAddr) {
    let (more, progress) = (AtomicBool::new(false), AtomicU64::new(0));
    within("the end of what is in flight", run(publishers, address, &more, &progress)).await;
}

/// Every event since the journal's beginning, as a stream client that starts there sees them.
async fn replay(bridge: &Bridge) -> Vec<Value> {
    let url = bridge.url("/api/events/stream?topic=crash/%23");
    let now = Sse::open(&url, None).await;
    let epoch = now.position.split_once('-').unwrap().0.to_owned();
    let mut stream = Sse::open(&url, Some(&format!("{epoch}-0"))).await;
    bridge.client(Version::V5, "marker").await.publish("crash/marker", r#"{"marker":true}"#, 1).await;
    let mut events = stream.until(|event| event["data"]["marker"] == true).await;
    events.pop();
    events
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Kills, restarts, and compares. The events that are stored in the end.
async fn survive(mut bridge: Bridge, rounds: u64) -> (Bridge, Vec<Value>) {
    let mut random = Random::new();
    let mut publishers = Vec::new();
    for version in [Version::V4, Version::V5] {
        for qos in [1, 2] {
            publishers.extend((0..2).map(|index| Publisher::new(qos, version, index)));
        }
    }
    for round in 1..=rounds {
        let kill_after = random.between(1, 6000);
        let progress = Arc::new(AtomicU64::new(0));
        let address = bridge.addresses.mqtt;
        let more = AtomicBool::new(true);
        let load = run(&mut publishers, address, &more, &progress);
        let kill = async {
            let enough = async || (progress.load(Ordering::Relaxed) >= kill_after).then_some(());
            eventually("acknowledgements", enough).await;
            bridge.kill9();
        };
        tokio::join!(load, kill);
        eprintln!("round {round}: killed after {} acknowledgements", progress.load(Ordering::Relaxed));
        bridge.restart().await;
        bridge.ready().await;
    }
    finish(&mut publishers, bridge.addresses.mqtt).await;

    let events = replay(&bridge).await;
    let mut stored = BTreeMap::<&str, Vec<usize>>::new();
    for event in &events {
        let number = usize::try_from(event["data"]["number"].as_u64().unwrap()).unwrap();
        stored.entry(event["data"]["publisher"].as_str().unwrap()).or_default().push(number);
    }
    for publisher in &publishers {
        assert!(publisher.is_idle(), "{}", publisher.name);
        publisher.check(stored.get(publisher.name.as_str()).map_or(&[], Vec::as_slice));
    }
    let resumed: usize = publishers.iter().map(|publisher| publisher.resumed).sum();
    assert!(resumed > 0, "no session survived a kill, so nothing was ever sent again");
    assert_eq!(ids(&events).len(), ids(&events).into_iter().collect::<BTreeSet<_>>().len(), "event ids are unique");
    (bridge, events)
}

pub fn rounds(usual: u64) -> u64 {
    std::env::var("SYNAP_TEST_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_keeps_every_promise() {
    let (bridge, events) = survive(Bridge::start().await, rounds(12)).await;
    let queried = bridge.events("crash/#").await;
    let queried: Vec<_> = queried.into_iter().filter(|event| event["data"]["marker"].is_null()).collect();
    assert_eq!(ids(&queried), ids(&events), "the query and the stream agree");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timescale_has_every_event_once() {
    let database = Database::create().await;
    let bridge = Setup::default().timescale(&database.url()).start().await;
    let (bridge, events) = survive(bridge, rounds(12)).await;
    // The marker is a row too.
    let mut rows = database.rows(events.len() + 1).await;
    rows.retain(|row| row.data["marker"].is_null());
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ids(&events));
    bridge.finish(&[]).await;
}
