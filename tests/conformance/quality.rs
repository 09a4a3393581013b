//! The three delivery protocols (section 4.3 of both standards), the bridge as sender and as
//! receiver.

use crate::support::{
    PEER, VERSIONS,
    bridge::{Bridge, Setup},
    eventually, expect_nothing_before, persistent,
    properties::{four_bytes, id},
    publish,
    raw_mqtt::{Publish, RawMqtt, Version, ack, kind},
    reason, until_expired,
};

/// A subscriber to `t` at QoS 2 with a session that is kept.
async fn subscriber(bridge: &Bridge, version: Version) -> RawMqtt {
    let mut subscriber = persistent(bridge, version, "subscriber").await;
    subscriber.subscribe("t", 2).await;
    subscriber
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_1_1_the_sender_of_qos_0_sends_it_once() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 0).await;
        let packet = client.expect(kind::PUBLISH).await;
        assert_eq!(packet.first(), 0x30, "QoS 0, DUP 0");
        drop(client);
        let mut client = persistent(&bridge, version, "subscriber").await;
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_2_2_the_sender_of_qos_1_begins_without_dup() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            publisher.publish("t", "x", 1).await;
            let packet = client.expect(kind::PUBLISH).await;
            assert_eq!(packet.first(), 0x32, "QoS 1, DUP 0");
            let id = packet.publish().id;
            assert!(id > 0 && !ids.contains(&id), "a new one of its own: {id} of {ids:?}");
            ids.push(id);
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_2_3_qos_1_is_unacknowledged_until_its_puback() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 1).await;
        let sent = client.expect(kind::PUBLISH).await.publish();
        // Answers to something else, and of the wrong kind, are no PUBACK.
        client.send(&ack(kind::PUBACK, sent.id + 1)).await;
        client.send(&ack(kind::PUBCOMP, sent.id)).await;
        client.ping().await;
        drop(client);
        let mut client = persistent(&bridge, version, "subscriber").await;
        assert_eq!(client.message().await, Publish { dup: true, ..sent }, "again");
        client.ping().await;
        drop(client);
        let mut client = persistent(&bridge, version, "subscriber").await;
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_2_4_qos_1_is_owned_when_it_is_acknowledged() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.send(&Publish::new("t", "x", 1, 4711).encode(version)).await;
        assert_eq!(publisher.expect(kind::PUBACK).await.id(), 4711);
        // Whatever becomes of its publisher.
        drop(publisher);
        assert_eq!(client.message().await.payload, b"x");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_2_5_after_puback_the_same_identifier_is_a_new_message() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = persistent(&bridge, version, "publisher").await;
        for (n, dup) in [false, true, false, true].into_iter().enumerate() {
            let message = Publish { dup, ..Publish::new("t", [n as u8], 1, 1) };
            publish(&mut publisher, version, &message).await;
            assert_eq!(client.message().await.payload, [n as u8], "DUP {dup}");
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_2_the_sender_of_qos_2_begins_without_dup() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut ids = Vec::new();
        for n in 0..6_u8 {
            publisher.publish("t", "x", 2).await;
            let packet = client.expect(kind::PUBLISH).await;
            assert_eq!(packet.first(), 0x34, "QoS 2, DUP 0");
            let id = packet.publish().id;
            assert!(id > 0 && !ids.contains(&id), "a new one of its own: {id} of {ids:?}");
            ids.push(id);
            // Received and not completed: still in use.
            if n % 2 == 0 {
                client.send(&ack(kind::PUBREC, id)).await;
                client.expect(kind::PUBREL).await;
            }
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_3_qos_2_is_unacknowledged_until_its_pubrec() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 2).await;
        let sent = client.expect(kind::PUBLISH).await.publish();
        // Neither of these is a PUBREC.
        client.send(&ack(kind::PUBACK, sent.id)).await;
        client.send(&ack(kind::PUBCOMP, sent.id)).await;
        client.ping().await;
        for _ in 0..2 {
            drop(client);
            client = persistent(&bridge, version, "subscriber").await;
            let again = client.expect(kind::PUBLISH).await.publish();
            assert_eq!(again, Publish { dup: true, ..sent.clone() });
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_4_pubrec_is_answered_with_pubrel() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 2).await;
        let id = client.expect(kind::PUBLISH).await.publish().id;
        // Each, also where the client has not seen the first answer.
        for _ in 0..3 {
            client.send(&ack(kind::PUBREC, id)).await;
            let pubrel = client.expect(kind::PUBREL).await;
            assert_eq!((pubrel.id(), pubrel.reason()), (id, 0));
        }
        client.send(&ack(kind::PUBCOMP, id)).await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_5_pubrel_is_unacknowledged_until_its_pubcomp() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 2).await;
        let id = client.expect(kind::PUBLISH).await.publish().id;
        client.send(&ack(kind::PUBREC, id)).await;
        client.expect(kind::PUBREL).await;
        for _ in 0..2 {
            drop(client);
            client = persistent(&bridge, version, "subscriber").await;
            assert_eq!(client.expect(kind::PUBREL).await.id(), id, "and not the PUBLISH [MQTT-4.3.3-6]");
        }
        client.send(&ack(kind::PUBCOMP, id)).await;
        client.ping().await;
        drop(client);
        let mut client = persistent(&bridge, version, "subscriber").await;
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_8_qos_2_is_owned_when_it_is_received() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.send(&Publish::new("t", "x", 2, 4711).encode(version)).await;
        assert_eq!(publisher.expect(kind::PUBREC).await.id(), 4711);
        drop(publisher);
        assert_eq!(client.message().await.payload, b"x");
        bridge.finish(&[]).await;
    }
}

