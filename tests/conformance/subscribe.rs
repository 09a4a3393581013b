//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9 of both standards).

use crate::support::{
    PEER, VERSIONS,
    bridge::{Bridge, Setup},
    expect_closed, expect_nothing_before, persistent, publish,
    raw_mqtt::{Version, ack, kind, packet, subscribe, subscribe_all, text},
    reason, retained, subscribe_with,
};

const NO_LOCAL: u8 = 0x04;

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_1_1_other_flags_of_subscribe_are_malformed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for flags in (0..16).filter(|flags| *flags != 2) {
            let mut bytes = subscribe(version, 1, "t", 0);
            bytes[0] = 0x80 | flags;
            expect_closed(&bridge, version, &bytes, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_3_1_a_filter_that_is_cut_is_malformed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let whole = subscribe(version, 1, "a/filter", 0);
        for cut in 1..text("a/filter").len() + 1 {
            let bytes = packet(0x82, &whole[2..whole.len() - cut]);
            expect_closed(&bridge, version, &bytes, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_3_2_a_subscribe_has_at_least_one_filter() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let none: [(&str, u8); 0] = [];
        let bytes = subscribe_all(version, 1, &[], none);
        expect_closed(&bridge, version, &bytes, reason::PROTOCOL_ERROR).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_3_3_no_local_leaves_the_client_s_own_messages_out() {
    let bridge = Bridge::start().await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    subscribe_with(&mut client, &[], &[("t", NO_LOCAL | 1), ("marker", 1)]).await;
    let mut other = bridge.client(Version::V5, "other").await;
    for qos in 0..=2 {
        client.publish("t", "own", qos).await;
        other.publish("t", "other's", qos).await;
        assert_eq!(client.message().await.payload, b"other's");
    }
    // Also what its last connection published.
    client.publish("t", "own", 1).await;
    drop(client);
    let mut client = persistent(&bridge, Version::V5, "client").await;
    expect_nothing_before(&mut other, &mut client, "marker").await;
    // Another subscription without it brings them.
    subscribe_with(&mut client, &[], &[("t", 1)]).await;
    client.publish("t", "own", 1).await;
    assert_eq!(client.message().await.payload, b"own");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let bridge = Bridge::start().await;
    for qos in 0..=2 {
        let bytes = subscribe(Version::V5, 1, "$share/group/t", NO_LOCAL | qos);
        expect_closed(&bridge, Version::V5, &bytes, reason::PROTOCOL_ERROR).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_3_5_reserved_option_bits_are_malformed() {
    let bridge = Bridge::start().await;
    for options in [0x40, 0x80, 0xc0, 0x41] {
        let bytes = subscribe(Version::V5, 1, "t", options);
        expect_closed(&bridge, Version::V5, &bytes, reason::MALFORMED_PACKET).await;
    }
    // Values that no option has.
    for options in [0x03, 0x30] {
        let bytes = subscribe(Version::V5, 1, "t", options);
        expect_closed(&bridge, Version::V5, &bytes, reason::PROTOCOL_ERROR).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_8_3_4_reserved_bits_and_qos_3_end_the_connection() {
    let bridge = Bridge::start().await;
    for options in 3..=255 {
        let bytes = subscribe(Version::V4, 1, "t", options);
        expect_closed(&bridge, Version::V4, &bytes, 0).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_1_every_subscribe_has_its_suback() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        // Many at once, granted and refused, again and again.
        let requests: Vec<_> = (1..=200).map(|id| subscribe(version, id, &format!("t/{}", id % 7), 1)).collect();
        client.send(&requests.concat()).await;
        for id in 1..=200 {
            let suback = client.expect(kind::SUBACK).await;
            assert_eq!((suback.id(), suback.reasons()), (id, &[1][..]));
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_3_the_same_filter_replaces_its_subscription() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        let mut publisher = bridge.client(version, "publisher").await;
        for qos in [2, 0, 1] {
            assert_eq!(client.subscribe("t/+", qos).await, qos);
            publisher.publish("t/x", "x", 2).await;
            assert_eq!(client.message().await.qos, qos);
            expect_nothing_before(&mut publisher, &mut client, "t/marker").await;
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_4_replacing_a_subscription_loses_nothing() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        publish(&mut publisher, version, &retained("t/kept", "kept", 1)).await;
        let mut client = bridge.client(version, "client").await;
        client.subscribe("t/#", 1).await;
        assert_eq!(client.message().await.payload, b"kept");
        let publishing = async {
            for n in 0..200_u16 {
                publisher.publish("t/live", n.to_string(), 1).await;
            }
        };
        // The client reads what comes in between, and changes its subscription all the time.
        let reading = async {
            let (mut live, mut kept, mut subacks) = (Vec::new(), 0, 0_u16);
            client.send(&subscribe(version, 1, "t/#", 1)).await;
            while live.len() < 200 {
                let packet = client.read().await.unwrap();
                match packet.kind() {
                    kind::SUBACK => {
                        subacks += 1;
                        if subacks < 50 {
                            client.send(&subscribe(version, 1, "t/#", 1)).await;
                        }
                    }
                    kind::PUBLISH => {
                        let message = packet.publish();
                        client.send(&ack(kind::PUBACK, message.id)).await;
                        if message.topic == "t/kept" {
                            kept += 1;
                        } else {
                            live.push(String::from_utf8(message.payload).unwrap());
                        }
                    }
                    other => panic!("a packet of type {other}"),
                }
            }
            (live, kept, subacks)
        };
        let ((), (live, kept, subacks)) = tokio::join!(publishing, reading);
        assert_eq!(live, (0..200).map(|n: u16| n.to_string()).collect::<Vec<_>>());
        assert!(kept + 1 >= subacks, "the retained message comes with every SUBACK: {kept} of {subacks}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_5_many_filters_are_as_many_subscribes() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        let filters = [("a", 0), ("b", 1), ("a", 2), ("c/#", 1), ("b", 0)];
        client.send(&subscribe_all(version, 300, &[], filters)).await;
        let suback = client.expect(kind::SUBACK).await;
        assert_eq!((suback.id(), suback.reasons()), (300, &[0, 1, 2, 1, 0][..]), "one answer");
        let mut publisher = bridge.client(version, "publisher").await;
        for (topic, qos) in [("a", 2), ("b", 0), ("c/d", 1)] {
            publisher.publish(topic, "x", 2).await;
            let message = client.message().await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, qos), "the later of the same filter");
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_5_a_limit_counts_subscriptions_and_not_filters() {
    let bridge = Setup::default().config("[mqtt]\nmaximum_subscriptions = 2").start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        let filters = [("a", 0), ("b", 2), ("c", 1), ("b", 1)];
        client.send(&subscribe_all(version, 1, &[], filters)).await;
        let refused = if version == Version::V5 { reason::QUOTA_EXCEEDED } else { 0x80 };
        // The last one replaces a subscription, as a SUBSCRIBE of its own would.
        assert_eq!(client.expect(kind::SUBACK).await.reasons(), [0, 2, refused, 1]);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_7_a_reason_code_grants_or_refuses() {
    let bridge = Setup::default().config("[mqtt]\nmaximum_subscriptions = 2").start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&subscribe_all(version, 1, &[], [("a", 0), ("b", 2), ("c", 1)])).await;
        let refused = if version == Version::V5 { reason::QUOTA_EXCEEDED } else { 0x80 };
        assert_eq!(client.expect(kind::SUBACK).await.reasons(), [0, 2, refused]);
        let mut publisher = bridge.client(version, "publisher").await;
        for topic in ["c", "a", "b"] {
            publisher.publish(topic, "x", 2).await;
        }
        for (topic, qos) in [("a", 0), ("b", 2)] {
            let message = client.message().await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_4_8_the_lower_qos_of_the_two_delivers() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        for granted in 0..=2 {
            let mut subscriber = bridge.client(version, "subscriber").await;
            assert_eq!(subscriber.subscribe("t", granted).await, granted);
            for sent in 0..=2 {
                publisher.publish("t", [sent], sent).await;
                let message = subscriber.message().await;
                assert_eq!((message.payload.as_slice(), message.qos), (&[sent][..], sent.min(granted)));
            }
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_9_3_1_reason_codes_come_in_the_order_of_the_filters() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    let filters = [("a", 2), ("a/#/b", 1), ("b", 0), ("+c", 0), ("", 1), ("d", 1)];
    client.send(&subscribe_all(Version::V5, 1, &[], filters)).await;
    let invalid = reason::TOPIC_FILTER_INVALID;
    assert_eq!(client.expect(kind::SUBACK).await.reasons(), [2, invalid, 0, invalid, invalid, 1]);
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&subscribe_all(version, 1, &[], (0..200_u8).map(|n| (n.to_string(), n % 3)))).await;
        let expected: Vec<_> = (0..200).map(|n| n % 3).collect();
        assert_eq!(client.expect(kind::SUBACK).await.reasons(), expected);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_9_3_2_suback_has_its_reason_codes() {
    const CODES: [u8; 12] = [0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
    let bridge = Setup::default().config("[mqtt]\nmaximum_subscriptions = 3").start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        let long = "x".repeat(60_000);
        for filter in ["a", "$share/group/a", &long, "b", "c", "d", "e", "$SYS/#", "a"] {
            for qos in 0..=2 {
                client.send(&subscribe(version, 1, filter, qos)).await;
                let reasons = client.expect(kind::SUBACK).await.reasons().to_vec();
                assert_eq!(reasons.len(), 1);
                match version {
                    Version::V4 => assert!([0, 1, 2, 0x80].contains(&reasons[0]), "{filter}: {reasons:02x?}"),
                    Version::V5 => assert!(CODES.contains(&reasons[0]), "{filter}: {reasons:02x?}"),
                }
                assert!(reasons[0] >= 0x80 || reasons[0] <= qos, "{filter}: no more than was asked");
            }
        }
    }
    bridge.finish(&[]).await;
}
