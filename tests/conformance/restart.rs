//! What lives on over the end of the process: kill -9 at any moment, and a start on the same data.

use crate::support::{
    VERSIONS, accepted,
    bridge::Bridge,
    eventually, expect_nothing_before, persistent,
    properties::{four_bytes, id, number},
    publish,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, unsubscribe},
    retained, subscribe_with, until_sessions,
};

/// The session of `id`, which must be there.
async fn resumed(bridge: &Bridge, version: Version, id: &str) -> RawMqtt {
    let mut client = bridge.raw(version).await;
    assert!(client.connect(id, false).await, "{version:?}: the session is present");
    client
}

/// Waits until what a client has acknowledged is on disk. Nobody tells it of that, but what it
/// publishes behind is acknowledged once both are.
async fn settle(client: &mut RawMqtt) {
    client.publish("settled", "x", 1).await;
}

async fn kill(bridge: &mut Bridge) {
    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_23_a_session_survives_a_kill() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.subscribe("t/#", 2).await;
        client.subscribe("gone", 2).await;
        client.send(&unsubscribe(version, 2, "gone")).await;
        client.answer(kind::UNSUBACK).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t/1", "in flight", 1).await;
        let in_flight = client.expect(kind::PUBLISH).await.publish();
        drop(client);
        for n in 0..20_u8 {
            publisher.publish("t/2", [n], 1 + n % 2).await;
        }
        kill(&mut bridge).await;

        let mut client = resumed(&bridge, version, "client").await;
        assert_eq!(client.message().await, Publish { dup: true, ..in_flight });
        for n in 0..20_u8 {
            let message = client.message().await;
            assert_eq!((message.payload.as_slice(), message.qos, message.dup), (&[n][..], 1 + n % 2, false));
        }
        settle(&mut client).await;
        // And what was taken does not come again, after another kill.
        drop(client);
        kill(&mut bridge).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut client = resumed(&bridge, version, "client").await;
        publisher.publish("gone", "x", 1).await;
        expect_nothing_before(&mut publisher, &mut client, "t/marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_23_a_connected_client_s_session_survives_a_kill() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        // The SUBACK is a promise.
        client.subscribe("t", 1).await;
        kill(&mut bridge).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "while it was away", 1).await;
        let mut client = resumed(&bridge, version, "client").await;
        assert_eq!(client.message().await.payload, b"while it was away");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_4_a_clean_start_holds_after_a_kill() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.subscribe("t", 1).await;
        drop(client);
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "for the old session", 1).await;
        let mut clean = bridge.client(version, "client").await;
        clean.ping().await;
        kill(&mut bridge).await;
        let mut client = bridge.raw(version).await;
        assert!(!client.connect("client", false).await, "it ended before the kill");
        client.subscribe("marker", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("t", "for nobody", 1).await;
        expect_nothing_before(&mut publisher, &mut client, "marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_1_0_2_a_session_s_time_runs_on_over_a_kill() {
    let mut bridge = Bridge::start().await;
    let brief = Connect { session_expiry: 1, ..Connect::persistent(Version::V5, "brief") };
    let mut client = accepted(&bridge, &brief).await;
    client.subscribe("t", 1).await;
    drop(client);
    let mut other = persistent(&bridge, Version::V5, "long").await;
    other.subscribe("t", 1).await;
    drop(other);
    kill(&mut bridge).await;
    until_sessions(&bridge, 1).await;
    let mut client = bridge.raw(Version::V5).await;
    assert!(!client.connect_as(&brief).await);
    resumed(&bridge, Version::V5, "long").await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_4_0_1_a_kill_changes_nothing_of_what_is_sent_again() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut sent = Vec::new();
        for (n, qos) in [1, 2, 1, 2, 2].into_iter().enumerate() {
            publisher.publish("t", [n as u8], qos).await;
            sent.push(client.expect(kind::PUBLISH).await.publish());
        }
        // 0: acknowledged. 1: completed. 2: nothing. 3: received. 4: nothing.
        client.send(&ack(kind::PUBACK, sent[0].id)).await;
        for n in [1, 3] {
            client.send(&ack(kind::PUBREC, sent[n].id)).await;
            client.expect(kind::PUBREL).await;
        }
        client.send(&ack(kind::PUBCOMP, sent[1].id)).await;
        settle(&mut client).await;
        kill(&mut bridge).await;
        let mut client = resumed(&bridge, version, "client").await;
        assert_eq!(client.expect(kind::PUBLISH).await.publish(), Publish { dup: true, ..sent[2].clone() });
        assert_eq!(client.expect(kind::PUBREL).await.id(), sent[3].id);
        assert_eq!(client.expect(kind::PUBLISH).await.publish(), Publish { dup: true, ..sent[4].clone() });
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut client, "t").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_3_3_10_a_repeat_after_a_kill_is_delivered_to_nobody_again() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut subscriber = persistent(&bridge, version, "subscriber").await;
        subscriber.subscribe("t", 2).await;
        let mut publisher = persistent(&bridge, version, "publisher").await;
        publisher.subscribe("own", 0).await;
        let message = Publish::new("t", "once", 2, 7);
        publisher.send(&message.encode(version)).await;
        publisher.expect(kind::PUBREC).await;
        kill(&mut bridge).await;
        let mut publisher = resumed(&bridge, version, "publisher").await;
        publisher.send(&Publish { dup: true, ..message.clone() }.encode(version)).await;
        assert_eq!(publisher.expect(kind::PUBREC).await.reason(), 0);
        publisher.send(&ack(kind::PUBREL, 7)).await;
        assert_eq!(publisher.expect(kind::PUBCOMP).await.reason(), 0);
        kill(&mut bridge).await;
        // Released and completed: the identifier stands for a new message now.
        let mut publisher = resumed(&bridge, version, "publisher").await;
        publisher.send(&Publish { payload: b"new".to_vec(), ..message }.encode(version)).await;
        publisher.expect(kind::PUBREC).await;
        let mut subscriber = resumed(&bridge, version, "subscriber").await;
        assert_eq!(subscriber.message().await.payload, b"once");
        assert_eq!(subscriber.message().await.payload, b"new");
        bridge.finish(&[]).await;
    }
}

