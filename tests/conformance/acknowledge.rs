//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0 sections 3.4 to 3.7; 3.1.1 section 3.6).

use crate::support::{
    PEER, VERSIONS,
    bridge::Bridge,
    expect_closed,
    raw_mqtt::{Packet, Publish, Version, ack, kind, packet},
    reason,
};

/// What an acknowledgement says: in its shortest form, success.
fn code(packet: &Packet) -> u8 {
    packet.body().get(2).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_4_2_1_puback_and_pubrec_have_their_reason_codes() {
    const CODES: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    // With a subscriber and without one, new and again.
    for round in 0..2 {
        for (qos, wanted) in [(1, kind::PUBACK), (2, kind::PUBREC), (2, kind::PUBREC)] {
            client.send(&Publish::new("t", "x", qos, 1 + u16::from(qos)).encode(Version::V5)).await;
            let answer = loop {
                let packet = client.read().await.unwrap();
                if packet.kind() == wanted {
                    break packet;
                }
                assert_eq!(packet.kind(), kind::PUBLISH);
            };
            assert!(CODES.contains(&code(&answer)), "{answer:?}");
            assert!(code(&answer) < 0x80);
        }
        if round == 0 {
            client.send(&ack(kind::PUBREL, 3)).await;
            assert_eq!(code(&client.expect(kind::PUBCOMP).await), 0);
            client.subscribe("t", 0).await;
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_6_1_1_other_flags_of_pubrel_are_malformed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for flags in (0..16).filter(|flags| *flags != 2) {
            let pubrel = packet(0x60 | flags, &[0, 1]);
            expect_closed(&bridge, version, &pubrel, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_6_2_1_pubrel_says_when_the_identifier_is_unknown() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    client.send(&ack(kind::PUBREC, 77)).await;
    let pubrel = client.expect(kind::PUBREL).await;
    assert_eq!((pubrel.id(), code(&pubrel)), (77, reason::PACKET_IDENTIFIER_NOT_FOUND));
    client.subscribe("t", 2).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    publisher.publish("t", "x", 2).await;
    let id = client.expect(kind::PUBLISH).await.publish().id;
    client.send(&ack(kind::PUBREC, id)).await;
    let pubrel = client.expect(kind::PUBREL).await;
    assert_eq!((pubrel.id(), code(&pubrel)), (id, 0));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_7_2_1_pubcomp_says_when_the_identifier_is_unknown() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    client.send(&ack(kind::PUBREL, 77)).await;
    let pubcomp = client.expect(kind::PUBCOMP).await;
    assert_eq!((pubcomp.id(), code(&pubcomp)), (77, reason::PACKET_IDENTIFIER_NOT_FOUND));
    client.send(&Publish::new("t", "x", 2, 5).encode(Version::V5)).await;
    client.expect(kind::PUBREC).await;
    client.send(&ack(kind::PUBREL, 5)).await;
    let pubcomp = client.expect(kind::PUBCOMP).await;
    assert_eq!((pubcomp.id(), code(&pubcomp)), (5, 0));
    bridge.finish(&[]).await;
}
