//! PUBLISH (section 3.3 of both standards): flags, topic name, aliases and overlapping
//! subscriptions.

use std::collections::BTreeMap;

use crate::support::{
    PEER, VERSIONS, accepted,
    bridge::{Bridge, Setup},
    expect_closed, expect_closed_after, expect_nothing_before, leave, persistent,
    properties::{id, number, two_bytes},
    publish,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, packet},
    reason, subscribe_with,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_1_what_is_sent_again_has_dup() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        for qos in [1, 2] {
            let mut client = persistent(&bridge, version, "client").await;
            client.subscribe("t", qos).await;
            let mut publisher = bridge.client(version, "publisher").await;
            publisher.publish("t", "x", qos).await;
            assert!(!client.expect(kind::PUBLISH).await.publish().dup, "the first time");
            for _ in 0..2 {
                drop(client);
                client = persistent(&bridge, version, "client").await;
                assert!(client.expect(kind::PUBLISH).await.publish().dup, "again");
            }
            bridge.client(version, "client").await;
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_2_qos_0_never_has_dup() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let dup = Publish { dup: true, ..Publish::new("t", "x", 0, 0) };
        expect_closed(&bridge, version, &dup.encode(version), reason::PROTOCOL_ERROR).await;
        // A message published again with DUP goes out without, where it goes out with QoS 0.
        let mut client = bridge.client(version, "client").await;
        client.subscribe("t", 0).await;
        client.send(&Publish { dup: true, ..Publish::new("t", "x", 1, 1) }.encode(version)).await;
        let first = loop {
            let packet = client.read().await.unwrap();
            if packet.kind() == kind::PUBLISH {
                break packet.first();
            }
        };
        assert_eq!(first, 0x30);
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_3_dup_is_the_sender_s_own() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut subscriber = bridge.client(version, "subscriber").await;
        subscriber.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for qos in [1, 2] {
            let again = Publish { dup: true, ..Publish::new("t", "x", qos, 1) };
            publish(&mut publisher, version, &again).await;
            assert!(!subscriber.message().await.dup, "QoS {qos}");
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_1_4_there_is_no_qos_3() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for flags in [0x36, 0x37, 0x3e] {
            let body = &Publish::new("t", "x", 1, 1).encode(version)[2..];
            expect_closed(&bridge, version, &packet(flags, body), reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_1_the_topic_name_is_there_and_first() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for body in [&b""[..], b"\0", b"\0\x05topi", b"\xff\xfft"] {
            expect_closed(&bridge, version, &packet(0x30, body), reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_2_a_topic_name_has_no_wildcards() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for topic in ["+", "#", "a/+", "a/#", "a+b", "a#", "+/a", "a/+/b"] {
            let publish = Publish::new(topic, "x", 0, 0).encode(version);
            expect_closed(&bridge, version, &publish, reason::TOPIC_NAME_INVALID).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_3_a_delivered_topic_matches_its_subscription() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut subscriber = bridge.client(version, "subscriber").await;
        subscriber.subscribe("a/+/c", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for topic in ["a/b", "a/b/c/d", "b/b/c", "A/b/c", "a/b/C", "a/b/c", "a//c"] {
            publisher.publish(topic, topic, 1).await;
        }
        for topic in ["a/b/c", "a//c"] {
            let message = subscriber.message().await;
            assert_eq!((message.topic.as_str(), message.payload.as_slice()), (topic, topic.as_bytes()));
        }
        expect_nothing_before(&mut publisher, &mut subscriber, "a/x/c").await;
    }
    bridge.finish(&[]).await;
}

/// PUBLISH of QoS 1 with a topic alias.
fn aliased(topic: &str, payload: &str, alias: u16) -> Publish {
    let properties = two_bytes(id::TOPIC_ALIAS, alias);
    Publish { properties, ..Publish::new(topic, payload, 1, 1) }
}

/// A subscriber to everything below `alias/`.
async fn subscriber(bridge: &Bridge) -> RawMqtt {
    let mut subscriber = bridge.client(Version::V5, "subscriber").await;
    subscriber.subscribe("alias/#", 1).await;
    subscriber
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_7_aliases_end_with_their_connection() {
    let bridge = Bridge::start().await;
    let mut subscriber = subscriber(&bridge).await;
    let mut publisher = persistent(&bridge, Version::V5, "publisher").await;
    publish(&mut publisher, Version::V5, &aliased("alias/1", "set", 1)).await;
    publish(&mut publisher, Version::V5, &aliased("", "used", 1)).await;
    for payload in ["set", "used"] {
        let message = subscriber.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("alias/1", payload.as_bytes()));
    }
    // Another client's alias, and the same client's after it has come back.
    let mut other = bridge.client(Version::V5, "other").await;
    let used = aliased("", "unknown", 1).encode(Version::V5);
    let told = |reason: Option<u8>| {
        reason.is_some_and(|reason| [reason::PROTOCOL_ERROR, reason::TOPIC_ALIAS_INVALID].contains(&reason))
    };
    other.send(&used).await;
    assert!(told(other.expect_close().await));
    drop(publisher);
    let mut publisher = persistent(&bridge, Version::V5, "publisher").await;
    publisher.send(&used).await;
    assert!(told(publisher.expect_close().await));
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    expect_nothing_before(&mut publisher, &mut subscriber, "alias/marker").await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_7_the_server_s_aliases_end_with_their_connection() {
    let bridge = Bridge::start().await;
    let properties = two_bytes(id::TOPIC_ALIAS_MAXIMUM, 5);
    let connect = Connect { properties, ..Connect::persistent(Version::V5, "subscriber") };
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for round in 0..3 {
        let mut subscriber = accepted(&bridge, &connect).await;
        subscriber.subscribe("alias/#", 1).await;
        // The last message of a round is not acknowledged, so that the next one begins with it.
        let mut known = BTreeMap::new();
        for n in 0..8 {
            if round == 0 || n > 0 {
                publisher.publish(&format!("alias/{}", n % 3), "x", 1).await;
            }
            let message = subscriber.expect(kind::PUBLISH).await.publish();
            if let Some(alias) = message.properties().number(id::TOPIC_ALIAS) {
                let topic = known.entry(alias).or_insert_with(|| message.topic.clone());
                assert!(topic.starts_with("alias/") && ["", topic.as_str()].contains(&message.topic.as_str()));
            } else {
                assert!(message.topic.starts_with("alias/"));
            }
            if n < 7 {
                subscriber.send(&ack(kind::PUBACK, message.id)).await;
            }
        }
        assert!(known.len() <= 3, "{known:?}");
        leave(subscriber).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_8_alias_0_ends_the_connection() {
    let bridge = Bridge::start().await;
    for topic in ["t", ""] {
        let publish = aliased(topic, "x", 0).encode(Version::V5);
        expect_closed(&bridge, Version::V5, &publish, reason::TOPIC_ALIAS_INVALID).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_9_an_alias_above_the_maximum_ends_the_connection() {
    for maximum in [0_u16, 3] {
        let config = format!("[mqtt]\ntopic_alias_maximum = {maximum}");
        let bridge = Setup::default().config(&config).start().await;
        for alias in [maximum + 1, 65_535] {
            let mut client = bridge.raw(Version::V5).await;
            client.send(&Connect::new(Version::V5, "client").encode()).await;
            let told = client.expect(kind::CONNACK).await.properties().number(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
            assert_eq!(told, u32::from(maximum));
            let publish = aliased("t", "x", alias).encode(Version::V5);
            expect_closed_after(&mut client, Version::V5, &publish, reason::TOPIC_ALIAS_INVALID).await;
        }
        bridge.finish(PEER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_12_every_alias_up_to_the_maximum_is_accepted() {
    let bridge = Bridge::start().await;
    let mut subscriber = subscriber(&bridge).await;
    let mut publisher = bridge.raw(Version::V5).await;
    publisher.send(&Connect::new(Version::V5, "publisher").encode()).await;
    let connack = publisher.expect(kind::CONNACK).await;
    let maximum = connack.properties().number(id::TOPIC_ALIAS_MAXIMUM).unwrap() as u16;
    assert!(maximum > 1);
    for alias in (1..=maximum).rev() {
        publish(&mut publisher, Version::V5, &aliased(&format!("alias/{alias}"), "set", alias)).await;
        assert_eq!(subscriber.message().await.topic, format!("alias/{alias}"));
    }
    for alias in 1..=maximum {
        publish(&mut publisher, Version::V5, &aliased("", "used", alias)).await;
        let message = subscriber.message().await;
        assert_eq!(message.topic, format!("alias/{alias}"));
        assert_eq!(message.properties().get(id::TOPIC_ALIAS), None, "the publisher's own business");
    }
    // An alias may be given another topic.
    publish(&mut publisher, Version::V5, &aliased("alias/other", "set", 1)).await;
    publish(&mut publisher, Version::V5, &aliased("", "used", 1)).await;
    for _ in 0..2 {
        assert_eq!(subscriber.message().await.topic, "alias/other");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_1_each_qos_has_its_answer() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&Publish::new("t", "x", 0, 0).encode(version)).await;
        client.ping().await;
        client.send(&Publish::new("t", "x", 1, 1).encode(version)).await;
        client.expect(kind::PUBACK).await;
        client.send(&Publish::new("t", "x", 2, 2).encode(version)).await;
        client.expect(kind::PUBREC).await;
        client.send(&ack(kind::PUBREL, 2)).await;
        client.expect(kind::PUBCOMP).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_2_overlapping_subscriptions_deliver_at_their_highest_qos() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        for (filter, qos) in [("a/b", 0), ("a/+", 2), ("a/#", 1), ("+/+", 0)] {
            client.subscribe(filter, qos).await;
        }
        let mut publisher = bridge.client(version, "publisher").await;
        for qos in 0..=2 {
            publisher.publish("a/b", [qos], qos).await;
            let message = client.message().await;
            assert_eq!((message.payload.as_slice(), message.qos), (&[qos][..], qos));
        }
        expect_nothing_before(&mut publisher, &mut client, "a/marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_4_one_copy_has_the_identifiers_of_all_its_subscriptions() {
    let bridge = Bridge::start().await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    for (identifier, filter) in [(1, "a/b"), (200, "a/+"), (268_435_455, "a/#"), (1, "+/b"), (7, "c/#")] {
        let properties = number(id::SUBSCRIPTION_IDENTIFIER, identifier);
        subscribe_with(&mut client, &properties, &[(filter, 1)]).await;
    }
    client.subscribe("#", 1).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for qos in 0..=2 {
        publisher.publish("a/b", "x", qos).await;
        let mut identifiers = client.message().await.properties().subscription_identifiers();
        identifiers.dedup();
        assert_eq!(identifiers, [1, 200, 268_435_455], "each that matched, none that did not");
        publisher.publish("b", "x", qos).await;
        assert!(client.message().await.properties().subscription_identifiers().is_empty());
    }
    // Retained messages have the identifier of the subscription that brought them, and so has
    // what waited for the client.
    publish(&mut publisher, Version::V5, &Publish { retain: true, ..Publish::new("r", "x", 1, 1) }).await;
    client.message().await;
    subscribe_with(&mut client, &number(id::SUBSCRIPTION_IDENTIFIER, 5), &[("r", 1)]).await;
    assert_eq!(client.message().await.properties().subscription_identifiers(), [5]);
    leave(client).await;
    publisher.publish("c/d", "x", 1).await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    assert_eq!(client.message().await.properties().subscription_identifiers(), [7]);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_6_a_client_sends_no_subscription_identifier() {
    let bridge = Bridge::start().await;
    let properties = number(id::SUBSCRIPTION_IDENTIFIER, 1);
    let publish = Publish { properties, ..Publish::new("t", "x", 1, 1) };
    expect_closed(&bridge, Version::V5, &publish.encode(Version::V5), reason::PROTOCOL_ERROR).await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_3_5_2_what_is_not_allowed_is_acknowledged_all_the_same() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V4, "client").await;
    client.subscribe("$SYS/mine", 2).await;
    for qos in [1, 2] {
        client.send(&Publish::new("$SYS/mine", "x", qos, 7).encode(Version::V4)).await;
        let answer = client.expect(if qos == 1 { kind::PUBACK } else { kind::PUBREC }).await;
        assert_eq!(answer.id(), 7);
    }
    // Were it passed on, it would be here before the answer.
    client.ping().await;
    bridge.finish(&[]).await;
}
