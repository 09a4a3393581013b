//! What the tests share: the bridge as a process and MQTT by hand, both from the integration
//! tests, and the few steps that most statements need.

#[expect(dead_code, reason = "shared with the integration tests, which use the rest")]
#[path = "../../it/support/bridge.rs"]
pub mod bridge;
#[expect(dead_code, reason = "shared with the integration tests, which use the rest")]
#[path = "../../it/support/process.rs"]
pub mod process;
#[expect(dead_code, reason = "shared with the integration tests, which use the rest")]
#[path = "../../it/support/properties.rs"]
pub mod properties;
#[expect(dead_code, reason = "shared with the integration tests, which use the rest")]
#[path = "../../it/support/raw_mqtt.rs"]
pub mod raw_mqtt;
#[path = "../../it/support/raw_websocket.rs"]
pub mod raw_websocket;
#[path = "../../it/support/scram.rs"]
pub mod scram;
#[path = "../../it/support/waiting.rs"]
mod waiting;

use bridge::Bridge;
use raw_mqtt::{Connect, Packet, Publish, RawMqtt, Version, kind, packet, subscribe_all};
pub use waiting::{eventually, scratch, within};

/// Both standards.
pub const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

/// Log lines that name a client which broke a rule: the only warnings that a test may cause.
pub const PEER: &[&str] = &["\"peer\""];

/// Reason codes (MQTT 5.0 section 2.4).
pub mod reason {
    pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub const MALFORMED_PACKET: u8 = 0x81;
    pub const PROTOCOL_ERROR: u8 = 0x82;
    pub const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
    pub const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
    pub const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
    pub const SESSION_TAKEN_OVER: u8 = 0x8e;
    pub const TOPIC_FILTER_INVALID: u8 = 0x8f;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
    pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
}

/// A connection that was accepted.
pub async fn accepted(bridge: &Bridge, connect: &Connect) -> RawMqtt {
    let mut client = bridge.raw(connect.version).await;
    client.connect_as(connect).await;
    client
}

/// The session of `id` resumed, or begun; kept when the connection ends.
pub async fn persistent(bridge: &Bridge, version: Version, id: &str) -> RawMqtt {
    accepted(bridge, &Connect::persistent(version, id)).await
}

/// Ends a connection once the bridge has read everything that was sent on it.
pub async fn leave(mut client: RawMqtt) {
    client.ping().await;
}

/// Subscribes with properties, and expects every filter to be granted what `options` ask for.
pub async fn subscribe_with(client: &mut RawMqtt, properties: &[u8], filters: &[(&str, u8)]) {
    client.send(&subscribe_all(Version::V5, 9, properties, filters.iter().copied())).await;
    let granted: Vec<_> = filters.iter().map(|(_, options)| options & 3).collect();
    assert_eq!(client.answer(kind::SUBACK).await.reasons(), granted);
}

/// Publishes a message as it stands and expects success.
pub async fn publish(client: &mut RawMqtt, version: Version, message: &Publish) {
    client.send(&message.encode(version)).await;
    match message.qos {
        0 => {}
        1 => assert_eq!(client.answer(kind::PUBACK).await.reason(), 0),
        _ => {
            assert_eq!(client.answer(kind::PUBREC).await.reason(), 0);
            client.send(&raw_mqtt::ack(kind::PUBREL, message.id)).await;
            assert_eq!(client.answer(kind::PUBCOMP).await.reason(), 0);
        }
    }
}

/// A retained message.
pub fn retained(topic: &str, payload: &str, qos: u8) -> Publish {
    Publish { retain: true, ..Publish::new(topic, payload, qos, 1) }
}

/// Proves that nothing is on its way to `watcher`: a message to `topic`, which it has subscribed
/// to, is the next thing that comes.
pub async fn expect_nothing_before(publisher: &mut RawMqtt, watcher: &mut RawMqtt, topic: &str) {
    publisher.publish(topic, "marker", 1).await;
    let next = watcher.message().await;
    assert_eq!((next.topic.as_str(), next.payload.as_slice()), (topic, &b"marker"[..]), "{next:?}");
}

/// Everything that a connection is answered which sends these bytes first, to its end.
pub async fn answers(bridge: &Bridge, version: Version, bytes: &[u8]) -> Vec<Packet> {
    let mut client = bridge.raw(version).await;
    // The bridge may close before it has read everything.
    let _ = client.try_send(bytes).await;
    let mut packets = Vec::new();
    while let Some(packet) = client.read().await {
        packets.push(packet);
    }
    packets
}

/// Whether a connection that sends these bytes after its CONNECT is closed and, in 5.0, told why.
pub async fn expect_closed(bridge: &Bridge, version: Version, bytes: &[u8], reason: u8) {
    let mut client = bridge.client(version, "offender").await;
    expect_closed_after(&mut client, version, bytes, reason).await;
}

/// As [`expect_closed`], on a connection that is there.
pub async fn expect_closed_after(client: &mut RawMqtt, version: Version, bytes: &[u8], reason: u8) {
    let _ = client.try_send(bytes).await;
    let told = client.expect_close().await;
    assert_eq!(told, (version == Version::V5).then_some(reason), "{version:?} {bytes:02x?}");
}

/// CONNECT of these bytes after the protocol name.
pub fn connect_packet(after_name: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT", after_name].concat())
}

/// Waits until there are this many sessions, with or without a connection.
pub async fn until_sessions(bridge: &Bridge, count: u32) {
    let is_so = async || (bridge.metric("synap_mqtt_sessions").await == f64::from(count)).then_some(());
    eventually("the end of a session", is_so).await;
}

/// Waits until a message that was retained with an expiry is retained no more: then what was
/// published before it with the same expiry has expired too.
pub async fn until_expired(bridge: &Bridge, topic: &str) {
    let is_there = async || {
        let mut late = bridge.client(Version::V5, "late").await;
        late.subscribe(topic, 0).await;
        late.subscribe("expiry/marker", 0).await;
        late.publish("expiry/marker", "x", 1).await;
        late.message().await.topic == topic
    };
    eventually("a retained message", async || is_there().await.then_some(())).await;
    eventually("its expiry", async || (!is_there().await).then_some(())).await;
}
