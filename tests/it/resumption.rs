//! Sessions over the end of the bridge, by kill -9 and by SIGTERM alike: what a client has subscribed to,
//! what waits for it and what is in flight, as if nothing had happened.

use std::time::{Duration, Instant};

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    eventually,
    raw_mqtt::{
        Connect, DISCONNECT, Publish, RawMqtt, Version, ack, disconnect_with_expiry, kind, subscribe, subscribe_many,
        unsubscribe,
    },
};

/// Both versions, with both ends.
pub const CASES: [(Version, Cut); 4] =
    [(Version::V4, Cut::Kill), (Version::V5, Cut::Kill), (Version::V4, Cut::Terminate), (Version::V5, Cut::Terminate)];

/// A connection to the session that `id` keeps; whether there was one.
pub async fn resume(bridge: &Bridge, version: Version, id: &str) -> (RawMqtt, bool) {
    let mut client = bridge.raw(version).await;
    let present = client.connect_as(&Connect::persistent(version, id)).await;
    (client, present)
}

/// As [`resume`], where there must be one.
pub async fn back(bridge: &Bridge, version: Version, id: &str) -> RawMqtt {
    let (client, present) = resume(bridge, version, id).await;
    assert!(present, "{version:?}: the session of {id} is lost");
    client
}

/// Disconnects as a client should, and waits until the bridge has closed too.
pub async fn leave(mut client: RawMqtt) {
    client.send(&DISCONNECT).await;
    client.expect_close().await;
}

/// A new kept session with one subscription, left alone.
pub async fn subscribed(bridge: &Bridge, version: Version, id: &str, filter: &str, qos: u8) {
    let (mut client, present) = resume(bridge, version, id).await;
    assert!(!present);
    assert_eq!(client.subscribe(filter, qos).await, qos);
    leave(client).await;
}

/// Publishes these with QoS 1.
pub async fn publish(bridge: &Bridge, version: Version, topic: &str, payloads: impl IntoIterator<Item = String>) {
    let mut publisher = bridge.client(version, "publisher").await;
    for payload in payloads {
        publisher.publish(topic, payload, 1).await;
    }
    leave(publisher).await;
}

/// Everything that this connection has done before is on disk.
pub async fn sync(client: &mut RawMqtt) {
    client.publish("sync", "", 1).await;
}

/// As [`sync`], while messages of QoS 1 come, which are acknowledged; how many.
pub async fn sync_reading(client: &mut RawMqtt) -> usize {
    let sync = Publish::new("sync", "", 1, 1).encode(client.version());
    client.send(&sync).await;
    let mut messages = 0;
    let mut last = false;
    loop {
        let packet = client.read().await.unwrap();
        match packet.kind() {
            kind::PUBACK if last => return messages,
            // Once more, behind the acknowledgements.
            kind::PUBACK => {
                last = true;
                client.send(&sync).await;
            }
            _ => {
                messages += 1;
                client.send(&ack(kind::PUBACK, packet.publish().id)).await;
            }
        }
    }
}

