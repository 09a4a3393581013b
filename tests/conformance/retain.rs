//! Retained messages (section 3.3.1.3 of both standards).

use crate::support::{
    VERSIONS,
    bridge::Bridge,
    eventually, expect_nothing_before, leave, persistent, publish,
    raw_mqtt::{Publish, RawMqtt, Version, kind, unsubscribe},
    retained, subscribe_with,
};

/// Subscription options (MQTT 5.0 section 3.8.3.1).
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const SEND_IF_NEW: u8 = 0x10;
const DO_NOT_SEND: u8 = 0x20;

/// The payload and QoS that a new subscriber is sent for `topic`, if anything: what comes before
/// a message that is published then.
async fn kept(bridge: &Bridge, version: Version, topic: &str) -> Option<(Vec<u8>, u8)> {
    let mut late = bridge.client(version, "late").await;
    late.subscribe(topic, 2).await;
    late.publish(topic, "live", 1).await;
    let message = late.message().await;
    message.retain.then_some((message.payload, message.qos))
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_5_the_last_retained_message_is_stored_with_its_qos() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        for (payload, qos) in [("2", 2), ("1", 1), ("1 again", 1)] {
            publish(&mut publisher, version, &retained("t", payload, qos)).await;
            assert_eq!(kept(&bridge, version, "t").await, Some((payload.into(), qos)));
        }
        // QoS 0 is not acknowledged, so when it is there is not known.
        publish(&mut publisher, version, &retained("t", "0", 0)).await;
        let expected = Some((b"0".to_vec(), 0));
        eventually("QoS 0, retained", async || (kept(&bridge, version, "t").await == expected).then_some(())).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_6_an_empty_payload_removes_the_retained_message() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        for round in 0..50 {
            publish(&mut publisher, version, &retained("t", "x", 1)).await;
            publish(&mut publisher, version, &retained("t", "", 1 + round % 2)).await;
            assert_eq!(kept(&bridge, version, "t").await, None, "as soon as it is acknowledged");
        }
        publish(&mut publisher, version, &retained("t", "x", 1)).await;
        publish(&mut publisher, version, &retained("t", "", 0)).await;
        eventually("none, by QoS 0", async || kept(&bridge, version, "t").await.is_none().then_some(())).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_7_an_empty_message_is_delivered_and_not_stored() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("t", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publish(&mut publisher, version, &retained("t", "", 1)).await;
        let message = watcher.message().await;
        assert_eq!((message.payload.as_slice(), message.retain), (&b""[..], false));
        assert_eq!(kept(&bridge, version, "t").await, None);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_8_a_message_without_retain_changes_nothing() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("passing", "x", 1).await;
        assert_eq!(kept(&bridge, version, "passing").await, None, "not stored");
        publish(&mut publisher, version, &retained("t", "kept", 1)).await;
        for payload in ["x", ""] {
            publisher.publish("t", payload, 1).await;
            assert_eq!(kept(&bridge, version, "t").await, Some(("kept".into(), 1)), "not replaced, not removed");
        }
        bridge.finish(&[]).await;
    }
}

/// Three retained messages below `kept/`, and a client to subscribe.
async fn three_kept(bridge: &Bridge, version: Version) -> (RawMqtt, RawMqtt) {
    let mut publisher = bridge.client(version, "publisher").await;
    for topic in ["kept/1", "kept/2", "kept/3/4"] {
        publish(&mut publisher, version, &retained(topic, topic, 1)).await;
    }
    (publisher, persistent(bridge, version, "subscriber").await)
}