/// A client with a will, and a session that is kept.
fn with_will(version: Version, id: &str) -> Connect {
    let will = Some((format!("wills/{id}"), b"gone".to_vec(), 1, false));
    Connect { will, ..Connect::persistent(version, id) }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_8_a_kill_ends_connections_with_a_will() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut watcher = persistent(&bridge, version, "watcher").await;
        watcher.subscribe("wills/#", 1).await;
        let mut client = accepted(&bridge, &with_will(version, "client")).await;
        client.ping().await;
        kill(&mut bridge).await;
        let mut watcher = resumed(&bridge, version, "watcher").await;
        assert_eq!(watcher.message().await.topic, "wills/client", "its connection was closed");
        settle(&mut watcher).await;
        // Once: the next kill finds none [MQTT-3.1.2-10].
        kill(&mut bridge).await;
        let mut watcher = resumed(&bridge, version, "watcher").await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut watcher, "wills/marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_8_a_delayed_will_survives_a_kill() {
    let mut bridge = Bridge::start().await;
    let mut watcher = persistent(&bridge, Version::V5, "watcher").await;
    watcher.subscribe("wills/#", 1).await;
    let delayed = |id: &str, seconds| Connect {
        will_properties: four_bytes(id::WILL_DELAY_INTERVAL, seconds),
        ..with_will(Version::V5, id)
    };
    for (name, seconds) in [("soon", 1), ("back", 3600)] {
        let mut client = accepted(&bridge, &delayed(name, seconds)).await;
        client.ping().await;
        drop(client);
    }
    // Their ends are known before the kill: from then on the delays run.
    let watcher_alone = async || (bridge.metric("synap_mqtt_connections").await == 1.0).then_some(());
    eventually("the end of both", watcher_alone).await;
    kill(&mut bridge).await;
    let mut watcher = resumed(&bridge, Version::V5, "watcher").await;
    assert_eq!(watcher.message().await.topic, "wills/soon");
    // A client that is back in time has no will published, whatever happened in between.
    let mut back = bridge.raw(Version::V5).await;
    assert!(back.connect("back", false).await);
    back.send(&[0xe0, 0]).await;
    back.expect_close().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    expect_nothing_before(&mut publisher, &mut watcher, "wills/marker").await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_10_a_goodbye_holds_after_a_kill() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut watcher = persistent(&bridge, version, "watcher").await;
        watcher.subscribe("wills/#", 1).await;
        let mut polite = accepted(&bridge, &with_will(version, "polite")).await;
        polite.send(&[0xe0, 0]).await;
        polite.expect_close().await;
        kill(&mut bridge).await;
        let mut watcher = resumed(&bridge, version, "watcher").await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut watcher, "wills/marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_2_7_retained_messages_survive_a_kill() {
    for version in VERSIONS {
        let mut bridge = Bridge::start().await;
        let mut publisher = bridge.client(version, "publisher").await;
        for qos in [1, 2] {
            publish(&mut publisher, version, &retained(&format!("kept/{qos}"), "x", qos)).await;
        }
        publish(&mut publisher, version, &retained("kept/gone", "x", 1)).await;
        publish(&mut publisher, version, &retained("kept/gone", "", 1)).await;
        for _ in 0..2 {
            kill(&mut bridge).await;
            let mut late = bridge.client(version, "late").await;
            late.subscribe("kept/+", 2).await;
            let mut seen = [late.message().await, late.message().await].map(|message| (message.topic, message.qos));
            seen.sort();
            assert_eq!(seen, [("kept/1".to_owned(), 1), ("kept/2".to_owned(), 2)]);
            late.ping().await;
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_8_3_3_subscription_options_survive_a_kill() {
    const NO_LOCAL: u8 = 0x04;
    const RETAIN_AS_PUBLISHED: u8 = 0x08;
    let mut bridge = Bridge::start().await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    let properties = number(id::SUBSCRIPTION_IDENTIFIER, 77);
    subscribe_with(&mut client, &properties, &[("t", NO_LOCAL | RETAIN_AS_PUBLISHED | 1)]).await;
    kill(&mut bridge).await;
    let mut client = resumed(&bridge, Version::V5, "client").await;
    client.publish("t", "own", 1).await;
    let mut other = bridge.client(Version::V5, "other").await;
    publish(&mut other, Version::V5, &retained("t", "other's", 2)).await;
    let message = client.message().await;
    assert_eq!((message.payload.as_slice(), message.qos, message.retain), (&b"other's"[..], 1, true));
    assert_eq!(message.properties().subscription_identifiers(), [77]);
    bridge.finish(&[]).await;
}
