//! The properties of a message on its way through (MQTT 5.0 section 3.3.2.3).

use std::time::{Duration, Instant};

use crate::support::{
    PEER,
    bridge::Bridge,
    eventually, expect_closed, expect_nothing_before, persistent,
    properties::{Properties, byte, four_bytes, id, string, user},
    publish,
    raw_mqtt::{Publish, Version, kind},
    reason, until_expired,
};

/// A message with these properties.
fn with(properties: Vec<u8>, payload: &str, retain: bool) -> Publish {
    Publish { properties, retain, ..Publish::new("t", payload, 1, 1) }
}

/// What a subscriber gets, one that was away, and one that comes later, of a message with
/// these properties.
async fn passed_on(properties: Vec<u8>) -> [Properties; 3] {
    let bridge = Bridge::start().await;
    let mut present = bridge.client(Version::V5, "present").await;
    present.subscribe("t", 1).await;
    let mut away = persistent(&bridge, Version::V5, "away").await;
    away.subscribe("t", 1).await;
    drop(away);
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    publish(&mut publisher, Version::V5, &with(properties, "x", true)).await;
    let mut away = persistent(&bridge, Version::V5, "away").await;
    let mut late = bridge.client(Version::V5, "late").await;
    late.subscribe("t", 1).await;
    let mut seen = Vec::new();
    for client in [&mut present, &mut away, &mut late] {
        seen.push(client.message().await.properties());
    }
    // 3.1.1 gets the same message without any.
    let mut old = bridge.client(Version::V4, "old").await;
    old.subscribe("t", 1).await;
    assert_eq!(old.message().await.payload, b"x");
    bridge.finish(&[]).await;
    seen.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_4_the_payload_format_indicator_stays_as_it_is() {
    for indicator in [0, 1] {
        for seen in passed_on(byte(id::PAYLOAD_FORMAT_INDICATOR, indicator)).await {
            assert_eq!(seen.number(id::PAYLOAD_FORMAT_INDICATOR), Some(u32::from(indicator)));
        }
    }
    for seen in passed_on(Vec::new()).await {
        assert_eq!(seen.get(id::PAYLOAD_FORMAT_INDICATOR), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_15_the_response_topic_stays_as_it_is() {
    for topic in ["answers/to/é 🌡", "$private/x", "/"] {
        for seen in passed_on(string(id::RESPONSE_TOPIC, topic)).await {
            assert_eq!(seen.text(id::RESPONSE_TOPIC), Some(topic));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_16_correlation_data_stay_as_they_are() {
    let large: Vec<u8> = (0..60_000_u32).map(|n| n as u8).collect();
    for data in [&b""[..], b"\0\xff\xc3", &large] {
        for seen in passed_on(string(id::CORRELATION_DATA, data)).await {
            assert_eq!(seen.get(id::CORRELATION_DATA).map(|value| &value[2..]), Some(data));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_17_user_properties_stay_as_they_are_and_in_order() {
    let sent = [user("z", "1"), user("a", "2"), user("z", "1"), user("", ""), user("\u{feff}é", "🌡"), user("A", "2")];
    let properties = [&sent[..3], &[string(id::CONTENT_TYPE, "x")], &sent[3..]].concat().concat();
    for seen in passed_on(properties).await {
        let users: Vec<_> = seen.all(id::USER_PROPERTY).map(|value| [&[id::USER_PROPERTY], value].concat()).collect();
        assert_eq!(users, sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_20_the_content_type_stays_as_it_is() {
    for content_type in ["", "application/json; charset=utf-8", "\u{feff}é"] {
        for seen in passed_on(string(id::CONTENT_TYPE, content_type)).await {
            assert_eq!(seen.text(id::CONTENT_TYPE), Some(content_type));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_13_strings_among_properties_are_utf_8() {
    let bridge = Bridge::start().await;
    for id in [id::RESPONSE_TOPIC, id::CONTENT_TYPE] {
        for bad in [&b"\xed\xa0\x80"[..], b"\xff", b"a\0"] {
            let publish = with(string(id, bad), "x", false).encode(Version::V5);
            expect_closed(&bridge, Version::V5, &publish, reason::MALFORMED_PACKET).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_14_a_response_topic_has_no_wildcards() {
    let bridge = Bridge::start().await;
    for topic in ["a/+", "#", "a+"] {
        let publish = with(string(id::RESPONSE_TOPIC, topic), "x", false).encode(Version::V5);
        expect_closed(&bridge, Version::V5, &publish, reason::PROTOCOL_ERROR).await;
    }
    bridge.finish(PEER).await;
}

/// The property that ends a message's life.
fn expiry(seconds: u32) -> Vec<u8> {
    four_bytes(id::MESSAGE_EXPIRY_INTERVAL, seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_5_what_has_expired_is_not_delivered() {
    let bridge = Bridge::start().await;
    let mut away = persistent(&bridge, Version::V5, "away").await;
    away.subscribe("t", 1).await;
    drop(away);
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    publish(&mut publisher, Version::V5, &with(expiry(1), "brief", false)).await;
    publish(&mut publisher, Version::V5, &with(expiry(3600), "long", false)).await;
    let begun = Instant::now();
    publish(&mut publisher, Version::V5, &with(expiry(1), "brief", true)).await;
    until_expired(&bridge, "t").await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "not before its time: {:?}", begun.elapsed());
    let mut away = persistent(&bridge, Version::V5, "away").await;
    assert_eq!(away.message().await.payload, b"long");
    expect_nothing_before(&mut publisher, &mut away, "t").await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_2_6_what_is_left_of_its_life_goes_with_a_message() {
    let bridge = Bridge::start().await;
    let mut away = persistent(&bridge, Version::V5, "away").await;
    away.subscribe("t", 1).await;
    drop(away);
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    publish(&mut publisher, Version::V5, &with(expiry(1000), "x", true)).await;
    let published = Instant::now();
    let left = async || {
        let mut late = bridge.client(Version::V5, "late").await;
        late.subscribe("t", 0).await;
        late.message().await.properties().number(id::MESSAGE_EXPIRY_INTERVAL).unwrap()
    };
    eventually("a second less", async || (left().await < 1000).then_some(())).await;
    let mut away = persistent(&bridge, Version::V5, "away").await;
    let seen = away.message().await.properties().number(id::MESSAGE_EXPIRY_INTERVAL).unwrap();
    let waited = published.elapsed().as_secs() as u32;
    assert!((1000 - waited - 1..1000).contains(&seen), "{seen} after {waited} s");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_7_expiry_does_not_touch_what_was_sent() {
    let bridge = Bridge::start().await;
    for qos in [2, 1] {
        let mut client = persistent(&bridge, Version::V5, "client").await;
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(Version::V5, "publisher").await;
        publish(&mut publisher, Version::V5, &Publish { qos, ..with(expiry(1), "sent", false) }).await;
        let sent = client.expect(kind::PUBLISH).await.publish();
        drop(client);
        publish(&mut publisher, Version::V5, &with(expiry(1), "brief", true)).await;
        until_expired(&bridge, "t").await;
        let mut client = persistent(&bridge, Version::V5, "client").await;
        publisher.publish("t", "marker", 1).await;
        let again = client.expect(kind::PUBLISH).await.publish();
        assert_eq!((again.id, again.payload.as_slice(), again.dup), (sent.id, &b"sent"[..], true), "QoS {qos}");
        drop(client);
        bridge.client(Version::V5, "client").await;
    }
    bridge.finish(&[]).await;
}