/// The topics of the retained messages that come before one that is published now.
async fn retained_before(publisher: &mut RawMqtt, client: &mut RawMqtt) -> Vec<String> {
    publisher.publish("kept/live", "x", 1).await;
    let mut topics = Vec::new();
    loop {
        let message = client.message().await;
        if message.topic == "kept/live" {
            topics.sort();
            return topics;
        }
        assert!(message.retain, "{message:?}");
        topics.push(message.topic);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_9_retain_handling_0_sends_at_every_subscribe() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let (mut publisher, mut client) = three_kept(&bridge, version).await;
        for _ in 0..2 {
            client.subscribe("kept/#", 1).await;
            assert_eq!(retained_before(&mut publisher, &mut client).await, ["kept/1", "kept/2", "kept/3/4"]);
        }
        client.subscribe("kept/+", 1).await;
        assert_eq!(retained_before(&mut publisher, &mut client).await, ["kept/1", "kept/2"]);
        drop(client);
        bridge.client(version, "subscriber").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_10_retain_handling_1_sends_for_new_subscriptions() {
    let bridge = Bridge::start().await;
    let (mut publisher, mut client) = three_kept(&bridge, Version::V5).await;
    let all = ["kept/1", "kept/2", "kept/3/4"];
    subscribe_with(&mut client, &[], &[("kept/#", SEND_IF_NEW | 1)]).await;
    assert_eq!(retained_before(&mut publisher, &mut client).await, all, "a new one");
    subscribe_with(&mut client, &[], &[("kept/#", SEND_IF_NEW)]).await;
    assert!(retained_before(&mut publisher, &mut client).await.is_empty(), "not new any more");
    leave(client).await;
    let mut client = persistent(&bridge, Version::V5, "subscriber").await;
    subscribe_with(&mut client, &[], &[("kept/#", SEND_IF_NEW | 1)]).await;
    assert!(retained_before(&mut publisher, &mut client).await.is_empty(), "nor after a reconnect");
    client.send(&unsubscribe(Version::V5, 1, "kept/#")).await;
    client.expect(kind::UNSUBACK).await;
    subscribe_with(&mut client, &[], &[("kept/#", SEND_IF_NEW | 1)]).await;
    assert_eq!(retained_before(&mut publisher, &mut client).await, all, "new again");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_11_retain_handling_2_sends_none() {
    let bridge = Bridge::start().await;
    let (mut publisher, mut client) = three_kept(&bridge, Version::V5).await;
    for _ in 0..2 {
        subscribe_with(&mut client, &[], &[("kept/#", DO_NOT_SEND | 1)]).await;
        assert!(retained_before(&mut publisher, &mut client).await.is_empty());
    }
    // Also right after one was acknowledged.
    for round in 0..50 {
        let topic = format!("fresh/{round}");
        publish(&mut publisher, Version::V5, &retained(&topic, "x", 1)).await;
        subscribe_with(&mut client, &[], &[(&topic, DO_NOT_SEND | 1)]).await;
        expect_nothing_before(&mut publisher, &mut client, &topic).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_12_without_retain_as_published_live_messages_have_no_retain() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.subscribe("t", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for retain in [true, false] {
            let message = Publish { retain, ..Publish::new("t", "x", 1, 1) };
            publish(&mut publisher, version, &message).await;
            assert!(!client.message().await.retain, "published with retain {retain}");
        }
        publish(&mut publisher, version, &retained("t", "", 1)).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_13_retain_as_published_keeps_the_flag() {
    let bridge = Bridge::start().await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    subscribe_with(&mut client, &[], &[("t", RETAIN_AS_PUBLISHED | 1)]).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for retain in [true, false] {
        let message = Publish { retain, ..Publish::new("t", "x", 1, 1) };
        publish(&mut publisher, Version::V5, &message).await;
        assert_eq!(client.message().await.retain, retain);
    }
    // Also for what waited for it.
    leave(client).await;
    publish(&mut publisher, Version::V5, &retained("t", "x", 1)).await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    assert!(client.message().await.retain);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_3_1_8_what_a_new_subscription_brings_has_retain() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let (mut publisher, mut client) = three_kept(&bridge, version).await;
        client.subscribe("kept/1", 0).await;
        let message = client.message().await;
        assert_eq!((message.topic.as_str(), message.retain, message.qos), ("kept/1", true, 0));
        expect_nothing_before(&mut publisher, &mut client, "kept/1").await;
        drop(client);
        bridge.client(version, "subscriber").await;
    }
    bridge.finish(&[]).await;
}
