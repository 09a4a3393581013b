//! What is encoded is decoded to the same, and no bytes make the codec panic.

use std::borrow::Cow;

use proptest::{collection::vec, prelude::*};

use super::{
    Client, MAXIMUM_PACKET_SIZE, Packet, ProtocolVersion, Sender, Server, V5, V311, decode, draw::draws, encode, sender,
};
use crate::{
    mqtt::codec::{OutgoingPublish, PacketTooLarge, Publish, split},
    types::{PublishProperties, PublishProperty, Qos},
};

proptest! {
    #[test]
    fn every_packet_comes_back(draw in draws()) {
        for version in [V311, V5] {
            for packet in draw.packets(version) {
                let wire = encode(&packet, version);
                prop_assert_eq!(decode(&wire, version, sender(&packet)), Ok(packet));
            }
        }
    }

    #[test]
    fn a_packet_is_whole_with_its_last_byte(draw in draws()) {
        for version in [V311, V5] {
            for packet in draw.packets(version) {
                let mut wire = encode(&packet, version);
                for end in 0..wire.len() {
                    prop_assert_eq!(split(&wire[..end], MAXIMUM_PACKET_SIZE), Ok(None));
                }
                let length = wire.len();
                wire.extend([0xFF; 5]);
                prop_assert_eq!(split(&wire, MAXIMUM_PACKET_SIZE).unwrap().unwrap().length(), length);
            }
        }
    }

    /// No field may be cut short without being noticed, except the payload of a PUBLISH.
    #[test]
    fn a_shortened_body_never_panics_or_passes_as_the_same(draw in draws()) {
        for version in [V311, V5] {
            for packet in draw.packets(version) {
                let body = split(&encode(&packet, version), MAXIMUM_PACKET_SIZE).unwrap().unwrap().body.to_vec();
                let header = encode(&packet, version)[0];
                for end in 0..body.len() {
                    let mut wire = vec![header];
                    crate::types::wire::write_variable_byte_integer(&mut wire, end);
                    wire.extend(&body[..end]);
                    prop_assert_ne!(decode(&wire, version, sender(&packet)), Ok(packet.clone()));
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(header: u8, body in vec(any::<u8>(), 0..127)) {
        let wire = [&[header, body.len() as u8][..], &body].concat();
        never_panics(&wire);
        never_panics(&body);
    }

    /// Bytes that differ little from a packet reach further than arbitrary ones.
    #[test]
    fn flipped_bytes_never_panic(draw in draws(), at: prop::sample::Index, byte: u8) {
        for version in [V311, V5] {
            for packet in draw.packets(version) {
                let mut wire = encode(&packet, version);
                let at = at.index(wire.len());
                wire[at] = byte;
                never_panics(&wire);
            }
        }
    }

    #[test]
    fn the_encoded_size_is_exact_and_the_maximum_holds(draw in draws()) {
        for version in [V311, V5] {
            for packet in draw.packets(version) {
                let size = encode(&packet, version).len();
                if let Packet::Publish(publish) = &packet {
                    prop_assert_eq!(OutgoingPublish::from(publish).encoded_size(version), size);
                }
                let mut out = vec![1, 2, 3];
                let maximum = size as u32 - 1;
                prop_assert_eq!(packet.encode(version, maximum, &mut out), Err(PacketTooLarge { size, maximum }));
                prop_assert_eq!(&out, &[1, 2, 3]);
                prop_assert_eq!(packet.encode(version, maximum + 1, &mut out), Ok(()));
            }
        }
    }
}

fn never_panics(bytes: &[u8]) {
    if let Ok(Some(frame)) = split(bytes, MAXIMUM_PACKET_SIZE) {
        for version in [V311, V5] {
            for sender in [Client, Server] {
                if let Ok(packet) = Packet::decode(&frame, version, sender) {
                    assert_reencodes(&packet, version, sender);
                }
            }
        }
    }
}

/// What was accepted can be sent and is understood in the same way.
fn assert_reencodes(packet: &Packet<'_>, version: ProtocolVersion, sender: Sender) {
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    assert_eq!(decode(&encode(packet, version), version, sender).as_ref(), Ok(packet));
}

fn outgoing(properties: &[u8]) -> OutgoingPublish<'_> {
    OutgoingPublish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: "a/b",
        packet_id: 7,
        properties: PublishProperties::new(properties),
        message_expiry: None,
        topic_alias: None,
        subscription_identifiers: &[],
        payload: b"21.5",
    }
}

#[test]
fn properties_go_out_as_published_and_then_ours() {
    let mut published = Vec::new();
    PublishProperty::UserProperty("k", "v").write(&mut published);
    PublishProperty::MessageExpiryInterval(60).write(&mut published);
    PublishProperty::ContentType("text").write(&mut published);
    let publish = OutgoingPublish {
        message_expiry: Some(59),
        topic_alias: Some(3),
        subscription_identifiers: &[1, 300],
        ..outgoing(&published)
    };
    let mut out = Vec::new();
    publish.encode(V5, MAXIMUM_PACKET_SIZE, &mut out).unwrap();
    let expected = b"\x32\x27\x00\x03a/b\x00\x07\x1B\
        \x26\x00\x01k\x00\x01v\x02\x00\x00\x00\x3B\x03\x00\x04text\x23\x00\x03\x0B\x01\x0B\xAC\x0221.5";
    assert_eq!(out, expected);
    assert_eq!(publish.encoded_size(V5), out.len());
}

#[test]
fn a_message_without_expiry_gets_none() {
    let publish = OutgoingPublish { message_expiry: Some(59), ..outgoing(&[]) };
    let mut out = Vec::new();
    publish.encode(V5, MAXIMUM_PACKET_SIZE, &mut out).unwrap();
    assert_eq!(out, b"\x32\x0C\x00\x03a/b\x00\x07\x0021.5");
}

#[test]
fn properties_do_not_reach_a_3_1_1_client() {
    let mut published = Vec::new();
    PublishProperty::ContentType("text").write(&mut published);
    let publish = OutgoingPublish { subscription_identifiers: &[1], ..outgoing(&published) };
    let mut out = Vec::new();
    publish.encode(V311, MAXIMUM_PACKET_SIZE, &mut out).unwrap();
    assert_eq!(out, b"\x32\x0B\x00\x03a/b\x00\x0721.5");
}

#[test]
fn the_topic_alias_is_taken_out_wherever_it_stands() {
    let user: &[u8] = b"\x26\x00\x01k\x00\x01v";
    let kind: &[u8] = b"\x03\x00\x01t";
    let alias: &[u8] = b"\x23\x00\x05";
    for (order, borrowed) in [([alias, user, kind], true), ([user, kind, alias], true), ([user, alias, kind], false)] {
        let wire = [&b"\x30\x14\x00\x02ab\x0E"[..], &order.concat(), b"x"].concat();
        let Ok(Packet::Publish(Publish { topic_alias, properties, payload, .. })) = decode(&wire, V5, Client) else {
            panic!("a PUBLISH")
        };
        assert_eq!((topic_alias, payload), (Some(5), &b"x"[..]));
        assert_eq!(*properties, [user, kind].concat());
        assert_eq!(matches!(properties, Cow::Borrowed(_)), borrowed);
    }
}
