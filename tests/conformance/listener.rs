//! What a listener may restrict (MQTT 5.0 section 3.2.2.3): maximum QoS, retained messages, keep
//! alive.

use crate::support::{
    PEER, accepted, answers,
    bridge::{Bridge, Setup},
    properties::id,
    publish,
    raw_mqtt::{Connect, Packet, Publish, Version, kind},
    reason, retained, within,
};

const AT_MOST_ONCE: &str = "[mqtt]\nmaximum_qos = 0";
const AT_LEAST_ONCE: &str = "[mqtt]\nmaximum_qos = 1";
const NOTHING_RETAINED: &str = "[mqtt]\nretain_available = false";
const SERVER_KEEP_ALIVE: &str = "[mqtt]\nkeep_alive = 1";

const RETAIN_NOT_SUPPORTED: u8 = 0x9a;
const QOS_NOT_SUPPORTED: u8 = 0x9b;

async fn restricted(config: &str) -> Bridge {
    Setup::default().config(config).start().await
}

async fn connack(bridge: &Bridge) -> Packet {
    let mut client = bridge.raw(Version::V5).await;
    client.send(&Connect::new(Version::V5, "asker").encode()).await;
    client.expect(kind::CONNACK).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_9_a_maximum_qos_is_told_and_kept() {
    for (config, maximum) in [(AT_MOST_ONCE, 0), (AT_LEAST_ONCE, 1)] {
        let bridge = restricted(config).await;
        assert_eq!(connack(&bridge).await.properties().number(id::MAXIMUM_QOS), Some(maximum));
        for qos in 1..=2 {
            let mut client = bridge.client(Version::V5, "client").await;
            client.send(&Publish::new("t", "x", qos, 1).encode(Version::V5)).await;
            if u32::from(qos) <= maximum {
                assert_eq!(client.expect(kind::PUBACK).await.reason(), 0);
            } else {
                assert_eq!(client.expect_close().await, Some(QOS_NOT_SUPPORTED));
            }
        }
        bridge.finish(PEER).await;
    }
    let bridge = Bridge::start().await;
    assert_eq!(connack(&bridge).await.properties().get(id::MAXIMUM_QOS), None, "2 is told by silence");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_10_every_qos_may_be_subscribed_to() {
    for config in [AT_MOST_ONCE, AT_LEAST_ONCE] {
        let bridge = restricted(config).await;
        let mut client = bridge.client(Version::V5, "client").await;
        for qos in 0..=2 {
            assert!(client.subscribe("t", qos).await <= qos, "granted, if less");
            client.publish("t", [qos], 0).await;
            assert_eq!(client.message().await.payload, [qos]);
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_12_a_will_beyond_the_maximum_qos_is_refused() {
    for (config, maximum) in [(AT_MOST_ONCE, 0), (AT_LEAST_ONCE, 1)] {
        let bridge = restricted(config).await;
        for qos in 0..=2 {
            let will = Some(("will".to_owned(), Vec::new(), qos, false));
            let connect = Connect { will, ..Connect::new(Version::V5, "client") };
            if qos <= maximum {
                accepted(&bridge, &connect).await;
            } else {
                let answers = answers(&bridge, Version::V5, &connect.encode()).await;
                assert_eq!((answers.len(), answers[0].reason()), (1, QOS_NOT_SUPPORTED));
            }
        }
        bridge.finish(PEER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_13_a_retained_will_is_refused_where_nothing_is_retained() {
    let bridge = restricted(NOTHING_RETAINED).await;
    assert_eq!(connack(&bridge).await.properties().number(id::RETAIN_AVAILABLE), Some(0));
    let will = |retain| Some(("will".to_owned(), Vec::new(), 1, retain));
    let connect = Connect { will: will(true), ..Connect::new(Version::V5, "client") };
    let answers = answers(&bridge, Version::V5, &connect.encode()).await;
    assert_eq!((answers.len(), answers[0].reason()), (1, RETAIN_NOT_SUPPORTED));
    accepted(&bridge, &Connect { will: will(false), ..connect }).await;
    // And whoever retains all the same is told so [MQTT-3.2.2-14].
    let mut client = bridge.client(Version::V5, "client").await;
    publish(&mut client, Version::V5, &Publish::new("t", "x", 1, 1)).await;
    client.send(&retained("t", "x", 1).encode(Version::V5)).await;
    assert_eq!(client.expect_close().await, Some(RETAIN_NOT_SUPPORTED));
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_22_a_server_keep_alive_counts_instead_of_the_client_s() {
    let bridge = restricted(SERVER_KEEP_ALIVE).await;
    for keep_alive in [0, 60] {
        let mut client = bridge.raw(Version::V5).await;
        client.send(&Connect { keep_alive, ..Connect::new(Version::V5, "client") }.encode()).await;
        let told = client.expect(kind::CONNACK).await.properties().number(id::SERVER_KEEP_ALIVE);
        assert_eq!(told, Some(1));
        let end = within("the end of a silent client", client.expect_close()).await;
        assert_eq!(end, Some(reason::KEEP_ALIVE_TIMEOUT));
    }
    bridge.finish(PEER).await;
}
