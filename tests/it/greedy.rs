//! Clients that take all they can get: each costs itself, and no more than a bound that is known.
//! Meanwhile a bystander publishes, gets its message back, and sees it in the stream.

use std::time::Duration;

use synap_mqtt::limits;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::Instant};

use crate::support::{
    bridge::{Bridge, Setup},
    eventually,
    raw_mqtt::{Connect, Packet, Publish, RawMqtt, Version, ack, kind, packet, subscribe, text},
    sse::Sse,
};

const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

/// Far less than what floods send, so that nothing is bounded by chance only.
const SMALL: &str = "[limits]\nmemory = \"16MiB\"";

/// What the process may grow by: the budget of [`SMALL`], and twice as much again for the allocator's slack
/// and for what a first time takes.
const GROWTH: f64 = (48 << 20) as f64;

/// Someone with whom nothing is wrong.
struct Bystander {
    client: RawMqtt,
    stream: Sse,
    sent: u32,
}

impl Bystander {
    async fn of(bridge: &Bridge) -> Self {
        let mut client = bridge.client(Version::V5, "bystander").await;
        client.subscribe("bystander", 1).await;
        let stream = Sse::open(&bridge.url("/api/events/stream?topic=bystander"), None).await;
        Self { client, stream, sent: 0 }
    }

    /// Publishes, and gets it as a message and as an event.
    async fn is_served(&mut self) {
        self.sent += 1;
        let id = self.sent as u16;
        let message = Publish::new("bystander", self.sent.to_string(), 1, id);
        self.client.send(&message.encode(Version::V5)).await;
        let (mut acknowledged, mut delivered) = (false, false);
        while !(acknowledged && delivered) {
            let packet = self.client.read().await.expect("the bystander stays connected");
            match packet.kind() {
                kind::PUBACK => acknowledged = packet.id() == id && packet.reason() == 0,
                _ => {
                    let message = packet.publish();
                    assert_eq!(message.payload, self.sent.to_string().as_bytes());
                    self.client.send(&ack(kind::PUBACK, message.id)).await;
                    delivered = true;
                }
            }
        }
        let (_, event) = self.stream.event().await;
        assert_eq!(event["data"]["value"], self.sent);
    }
}

async fn memory(bridge: &Bridge) -> f64 {
    bridge.metric("process_resident_memory_bytes").await
}

/// Whether the process has stayed within its bound since it had `before`.
async fn expect_bounded(bridge: &Bridge, before: f64) {
    let grown = memory(bridge).await - before;
    eprintln!("grown by {:.1} MiB", grown / f64::from(1 << 20));
    assert!(grown < GROWTH, "grown by {grown} bytes");
}

/// The next `count` packets.
async fn read(client: &mut RawMqtt, count: usize) -> Vec<Packet> {
    let mut packets = Vec::with_capacity(count);
    for _ in 0..count {
        packets.push(client.read().await.expect("the connection goes on"));
    }
    packets
}

/// Publishes so often, with each handshake to its end. Fewer than would fill a pipe, so that neither side waits
/// for the other.
async fn flood(publisher: &mut RawMqtt, topic: &str, size: usize, qos: u8, count: u16) {
    for id in 1..=count {
        let id = if qos == 0 { 0 } else { id };
        publisher.send(&Publish::new(topic, vec![b'x'; size], qos, id).encode(Version::V4)).await;
    }
    if qos > 0 {
        read(publisher, usize::from(count)).await;
    }
    if qos == 2 {
        publisher.send(&(1..=count).flat_map(|id| ack(kind::PUBREL, id)).collect::<Vec<_>>()).await;
        read(publisher, usize::from(count)).await;
    }
}

