//! MQTT over WebSocket (section 6 of both standards).

use crate::support::{
    PEER, VERSIONS,
    bridge::Bridge,
    raw_mqtt::{Connect, PINGREQ, Publish, Version, kind, subscribe},
    raw_websocket::{MQTT, RawWebSocket, first, frame, handshake},
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_6_0_0_1_frames_that_are_not_binary_end_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "client").encode();
        let mut at_once = RawWebSocket::open(bridge.addresses.http).await;
        at_once.send(&frame(first::TEXT, &connect)).await;
        at_once.closed().await;
        let mut later = RawWebSocket::open(bridge.addresses.http).await;
        later.connect(&connect).await;
        later.send(&frame(first::TEXT, &PINGREQ)).await;
        later.closed().await;

        // Control frames are WebSocket's own; what the bridge sends of MQTT is binary, which reading
        // a packet checks.
        let mut client = RawWebSocket::open(bridge.addresses.http).await;
        client.send(&frame(first::PING, b"before")).await;
        assert_eq!(client.frame().await, Some((first::PONG, b"before".to_vec())));
        client.connect(&connect).await;
        client.send(&frame(first::BINARY, &subscribe(version, 1, "t", 1))).await;
        client.packet(kind::SUBACK).await;
        client.send(&frame(first::BINARY, &Publish::new("t", vec![b'x'; 100_000], 1, 2).encode(version))).await;
        assert!(client.echo().await.len() > 100_000);
        client.send(&frame(first::PING, b"after")).await;
        assert_eq!(client.frame().await, Some((first::PONG, b"after".to_vec())));
        client.send(&frame(first::CLOSE, &1000_u16.to_be_bytes())).await;
        client.closed().await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_6_0_0_2_packets_and_frames_have_their_own_borders() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let bytes = [
            Connect::new(version, "borders").encode(),
            subscribe(version, 1, "t", 1),
            Publish::new("t", vec![b'x'; 300], 1, 2).encode(version),
        ]
        .concat();
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut client = RawWebSocket::open(bridge.addresses.http).await;
            for (n, part) in bytes.chunks(size).enumerate() {
                // Whole frames, and every third in fragments with an empty one among them.
                let (one, other) = part.split_at(part.len() / 2);
                if n % 3 == 2 {
                    client.send(&frame(first::BINARY_BEGINNING, one)).await;
                    client.send(&frame(first::MIDDLE, &[])).await;
                    client.send(&frame(first::END, other)).await;
                } else {
                    client.send(&frame(first::BINARY, part)).await;
                }
            }
            client.packet(kind::CONNACK).await;
            client.packet(kind::SUBACK).await;
            client.echo().await;
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_6_0_0_3_a_client_that_does_not_offer_mqtt_is_not_served() {
    let bridge = Bridge::start().await;
    let address = bridge.addresses.http;
    for offered in ["", "Sec-WebSocket-Protocol: chat\r\n", "Sec-WebSocket-Protocol: mqttv3.1, mqt\r\n"] {
        let head = handshake("/mqtt", &address.to_string()) + offered;
        let answer = RawWebSocket::try_open(address, &head).await.err();
        assert!(answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 4")), "{offered:?}: {answer:?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_6_0_0_4_the_chosen_subprotocol_is_mqtt() {
    let bridge = Bridge::start().await;
    let address = bridge.addresses.http;
    for offered in [
        MQTT,
        "Sec-WebSocket-Protocol: chat, mqtt\r\n",
        "Sec-WebSocket-Protocol: mqtt,mqttv3.1\r\n",
        "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt\r\n",
    ] {
        let head = handshake("/mqtt", &address.to_string()) + offered;
        // Opening checks what the answer says.
        let mut client = RawWebSocket::try_open(address, &head).await.unwrap_or_else(|answer| panic!("{answer}"));
        client.connect(&Connect::new(Version::V5, "client").encode()).await;
    }
    bridge.finish(&[]).await;
}
