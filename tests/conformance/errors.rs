//! Errors (MQTT 5.0 section 4.13; 3.1.1 section 4.8) and the transport (section 4.2).

use crate::support::{
    PEER, VERSIONS,
    bridge::Bridge,
    expect_closed, expect_nothing_before,
    properties::{byte, four_bytes, id, number, string, two_bytes, user},
    raw_mqtt::{Connect, Publish, Version, ack, counted, kind, packet, subscribe, subscribe_all, text},
    reason, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_13_1_1_malformed_packets_end_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for (what, bytes) in [
            ("a reserved packet type", packet(0x00, &[])),
            ("a length that does not end", vec![0x30, 0xff, 0xff, 0xff, 0xff]),
            ("QoS 3", packet(0x36, b"\0\x01t\0\x01\0x")),
            ("a topic longer than its packet", packet(0x30, b"\0\x09t")),
            ("a PINGREQ with a body", packet(0xc0, &[0])),
            ("a PUBACK without an identifier", packet(0x40, &[])),
        ] {
            eprintln!("{what}");
            expect_closed(&bridge, version, &bytes, reason::MALFORMED_PACKET).await;
        }
        for (what, bytes) in [
            ("CONNACK from a client", packet(0x20, &[0, 0, 0])),
            ("SUBACK from a client", packet(0x90, &[0, 1, 0, 0])),
            ("UNSUBACK from a client", packet(0xb0, &[0, 1, 0, 0])),
            ("PINGRESP from a client", packet(0xd0, &[])),
        ] {
            eprintln!("{what}");
            expect_closed(&bridge, version, &bytes, reason::PROTOCOL_ERROR).await;
        }
    }
    expect_closed(&bridge, Version::V4, &packet(0xf0, &[]), 0).await;
    expect_closed(&bridge, Version::V4, &packet(0x40, &[0, 1, 0]), 0).await;
    bridge.finish(PEER).await;
}

/// PUBLISH with these properties.
fn publish(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[text("t"), counted(properties), b"x".to_vec()].concat())
}

