//! kill -9 while subscribers with persistent sessions take what publishers send: every acknowledged
//! message arrives, QoS 2 exactly once, QoS 1 in order and again only with DUP.
//!
//! The same knobs as in [`crate::crash`].

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::Value;

use crate::{
    crash::{Publisher, finish, rounds, run},
    support::{
        Random,
        bridge::Bridge,
        eventually,
        raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, subscribe},
        within,
    },
};

type Message = (String, u64);

/// A client that keeps its session over connections and checks what it gets.
struct Subscriber {
    name: String,
    version: Version,
    filter: String,
    qos: u8,
    receive_maximum: u16,
    subscribed: bool,
    /// Times each message was taken over, in the order of the first.
    taken: BTreeMap<Message, usize>,
    order: Vec<Message>,
    /// QoS 2 packet identifiers it holds: received and not released.
    held: BTreeMap<u16, Message>,
    repeats: usize,
}

impl Subscriber {
    fn new(name: &str, version: Version, filter: &str, qos: u8, receive_maximum: u16) -> Self {
        Self {
            name: name.to_owned(),
            version,
            filter: filter.to_owned(),
            qos,
            receive_maximum,
            subscribed: false,
            taken: BTreeMap::new(),
            order: Vec::new(),
            held: BTreeMap::new(),
            repeats: 0,
        }
    }

    /// Takes messages until the connection ends; with `limit` leaves by itself after so many.
    async fn run(&mut self, address: SocketAddr, limit: Option<usize>, progress: &AtomicU64) {
        let mut connection = RawMqtt::open(address, self.version).await;
        let receive_maximum = Some(self.receive_maximum);
        let connect = Connect { receive_maximum, ..Connect::persistent(self.version, &self.name) };
        if connection.try_send(&connect.encode()).await.is_err() {
            return;
        }
        let Some(connack) = connection.read().await else { return };
        assert_eq!((connack.kind(), connack.reason()), (kind::CONNACK, 0), "{connack:?}");
        assert!(connack.session_present() || !self.subscribed, "{}: its session is lost", self.name);
        if !self.subscribed {
            if connection.try_send(&subscribe(self.version, 1, &self.filter, self.qos)).await.is_err() {
                return;
            }
            match connection.read().await {
                None => return,
                Some(suback) => assert_eq!((suback.kind(), suback.reason()), (kind::SUBACK, self.qos), "{suback:?}"),
            }
            self.subscribed = true;
        }
        let mut left = limit.unwrap_or(usize::MAX);
        while left > 0 {
            let Some(packet) = connection.read().await else { return };
            let answer = match packet.kind() {
                kind::PUBLISH => {
                    left -= 1;
                    self.take(&packet.publish())
                }
                kind::PUBREL => {
                    self.held.remove(&packet.id());
                    ack(kind::PUBCOMP, packet.id())
                }
                other => panic!("{}: packet of type {other}", self.name),
            };
            progress.fetch_add(1, Ordering::Relaxed);
            if connection.try_send(&answer).await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, publish: &Publish) -> Vec<u8> {
        let value: Value = serde_json::from_slice(&publish.payload).unwrap();
        let message = (value["publisher"].as_str().unwrap().to_owned(), value["number"].as_u64().unwrap());
        if let Some(held) = self.held.get(&publish.id).filter(|_| publish.qos == 2) {
            assert_eq!(*held, message, "{}: two messages under one identifier", self.name);
            assert!(publish.dup, "{}: {message:?} again without DUP", self.name);
            return ack(kind::PUBREC, publish.id);
        }
        let times = self.taken.entry(message.clone()).or_default();
        *times += 1;
        if *times == 1 {
            self.order.push(message.clone());
        } else {
            // Its publisher may have sent it twice, which QoS 1 allows.
            self.repeats += 1;
        }
        match publish.qos {
            1 => ack(kind::PUBACK, publish.id),
            2 => {
                assert_eq!(*times, 1, "{}: {message:?} twice with QoS 2", self.name);
                self.held.insert(publish.id, message);
                ack(kind::PUBREC, publish.id)
            }
            other => panic!("QoS {other}"),
        }
    }

    /// How many of the acknowledged messages it has not got.
    fn missing(&self, publishers: &[Publisher]) -> usize {
        let has = |publisher: &Publisher, number| self.taken.contains_key(&(publisher.name().to_owned(), number));
        let missing =
            |publisher: &Publisher| publisher.acknowledged().filter(|number| !has(publisher, *number as u64)).count();
        publishers.iter().map(missing).sum()
    }

    /// Each publisher's messages came in the order in which it sent them.
    fn check_order(&self) {
        let mut last = BTreeMap::new();
        for (publisher, number) in &self.order {
            let before = last.insert(publisher, number);
            assert!(before < Some(number), "{}: {number} of {publisher} after {before:?}", self.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_resume_as_if_nothing_had_happened() {
    let mut bridge = Bridge::start().await;
    let mut random = Random::new();
    let mut publishers: Vec<_> = [Version::V4, Version::V5]
        .into_iter()
        .flat_map(|version| [1, 2].map(|qos| Publisher::new(qos, version, 0)))
        .collect();
    let mut subscribers = [
        Subscriber::new("one", Version::V4, "crash/#", 1, 50),
        Subscriber::new("two", Version::V5, "crash/+", 2, 7),
        Subscriber::new("exactly", Version::V5, "crash/#", 2, 100),
        Subscriber::new("old-exactly", Version::V4, "crash/+", 2, 50),
        Subscriber::new("away", Version::V5, "crash/#", 2, 20),
    ];
    // So that all of them are subscribed before the first message.
    for subscriber in &mut subscribers {
        within("a subscription", async {
            let mut client = bridge.raw(subscriber.version).await;
            client.connect_as(&Connect::persistent(subscriber.version, &subscriber.name)).await;
            assert_eq!(client.subscribe(&subscriber.filter, subscriber.qos).await, subscriber.qos);
            subscriber.subscribed = true;
        })
        .await;
    }
    for round in 1..=rounds(12) {
        let kill_after = random.between(1, 4000);
        let away_after = random.between(1, 300);
        let (published, delivered) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
        let address = bridge.addresses.mqtt;
        let more = AtomicBool::new(true);
        let load = run(&mut publishers, address, &more, &published);
        let (last, others) = subscribers.split_last_mut().unwrap();
        let takers = others.iter_mut().map(|subscriber| subscriber.run(address, None, &delivered));
        let leaver = last.run(address, Some(usize::try_from(away_after).unwrap()), &delivered);
        let kill = async {
            let enough = async || (delivered.load(Ordering::Relaxed) >= kill_after).then_some(());
            eventually("deliveries", enough).await;
            bridge.kill9();
        };
        tokio::join!(load, futures_util::future::join_all(takers), leaver, kill);
        eprintln!("round {round}: killed after {} deliveries", delivered.load(Ordering::Relaxed));
        bridge.restart().await;
        bridge.ready().await;
    }
    let address = bridge.addresses.mqtt;
    finish(&mut publishers, address).await;
    for subscriber in &mut subscribers {
        let name = subscriber.name.clone();
        let all = async {
            loop {
                match subscriber.missing(&publishers) {
                    0 => break,
                    missing => subscriber.run(address, Some(missing), &AtomicU64::new(0)).await,
                }
            }
        };
        within(&format!("everything acknowledged, at {name}"), all).await;
        subscriber.check_order();
    }
    bridge.finish(&[]).await;
}