/// A PUBLISH of QoS 0 with a topic alias.
fn aliased(topic: &str, alias: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = alias.to_be_bytes();
    packet(0x30, &[&text(topic), &[3, 0x23, high, low][..], payload].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drip_of_bytes_is_heard_for_as_long_as_it_may_last() {
    let bridge = Setup::default().config("[mqtt]\nhandshake_timeout = \"1s\"").start().await;
    let mut bystander = Bystander::of(&bridge).await;
    for version in VERSIONS {
        // Bytes are no control packets: neither a CONNECT nor a PUBLISH may come for ever.
        let connect = Connect::new(version, &"x".repeat(100)).encode();
        let mut stream = TcpStream::connect(bridge.addresses.mqtt).await.unwrap();
        let mut dripped = 0;
        while stream.write_all(&connect[dripped..=dripped]).await.is_ok() {
            dripped += 1;
            assert!(dripped < connect.len(), "a CONNECT took longer than its time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bystander.is_served().await;

        let mut impatient = bridge.raw(version).await;
        impatient.connect_as(&Connect { keep_alive: 1, ..Connect::new(version, "impatient") }).await;
        let message = Publish::new("drip", vec![b'x'; 10_000], 1, 1).encode(version);
        let began = Instant::now();
        for byte in message.chunks(1) {
            if impatient.try_send(byte).await.is_err() {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nothing but bytes keeps a connection alive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bystander.is_served().await;

        // Whoever has asked for no keep alive has all the time.
        let mut patient = bridge.client(version, "patient").await;
        for byte in Publish::new("drip", "whole", 1, 1).encode(version).chunks(1) {
            patient.send(byte).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(patient.expect(kind::PUBACK).await.id(), 1);
        bystander.is_served().await;
    }
    bridge.finish(&["keep alive"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_filters_find_room_for_a_thousand_a_session() {
    const SESSIONS: usize = 20;
    const PACKETS: usize = 50;
    const FILTERS: usize = 1000;
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let before = memory(&bridge).await;
    let mut greedy = Vec::new();
    for session in 0..SESSIONS {
        let mut client = bridge.client(Version::V5, &format!("greedy-{session}")).await;
        for nth in 0..PACKETS {
            let mut body = vec![0, nth as u8 + 1, 0];
            for filter in 0..FILTERS {
                body.extend(text(format!("{session}/{nth}/{filter}")));
                body.push(1);
            }
            client.send(&packet(0x82, &body)).await;
        }
        // What is granted is answered once it is on disk, what is refused at once.
        for answer in read(&mut client, PACKETS).await {
            let granted = if answer.id() == 1 { 1 } else { 0x97 };
            assert!(answer.reasons().iter().all(|&reason| reason == granted), "packet {} of {session}", answer.id());
            assert_eq!(answer.reasons().len(), FILTERS);
        }
        greedy.push(client);
        bystander.is_served().await;
    }
    let subscriptions = bridge.metric("synap_mqtt_subscriptions").await;
    assert_eq!(subscriptions as usize, SESSIONS * limits::MAXIMUM_SUBSCRIPTIONS + 1);
    expect_bounded(&bridge, before).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_filters_end_where_the_limits_say() {
    let bridge = Bridge::start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let levels = |count: usize| vec!["l"; count].join("/");
    let wild = |count: usize| format!("{}/+", vec!["l"; count - 1].join("/"));
    let long = |count: usize| "x".repeat(count);
    let within = [
        levels(limits::MAXIMUM_TOPIC_LEVELS),
        wild(limits::MAXIMUM_WILDCARD_LEVELS),
        long(limits::MAXIMUM_TOPIC_BYTES),
    ];
    let beyond = [
        levels(limits::MAXIMUM_TOPIC_LEVELS + 1),
        wild(limits::MAXIMUM_WILDCARD_LEVELS + 1),
        long(limits::MAXIMUM_TOPIC_BYTES + 1),
        long(65_535),
        "/".repeat(65_535),
        "+/".repeat(32_767),
    ];
    for version in VERSIONS {
        let v5 = version == Version::V5;
        let mut subscriber = bridge.client(version, "subscriber").await;
        for filter in &within {
            assert_eq!(subscriber.subscribe(filter, 1).await, 1, "{}", filter.len());
        }
        for filter in &beyond {
            assert_eq!(subscriber.subscribe(filter, 1).await, if v5 { 0x8f } else { 0x80 }, "{}", filter.len());
        }
        for topic in within.iter().filter(|topic| !topic.contains('+')) {
            let mut publisher = bridge.client(version, "publisher").await;
            publisher.publish(topic, "fits", 1).await;
            assert_eq!(subscriber.message().await.topic, *topic);
        }
        for topic in beyond.iter().filter(|topic| !topic.contains('+')) {
            let mut publisher = bridge.client(version, "publisher").await;
            publisher.send(&Publish::new(topic, "does not", 1, 1).encode(version)).await;
            assert_eq!(publisher.expect_close().await, v5.then_some(0x90), "{}", topic.len());
        }
        subscriber.ping().await;
        bystander.is_served().await;
    }
    bridge.finish(&["too many levels"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_have_the_maximum_size_and_no_more() {
    let bridge = Bridge::start().await;
    let mut bystander = Bystander::of(&bridge).await;
    for version in VERSIONS {
        let v5 = version == Version::V5;
        let sized = |size: usize| {
            let empty = Publish::new("large", "", 1, 1).encode(version).len();
            // The length takes three bytes instead of one.
            let message = Publish::new("large", vec![b'x'; size - empty - 2], 1, 1).encode(version);
            assert_eq!(message.len(), size);
            message
        };
        let maximum = limits::MAXIMUM_PACKET_SIZE as usize;
        let mut client = bridge.client(version, "large").await;
        client.subscribe("large", 0).await;
        client.send(&sized(maximum)).await;
        let mut kinds: Vec<_> = read(&mut client, 2).await.iter().map(Packet::kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [kind::PUBLISH, kind::PUBACK]);
        // Its first bytes are enough.
        client.send(&sized(maximum + 1)[..5]).await;
        assert_eq!(client.expect_close().await, v5.then_some(0x95));
        bystander.is_served().await;
    }
    bridge.finish(&["large"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_as_many_as_were_granted() {
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    for (what, message) in [
        ("never set", aliased("", 1, b"x")),
        ("beyond the maximum", aliased("t", limits::TOPIC_ALIAS_MAXIMUM + 1, b"x")),
        ("the largest there is", aliased("t", u16::MAX, b"x")),
        ("0", aliased("t", 0, b"x")),
    ] {
        let mut client = bridge.client(Version::V5, "aliases").await;
        client.send(&message).await;
        assert_eq!(client.expect_close().await, Some(0x94), "{what}");
        bystander.is_served().await;
    }
    // Set over and over, to topics as long as they may be: each takes the place of the one before.
    let before = memory(&bridge).await;
    let mut client = bridge.client(Version::V5, "aliases").await;
    client.subscribe("last", 0).await;
    for round in 0..70 {
        let topic = |n: u16| format!("{round}-{n}-{}", "x".repeat(limits::MAXIMUM_TOPIC_BYTES - 16));
        let flood: Vec<u8> =
            (0..1000).flat_map(|n| aliased(&topic(n), 1 + n % limits::TOPIC_ALIAS_MAXIMUM, b"")).collect();
        client.send(&flood).await;
    }
    client.send(&aliased("last", 1, b"set")).await;
    assert_eq!(client.message().await.payload, b"set");
    client.send(&aliased("", 1, b"used")).await;
    assert_eq!(client.message().await.payload, b"used");
    bystander.is_served().await;
    expect_bounded(&bridge, before).await;
    bridge.finish(&["alias"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_never_reads_costs_no_memory() {
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let mut deaf = bridge.client(Version::V5, "deaf").await;
    deaf.subscribe("flood/#", 2).await;
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    let before = memory(&bridge).await;
    for _ in 0..20 {
        for qos in 0..=2 {
            flood(&mut publisher, "flood/t", 4096, qos, 400).await;
        }
        bystander.is_served().await;
    }
    expect_bounded(&bridge, before).await;
    // What it was promised is still there.
    for _ in 0..10 {
        assert_eq!(deaf.message().await.payload.len(), 4096);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_never_acknowledges_has_a_full_window_and_no_more() {
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let window = usize::from(limits::RECEIVE_MAXIMUM);
    for (version, qos) in [(Version::V4, 1), (Version::V5, 2)] {
        let mut silent = bridge.client(version, "silent").await;
        silent.subscribe("window", qos).await;
        let mut publisher = bridge.client(Version::V4, "publisher").await;
        let before = memory(&bridge).await;
        for _ in 0..10 {
            flood(&mut publisher, "window", 1, qos, 300).await;
        }
        let received = read(&mut silent, window).await;
        silent.ping().await;
        bystander.is_served().await;
        expect_bounded(&bridge, before).await;
        // One in, one out.
        let first = received[0].publish();
        if qos == 2 {
            silent.send(&ack(kind::PUBREC, first.id)).await;
            silent.expect(kind::PUBREL).await;
            silent.send(&ack(kind::PUBCOMP, first.id)).await;
        } else {
            silent.send(&ack(kind::PUBACK, first.id)).await;
        }
        silent.expect(kind::PUBLISH).await;
        silent.ping().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_with_one_name_one_is_left() {
    const STORM: usize = 50;
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let address = bridge.addresses.mqtt;
    for version in VERSIONS {
        for _ in 0..3 {
            let mut storm = JoinSet::new();
            for _ in 0..STORM {
                storm.spawn(async move {
                    let mut client = RawMqtt::open(address, version).await;
                    let connect = Connect::persistent(version, "twin").encode();
                    let mut bytes = [connect, subscribe(version, 1, "twins", 1)].concat();
                    bytes.extend(Publish::new("twins", "me", 1, 2).encode(version));
                    client.send(&bytes).await;
                    let connack = client.expect(kind::CONNACK).await;
                    assert_eq!(connack.reason(), 0);
                    // Until another one comes.
                    let mut reason = None;
                    while let Some(packet) = client.read().await {
                        reason = (packet.kind() == kind::DISCONNECT).then(|| packet.reason());
                    }
                    reason
                });
            }
            for _ in 1..STORM {
                let reason = storm.join_next().await.unwrap().unwrap();
                assert_eq!(reason, (version == Version::V5).then_some(0x8e));
            }
            bystander.is_served().await;
            let two = async || (bridge.metric("synap_mqtt_connections").await == 2.0).then_some(());
            eventually("one connection beside the bystander's", two).await;
            assert_eq!(bridge.metric("synap_mqtt_sessions").await, 2.0);
            // The one that is left is taken over like the others, and its session goes with it.
            bridge.client(version, "twin").await.ping().await;
            let reason = storm.join_next().await.unwrap().unwrap();
            assert_eq!(reason, (version == Version::V5).then_some(0x8e));
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_identifier_may_be_held_for_ever() {
    const AT_A_TIME: usize = 4096;
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let before = memory(&bridge).await;
    let mut client = bridge.raw(Version::V4).await;
    client.connect_as(&Connect::persistent(Version::V4, "holder")).await;
    let all: Vec<u16> = (1..=u16::MAX).collect();
    for dup in [false, true] {
        for ids in all.chunks(AT_A_TIME) {
            let message = |&id| Publish { dup, ..Publish::new("held", "x", 2, id) }.encode(Version::V4);
            client.send(&ids.iter().flat_map(message).collect::<Vec<_>>()).await;
            let answers = read(&mut client, ids.len()).await;
            assert!(answers.iter().all(|answer| answer.kind() == kind::PUBREC));
            assert_eq!(answers.iter().map(Packet::id).collect::<Vec<_>>(), ids);
        }
        bystander.is_served().await;
    }
    expect_bounded(&bridge, before).await;
    for ids in all.chunks(AT_A_TIME) {
        client.send(&ids.iter().flat_map(|&id| ack(kind::PUBREL, id)).collect::<Vec<_>>()).await;
        let answers = read(&mut client, ids.len()).await;
        assert!(answers.iter().all(|answer| answer.kind() == kind::PUBCOMP));
    }
    bystander.is_served().await;
    expect_bounded(&bridge, before).await;

    // 5.0 clients have been told how many they may have.
    let mut client = bridge.client(Version::V5, "told").await;
    let messages = |ids: std::ops::RangeInclusive<u16>| {
        ids.flat_map(|id| Publish::new("held", "x", 2, id).encode(Version::V5)).collect::<Vec<_>>()
    };
    client.send(&messages(1..=limits::RECEIVE_MAXIMUM)).await;
    read(&mut client, usize::from(limits::RECEIVE_MAXIMUM)).await;
    client.send(&messages(limits::RECEIVE_MAXIMUM + 1..=limits::RECEIVE_MAXIMUM + 1)).await;
    assert_eq!(client.expect_close().await, Some(0x93));
    bystander.is_served().await;
    bridge.finish(&["told"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_of_nothing_are_answered_and_forgotten() {
    let bridge = Setup::default().config(SMALL).start().await;
    let mut bystander = Bystander::of(&bridge).await;
    let before = memory(&bridge).await;
    for version in VERSIONS {
        for kept in [false, true] {
            let mut client = bridge.raw(version).await;
            client.connect("confused", !kept).await;
            for first in (1..=20_000_u16).step_by(1000) {
                let ids = first..first + 1000;
                let kinds = [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP];
                let acks: Vec<u8> = ids.flat_map(|id| kinds.map(|kind| ack(kind, id))).flatten().collect();
                client.send(&acks).await;
                let answers = read(&mut client, 2000).await;
                let releases = answers.iter().filter(|answer| answer.kind() == kind::PUBREL).count();
                let completions = answers.iter().filter(|answer| answer.kind() == kind::PUBCOMP).count();
                assert_eq!((releases, completions), (1000, 1000));
            }
            client.ping().await;
            bystander.is_served().await;
        }
    }
    expect_bounded(&bridge, before).await;
    bridge.finish(&[]).await;
}