/// An acknowledgement with these properties.
fn acknowledgement(first: u8, reason: u8, properties: &[u8]) -> Vec<u8> {
    packet(first, &[&[0, 1, reason], &counted(properties)[..]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_13_1_1_properties_out_of_place_end_the_connection() {
    let bridge = Bridge::start().await;
    let subscribe = |properties: &[u8]| subscribe_all(Version::V5, 1, properties, [("t", 0)]);
    let twice = |property: Vec<u8>| property.repeat(2);
    let malformed = reason::MALFORMED_PACKET;
    let error = reason::PROTOCOL_ERROR;
    for (what, bytes, reason) in [
        ("a property that does not exist", publish(&[0x7f, 0]), malformed),
        ("a property of CONNECT", publish(&two_bytes(id::RECEIVE_MAXIMUM, 1)), malformed),
        ("a property of PUBLISH", subscribe(&string(id::CONTENT_TYPE, "x")), malformed),
        ("a property of PUBLISH in PUBACK", acknowledgement(0x40, 0, &string(id::CONTENT_TYPE, "x")), malformed),
        ("a property that is cut", publish(&four_bytes(id::MESSAGE_EXPIRY_INTERVAL, 1)[..3]), malformed),
        ("properties longer than their packet", packet(0x30, b"\0\x01t\x70\x01\x01"), malformed),
        ("a content type twice", publish(&twice(string(id::CONTENT_TYPE, "x"))), error),
        ("a topic alias twice", publish(&twice(two_bytes(id::TOPIC_ALIAS, 1))), error),
        ("a payload format of 2", publish(&byte(id::PAYLOAD_FORMAT_INDICATOR, 2)), error),
        ("an expiry twice", publish(&twice(four_bytes(id::MESSAGE_EXPIRY_INTERVAL, 1))), error),
        ("a subscription identifier of 0", subscribe(&number(id::SUBSCRIPTION_IDENTIFIER, 0)), error),
        ("a subscription identifier twice", subscribe(&twice(number(id::SUBSCRIPTION_IDENTIFIER, 1))), error),
        ("a reason string twice", acknowledgement(0x40, 0, &twice(string(id::REASON_STRING, "x"))), error),
        ("neither topic nor alias", packet(0x30, b"\0\0\0x"), error),
    ] {
        eprintln!("{what}");
        expect_closed(&bridge, Version::V5, &bytes, reason).await;
    }
    // What may come twice, and what may come along.
    let mut client = bridge.client(Version::V5, "client").await;
    client.send(&publish(&twice(user("name", "value")))).await;
    client.send(&acknowledgement(0x40, 0x10, &[user("a", "b"), string(id::REASON_STRING, "why")].concat())).await;
    client.send(&acknowledgement(0x62, 0x92, &[])).await;
    assert_eq!(client.expect(kind::PUBCOMP).await.id(), 1);
    client.ping().await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_13_1_1_reason_codes_out_of_place_end_the_connection() {
    let bridge = Bridge::start().await;
    for bytes in [
        packet(0x40, &[0, 1, 0x01]),
        packet(0x40, &[0, 1, 0x92]),
        packet(0x50, &[0, 1, 0xff]),
        packet(0x62, &[0, 1, 0x80]),
        packet(0x70, &[0, 1, 0x97]),
        packet(0xe0, &[0x8e]),
        packet(0xe0, &[0x01]),
    ] {
        let mut client = bridge.client(Version::V5, "client").await;
        client.send(&bytes).await;
        let told = client.expect_close().await;
        assert!(matches!(told, Some(reason::MALFORMED_PACKET | reason::PROTOCOL_ERROR)), "{bytes:02x?}: {told:02x?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_13_1_1_a_longer_session_than_none_is_a_protocol_error() {
    let bridge = Bridge::start().await;
    let expiry = four_bytes(id::SESSION_EXPIRY_INTERVAL, 60);
    let disconnect = packet(0xe0, &[&[0], &counted(&expiry)[..]].concat());
    // CONNECT had an expiry of 0.
    expect_closed(&bridge, Version::V5, &disconnect, reason::PROTOCOL_ERROR).await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_4_8_0_1_a_violation_ends_its_own_connection_and_no_other() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut bystander = bridge.client(version, "bystander").await;
        bystander.subscribe("t", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_closed(&bridge, version, &ack(kind::CONNACK, 1), reason::PROTOCOL_ERROR).await;
        // What came before the violation was accepted, what comes behind it is not.
        let before = Publish::new("t", "before", 1, 1).encode(version);
        let behind = Publish::new("t", "behind", 1, 2).encode(version);
        let mut offender = bridge.client(version, "offender").await;
        offender.send(&[before, packet(0x00, &[]), behind].concat()).await;
        within("the end", async { while offender.read().await.is_some() {} }).await;
        assert_eq!(bystander.message().await.payload, b"before");
        expect_nothing_before(&mut publisher, &mut bystander, "t").await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_2_0_1_tcp_carries_a_stream_of_bytes() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        // Packets do not have to come in one piece, nor alone.
        let mut client = bridge.raw(version).await;
        let bytes = [
            Connect::new(version, "drip").encode(),
            subscribe(version, 1, "t", 1),
            Publish::new("t", vec![b'x'; 300], 1, 2).encode(version),
        ]
        .concat();
        for byte in &bytes {
            client.send(&[*byte]).await;
        }
        client.expect(kind::CONNACK).await;
        client.expect(kind::SUBACK).await;
        let mut kinds = [client.read().await.unwrap().kind(), client.read().await.unwrap().kind()];
        kinds.sort_unstable();
        assert_eq!(kinds, [kind::PUBLISH, kind::PUBACK]);
    }
    bridge.finish(&[]).await;
}
