//! Flow control (MQTT 5.0 sections 3.3.4 and 4.9).

use crate::support::{
    PEER, accepted,
    bridge::{Bridge, Setup},
    persistent,
    properties::id,
    raw_mqtt::{Connect, PINGREQ, Publish, RawMqtt, Version, ack, kind, refusal, subscribe, unsubscribe},
    reason,
};

/// A subscriber to `t` with this Receive Maximum.
async fn narrow(bridge: &Bridge, receive_maximum: u16) -> RawMqtt {
    let connect = Connect { receive_maximum: Some(receive_maximum), ..Connect::persistent(Version::V5, "narrow") };
    let mut client = accepted(bridge, &connect).await;
    client.subscribe("t", 2).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_9_no_more_than_receive_maximum_are_in_flight() {
    let bridge = Bridge::start().await;
    let mut client = narrow(&bridge, 3).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for n in 0..9_u8 {
        publisher.publish("t", [n], 1 + n % 2).await;
    }
    let mut next = 0;
    let mut in_flight = Vec::new();
    while next < 9 {
        while in_flight.len() < 3 && next < 9 {
            let message = client.expect(kind::PUBLISH).await.publish();
            assert_eq!(message.payload, [next]);
            in_flight.push(message);
            next += 1;
        }
        // The window is full: nothing comes but what is asked for.
        client.ping().await;
        let message = in_flight.remove(0);
        match message.qos {
            1 => client.send(&ack(kind::PUBACK, message.id)).await,
            2 if message.payload[0] % 4 == 1 => {
                client.send(&refusal(kind::PUBREC, message.id, reason::QUOTA_EXCEEDED)).await;
            }
            _ => {
                client.send(&ack(kind::PUBREC, message.id)).await;
                client.expect(kind::PUBREL).await;
                // PUBREC alone makes no room.
                client.ping().await;
                client.send(&ack(kind::PUBCOMP, message.id)).await;
            }
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_9_a_smaller_receive_maximum_holds_for_a_resumed_session() {
    let bridge = Bridge::start().await;
    let mut client = narrow(&bridge, 5).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for n in 0..7_u8 {
        publisher.publish("t", [n], 1).await;
    }
    for _ in 0..5 {
        client.expect(kind::PUBLISH).await;
    }
    drop(client);
    let connect = Connect { receive_maximum: Some(2), ..Connect::persistent(Version::V5, "narrow") };
    let mut client = accepted(&bridge, &connect).await;
    let mut in_flight = Vec::new();
    for n in 0..7_u8 {
        if in_flight.len() == 2 {
            client.ping().await;
            client.send(&ack(kind::PUBACK, in_flight.remove(0))).await;
        }
        let message = client.expect(kind::PUBLISH).await.publish();
        assert_eq!((message.payload.as_slice(), message.dup), (&[n][..], n < 5));
        in_flight.push(message.id);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_10_a_full_window_holds_back_nothing_but_messages() {
    let bridge = Bridge::start().await;
    let mut client = narrow(&bridge, 1).await;
    client.subscribe("best/effort", 0).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for _ in 0..3 {
        publisher.publish("t", "x", 2).await;
    }
    let message = client.expect(kind::PUBLISH).await.publish();
    let version = Version::V5;
    client.ping().await;
    client.send(&subscribe(version, 5, "other", 1)).await;
    assert_eq!(client.expect(kind::SUBACK).await.id(), 5);
    client.send(&unsubscribe(version, 6, "other")).await;
    assert_eq!(client.expect(kind::UNSUBACK).await.id(), 6);
    client.send(&Publish::new("own", "x", 1, 7).encode(version)).await;
    assert_eq!(client.expect(kind::PUBACK).await.id(), 7);
    client.send(&Publish::new("own", "x", 2, 8).encode(version)).await;
    assert_eq!(client.expect(kind::PUBREC).await.id(), 8);
    client.send(&ack(kind::PUBREL, 8)).await;
    assert_eq!(client.expect(kind::PUBCOMP).await.id(), 8);
    client.send(&ack(kind::PUBREC, message.id)).await;
    assert_eq!(client.expect(kind::PUBREL).await.id(), message.id);
    client.ping().await;
    bridge.finish(&[]).await;
}

/// A publisher towards a bridge that takes two messages at a time, as its CONNACK says.
async fn wide(bridge: &Bridge) -> RawMqtt {
    let mut client = bridge.raw(Version::V5).await;
    client.send(&Connect::new(Version::V5, "wide").encode()).await;
    let connack = client.expect(kind::CONNACK).await;
    assert_eq!(connack.properties().number(id::RECEIVE_MAXIMUM), Some(2));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_3_4_7_more_than_the_server_s_receive_maximum_ends_the_connection() {
    let bridge = Setup::default().config("[mqtt]\nreceive_maximum = 2").start().await;
    // Two unreleased QoS 2 messages fill it.
    let mut client = wide(&bridge).await;
    for id in [1, 2] {
        client.send(&Publish::new("t", "x", 2, id).encode(Version::V5)).await;
        client.expect(kind::PUBREC).await;
    }
    client.send(&Publish::new("t", "x", 2, 3).encode(Version::V5)).await;
    assert_eq!(client.expect_close().await, Some(reason::RECEIVE_MAXIMUM_EXCEEDED));

    // Released, there is room again; QoS 0 needs none.
    let mut client = wide(&bridge).await;
    for round in 0..5 {
        for id in [1, 2] {
            client.send(&Publish::new("t", "x", 2, id + round).encode(Version::V5)).await;
            client.expect(kind::PUBREC).await;
        }
        client.send(&Publish::new("t", "x", 0, 0).encode(Version::V5)).await;
        for id in [1, 2] {
            client.send(&ack(kind::PUBREL, id + round)).await;
            client.expect(kind::PUBCOMP).await;
        }
    }
    client.send(&PINGREQ).await;
    client.expect(kind::PINGRESP).await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_9_0_1_a_client_s_quota_is_new_with_each_connection() {
    let bridge = Setup::default().config("[mqtt]\nreceive_maximum = 2").start().await;
    let mut client = persistent(&bridge, Version::V5, "client").await;
    for id in [1, 2] {
        client.send(&Publish::new("t", "x", 2, id).encode(Version::V5)).await;
        client.expect(kind::PUBREC).await;
    }
    drop(client);
    // Section 4.9: a PUBREL that is sent again is no part of the new quota.
    let mut client = persistent(&bridge, Version::V5, "client").await;
    for id in [3, 4] {
        client.send(&Publish::new("t", "x", 2, id).encode(Version::V5)).await;
        assert_eq!(client.expect(kind::PUBREC).await.id(), id);
    }
    for id in 1..=4 {
        client.send(&ack(kind::PUBREL, id)).await;
        assert_eq!(client.expect(kind::PUBCOMP).await.reason(), 0);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_9_0_1_the_first_window_is_the_client_s_receive_maximum() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for maximum in [1, 2, 10] {
        let mut client = narrow(&bridge, maximum).await;
        for n in 0..20_u8 {
            publisher.publish("t", [n], 1 + n % 2).await;
        }
        for _ in 0..maximum {
            client.expect(kind::PUBLISH).await;
        }
        client.ping().await;
        drop(client);
        bridge.client(Version::V5, "narrow").await;
    }
    bridge.finish(&[]).await;
}