fn text(message: &Publish) -> String {
    String::from_utf8(message.payload.clone()).unwrap()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn texts(client: &mut RawMqtt, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        texts.push(text(&client.message().await));
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_absent_client_comes_in_order_and_with_its_qos() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "away", "t/#", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for n in 0..40_u8 {
            publisher.publish("t/x", [n], n % 3).await;
        }
        sync(&mut publisher).await;
        bridge.cut(cut).await;
        let mut client = back(&bridge, version, "away").await;
        for (at, n) in (0..40_u8).filter(|n| n % 3 > 0).enumerate() {
            let message = client.message().await;
            assert_eq!((message.payload, message.qos, message.dup), (vec![n], n % 3, false), "{version:?} {cut:?}");
            assert_eq!(usize::from(message.id), at + 1, "packet identifiers start at 1");
        }
        sync(&mut client).await;
        bridge.cut(cut).await;
        back(&bridge, version, "away").await.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_goes_on_at_its_step_with_its_identifier() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "resumed", "t", 2).await;
        let mut client = back(&bridge, version, "resumed").await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut ids = Vec::new();
        for (n, qos) in [1, 1, 2, 2, 2, 1].into_iter().enumerate() {
            publisher.publish("t", n.to_string(), qos).await;
            let message = client.expect(kind::PUBLISH).await.publish();
            assert!(!message.dup);
            ids.push(message.id);
        }
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
        client.send(&[ack(kind::PUBACK, 2), ack(kind::PUBACK, 6)].concat()).await;
        for id in [4, 5] {
            client.send(&ack(kind::PUBREC, id)).await;
            assert_eq!(client.expect(kind::PUBREL).await.id(), id);
        }
        client.send(&ack(kind::PUBCOMP, 5)).await;
        sync(&mut client).await;
        for again in 0..2 {
            if again == 1 {
                // Without the client having answered anything.
                drop(client);
            }
            bridge.cut(cut).await;
            client = back(&bridge, version, "resumed").await;
            for (n, qos) in [(0, 1), (2, 2)] {
                let message = client.expect(kind::PUBLISH).await.publish();
                assert_eq!(
                    (text(&message), message.qos, message.id),
                    (n.to_string(), qos, n + 1),
                    "{version:?} {cut:?}"
                );
                assert!(message.dup, "{version:?} {cut:?} {n}");
            }
            assert_eq!(client.expect(kind::PUBREL).await.id(), 4);
            client.ping().await;
        }
        client.send(&[ack(kind::PUBACK, 1), ack(kind::PUBREC, 3), ack(kind::PUBCOMP, 4)].concat()).await;
        assert_eq!(client.expect(kind::PUBREL).await.id(), 3);
        client.send(&ack(kind::PUBCOMP, 3)).await;
        sync(&mut client).await;
        bridge.cut(cut).await;
        let mut client = back(&bridge, version, "resumed").await;
        client.ping().await;
        publish(&bridge, version, "t", ["new".to_owned()]).await;
        assert_eq!(client.message().await.id, 7, "the numbers go on");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_with_qos_2_is_taken_once() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "reader", "t", 2).await;
        let (mut sender, _) = resume(&bridge, version, "sender").await;
        sender.send(&Publish::new("t", "once", 2, 9).encode(version)).await;
        assert_eq!(sender.expect(kind::PUBREC).await.id(), 9);
        bridge.cut(cut).await;
        let mut sender = back(&bridge, version, "sender").await;
        let again = Publish { dup: true, ..Publish::new("t", "once", 2, 9) };
        sender.send(&again.encode(version)).await;
        assert_eq!(sender.expect(kind::PUBREC).await.id(), 9);
        sender.send(&ack(kind::PUBREL, 9)).await;
        assert_eq!(sender.expect(kind::PUBCOMP).await.id(), 9);
        bridge.cut(cut).await;
        let mut sender = back(&bridge, version, "sender").await;
        sender.send(&Publish::new("t", "another", 2, 9).encode(version)).await;
        assert_eq!(sender.expect(kind::PUBREC).await.id(), 9, "the identifier was free");
        let mut reader = back(&bridge, version, "reader").await;
        assert_eq!(texts(&mut reader, 2).await, ["once", "another"], "{version:?} {cut:?}");
        reader.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscription_is_not_forgotten() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        let (mut client, _) = resume(&bridge, version, "client").await;
        for filter in ["a/#", "b", "$share/g/c"] {
            client.subscribe(filter, 1).await;
        }
        for filter in ["a/#", "$share/g/c"] {
            client.send(&unsubscribe(version, 2, filter)).await;
            client.expect(kind::UNSUBACK).await;
        }
        bridge.cut(cut).await;
        for topic in ["a/x", "c", "b"] {
            publish(&bridge, version, topic, [topic.to_owned()]).await;
        }
        let mut client = back(&bridge, version, "client").await;
        assert_eq!(texts(&mut client, 1).await, ["b"], "{version:?} {cut:?}");
        client.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_options_of_a_subscription_are_not_forgotten() {
    const NO_LOCAL: u8 = 4;
    const RETAIN_AS_PUBLISHED: u8 = 8;
    const ONLY_IF_NEW: u8 = 1 << 4;
    let version = Version::V5;
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Bridge::start().await;
        let (mut client, _) = resume(&bridge, version, "client").await;
        let mut subscribe_to = async |filter, options, identifier| {
            client.send(&subscribe_many(version, 1, &[(filter, options)], identifier)).await;
            client.expect(kind::SUBACK).await;
        };
        subscribe_to("plain", 1, 0).await;
        subscribe_to("own", 1 | NO_LOCAL, 0).await;
        subscribe_to("kept", 1 | RETAIN_AS_PUBLISHED | ONLY_IF_NEW, 7).await;
        subscribe_to("kept/#", 2, 9).await;
        bridge.cut(cut).await;
        let mut client = back(&bridge, version, "client").await;
        client.publish("own", "mine", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for (id, topic) in [(1, "own"), (2, "plain"), (3, "kept")] {
            let message = Publish { retain: true, ..Publish::new(topic, "x", 2, id) };
            publisher.send(&message.encode(version)).await;
            publisher.expect(kind::PUBREC).await;
            let packet = client.expect(kind::PUBLISH).await;
            let (got, properties) = (packet.publish(), packet.publish_properties());
            let kept = topic == "kept";
            assert_eq!((got.topic.as_str(), text(&got).as_str(), got.retain), (topic, "x", kept), "{cut:?}");
            assert_eq!(got.qos, if kept { 2 } else { 1 });
            let mut identifiers: Vec<_> = properties.chunks(2).map(|property| (property[0], property[1])).collect();
            identifiers.sort_unstable();
            assert_eq!(identifiers, if kept { vec![(0x0b, 7), (0x0b, 9)] } else { vec![] }, "{cut:?} {topic}");
            client.send(&ack(if kept { kind::PUBREC } else { kind::PUBACK }, got.id)).await;
        }
        assert_eq!(client.expect(kind::PUBREL).await.kind(), kind::PUBREL);
        // It is not new, so what is retained does not come again.
        client.send(&subscribe(version, 1, "kept", 1 | ONLY_IF_NEW)).await;
        client.expect(kind::SUBACK).await;
        client.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_time_is_over_also_while_the_bridge_is_away() {
    let version = Version::V5;
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Bridge::start().await;
        let expiry = |id: &str, session_expiry| Connect { session_expiry, ..Connect::persistent(version, id) };
        for (id, seconds) in [("short", 2), ("long", 3600), ("for-ever", u32::MAX)] {
            let mut client = bridge.raw(version).await;
            client.connect_as(&expiry(id, seconds)).await;
            client.subscribe("t", 1).await;
            leave(client).await;
        }
        let left = Instant::now();
        publish(&bridge, version, "t", ["x".to_owned()]).await;
        match cut {
            Cut::Kill => bridge.kill9(),
            Cut::Terminate => bridge.terminate().await,
        }
        // Not a guess: the standard's own time.
        tokio::time::sleep(Duration::from_millis(2500).saturating_sub(left.elapsed())).await;
        bridge.restart().await;
        let mut client = bridge.raw(version).await;
        assert!(!client.connect_as(&expiry("short", 2)).await, "{cut:?}");
        client.ping().await;
        for id in ["long", "for-ever"] {
            let mut client = bridge.raw(version).await;
            assert!(client.connect_as(&expiry(id, 3600)).await, "{cut:?} {id}");
            assert_eq!(texts(&mut client, 1).await, ["x"]);
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_change_when_its_session_ends() {
    let version = Version::V5;
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Bridge::start().await;
        for id in ["ended", "prolonged", "shortened"] {
            subscribed(&bridge, version, id, "t", 1).await;
        }
        let mut client = back(&bridge, version, "ended").await;
        client.send(&disconnect_with_expiry(0)).await;
        client.expect_close().await;
        let mut client = bridge.raw(version).await;
        client.connect_as(&Connect { session_expiry: 1, ..Connect::persistent(version, "prolonged") }).await;
        client.send(&disconnect_with_expiry(3600)).await;
        client.expect_close().await;
        // Over with its connection, which the bridge's end is.
        let mut client = bridge.raw(version).await;
        client.connect_as(&Connect { session_expiry: 0, ..Connect::persistent(version, "shortened") }).await;
        publish(&bridge, version, "t", ["x".to_owned()]).await;
        assert_eq!(text(&client.expect(kind::PUBLISH).await.publish()), "x");
        bridge.cut(cut).await;
        for (id, present) in [("ended", false), ("prolonged", true), ("shortened", false)] {
            let (mut client, found) = resume(&bridge, version, id).await;
            assert_eq!(found, present, "{cut:?} {id}");
            if present {
                assert_eq!(texts(&mut client, 1).await, ["x"]);
            }
            client.ping().await;
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_start_leaves_nothing_of_the_old_session() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "client", "t", 2).await;
        publish(&bridge, version, "t", numbered(0..20)).await;
        bridge.cut(cut).await;
        let mut client = bridge.raw(version).await;
        let connect = Connect { clean: true, ..Connect::persistent(version, "client") };
        assert!(!client.connect_as(&connect).await);
        client.ping().await;
        client.subscribe("u", 1).await;
        bridge.cut(cut).await;
        let (mut client, present) = resume(&bridge, version, "client").await;
        assert_eq!(present, version == Version::V5, "3.1.1: the clean session ended with its connection");
        client.ping().await;
        publish(&bridge, version, "t", ["old".to_owned()]).await;
        publish(&bridge, version, "u", ["new".to_owned()]).await;
        if present {
            let message = client.message().await;
            assert_eq!((text(&message).as_str(), message.id), ("new", 1), "{cut:?}");
        }
        client.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_full_of_messages_drops_the_newest_and_opens_again() {
    full_queue("maximum_queued_messages = 10", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_full_of_bytes_drops_the_newest_and_opens_again() {
    full_queue("maximum_queued_bytes = 2000", 199).await;
}

/// With a limit that ten payloads of this size reach.
async fn full_queue(limit: &str, size: usize) {
    for (version, cut) in CASES {
        let mut bridge = Setup::default().config(&format!("[mqtt]\n{limit}")).start().await;
        subscribed(&bridge, version, "away", "t", 1).await;
        let payload = |n: usize| format!("{n:0size$}");
        let dropped = async |bridge: &Bridge| bridge.metric("synap_mqtt_messages_dropped_total").await;
        publish(&bridge, version, "t", (0..8).map(payload)).await;
        bridge.cut(cut).await;
        publish(&bridge, version, "t", (8..15).map(payload)).await;
        eventually("drops", async || (dropped(&bridge).await == 5.0).then_some(())).await;
        // That the queue is closed is on record behind the first drop, and in front of these.
        publish(&bridge, version, "barrier", numbered(0..3)).await;
        bridge.cut(cut).await;
        publish(&bridge, version, "t", (15..18).map(payload)).await;
        eventually("drops", async || (dropped(&bridge).await == 3.0).then_some(())).await;
        let mut client = back(&bridge, version, "away").await;
        let expected: Vec<_> = (0..10).map(payload).collect();
        assert_eq!(texts(&mut client, 10).await, expected, "{version:?} {cut:?} {limit}");
        sync(&mut client).await;
        bridge.cut(cut).await;
        let mut client = back(&bridge, version, "away").await;
        // It opens in its own time; what comes before is dropped.
        let mut probes = 0;
        let mut publisher = bridge.client(version, "prober").await;
        eventually("an open queue", async || {
            probes += 1;
            publisher.publish("t", payload(1000 + probes), 1).await;
            (sync_reading(&mut client).await > 0).then_some(())
        })
        .await;
        drop(client);
        bridge.cut(cut).await;
        publish(&bridge, version, "t", (50..55).map(payload)).await;
        let mut client = back(&bridge, version, "away").await;
        for n in 50..55 {
            let mut message = text(&client.message().await);
            while message.parse::<usize>().unwrap() > 1000 {
                message = text(&client.message().await);
            }
            assert_eq!(message, payload(n), "{version:?} {cut:?} {limit}");
        }
        client.ping().await;
        bridge.finish(&["the session's queue is full"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_and_their_removal_are_not_forgotten() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut retain = async |topic: &str, payload: &str, qos| {
            let message = Publish { retain: true, ..Publish::new(topic, payload, qos, 1) };
            publisher.send(&message.encode(version)).await;
            if qos == 1 {
                publisher.expect(kind::PUBACK).await;
            }
        };
        retain("r/kept", "old", 1).await;
        retain("r/kept", "new", 1).await;
        retain("r/gone", "x", 1).await;
        retain("r/zero", "best effort", 0).await;
        retain("r/later", "x", 1).await;
        retain("r/gone", "", 1).await;
        bridge.cut(cut).await;
        publish(&bridge, version, "plain", ["x".to_owned()]).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.send(&Publish { retain: true, ..Publish::new("r/later", "", 1, 1) }.encode(version)).await;
        publisher.expect(kind::PUBACK).await;
        bridge.cut(cut).await;
        let mut client = bridge.client(version, "reader").await;
        client.subscribe("r/#", 1).await;
        let mut got = Vec::new();
        for _ in 0..2 {
            let message = client.message().await;
            assert!(message.retain);
            got.push((message.topic.clone(), text(&message)));
        }
        got.sort();
        let expected = [("r/kept", "new"), ("r/zero", "best effort")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(got, expected, "{version:?} {cut:?}");
        client.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_connections_with_one_name_loses_nothing() {
    const CONNECTIONS: usize = 40;
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "popular", "t", 1).await;
        let connect = async |_| {
            let mut client = bridge.raw(version).await;
            // Each may be taken over at any moment, and goes after its first messages.
            let _ = client.try_send(&Connect::persistent(version, "popular").encode()).await;
            for _ in 0..3 {
                let Some(packet) = client.read().await else { return };
                if packet.kind() == kind::CONNACK {
                    assert_eq!((packet.session_present(), packet.reason()), (true, 0));
                }
            }
        };
        let storm = futures_util::future::join_all((0..CONNECTIONS).map(connect));
        tokio::join!(storm, publish(&bridge, version, "t", numbered(0..50)));
        bridge.cut(cut).await;
        let mut client = back(&bridge, version, "popular").await;
        assert_eq!(texts(&mut client, 50).await, numbered(0..50), "{version:?} {cut:?}");
        client.ping().await;
        bridge.finish(&[]).await;
    }
}
