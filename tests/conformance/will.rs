//! Wills (MQTT 5.0 sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2 to 3.1.3.4; 3.1.1 section 3.1.2.5).

use std::time::{Duration, Instant};

use crate::support::{
    PEER, VERSIONS, accepted, answers,
    bridge::Bridge,
    connect_packet, expect_nothing_before,
    properties::{byte, four_bytes, id, string, user},
    publish,
    raw_mqtt::{Connect, DISCONNECT, RawMqtt, Version, kind, packet, text},
    reason, retained,
};

/// A client with a will.
fn with_will(version: Version, id: &str, retain: bool) -> Connect {
    let will = Some((format!("wills/{id}"), b"gone".to_vec(), 1, retain));
    Connect { will, ..Connect::new(version, id) }
}

/// A client of 5.0 with a will that waits, and a session that lives longer unless told otherwise.
fn with_delay(id: &str, seconds: u32) -> Connect {
    let will_properties = four_bytes(id::WILL_DELAY_INTERVAL, seconds);
    Connect { will_properties, session_expiry: 3600, clean: false, ..with_will(Version::V5, id, false) }
}

/// Whoever sees all wills.
async fn watcher(bridge: &Bridge, version: Version) -> RawMqtt {
    let mut watcher = bridge.client(version, "watcher").await;
    watcher.subscribe("wills/#", 2).await;
    watcher
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_8_a_will_is_published_when_the_connection_is_gone() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = watcher(&bridge, version).await;
        drop(accepted(&bridge, &with_will(version, "dropped", false)).await);
        assert_eq!(watcher.message().await.topic, "wills/dropped");

        let mut offender = accepted(&bridge, &with_will(version, "offender", false)).await;
        offender.send(&packet(0x00, &[])).await;
        offender.expect_close().await;
        assert_eq!(watcher.message().await.topic, "wills/offender", "closed by the server for a violation");

        let mut older = accepted(&bridge, &with_will(version, "older", false)).await;
        let _newer = bridge.client(version, "older").await;
        older.expect_close().await;
        assert_eq!(watcher.message().await.topic, "wills/older", "taken over");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_8_a_will_waits_for_its_delay() {
    let bridge = Bridge::start().await;
    let mut watcher = watcher(&bridge, Version::V5).await;
    let client = accepted(&bridge, &with_delay("late", 1)).await;
    let begun = Instant::now();
    drop(client);
    assert_eq!(watcher.message().await.topic, "wills/late");
    assert!(begun.elapsed() >= Duration::from_secs(1), "not before its time: {:?}", begun.elapsed());
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_8_a_will_does_not_wait_beyond_the_session() {
    let bridge = Bridge::start().await;
    let mut watcher = watcher(&bridge, Version::V5).await;
    for session_expiry in [0, 1] {
        drop(accepted(&bridge, &Connect { session_expiry, ..with_delay("brief", 3600) }).await);
        assert_eq!(watcher.message().await.topic, "wills/brief", "the session ended after {session_expiry} s");
    }
    // A new session ends the old one too.
    drop(accepted(&bridge, &with_delay("replaced", 3600)).await);
    bridge.client(Version::V5, "replaced").await;
    assert_eq!(watcher.message().await.topic, "wills/replaced");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_9_a_will_s_fields_are_all_there() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let head = [&[version as u8, 0x06, 0, 0], properties].concat();
        let whole = [text("id"), properties.to_vec(), text("will"), text("gone")].concat();
        for cut in text("id").len()..whole.len() {
            let connect = connect_packet(&[&head, &whole[..cut]].concat());
            let answers = answers(&bridge, version, &connect).await;
            assert!(answers.iter().all(|answer| answer.kind() == kind::CONNACK && answer.reason() > 0), "{answers:?}");
        }
        let mut client = bridge.raw(version).await;
        client.send(&connect_packet(&[head, whole].concat())).await;
        assert_eq!(client.expect(kind::CONNACK).await.reason(), 0);
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_10_a_will_is_published_once() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = watcher(&bridge, version).await;
        let connect = Connect { clean: false, session_expiry: 3600, ..with_will(version, "client", false) };
        drop(accepted(&bridge, &connect).await);
        watcher.message().await;
        // Its next connection has no will of its own, and none of the last one's.
        drop(accepted(&bridge, &Connect { will: None, ..connect.clone() }).await);
        // Nor has one that said goodbye.
        let mut polite = accepted(&bridge, &connect).await;
        polite.send(&DISCONNECT).await;
        polite.expect_close().await;
        drop(accepted(&bridge, &Connect { will: None, ..connect }).await);
        let mut publisher = bridge.client(version, "client").await;
        expect_nothing_before(&mut publisher, &mut watcher, "wills/marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_2_12_no_will_flag_no_will() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut everything = bridge.client(version, "everything").await;
        everything.subscribe("#", 2).await;
        drop(accepted(&bridge, &Connect::new(version, "without")).await);
        let mut publisher = bridge.client(version, "without").await;
        expect_nothing_before(&mut publisher, &mut everything, "marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_11_will_qos_and_retain_need_a_will() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for flags in [0x08, 0x10, 0x18, 0x20, 0x28] {
            let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
            let body = [&[version as u8, 0x02 | flags, 0, 0], properties, &text("id")].concat();
            let answers = answers(&bridge, version, &connect_packet(&body)).await;
            match version {
                Version::V4 => assert!(answers.is_empty(), "{answers:?}"),
                Version::V5 => assert_eq!(answers[0].reason(), reason::MALFORMED_PACKET),
            }
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_12_will_qos_is_0_1_or_2() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = watcher(&bridge, version).await;
        for qos in 0..=2 {
            let will = Some(("wills/qos".to_owned(), vec![qos], qos, false));
            drop(accepted(&bridge, &Connect { will, ..Connect::new(version, "qos") }).await);
            let message = watcher.message().await;
            assert_eq!((message.payload.as_slice(), message.qos), (&[qos][..], qos));
        }
        let will = Some(("wills/qos".to_owned(), Vec::new(), 3, false));
        let connect = Connect { will, ..Connect::new(version, "qos") };
        let answers = answers(&bridge, version, &connect.encode()).await;
        match version {
            Version::V4 => assert!(answers.is_empty(), "{answers:?}"),
            Version::V5 => assert_eq!(answers[0].reason(), reason::MALFORMED_PACKET),
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_14_a_will_is_not_retained_unless_it_says_so() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = watcher(&bridge, version).await;
        drop(accepted(&bridge, &with_will(version, "passing", false)).await);
        assert!(!watcher.message().await.retain);
        let mut late = bridge.client(version, "late").await;
        late.subscribe("wills/#", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut late, "wills/marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_15_a_will_is_retained_if_it_says_so() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = watcher(&bridge, version).await;
        drop(accepted(&bridge, &with_will(version, "kept", true)).await);
        assert!(!watcher.message().await.retain, "to a subscription that was there before");
        let mut late = bridge.client(version, "late").await;
        late.subscribe("wills/kept", 1).await;
        let message = late.message().await;
        assert_eq!((message.payload.as_slice(), message.retain), (&b"gone"[..], true));
        publish(&mut late, version, &retained("wills/kept", "", 1)).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_9_whoever_is_back_in_time_has_no_will_published() {
    let bridge = Bridge::start().await;
    let mut watcher = watcher(&bridge, Version::V5).await;
    drop(accepted(&bridge, &with_delay("back", 1)).await);
    let _back = accepted(&bridge, &Connect { will: None, ..with_delay("back", 1) }).await;
    // A will of the same delay that began later comes, so the other's time is over.
    drop(accepted(&bridge, &with_delay("away", 1)).await);
    assert_eq!(watcher.message().await.topic, "wills/away");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_10_a_will_s_properties_stay_as_they_are_and_in_order() {
    let bridge = Bridge::start().await;
    let mut watcher = watcher(&bridge, Version::V5).await;
    let properties = [
        user("z", "1"),
        byte(id::PAYLOAD_FORMAT_INDICATOR, 1),
        user("a", "2"),
        string(id::CONTENT_TYPE, "text/plain"),
        user("z", "1"),
        string(id::RESPONSE_TOPIC, "answers"),
        string(id::CORRELATION_DATA, b"\0\xff"),
        user("", ""),
    ];
    let will_properties = [properties.concat(), four_bytes(id::WILL_DELAY_INTERVAL, 0)].concat();
    drop(accepted(&bridge, &Connect { will_properties, ..with_will(Version::V5, "full", false) }).await);
    let seen = watcher.message().await.properties();
    let users: Vec<_> = seen.all(id::USER_PROPERTY).map(<[u8]>::to_vec).collect();
    assert_eq!(users, [user("z", "1"), user("a", "2"), user("z", "1"), user("", "")].map(|user| user[1..].to_vec()));
    assert_eq!(seen.number(id::PAYLOAD_FORMAT_INDICATOR), Some(1));
    assert_eq!(seen.text(id::CONTENT_TYPE), Some("text/plain"));
    assert_eq!(seen.text(id::RESPONSE_TOPIC), Some("answers"));
    assert_eq!(seen.get(id::CORRELATION_DATA), Some(&[0, 2, 0, 0xff][..]));
    assert_eq!(seen.get(id::WILL_DELAY_INTERVAL), None, "it is no property of a PUBLISH");
    bridge.finish(&[]).await;
}