/// A bridge whose journal is as full as it may be, because the database never takes anything.
pub async fn full(version: Version) -> (Bridge, RawMqtt) {
    let config = "[journal]\nsegment_bytes = \"1MiB\"\nmaximum_bytes = \"4MiB\"\nretain_bytes = 0\nretain_age = \"0s\"";
    let setup = Setup::default().config(config).timescale("postgres://nobody@127.0.0.1:1/nowhere");
    let bridge = setup.listening().await;
    let mut filler = bridge.client(Version::V5, "filler").await;
    eventually("a full journal", async || {
        filler.send(&Publish::new("filler", vec![b'x'; 50_000], 1, 1).encode(Version::V5)).await;
        (filler.expect(kind::PUBACK).await.reason() == reason::QUOTA_EXCEEDED).then_some(())
    })
    .await;
    let client = bridge.client(version, "client").await;
    (bridge, client)
}

/// Warnings that come with a full journal and a database that is not there.
pub const FULL: &[&str] = &["journal", "database", "timescale"];

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_9_after_a_refusal_the_same_identifier_is_a_new_message() {
    let (bridge, mut client) = full(Version::V5).await;
    let large = Publish::new("t", vec![b'x'; 50_000], 2, 1).encode(Version::V5);
    for _ in 0..3 {
        client.send(&large).await;
        let pubrec = client.expect(kind::PUBREC).await;
        // Were it held as received, a repeat would be acknowledged with success.
        assert_eq!((pubrec.id(), pubrec.reason()), (1, reason::QUOTA_EXCEEDED));
    }
    client.send(&ack(kind::PUBREL, 1)).await;
    assert_eq!(client.expect(kind::PUBCOMP).await.reason(), reason::PACKET_IDENTIFIER_NOT_FOUND);
    bridge.finish(FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_4_8_0_2_an_error_that_cannot_be_told_ends_the_connection() {
    for qos in [1, 2] {
        let (bridge, mut client) = full(Version::V4).await;
        client.send(&Publish::new("t", vec![b'x'; 50_000], qos, 1).encode(Version::V4)).await;
        assert_eq!(client.expect_close().await, None, "neither acknowledged nor ignored");
        bridge.finish(FULL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_10_until_pubrel_a_repeat_is_acknowledged_and_not_delivered() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = persistent(&bridge, version, "publisher").await;
        let first = Publish::new("t", "x", 2, 7);
        publisher.send(&first.encode(version)).await;
        publisher.expect(kind::PUBREC).await;
        for dup in [true, false] {
            publisher.send(&Publish { dup, ..first.clone() }.encode(version)).await;
            assert_eq!(publisher.expect(kind::PUBREC).await.id(), 7);
        }
        // Also on its next connection.
        drop(publisher);
        let mut publisher = persistent(&bridge, version, "publisher").await;
        publisher.send(&Publish { dup: true, ..first }.encode(version)).await;
        assert_eq!(publisher.expect(kind::PUBREC).await.id(), 7);
        publisher.send(&ack(kind::PUBREL, 7)).await;
        publisher.expect(kind::PUBCOMP).await;
        assert_eq!(client.message().await.payload, b"x");
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_11_pubrel_is_answered_with_pubcomp() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        for id in [1, 300, 65_535] {
            client.send(&Publish::new("t", "x", 2, id).encode(version)).await;
            client.expect(kind::PUBREC).await;
            // Each, also where the client has not seen the first answer.
            for _ in 0..2 {
                client.send(&ack(kind::PUBREL, id)).await;
                assert_eq!(client.expect(kind::PUBCOMP).await.id(), id);
            }
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_12_after_pubcomp_the_same_identifier_is_a_new_message() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = subscriber(&bridge, version).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for (n, dup) in [false, true, false].into_iter().enumerate() {
            let message = Publish { dup, ..Publish::new("t", [n as u8], 2, 9) };
            publish(&mut publisher, version, &message).await;
            assert_eq!(client.message().await.payload, [n as u8], "DUP {dup}");
        }
        bridge.finish(PEER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_13_an_expired_message_s_handshake_goes_on() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let properties = four_bytes(id::MESSAGE_EXPIRY_INTERVAL, 1);
    let message = Publish { properties, retain: true, ..Publish::new("t", "x", 2, 7) };
    publisher.send(&message.encode(Version::V5)).await;
    publisher.expect(kind::PUBREC).await;
    until_expired(&bridge, "t").await;
    publisher.send(&Publish { dup: true, ..message }.encode(Version::V5)).await;
    assert_eq!(publisher.expect(kind::PUBREC).await.reason(), 0);
    publisher.send(&ack(kind::PUBREL, 7)).await;
    let pubcomp = publisher.expect(kind::PUBCOMP).await;
    assert_eq!((pubcomp.id(), pubcomp.reason()), (7, 0));
    bridge.finish(&[]).await;
}
