//! What outlives a connection (MQTT 5.0 sections 3.1.2.4, 4.1, 4.4 and 4.5; 3.1.1 likewise).

use crate::support::{
    VERSIONS, accepted,
    bridge::Bridge,
    expect_nothing_before, leave, persistent,
    properties::{four_bytes, id},
    publish,
    raw_mqtt::{Connect, DISCONNECT, Publish, Version, ack, counted, kind, packet, refusal, subscribe_all},
    reason, retained, until_sessions,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_4_a_clean_start_discards_the_session() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut old = persistent(&bridge, version, "client").await;
        old.subscribe("t", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "in flight", 1).await;
        old.expect(kind::PUBLISH).await;
        drop(old);
        publisher.publish("t", "queued", 1).await;

        let mut new = bridge.raw(version).await;
        assert!(!new.connect_as(&Connect { clean: true, ..Connect::persistent(version, "client") }).await);
        new.subscribe("marker", 1).await;
        publisher.publish("t", "for nobody", 1).await;
        expect_nothing_before(&mut publisher, &mut new, "marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_5_a_session_is_resumed() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.subscribe("t", 2).await;
        // A QoS 2 message that the client began to send, and one that the server did.
        client.send(&Publish::new("own", "x", 2, 77).encode(version)).await;
        client.expect(kind::PUBREC).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "in flight", 2).await;
        let in_flight = client.expect(kind::PUBLISH).await.publish();
        drop(client);
        publisher.publish("t", "queued", 1).await;

        let mut client = bridge.raw(version).await;
        assert!(client.connect("client", false).await);
        let again = client.message().await;
        assert_eq!(again, Publish { dup: true, ..in_flight });
        assert_eq!(client.message().await.payload, b"queued");
        client.send(&ack(kind::PUBREL, 77)).await;
        let pubcomp = client.expect(kind::PUBCOMP).await;
        assert_eq!((pubcomp.id(), pubcomp.reason()), (77, 0), "the server still knew the identifier");
        publisher.publish("t", "and the subscription", 0).await;
        assert_eq!(client.message().await.payload, b"and the subscription");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_6_where_there_is_no_session_a_new_one_begins() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = bridge.raw(version).await;
        assert!(!client.connect("new", false).await);
        client.subscribe("t", 1).await;
        client.publish("t", "x", 1).await;
        assert_eq!(client.message().await.payload, b"x");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_2_6_a_clean_session_ends_with_its_connection() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        for goodbye in [true, false] {
            let mut client = bridge.client(version, "brief").await;
            client.subscribe("t", 1).await;
            if goodbye {
                client.send(&DISCONNECT).await;
                client.expect_close().await;
            }
            drop(client);
            let mut publisher = bridge.client(version, "publisher").await;
            publisher.publish("t", "for nobody", 1).await;
            let mut again = bridge.raw(version).await;
            assert!(!again.connect("brief", false).await, "nothing of it is used again");
            again.subscribe("marker", 1).await;
            expect_nothing_before(&mut publisher, &mut again, "marker").await;
            drop(again);
            bridge.client(version, "brief").await;
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_2_7_retained_messages_outlive_every_session() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let topic = format!("kept/{version:?}");
        let mut publisher = bridge.client(version, "publisher").await;
        publish(&mut publisher, version, &retained(&topic, "x", 1)).await;
        publisher.send(&DISCONNECT).await;
        publisher.expect_close().await;
        let mut late = bridge.client(version, "late").await;
        late.subscribe(&topic, 1).await;
        assert_eq!(late.message().await.payload, b"x");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_23_a_session_is_stored_while_its_client_is_away() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        for goodbye in [true, false] {
            let mut client = persistent(&bridge, version, "client").await;
            client.subscribe("t/#", 2).await;
            if goodbye {
                client.send(&DISCONNECT).await;
                client.expect_close().await;
            }
            drop(client);
            let mut publisher = bridge.client(version, "publisher").await;
            for qos in [1, 2] {
                for n in 0..10_u8 {
                    publisher.publish(&format!("t/{n}"), [n], qos).await;
                }
            }
            let mut client = bridge.raw(version).await;
            assert!(client.connect("client", false).await);
            for qos in [1, 2] {
                for n in 0..10_u8 {
                    let message = client.message().await;
                    assert_eq!((message.payload.as_slice(), message.qos), (&[n][..], qos));
                    assert!(!goodbye || !message.dup, "sent for the first time");
                }
            }
            leave(client).await;
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_1_0_1_a_session_lives_while_its_connection_does() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        // The shortest session there is.
        let mut client = accepted(&bridge, &Connect::new(version, "short")).await;
        client.subscribe("t", 1).await;
        // One that ends a second after its connection: when it is gone, that second is over.
        let brief = Connect { session_expiry: 1, clean: false, ..Connect::new(Version::V5, "brief") };
        drop(accepted(&bridge, &brief).await);
        until_sessions(&bridge, 1).await;
        client.publish("t", "still there", 1).await;
        assert_eq!(client.message().await.payload, b"still there");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_1_0_2_a_session_ends_when_its_time_is_over() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let brief = Connect { session_expiry: 1, clean: false, ..Connect::new(Version::V5, "brief") };
    let mut client = accepted(&bridge, &brief).await;
    client.subscribe("t", 1).await;
    drop(client);
    publisher.publish("t", "too late", 1).await;
    until_sessions(&bridge, 1).await;
    let mut client = bridge.raw(Version::V5).await;
    assert!(!client.connect_as(&brief).await);
    client.subscribe("marker", 1).await;
    expect_nothing_before(&mut publisher, &mut client, "marker").await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_1_0_2_disconnect_may_say_another_time() {
    let bridge = Bridge::start().await;
    let goodbye = |seconds| {
        let expiry = four_bytes(id::SESSION_EXPIRY_INTERVAL, seconds);
        packet(0xe0, &[&[0], &counted(&expiry)[..]].concat())
    };
    for (name, session_expiry, seconds) in [("shorter", 3600, 0), ("longer", 1, 3600), ("brief", 3600, 1)] {
        let connect = Connect { session_expiry, clean: false, ..Connect::new(Version::V5, name) };
        let mut client = accepted(&bridge, &connect).await;
        client.subscribe("t", 1).await;
        client.send(&goodbye(seconds)).await;
        client.expect_close().await;
    }
    // The brief one ended last of those that end.
    until_sessions(&bridge, 1).await;
    let mut longer = bridge.raw(Version::V5).await;
    assert!(longer.connect("longer", false).await);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_4_0_1_what_was_not_acknowledged_is_sent_again_and_nothing_else() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut sent = Vec::new();
        for (n, qos) in [1, 2, 1, 2, 2].into_iter().enumerate() {
            publisher.publish("t", [n as u8], qos).await;
            sent.push(client.expect(kind::PUBLISH).await.publish());
        }
        // 0: acknowledged. 1: completed. 2: nothing. 3: received. 4: nothing.
        client.send(&ack(kind::PUBACK, sent[0].id)).await;
        for n in [1, 3] {
            client.send(&ack(kind::PUBREC, sent[n].id)).await;
            client.expect(kind::PUBREL).await;
        }
        client.send(&ack(kind::PUBCOMP, sent[1].id)).await;
        // Nothing is sent again while the connection lasts.
        client.ping().await;
        drop(client);

        let mut client = bridge.raw(version).await;
        assert!(client.connect("client", false).await);
        let publish = client.expect(kind::PUBLISH).await.publish();
        assert_eq!(publish, Publish { dup: true, ..sent[2].clone() });
        let pubrel = client.expect(kind::PUBREL).await;
        assert_eq!(pubrel.id(), sent[3].id, "PUBREL, and not the PUBLISH");
        let publish = client.expect(kind::PUBLISH).await.publish();
        assert_eq!(publish, Publish { dup: true, ..sent[4].clone() });
        client.send(&ack(kind::PUBACK, sent[2].id)).await;
        client.send(&ack(kind::PUBCOMP, sent[3].id)).await;
        client.send(&ack(kind::PUBREC, sent[4].id)).await;
        client.expect(kind::PUBREL).await;
        client.send(&ack(kind::PUBCOMP, sent[4].id)).await;
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        leave(client).await;
        let mut client = bridge.raw(version).await;
        client.connect("client", false).await;
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_4_0_2_a_message_that_was_refused_is_not_sent_again() {
    let bridge = Bridge::start().await;
    let version = Version::V5;
    let mut client = persistent(&bridge, version, "client").await;
    client.subscribe("t", 2).await;
    let mut publisher = bridge.client(version, "publisher").await;
    for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        publisher.publish("t", "unwanted", qos).await;
        let message = client.expect(kind::PUBLISH).await.publish();
        client.send(&refusal(kind, message.id, reason::QUOTA_EXCEEDED)).await;
        client.ping().await;
    }
    drop(client);
    let mut client = persistent(&bridge, version, "client").await;
    expect_nothing_before(&mut publisher, &mut client, "t").await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_5_0_1_a_message_goes_to_every_session_that_subscribed() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let filters = ["a/b", "a/+", "a/#", "#", "+/b"];
        let mut clients = Vec::new();
        for (n, filter) in filters.iter().enumerate() {
            let mut client = persistent(&bridge, version, &format!("client-{n}")).await;
            client.subscribe(filter, 1).await;
            // Every second one is away.
            clients.push((n % 2 == 0).then_some(client));
        }
        let mut other = bridge.client(version, "other").await;
        other.subscribe("a/c", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("a/b", "x", 1).await;
        for (n, client) in clients.into_iter().enumerate() {
            let mut client = match client {
                Some(client) => client,
                None => persistent(&bridge, version, &format!("client-{n}")).await,
            };
            assert_eq!(client.message().await.payload, b"x", "{}", filters[n]);
            drop(client);
            bridge.client(version, &format!("client-{n}")).await;
        }
        expect_nothing_before(&mut publisher, &mut other, "a/c").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_4_1_0_1_subscriptions_last_as_long_as_the_session() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.send(&subscribe_all(version, 1, &[], [("a", 0), ("b", 1), ("c", 2)])).await;
        client.expect(kind::SUBACK).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for _ in 0..3 {
            drop(client);
            client = bridge.raw(version).await;
            assert!(client.connect("client", false).await);
            for (qos, topic) in ["a", "b", "c"].into_iter().enumerate() {
                publisher.publish(topic, "x", 2).await;
                let message = client.message().await;
                assert_eq!((message.topic.as_str(), usize::from(message.qos)), (topic, qos));
            }
            client.ping().await;
        }
        // Another client's name, that only begins the same, has none of it.
        let mut other = persistent(&bridge, version, "clien").await;
        other.send(&subscribe_all(version, 1, &[], [("marker", 1)])).await;
        other.expect(kind::SUBACK).await;
        publisher.publish("b", "x", 1).await;
        expect_nothing_before(&mut publisher, &mut other, "marker").await;
        bridge.finish(&[]).await;
    }
}
