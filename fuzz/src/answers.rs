//! What a client must be able to rely on, whatever it has sent itself: every packet is whole but the last, is one
//! that its version has, is no larger than it takes, and comes in an order that makes sense.

use std::collections::HashMap;

use synap_mqtt::mqtt::codec::{MAXIMUM_PACKET_SIZE, Packet, ProtocolVersion, Sender, split};

use crate::input::Terms;

/// Checks all bytes that a client has received.
///
/// # Panics
/// When they are not what a client must get.
pub fn check(received: &[u8], terms: Terms) {
    match terms {
        Terms::Agreed { version, maximum_packet_size, topic_alias_maximum } => {
            check_session(received, version, maximum_packet_size, topic_alias_maximum);
        }
        Terms::Nothing => assert!(received.is_empty(), "an answer to nothing: {received:02x?}"),
        Terms::Invalid => check_refusal(received),
    }
}

/// Checks what came where it is not known which CONNECT was sent.
///
/// # Panics
/// When neither version has such packets.
pub fn check_unknown(received: &[u8]) {
    let Ok(Some(frame)) = split(received, MAXIMUM_PACKET_SIZE) else { return };
    let is_of = |version| Packet::decode(&frame, version, Sender::Server).is_ok();
    let version = if is_of(ProtocolVersion::V5) { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
    check_session(received, version, MAXIMUM_PACKET_SIZE, u16::MAX);
}

/// Nothing, or one CONNACK in the words of either version.
fn check_refusal(received: &[u8]) {
    if received.is_empty() {
        return;
    }
    let frame = split(received, MAXIMUM_PACKET_SIZE).expect("a packet").expect("a whole one");
    assert_eq!(frame.length(), received.len(), "one packet: {received:02x?}");
    let is_refusal = |version| matches!(Packet::decode(&frame, version, Sender::Server), Ok(Packet::Connack(connack)) if connack.reason.is_error());
    assert!(is_refusal(ProtocolVersion::V5) || is_refusal(ProtocolVersion::V311), "not a refusal: {received:02x?}");
}

fn check_session(received: &[u8], version: ProtocolVersion, maximum_packet_size: u32, topic_alias_maximum: u16) {
    let mut rest = received;
    let mut aliases = HashMap::new();
    let (mut is_first, mut is_over) = (true, false);
    // The connection may end in the middle of a packet, where the client hung up first.
    while let Some(frame) = split(rest, maximum_packet_size).unwrap_or_else(|error| panic!("{error}: {rest:02x?}")) {
        let packet = Packet::decode(&frame, version, Sender::Server)
            .unwrap_or_else(|error| panic!("{error}: {:02x?}", &rest[..frame.length()]));
        assert!(!is_over, "{packet:?} behind the last packet");
        assert_eq!(is_first, matches!(packet, Packet::Connack(_)), "CONNACK comes first, once: {packet:?}");
        match &packet {
            Packet::Connack(connack) => is_over = connack.reason.is_error(),
            Packet::Disconnect(_) => is_over = true,
            Packet::Publish(publish) => {
                if let Some(alias) = publish.topic_alias {
                    assert!((1..=topic_alias_maximum).contains(&alias), "{publish:?}");
                    if !publish.topic.is_empty() {
                        aliases.insert(alias, publish.topic.to_owned());
                    }
                    assert!(aliases.contains_key(&alias), "an alias that was never set: {publish:?}");
                }
            }
            _ => {}
        }
        is_first = false;
        rest = &rest[frame.length()..];
    }
}
