//! Topic names and topic filters (section 4.7 of both standards).

use crate::support::{
    PEER, VERSIONS,
    bridge::Bridge,
    expect_closed, expect_closed_after, expect_nothing_before, publish,
    raw_mqtt::{Publish, RawMqtt, Version, kind, subscribe, unsubscribe},
    reason, retained,
};

/// Whether a filter is refused: by 5.0 in the SUBACK or at the cost of the connection, by 3.1.1,
/// where nothing says which, either way too.
async fn expect_refused(client: &mut RawMqtt, version: Version, filter: &str) {
    client.send(&subscribe(version, 1, filter, 1)).await;
    match client.read().await {
        None => assert_eq!(version, Version::V4, "{filter:?}: 5.0 says why"),
        Some(packet) if packet.kind() == kind::SUBACK => {
            let expected = if version == Version::V5 { reason::TOPIC_FILTER_INVALID } else { 0x80 };
            assert_eq!(packet.reasons(), [expected], "{filter:?}");
        }
        Some(packet) => {
            assert_eq!((packet.kind(), packet.reason()), (kind::DISCONNECT, reason::TOPIC_FILTER_INVALID));
        }
    }
}

/// Whether exactly `matching` of `topics` reach a subscription to `filter`.
async fn expect_matches(bridge: &Bridge, version: Version, filter: &str, topics: &[&str], matching: &[&str]) {
    let mut subscriber = bridge.client(version, "subscriber").await;
    assert_eq!(subscriber.subscribe(filter, 1).await, 1, "{filter}");
    subscriber.subscribe("$marker", 1).await;
    let mut publisher = bridge.client(version, "publisher").await;
    for topic in topics {
        publisher.publish(topic, *topic, 1).await;
    }
    for topic in matching {
        let message = subscriber.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), (*topic, topic.as_bytes()), "{filter}");
    }
    expect_nothing_before(&mut publisher, &mut subscriber, "$marker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_0_1_wildcards_are_for_filters() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for topic in ["a/+/b", "a/#", "+", "#"] {
            let mut client = bridge.client(version, "client").await;
            assert_eq!(client.subscribe(topic, 1).await, 1, "as a filter");
            let publish = Publish::new(topic, "x", 1, 1).encode(version);
            expect_closed_after(&mut client, version, &publish, reason::TOPIC_NAME_INVALID).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_1_1_the_multi_level_wildcard_is_a_whole_last_level() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for filter in ["a#", "a/b#", "#/a", "a/#/b", "##", "a/##", "#a", "+#", "a/#/", "#/"] {
            let mut client = bridge.client(version, "client").await;
            expect_refused(&mut client, version, filter).await;
        }
        let topics = ["sport", "sport/", "sport/tennis", "sport/tennis/player1/score", "sports", "/sport"];
        for (filter, matching) in [
            ("sport/#", &topics[..4]),
            ("#", &topics),
            ("sport/tennis/#", &topics[2..4]),
            ("/#", &topics[5..]),
            ("sport/tennis/player1/#", &topics[3..4]),
        ] {
            expect_matches(&bridge, version, filter, &topics, matching).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_1_2_the_single_level_wildcard_is_a_whole_level() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for filter in ["a+", "+a", "a/b+", "a/+b/c", "++", "a/++", "+/a+", "a+/#"] {
            let mut client = bridge.client(version, "client").await;
            expect_refused(&mut client, version, filter).await;
        }
        let topics = ["sport", "sport/", "sport/tennis", "/finance", "sport/tennis/player1", "/", "//"];
        for (filter, matching) in [
            ("+", &["sport"][..]),
            ("sport/+", &["sport/", "sport/tennis"]),
            ("+/+", &["sport/", "sport/tennis", "/finance", "/"]),
            ("/+", &["/finance", "/"]),
            ("+/tennis/#", &["sport/tennis", "sport/tennis/player1"]),
            ("sport/+/player1", &["sport/tennis/player1"]),
            ("+/+/+", &["sport/tennis/player1", "//"]),
            ("+/", &["sport/", "/"]),
        ] {
            expect_matches(&bridge, version, filter, &topics, matching).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_2_1_leading_wildcards_do_not_match_a_leading_dollar() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let topics = ["$own", "$own/a", "$own/a/b", "a/$own"];
        for (filter, matching) in [
            ("#", &["a/$own"][..]),
            ("+", &[]),
            ("+/a", &[]),
            ("+/#", &["a/$own"]),
            ("+/+", &["a/$own"]),
            ("$own/#", &["$own", "$own/a", "$own/a/b"]),
            ("$own/+", &["$own/a"]),
            ("$own", &["$own"]),
            ("a/+", &["a/$own"]),
        ] {
            expect_matches(&bridge, version, filter, &topics, matching).await;
        }
        // Nor do they for retained messages.
        let mut publisher = bridge.client(version, "publisher").await;
        publish(&mut publisher, version, &retained("$own/kept", "x", 1)).await;
        let mut late = bridge.client(version, "late").await;
        late.subscribe("#", 1).await;
        late.subscribe("+/kept", 1).await;
        expect_nothing_before(&mut publisher, &mut late, "marker").await;
        late.subscribe("$own/#", 1).await;
        assert_eq!(late.message().await.topic, "$own/kept");
        publish(&mut publisher, version, &retained("$own/kept", "", 1)).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_3_1_a_topic_has_at_least_one_character() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let publish = Publish::new("", "x", 1, 1).encode(version);
        let reason = if version == Version::V5 { reason::PROTOCOL_ERROR } else { 0 };
        expect_closed(&bridge, version, &publish, reason).await;
        let mut client = bridge.client(version, "client").await;
        expect_refused(&mut client, version, "").await;
        expect_matches(&bridge, version, "/", &["/", "//", "a/"], &["/"]).await;
        expect_matches(&bridge, version, " ", &[" ", "  "], &[" "]).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_3_2_a_topic_has_no_null_character() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for topic in ["\0", "a\0", "\0a", "a/\0/b"] {
            for bytes in [
                Publish::new(topic, "x", 0, 0).encode(version),
                subscribe(version, 1, topic, 0),
                unsubscribe(version, 1, topic),
            ] {
                expect_closed(&bridge, version, &bytes, reason::MALFORMED_PACKET).await;
            }
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_7_3_4_topics_are_compared_as_they_are() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        // Composed and decomposed é, cases, a space, separators at the ends, percent signs.
        let topics = ["caf\u{e9}", "cafe\u{301}", "Caf\u{e9}", "caf\u{e9} ", "caf\u{e9}/", "/caf\u{e9}", "caf%C3%A9"];
        for topic in topics {
            expect_matches(&bridge, version, topic, &topics, &[topic]).await;
        }
        let dots = ["a/./b", "a/b", "a/../b", "a//b"];
        for topic in dots {
            expect_matches(&bridge, version, topic, &dots, &[topic]).await;
        }
    }
    bridge.finish(&[]).await;
}
