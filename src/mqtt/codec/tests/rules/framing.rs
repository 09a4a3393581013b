//! Of the fixed header, and of who may send what.

use super::*;

#[test]
fn fixed_headers() {
    let flags = |packet| Err(DecodeError::ReservedFlags(packet));
    assert_eq!(split(&[0x00], 100), Err(DecodeError::ReservedPacketType));
    for (header, packet) in [
        (0x11, PacketType::Connect),
        (0x28, PacketType::Connack),
        (0x42, PacketType::Puback),
        (0x51, PacketType::Pubrec),
        (0x60, PacketType::Pubrel),
        (0x72, PacketType::Pubcomp),
        (0x80, PacketType::Subscribe),
        (0x92, PacketType::Suback),
        (0xA0, PacketType::Unsubscribe),
        (0xB1, PacketType::Unsuback),
        (0xC8, PacketType::Pingreq),
        (0xD2, PacketType::Pingresp),
        (0xE1, PacketType::Disconnect),
        (0xF4, PacketType::Auth),
    ] {
        assert_eq!(split(&[header], 100), flags(packet), "{packet}");
    }
    assert_eq!(split(b"GET / HTTP/1.1\r\n", 100), flags(PacketType::Puback));
    assert_eq!(split(&[], 100), Ok(None));
    assert_eq!(split(&[0x30], 100), Ok(None));
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF], 100), Ok(None));
    let long = [0x30, 0x80, 0x80, 0x80, 0x80, 0x01];
    assert_eq!(split(&long, u32::MAX), Err(WireError::VariableByteInteger.into()));
}

#[test]
fn the_maximum_counts_the_fixed_header() {
    assert_eq!(split(&[0x30, 98], 100), Ok(None));
    let error = DecodeError::PacketTooLarge { size: 101, maximum: 100 };
    assert_eq!(split(&[0x30, 99], 100), Err(error));
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], MAXIMUM_PACKET_SIZE), Ok(None));
}

#[test]
fn padded_lengths_are_malformed_in_5_0_only() {
    let ping = [0xC0, 0x80, 0x00];
    assert_eq!(decode(&ping, V311, Client), Ok(Packet::Pingreq));
    assert_eq!(decode(&ping, V5, Client), Err(WireError::VariableByteInteger.into()));
    let connect = |level| [b"\x10\x8D\x00\x00\x04MQTT", &[level][..], b"\x02\x00\x00\x00\x00\x00"].concat();
    assert_eq!(decode(&connect(5), V311, Client), Err(WireError::VariableByteInteger.into()));
    // The same bytes are two too many for 3.1.1, which has no properties: cut the length.
    let v311 = [&b"\x10\x8C\x00"[..], &connect(4)[3..15]].concat();
    assert!(decode(&v311, V5, Client).is_ok());
    refused(0x30, b"\x00\x01t", V5, Client, &[(b"\x80\x00", WireError::VariableByteInteger.into(), MALFORMED)]);
}

#[test]
fn packets_of_the_other_side() {
    let unexpected = |packet| Err(DecodeError::UnexpectedPacket(packet));
    for version in [V311, V5] {
        for (header, packet) in [
            (0x20, PacketType::Connack),
            (0x90, PacketType::Suback),
            (0xB0, PacketType::Unsuback),
            (0xD0, PacketType::Pingresp),
        ] {
            assert_eq!(decode(&[header, 0], version, Client), unexpected(packet));
        }
        for (header, packet) in [
            (0x10, PacketType::Connect),
            (0x82, PacketType::Subscribe),
            (0xA2, PacketType::Unsubscribe),
            (0xC0, PacketType::Pingreq),
        ] {
            assert_eq!(decode(&[header, 0], version, Server), unexpected(packet));
        }
    }
    assert_eq!(decode(&[0xE0, 0], V311, Server), unexpected(PacketType::Disconnect));
    for sender in [Client, Server] {
        assert_eq!(decode(&[0xF0, 0], V311, sender), unexpected(PacketType::Auth));
    }
}

#[test]
fn pings_are_empty() {
    for version in [V311, V5] {
        let trailing = |packet| -> [Case<'_>; 1] { [(b"\x00", DecodeError::TrailingBytes(packet), MALFORMED)] };
        refused(0xC0, b"", version, Client, &trailing(PacketType::Pingreq));
        refused(0xD0, b"", version, Server, &trailing(PacketType::Pingresp));
    }
}
