//! Reason strings (MQTT 5.0 sections 3.2.2.3.9, 3.4.2.2.2 and their like): there where they
//! help, never where the client has no room for them or has asked for none.

use crate::support::{
    PEER, accepted, answers,
    bridge::Bridge,
    properties::{byte, id},
    raw_mqtt::{Connect, Packet, Publish, RawMqtt, Version, ack, kind, subscribe, unsubscribe},
};

/// Clients of three kinds: with room for a reason string, without, and that want none.
async fn clients(bridge: &Bridge, without: u32) -> [RawMqtt; 3] {
    let connect = |name: &str| Connect::new(Version::V5, name);
    let terse = byte(id::REQUEST_PROBLEM_INFORMATION, 0);
    [
        accepted(bridge, &connect("roomy")).await,
        accepted(bridge, &Connect { maximum_packet_size: Some(without), ..connect("narrow") }).await,
        accepted(bridge, &Connect { properties: terse, ..connect("terse") }).await,
    ]
}

fn reason_string(packet: &Packet) -> Option<String> {
    packet.properties().text(id::REASON_STRING).map(str::to_owned)
}

/// Whether a request is answered with a reason string by the first kind of client alone, the
/// second having room for the CONNACK and this answer without one.
async fn expect_reason_string(request: &[u8], answer: u8) {
    // The least that a CONNACK of the bridge takes, so that no answer below has room for text.
    const ROOM: u32 = 32;
    let bridge = Bridge::start().await;
    let [mut roomy, mut narrow, mut terse] = clients(&bridge, ROOM).await;
    roomy.send(request).await;
    let text = reason_string(&roomy.expect(answer).await).expect("a reason string");
    assert!(text.len() > ROOM as usize, "too short to show anything: {text:?}");
    narrow.send(request).await;
    let packet = narrow.expect(answer).await;
    assert_eq!(reason_string(&packet), None);
    assert!(packet.size() <= ROOM as usize);
    terse.send(request).await;
    let packet = terse.expect(answer).await;
    if answer != kind::DISCONNECT {
        assert_eq!(reason_string(&packet), None, "not asked for [MQTT-3.1.2-29]");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_19_a_reason_string_fits_into_connack() {
    let bridge = Bridge::start().await;
    let connect = Connect::new(Version::V5, &"x".repeat(60_000));
    let roomy = answers(&bridge, Version::V5, &connect.encode()).await;
    assert!(reason_string(&roomy[0]).is_some());
    for maximum in 5..60 {
        let narrow = Connect { maximum_packet_size: Some(maximum), ..connect.clone() };
        let answers = answers(&bridge, Version::V5, &narrow.encode()).await;
        assert_eq!(answers[0].reason(), roomy[0].reason());
        assert!(answers[0].size() <= maximum as usize, "{} of {maximum} bytes", answers[0].size());
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_6_2_2_a_reason_string_fits_into_pubrel() {
    expect_reason_string(&ack(kind::PUBREC, 77), kind::PUBREL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_7_2_2_a_reason_string_fits_into_pubcomp() {
    expect_reason_string(&ack(kind::PUBREL, 77), kind::PUBCOMP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_9_2_1_a_reason_string_fits_into_suback() {
    expect_reason_string(&subscribe(Version::V5, 1, "a/#/b", 1), kind::SUBACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_11_2_1_a_reason_string_fits_into_unsuback() {
    expect_reason_string(&unsubscribe(Version::V5, 1, "a/#/b"), kind::UNSUBACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_2_3_a_reason_string_fits_into_disconnect() {
    expect_reason_string(&Publish::new("a/+", "x", 1, 1).encode(Version::V5), kind::DISCONNECT).await;
}

/// As [`expect_reason_string`], towards a bridge whose journal is full.
async fn expect_refusal_string(qos: u8, answer: u8) {
    const ROOM: usize = 32;
    let (bridge, _) = crate::quality::full(Version::V5).await;
    let request = Publish::new("t", vec![b'x'; 50_000], qos, 1).encode(Version::V5);
    let [mut roomy, mut narrow, mut terse] = clients(&bridge, ROOM as u32).await;
    roomy.send(&request).await;
    let packet = roomy.expect(answer).await;
    assert!(packet.reason() >= 0x80 && reason_string(&packet).is_some(), "{packet:?}");
    for client in [&mut narrow, &mut terse] {
        client.send(&request).await;
        let packet = client.expect(answer).await;
        assert!(packet.reason() >= 0x80 && packet.size() <= ROOM);
        assert_eq!(reason_string(&packet), None);
    }
    bridge.finish(crate::quality::FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_4_2_2_a_reason_string_fits_into_puback() {
    expect_refusal_string(1, kind::PUBACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_5_2_2_a_reason_string_fits_into_pubrec() {
    expect_refusal_string(2, kind::PUBREC).await;
}
