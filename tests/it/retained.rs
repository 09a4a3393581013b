//! Retained messages of more topics than may wait for one client.

use std::collections::BTreeMap;

use crate::support::{
    bridge::{Cut, Setup},
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, unsubscribe},
};

const TOPICS: u16 = 600;

/// Large, so that no socket holds all of them for a client that does not read.
const PAYLOAD_BYTES: usize = 64 << 10;

fn topic(number: u16) -> String {
    format!("r/{number:04}")
}

async fn retain_all(publisher: &mut RawMqtt, version: Version) {
    for number in 0..TOPICS {
        let message = Publish::new(&topic(number), vec![b'x'; PAYLOAD_BYTES], 1, number + 1);
        publisher.send(&Publish { retain: true, ..message }.encode(version)).await;
        publisher.expect(kind::PUBACK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_everything_however_little_may_wait() {
    let bridge = Setup::default().config("[mqtt]\nmaximum_queued_best_effort = 20").start().await;
    for version in [Version::V4, Version::V5] {
        let mut publisher = bridge.client(version, "publisher").await;
        retain_all(&mut publisher, version).await;
        let mut subscriber = bridge.client(version, "subscriber").await;
        subscriber.subscribe("r/+", 0).await;
        // While most of it waits for the subscriber to read.
        let newest = Publish { retain: true, ..Publish::new(&topic(TOPICS - 1), "newest", 1, 1) };
        publisher.send(&newest.encode(version)).await;
        publisher.expect(kind::PUBACK).await;

        let mut retained = BTreeMap::new();
        let mut live = Vec::new();
        while retained.len() + live.len() < usize::from(TOPICS) {
            let message = subscriber.message().await;
            if message.retain {
                *retained.entry(message.topic).or_insert(0) += 1;
            } else {
                live.push((message.topic, message.payload));
            }
        }
        assert_eq!(live, [(topic(TOPICS - 1), b"newest".to_vec())], "it comes as it was published, and is not shed");
        assert!(
            retained.iter().map(|(topic, count)| (topic.clone(), *count)).eq((0..TOPICS - 1).map(|n| (topic(n), 1)))
        );
        // Nothing of it comes again.
        publisher.publish("r/end", "", 1).await;
        assert_eq!(subscriber.message().await.topic, "r/end");
    }
    bridge.finish(&[]).await;
}

const FEW: &str = "[mqtt]\nmaximum_queued_messages = 40";

async fn retain_small(publisher: &mut RawMqtt, qos: u8) {
    for number in 0..TOPICS {
        let message = Publish::new(&topic(number), "old", qos, number + 1);
        publisher.send(&Publish { retain: true, ..message }.encode(Version::V5)).await;
        if qos == 1 {
            publisher.expect(kind::PUBACK).await;
        } else {
            publisher.expect(kind::PUBREC).await;
            publisher.send(&ack(kind::PUBREL, number + 1)).await;
            publisher.expect(kind::PUBCOMP).await;
        }
    }
}

/// The next message, acknowledged, by a client that has forgotten what its last connection did.
async fn next(subscriber: &mut RawMqtt) -> Publish {
    loop {
        let packet = subscriber.read().await.expect("a message");
        match packet.kind() {
            kind::PUBREL => subscriber.send(&ack(kind::PUBCOMP, packet.id())).await,
            kind::PUBLISH => {
                let message = packet.publish();
                let answer = if message.qos == 1 { kind::PUBACK } else { kind::PUBREC };
                subscriber.send(&ack(answer, message.id)).await;
                return message;
            }
            kind => panic!("{kind}: {packet:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_acknowledgements_too_a_subscriber_gets_everything_and_nothing_is_dropped() {
    for qos in [1, 2] {
        let bridge = Setup::default().config(FEW).start().await;
        let mut publisher = bridge.client(Version::V5, "publisher").await;
        retain_small(&mut publisher, qos).await;
        let mut subscriber = bridge.client(Version::V5, "subscriber").await;
        subscriber.subscribe("r/+", qos).await;
        // While most of it is still to come: one that is, and one that is not retained any more.
        publisher.publish(&topic(3), "live", 1).await;
        let newest = Publish { retain: true, ..Publish::new(&topic(TOPICS - 1), "newest", 1, 1) };
        publisher.send(&newest.encode(Version::V5)).await;
        publisher.expect(kind::PUBACK).await;
        let (mut retained, mut live) = (Vec::new(), Vec::new());
        while retained.len() + live.len() < usize::from(TOPICS) + 1 {
            let message = subscriber.message().await;
            assert_eq!(message.qos, if message.payload == b"old" { qos } else { 1 });
            if message.retain { retained.push(message.topic) } else { live.push(message.topic) }
        }
        assert_eq!(live, [topic(3), topic(TOPICS - 1)]);
        assert_eq!(retained, (0..TOPICS - 1).map(topic).collect::<Vec<_>>());
        publisher.publish("r/end", "", 1).await;
        assert_eq!(subscriber.message().await.topic, "r/end");
        assert_eq!(bridge.metric("synap_mqtt_messages_dropped_total{reason=\"queue-full\"}").await, 0.0);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lives_on_gets_the_rest_after_a_restart() {
    for (cut, qos) in [(Cut::Kill, 1), (Cut::Kill, 2), (Cut::Terminate, 1)] {
        let mut bridge = Setup::default().config(FEW).start().await;
        let mut publisher = bridge.client(Version::V5, "publisher").await;
        retain_small(&mut publisher, qos).await;
        let connect = Connect { receive_maximum: Some(5), ..Connect::persistent(Version::V5, "subscriber") };
        let mut found = BTreeMap::new();
        let mut count = |message: Publish| {
            let times: &mut u32 = found.entry(message.topic).or_default();
            assert!(*times == 0 || message.dup, "sent twice as if it were new");
            *times += 1;
            found.len()
        };
        let mut subscriber = bridge.raw(Version::V5).await;
        subscriber.connect_as(&connect).await;
        subscriber.subscribe("r/+", qos).await;
        while count(next(&mut subscriber).await) < 200 {}
        bridge.cut(cut).await;
        // It is away, and back, and away again.
        for part in [400, usize::from(TOPICS)] {
            let mut subscriber = bridge.raw(Version::V5).await;
            assert!(subscriber.connect_as(&connect).await, "{cut:?}");
            while count(next(&mut subscriber).await) < part {}
        }
        assert!(found.into_keys().eq((0..TOPICS).map(topic)));
        let mut subscriber = bridge.raw(Version::V5).await;
        subscriber.connect_as(&connect).await;
        let mut publisher = bridge.client(Version::V5, "publisher").await;
        publisher.publish("r/end", "", 1).await;
        while next(&mut subscriber).await.topic != "r/end" {}
        assert_eq!(bridge.metric("synap_mqtt_messages_dropped_total{reason=\"queue-full\"}").await, 0.0);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_not_sent_to_a_subscription_that_is_over() {
    let bridge = Setup::default().config("[mqtt]\nmaximum_queued_best_effort = 20").start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    retain_all(&mut publisher, Version::V5).await;
    let mut subscriber = bridge.client(Version::V5, "subscriber").await;
    subscriber.subscribe("r/+", 0).await;
    subscriber.send(&unsubscribe(Version::V5, 2, "r/+")).await;
    subscriber.answer(kind::UNSUBACK).await;
    subscriber.subscribe("end", 0).await;
    publisher.publish("end", "", 1).await;
    let mut received = 0;
    while subscriber.message().await.topic != "end" {
        received += 1;
    }
    assert!(received < usize::from(TOPICS), "{received} of {TOPICS}");
    bridge.finish(&[]).await;
}
