//! Retained messages of more topics than may wait for one client.

use std::collections::BTreeMap;

use crate::support::{
    bridge::Setup,
    raw_mqtt::{Publish, RawMqtt, Version, kind, unsubscribe},
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
