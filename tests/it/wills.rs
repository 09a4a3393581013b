//! Wills over the end of the bridge, by kill -9 and by SIGTERM: published once where the client does not
//! come back in time, and not at all where it does.

use crate::{
    resumption::{CASES, back, leave, publish, subscribed, sync},
    support::{
        bridge::{Bridge, Cut},
        raw_mqtt::{Connect, Publish, RawMqtt, Version, kind, will_delay},
    },
};

fn with_will(version: Version, id: &str, delay: u32, expiry: u32) -> Connect {
    let will = Some((format!("will/{id}"), id.as_bytes().to_vec(), 1, true));
    Connect { will, will_properties: will_delay(delay), session_expiry: expiry, ..Connect::persistent(version, id) }
}

async fn connected(bridge: &Bridge, connect: &Connect) -> RawMqtt {
    let mut client = bridge.raw(connect.version).await;
    client.connect_as(connect).await;
    sync(&mut client).await;
    client
}

/// The names in the wills that the observer gets, up to and with `last`, in any order.
async fn wills(observer: &mut RawMqtt, last: &str) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let Publish { payload, .. } = observer.message().await;
        names.push(String::from_utf8(payload).unwrap());
        if names.last().is_some_and(|name| name == last) {
            names.sort();
            return names;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_connected_has_gone_without_a_word() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "observer", "will/#", 1).await;
        let mut clients = Vec::new();
        for (id, clean) in [("clean", true), ("kept", false)] {
            clients.push(
                connected(&bridge, &Connect { clean, ..with_will(version, id, 0, if clean { 0 } else { 60 }) }).await,
            );
        }
        let polite = connected(&bridge, &with_will(version, "polite", 0, 60)).await;
        leave(polite).await;
        publish(&bridge, version, "barrier", ["x".to_owned()]).await;
        bridge.cut(cut).await;
        let mut observer = back(&bridge, version, "observer").await;
        let mut names = Vec::new();
        for _ in 0..2 {
            names.push(String::from_utf8(observer.message().await.payload).unwrap());
        }
        names.sort();
        assert_eq!(names, ["clean", "kept"], "{version:?} {cut:?}");
        sync(&mut observer).await;
        // Once, and retained.
        bridge.cut(cut).await;
        publish(&bridge, version, "will/end", ["end".to_owned()]).await;
        let mut observer = back(&bridge, version, "observer").await;
        assert_eq!(wills(&mut observer, "end").await, ["end"], "{version:?} {cut:?}");
        let mut late = bridge.client(version, "late").await;
        late.subscribe("will/+", 1).await;
        for _ in 0..2 {
            assert!(late.message().await.retain);
        }
        late.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_waits_for_its_delay_over_the_end_of_the_bridge() {
    const DELAY: u32 = 8;
    let version = Version::V5;
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "observer", "will/#", 1).await;
        // One has gone before the end, the others are there.
        drop(connected(&bridge, &with_will(version, "gone", DELAY, 3600)).await);
        let _back = connected(&bridge, &with_will(version, "back", DELAY, 3600)).await;
        let _away = connected(&bridge, &with_will(version, "away", DELAY, 3600)).await;
        bridge.cut(cut).await;
        // In time: its will is void.
        let mut client = back(&bridge, version, "back").await;
        let mut observer = back(&bridge, version, "observer").await;
        let mut names = Vec::new();
        while names.len() < 2 {
            names.push(String::from_utf8(observer.message().await.payload).unwrap());
        }
        names.sort();
        assert_eq!(names, ["away", "gone"], "{cut:?}");
        client.ping().await;
        leave(client).await;
        // Each once: what was due at the same time has come by now.
        sync(&mut observer).await;
        bridge.cut(cut).await;
        publish(&bridge, version, "will/end", ["end".to_owned()]).await;
        let mut observer = back(&bridge, version, "observer").await;
        assert_eq!(wills(&mut observer, "end").await, ["end"], "{cut:?}");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_comes_at_the_latest_with_the_end_of_its_session() {
    let version = Version::V5;
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Bridge::start().await;
        subscribed(&bridge, version, "observer", "will/#", 1).await;
        drop(connected(&bridge, &with_will(version, "before", 3600, 1)).await);
        let _short = connected(&bridge, &with_will(version, "short", 3600, 1)).await;
        drop(connected(&bridge, &with_will(version, "renewed", 3600, 3600)).await);
        bridge.cut(cut).await;
        let mut observer = back(&bridge, version, "observer").await;
        // A clean start ends a session too.
        let _new = bridge.client(version, "renewed").await;
        let mut names = Vec::new();
        while names.len() < 3 {
            names.push(String::from_utf8(observer.message().await.payload).unwrap());
        }
        names.sort();
        assert_eq!(names, ["before", "renewed", "short"], "{cut:?}");
        sync(&mut observer).await;
        bridge.cut(cut).await;
        for id in ["before", "short", "renewed"] {
            let mut client = bridge.raw(version).await;
            assert!(!client.connect_as(&Connect::persistent(version, id)).await, "{cut:?} {id}");
        }
        publish(&bridge, version, "will/end", ["end".to_owned()]).await;
        let mut observer = back(&bridge, version, "observer").await;
        assert_eq!(wills(&mut observer, "end").await, ["end"], "{cut:?}");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_will_waits_leaves_nothing_behind() {
    // Ended with a queue in the store, by a clean start that is cut before the will is published or not.
    let version = Version::V5;
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Bridge::start().await;
        let mut client = connected(&bridge, &with_will(version, "client", 3600, 3600)).await;
        client.subscribe("t", 1).await;
        drop(client);
        publish(&bridge, version, "t", (0..100).map(|n| n.to_string())).await;
        bridge.cut(cut).await;
        let mut client = bridge.client(version, "client").await;
        sync(&mut client).await;
        leave(client).await;
        for _ in 0..2 {
            bridge.cut(cut).await;
        }
        // Numbers of sessions start again behind those that are left.
        for id in ["a", "b", "c", "client"] {
            subscribed(&bridge, version, id, "other", 1).await;
        }
        publish(&bridge, version, "other", ["x".to_owned()]).await;
        bridge.cut(cut).await;
        for id in ["a", "b", "c", "client"] {
            let mut client = back(&bridge, version, id).await;
            let message = client.message().await;
            assert_eq!((message.payload.as_slice(), message.id), (b"x".as_slice(), 1), "{cut:?} {id}");
            client.ping().await;
        }
        let mut reader = bridge.client(version, "reader").await;
        reader.subscribe("will/+", 0).await;
        assert_eq!(reader.expect(kind::PUBLISH).await.publish().payload, b"client");
        bridge.finish(&[]).await;
    }
}
