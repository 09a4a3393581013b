//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11 of both standards).

use crate::support::{
    PEER, VERSIONS,
    bridge::Bridge,
    expect_closed, expect_nothing_before,
    raw_mqtt::{Version, ack, kind, packet, subscribe_all, text, unsubscribe, unsubscribe_all},
    reason,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_1_1_other_flags_of_unsubscribe_are_malformed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for flags in (0..16).filter(|flags| *flags != 2) {
            let mut bytes = unsubscribe(version, 1, "t");
            bytes[0] = 0xa0 | flags;
            expect_closed(&bridge, version, &bytes, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_3_1_a_filter_that_is_cut_is_malformed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let whole = unsubscribe(version, 1, "a/filter");
        for cut in 1..text("a/filter").len() {
            let bytes = packet(0xa2, &whole[2..whole.len() - cut]);
            expect_closed(&bridge, version, &bytes, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_3_2_an_unsubscribe_has_at_least_one_filter() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let none: [&str; 0] = [];
        let bytes = unsubscribe_all(version, 1, none);
        expect_closed(&bridge, version, &bytes, reason::PROTOCOL_ERROR).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_4_1_filters_are_compared_character_by_character() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.subscribe("a/+", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for other in ["a/b", "a/#", "A/+", "a/+/", "/a/+", "#", "a/"] {
            client.send(&unsubscribe(version, 1, other)).await;
            let unsuback = client.expect(kind::UNSUBACK).await;
            if version == Version::V5 {
                assert_eq!(unsuback.reasons(), [reason::NO_SUBSCRIPTION_EXISTED], "{other}");
            }
            publisher.publish("a/b", other, 1).await;
            assert_eq!(client.message().await.payload, other.as_bytes(), "still there");
        }
        client.send(&unsubscribe(version, 1, "a/+")).await;
        let unsuback = client.expect(kind::UNSUBACK).await;
        if version == Version::V5 {
            assert_eq!(unsuback.reasons(), [0]);
        }
        client.subscribe("marker", 1).await;
        publisher.publish("a/b", "for nobody", 1).await;
        expect_nothing_before(&mut publisher, &mut client, "marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_4_2_nothing_new_comes_after_unsubscribing() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&subscribe_all(version, 1, &[], [("t", 1), ("marker", 1), ("other/#", 1)])).await;
        client.expect(kind::SUBACK).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "x", 1).await;
        client.message().await;
        client.send(&unsubscribe(version, 1, "t")).await;
        client.expect(kind::UNSUBACK).await;
        for qos in 0..=2 {
            publisher.publish("t", "for nobody", qos).await;
        }
        expect_nothing_before(&mut publisher, &mut client, "marker").await;
        publisher.publish("other/x", "x", 1).await;
        assert_eq!(client.message().await.topic, "other/x", "the others stay");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_4_3_what_was_begun_is_completed_after_unsubscribing() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = bridge.raw(version).await;
        client.connect("client", false).await;
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut begun = Vec::new();
        for qos in [1, 2, 2] {
            publisher.publish("t", "x", qos).await;
            begun.push(client.expect(kind::PUBLISH).await.publish());
        }
        client.send(&ack(kind::PUBREC, begun[1].id)).await;
        client.expect(kind::PUBREL).await;
        client.send(&unsubscribe(version, 1, "t")).await;
        client.expect(kind::UNSUBACK).await;
        // The handshake goes on, and over a reconnect.
        drop(client);
        let mut client = bridge.raw(version).await;
        assert!(client.connect("client", false).await);
        assert_eq!(client.expect(kind::PUBLISH).await.publish().id, begun[0].id);
        assert_eq!(client.expect(kind::PUBREL).await.id(), begun[1].id);
        assert_eq!(client.expect(kind::PUBLISH).await.publish().id, begun[2].id);
        client.send(&ack(kind::PUBREC, begun[2].id)).await;
        assert_eq!(client.expect(kind::PUBREL).await.id(), begun[2].id);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_4_5_an_unsubscribe_that_ends_nothing_is_answered() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        for id in [1, 2, 65_535] {
            client.send(&unsubscribe(version, id, "never")).await;
            let unsuback = client.expect(kind::UNSUBACK).await;
            assert_eq!(unsuback.id(), id);
            let expected: &[u8] = if version == Version::V5 { &[reason::NO_SUBSCRIPTION_EXISTED] } else { &[] };
            assert_eq!(unsuback.reasons(), expected);
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_10_4_6_many_filters_are_as_many_unsubscribes() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&subscribe_all(version, 1, &[], [("a", 1), ("b", 1), ("c", 1), ("marker", 1)])).await;
        client.expect(kind::SUBACK).await;
        client.send(&unsubscribe_all(version, 300, ["a", "c", "d", "a"])).await;
        let unsuback = client.expect(kind::UNSUBACK).await;
        assert_eq!(unsuback.id(), 300, "one answer");
        if version == Version::V5 {
            let none = reason::NO_SUBSCRIPTION_EXISTED;
            assert_eq!(unsuback.reasons(), [0, 0, none, none], "in the order of the filters");
        }
        let mut publisher = bridge.client(version, "publisher").await;
        for topic in ["a", "c", "b"] {
            publisher.publish(topic, "x", 1).await;
        }
        assert_eq!(client.message().await.topic, "b");
        expect_nothing_before(&mut publisher, &mut client, "marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_11_3_2_unsuback_has_its_reason_codes() {
    const CODES: [u8; 7] = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    client.subscribe("a", 1).await;
    let long = "x".repeat(60_000);
    let filters = ["a", "a", "a/#/b", "", "+a", &long, "$share/group/a", "$share/"];
    client.send(&unsubscribe_all(Version::V5, 1, filters)).await;
    let unsuback = client.expect(kind::UNSUBACK).await;
    assert_eq!(unsuback.reasons().len(), filters.len());
    assert!(unsuback.reasons().iter().all(|reason| CODES.contains(reason)), "{unsuback:?}");
    assert_eq!(unsuback.reasons()[..2], [0, reason::NO_SUBSCRIPTION_EXISTED]);
    bridge.finish(&[]).await;
}
