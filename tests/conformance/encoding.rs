//! Strings, integers, flags and property lengths (MQTT 5.0 sections 1.5, 2.1 and 2.2.2; 3.1.1
//! sections 1.5 and 2.2).

use crate::support::{
    PEER, VERSIONS, answers,
    bridge::Bridge,
    expect_closed, expect_nothing_before,
    properties::{id, string, user},
    raw_mqtt::{
        Connect, PINGREQ, Publish, Version, ack, counted, kind, packet, subscribe, subscribe_all, text, unsubscribe_all,
    },
    reason,
};

/// Bytes that are no UTF-8, each for another reason.
const ILL_FORMED: [&[u8]; 6] = [
    b"\xed\xa0\x80",     // the surrogate U+D800
    b"\xed\xbf\xbf",     // the surrogate U+DFFF
    b"\xc0\xaf",         // an overlong "/"
    b"\xf4\x90\x80\x80", // above U+10FFFF
    b"a\xe2\x82",        // cut
    b"\xff",             // nothing at all
];

/// PUBLISH of QoS 0 with any bytes as its topic and properties.
fn publish_bytes(version: Version, topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if version == Version::V5 {
        body.extend(counted(properties));
    }
    packet(0x30, &body)
}

/// Whether a CONNECT whose strings hold these bytes is refused: by 3.1.1 without an answer, by 5.0
/// with a CONNACK.
async fn expect_refused_connects(bridge: &Bridge, version: Version, bytes: &[u8]) {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let level = [version as u8];
    let id = text("id");
    let bad = text(bytes);
    let connect = |flags: u8, payload: &[&[u8]]| {
        packet(0x10, &[b"\0\x04MQTT", &level[..], &[flags], &[0, 0], properties, &payload.concat()].concat())
    };
    for connect in
        [connect(0x02, &[&bad]), connect(0x06, &[&id, properties, &bad, &text("payload")]), connect(0x82, &[&id, &bad])]
    {
        let answers = answers(bridge, version, &connect).await;
        match version {
            Version::V4 => assert!(answers.is_empty(), "{bytes:02x?}: {answers:?}"),
            Version::V5 => {
                assert_eq!(answers.len(), 1, "{bytes:02x?}: {answers:?}");
                assert_eq!((answers[0].kind(), answers[0].reason() >= 0x80), (kind::CONNACK, true));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_1_5_4_1_ill_formed_utf_8_ends_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for bad in ILL_FORMED {
            expect_refused_connects(&bridge, version, bad).await;
            let malformed = reason::MALFORMED_PACKET;
            expect_closed(&bridge, version, &publish_bytes(version, bad, &[]), malformed).await;
            expect_closed(&bridge, version, &subscribe_all(version, 1, &[], [(bad, 0)]), malformed).await;
            expect_closed(&bridge, version, &unsubscribe_all(version, 1, [bad]), malformed).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_1_5_4_2_the_null_character_ends_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let bad = b"a\0b";
        expect_refused_connects(&bridge, version, bad).await;
        let malformed = reason::MALFORMED_PACKET;
        expect_closed(&bridge, version, &publish_bytes(version, bad, &[]), malformed).await;
        expect_closed(&bridge, version, &subscribe_all(version, 1, &[], [(bad, 0)]), malformed).await;
        expect_closed(&bridge, version, &unsubscribe_all(version, 1, [bad]), malformed).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_1_5_4_3_a_byte_order_mark_is_a_character() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut with = bridge.client(version, "with").await;
        with.subscribe("\u{feff}mark", 1).await;
        let mut without = bridge.client(version, "without").await;
        without.subscribe("mark", 1).await;
        let mut publisher = bridge.client(version, "\u{feff}publisher").await;
        publisher.publish("\u{feff}mark", "with", 1).await;
        let message = with.message().await;
        assert_eq!((message.topic.as_bytes(), message.payload.as_slice()), (&b"\xef\xbb\xbfmark"[..], &b"with"[..]));
        expect_nothing_before(&mut publisher, &mut without, "mark").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_1_5_5_1_a_length_takes_as_few_bytes_as_it_can() {
    let bridge = Bridge::start().await;
    for padded in [&[0xc0, 0x80, 0x00][..], &[0x30, 0x87, 0x00, 0, 1, b't', 0, b'a', b'b', b'c']] {
        expect_closed(&bridge, Version::V5, padded, reason::MALFORMED_PACKET).await;
    }
    let padded_properties = packet(0x30, b"\0\x01t\x80\x00payload");
    expect_closed(&bridge, Version::V5, &padded_properties, reason::MALFORMED_PACKET).await;

    // Around every border, as the bridge writes them: reading refuses a length that is longer
    // than need be.
    let mut client = bridge.client(Version::V5, "borders").await;
    client.subscribe("t", 0).await;
    for border in [0x80, 0x4000] {
        for size in border - 8..border + 4 {
            client.publish("t", vec![b'x'; size], 0).await;
            assert_eq!(client.message().await.payload.len(), size);
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_1_5_7_1_both_strings_of_a_pair_are_strings() {
    let bridge = Bridge::start().await;
    for bad in ILL_FORMED.into_iter().chain([&b"\0"[..]]) {
        for pair in [user(bad, "value"), user("name", bad)] {
            let publish = publish_bytes(Version::V5, b"t", &pair);
            expect_closed(&bridge, Version::V5, &publish, reason::MALFORMED_PACKET).await;
            let subscribe = subscribe_all(Version::V5, 1, &pair, [("t", 0)]);
            expect_closed(&bridge, Version::V5, &subscribe, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_1_3_1_reserved_flags_are_what_the_table_says() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let packets = [
            ack(kind::PUBACK, 1),
            ack(kind::PUBREC, 1),
            ack(kind::PUBREL, 1),
            ack(kind::PUBCOMP, 1),
            subscribe(version, 1, "t", 0),
            unsubscribe_all(version, 1, ["t"]),
            PINGREQ.to_vec(),
            vec![0xe0, 0],
        ];
        for right in packets {
            for flags in (0..16).filter(|flags| right[0] & 0x0f != *flags) {
                let mut wrong = right.clone();
                wrong[0] = right[0] & 0xf0 | flags;
                expect_closed(&bridge, version, &wrong, reason::MALFORMED_PACKET).await;
            }
        }
        for flags in 1..16 {
            let mut connect = Connect::new(version, "flags").encode();
            connect[0] |= flags;
            let answers = answers(&bridge, version, &connect).await;
            assert!(answers.iter().all(|answer| answer.kind() == kind::CONNACK && answer.reason() >= 0x80));
        }

        // And those that the bridge itself sends.
        let mut client = bridge.raw(version).await;
        client.send(&Connect::new(version, "right").encode()).await;
        assert_eq!(client.expect(kind::CONNACK).await.first(), 0x20);
        client.send(&subscribe(version, 1, "t", 2)).await;
        assert_eq!(client.expect(kind::SUBACK).await.first(), 0x90);
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 2).await;
        let publish = client.expect(kind::PUBLISH).await;
        client.send(&ack(kind::PUBREC, publish.publish().id)).await;
        let mut firsts = vec![publish.first(), client.expect(kind::PUBREL).await.first()];
        client.send(&Publish::new("u", "x", 2, 1).encode(version)).await;
        firsts.push(client.expect(kind::PUBREC).await.first());
        client.send(&ack(kind::PUBREL, 1)).await;
        firsts.push(client.expect(kind::PUBCOMP).await.first());
        client.send(&Publish::new("u", "x", 1, 1).encode(version)).await;
        firsts.push(client.expect(kind::PUBACK).await.first());
        client.send(&unsubscribe_all(version, 1, ["t"])).await;
        firsts.push(client.expect(kind::UNSUBACK).await.first());
        client.send(&PINGREQ).await;
        firsts.push(client.expect(kind::PINGRESP).await.first());
        assert_eq!(firsts, [0x34, 0x62, 0x50, 0x70, 0x40, 0xb0, 0xd0]);
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_2_2_2_1_no_properties_are_a_length_of_zero() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    client.send(&subscribe(Version::V5, 7, "t", 0)).await;
    assert_eq!(client.expect(kind::SUBACK).await.body(), [0, 7, 0, 0]);
    client.publish("t", "x", 0).await;
    assert_eq!(client.expect(kind::PUBLISH).await.body(), b"\0\x01t\0x");
    client.send(&unsubscribe_all(Version::V5, 8, ["t"])).await;
    assert_eq!(client.expect(kind::UNSUBACK).await.body(), [0, 8, 0, 0]);
    // With one, the length is its own.
    client.subscribe("t", 0).await;
    let content_type = string(id::CONTENT_TYPE, "x/y");
    client.send(&publish_bytes(Version::V5, b"t", &content_type)).await;
    assert_eq!(client.expect(kind::PUBLISH).await.body(), b"\0\x01t\x06\x03\0\x03x/y");
    // Left out, the packet is malformed.
    expect_closed(&bridge, Version::V5, &packet(0x82, &[0, 1]), reason::MALFORMED_PACKET).await;
    bridge.finish(PEER).await;
}
