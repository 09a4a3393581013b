//! Packet identifiers (MQTT 5.0 section 2.2.1; 3.1.1 section 2.3.1).

use std::collections::BTreeSet;

use crate::support::{
    PEER, VERSIONS,
    bridge::Bridge,
    expect_closed,
    raw_mqtt::{Publish, Version, ack, kind, packet, subscribe, unsubscribe},
    reason,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_2_1_2_qos_0_has_no_packet_identifier() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.subscribe("t", 2).await;
        client.publish("t", "payload", 0).await;
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let body = [b"\0\x01t", properties, b"payload"].concat();
        assert_eq!(client.expect(kind::PUBLISH).await.body(), body);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_2_1_3_packet_identifier_0_ends_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for bytes in [
            Publish::new("t", "x", 1, 0).encode(version),
            Publish::new("t", "x", 2, 0).encode(version),
            subscribe(version, 0, "t", 0),
            unsubscribe(version, 0, "t"),
        ] {
            expect_closed(&bridge, version, &bytes, reason::PROTOCOL_ERROR).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_2_1_4_the_server_s_identifiers_are_unused_and_not_0() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut subscriber = bridge.client(version, "subscriber").await;
        subscriber.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut used = BTreeSet::new();
        for round in 0..40_u8 {
            publisher.publish("t", [round], 1 + round % 2).await;
            let message = subscriber.expect(kind::PUBLISH).await.publish();
            assert_ne!(message.id, 0);
            assert!(used.insert(message.id), "{} is in use: {used:?}", message.id);
            // Every third is acknowledged, so that its identifier may come again.
            if round % 3 == 0 && message.qos == 1 {
                subscriber.send(&ack(kind::PUBACK, message.id)).await;
                used.remove(&message.id);
            }
            // A message that was received and not completed still has its identifier.
            if round % 5 == 0 && message.qos == 2 {
                subscriber.send(&ack(kind::PUBREC, message.id)).await;
                assert_eq!(subscriber.expect(kind::PUBREL).await.id(), message.id);
            }
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_2_1_5_acknowledgements_have_the_identifier_of_their_publish() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        for id in [1, 255, 256, 65_535] {
            client.send(&Publish::new("t", "x", 1, id).encode(version)).await;
            assert_eq!(client.expect(kind::PUBACK).await.id(), id);
            client.send(&Publish::new("t", "x", 2, id).encode(version)).await;
            assert_eq!(client.expect(kind::PUBREC).await.id(), id);
            client.send(&ack(kind::PUBREL, id)).await;
            assert_eq!(client.expect(kind::PUBCOMP).await.id(), id);
        }
        // Towards the client: PUBREL answers PUBREC.
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 1).await;
        client.expect(kind::PUBLISH).await;
        publisher.publish("t", "y", 2).await;
        let message = client.expect(kind::PUBLISH).await.publish();
        client.send(&ack(kind::PUBREC, message.id)).await;
        assert_eq!(client.expect(kind::PUBREL).await.id(), message.id);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_2_1_6_suback_and_unsuback_have_the_identifier_of_their_request() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        for id in [1, 255, 256, 65_535] {
            client.send(&subscribe(version, id, "t", 1)).await;
            assert_eq!(client.expect(kind::SUBACK).await.id(), id);
            client.send(&unsubscribe(version, id, "t")).await;
            assert_eq!(client.expect(kind::UNSUBACK).await.id(), id);
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_2_3_1_1_a_packet_without_its_identifier_ends_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let publish = packet(0x32, b"\0\x01t");
        expect_closed(&bridge, version, &publish, reason::MALFORMED_PACKET).await;
        expect_closed(&bridge, version, &packet(0x82, &[0]), reason::MALFORMED_PACKET).await;
        expect_closed(&bridge, version, &packet(0xa2, &[0]), reason::MALFORMED_PACKET).await;
        expect_closed(&bridge, version, &packet(0x40, &[0]), reason::MALFORMED_PACKET).await;
    }
    bridge.finish(PEER).await;
}
