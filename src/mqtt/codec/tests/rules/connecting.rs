//! Of CONNECT, CONNACK, DISCONNECT and AUTH.

use super::*;

#[test]
fn connect_3_1_1() {
    let malformed = |flags, error| -> Case<'_> { (flags, error, MALFORMED) };
    refused(
        0x10,
        b"\x00\x04MQTT\x04",
        V311,
        Client,
        &[
            malformed(b"\x03\x00\x00\x00\x01c", DecodeError::ConnectFlag),
            malformed(b"\x0A\x00\x00\x00\x01c", DecodeError::WillFlags),
            malformed(b"\x22\x00\x00\x00\x01c", DecodeError::WillFlags),
            malformed(b"\x1E\x00\x00\x00\x01c\x00\x01t\x00\x00", DecodeError::WillFlags),
            malformed(b"\x42\x00\x00\x00\x01c\x00\x01p", DecodeError::PasswordWithoutUserName),
            malformed(b"\x02\x00\x00\x00\x01c\x00", DecodeError::TrailingBytes(PacketType::Connect)),
            malformed(b"\x82\x00\x00\x00\x01c", TRUNCATED),
            malformed(b"\xC2\x00\x00\x00\x01c\x00\x01u", TRUNCATED),
            malformed(b"\x06\x00\x00\x00\x01c\x00\x01t", TRUNCATED),
            malformed(b"\x02\x00\x00\x00\x01\xFF", WireError::IllFormedText.into()),
            malformed(b"\x02\x00\x00\x00\x01\x00", WireError::NulInText.into()),
            malformed(b"\x82\x00\x00\x00\x01c\x00\x01\x00", WireError::NulInText.into()),
            (b"\x00\x00\x00\x00\x00", DecodeError::ClientIdentifier, ReasonCode::ClientIdentifierNotValid),
            (
                b"\x06\x00\x00\x00\x01c\x00\x01#\x00\x00",
                DecodeError::WillTopic(TopicError::Wildcard),
                ReasonCode::TopicNameInvalid,
            ),
            (
                b"\x06\x00\x00\x00\x01c\x00\x00\x00\x00",
                DecodeError::WillTopic(TopicError::Empty),
                ReasonCode::TopicNameInvalid,
            ),
        ],
    );
    accepted(0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00", V311, Client);
    accepted(0x10, b"\x00\x04MQTT\x04\x36\x00\x00\x00\x00\x00\x01t\x00\x00", V311, Client);
}

#[test]
fn connect_5_0() {
    let body = |properties: &[u8]| [b"\x02\x00\x00", &*with_length(properties), b"\x00\x00"].concat();
    let value = |properties: &[u8]| (body(properties), DecodeError::PropertyValue(properties[0]), PROTOCOL);
    let duplicate = |properties: &[u8]| (body(properties), DecodeError::DuplicateProperty(properties[0]), PROTOCOL);
    let foreign = |properties: &[u8]| (body(properties), not_allowed(properties[0], PacketType::Connect), MALFORMED);
    let cases = [
        value(b"\x21\x00\x00"),
        value(b"\x27\x00\x00\x00\x00"),
        value(b"\x17\x02"),
        value(b"\x19\x02"),
        duplicate(b"\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01"),
        duplicate(b"\x21\x00\x01\x21\x00\x02"),
        duplicate(b"\x27\x00\x00\x00\x01\x27\x00\x00\x00\x01"),
        duplicate(b"\x22\x00\x01\x22\x00\x01"),
        duplicate(b"\x17\x01\x17\x01"),
        duplicate(b"\x19\x01\x19\x01"),
        duplicate(b"\x15\x00\x01m\x15\x00\x01m"),
        foreign(b"\x1F\x00\x00"),
        foreign(b"\x18\x00\x00\x00\x00"),
        foreign(b"\x01\x00"),
        foreign(b"\x24\x00"),
        foreign(b"\x7F"),
        foreign(b"\x00"),
        (body(b"\x16\x00\x00"), DecodeError::AuthenticationMethod, PROTOCOL),
        (body(b"\x11\x00\x00\x00"), TRUNCATED, MALFORMED),
        (body(b"\x26\x00\x01k"), TRUNCATED, MALFORMED),
        (body(b"\x26\x00\x01\x00\x00\x00"), WireError::NulInText.into(), MALFORMED),
        (b"\x03\x00\x00\x00\x00\x00".to_vec(), DecodeError::ConnectFlag, MALFORMED),
        (b"\x0A\x00\x00\x00\x00\x00".to_vec(), DecodeError::WillFlags, MALFORMED),
        (b"\x02\x00\x00\x05\x00\x00".to_vec(), TRUNCATED, MALFORMED),
    ];
    for (body, error, reason) in &cases {
        refused(0x10, b"\x00\x04MQTT\x05", V5, Client, &[(body, *error, *reason)]);
    }
    let head = &b"\x00\x04MQTT\x05"[..];
    accepted(0x10, &[head, &body(b"\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00")].concat(), V5, Client);
    // Without clean start and name, and with a password but no user name.
    accepted(0x10, &[head, b"\x00\x00\x00\x00\x00\x00"].concat(), V5, Client);
    accepted(0x10, &[head, b"\x40\x00\x00\x00\x00\x00\x00\x01p"].concat(), V5, Client);
}

#[test]
fn wills_5_0() {
    let body = |properties: &[u8], topic: &[u8]| {
        [b"\x06\x00\x00\x00\x00\x00", &*with_length(properties), &[0], &with_length(topic), b"\x00\x00"].concat()
    };
    let foreign =
        |properties: &[u8]| (body(properties, b"t"), not_allowed(properties[0], PacketType::Connect), MALFORMED);
    for (body, error, reason) in &[
        foreign(b"\x23\x00\x01"),
        foreign(b"\x0B\x01"),
        foreign(b"\x11\x00\x00\x00\x00"),
        (body(b"\x01\x02", b"t"), DecodeError::PropertyValue(0x01), PROTOCOL),
        (body(b"\x18\x00\x00\x00\x01\x18\x00\x00\x00\x01", b"t"), DecodeError::DuplicateProperty(0x18), PROTOCOL),
        (body(b"\x08\x00\x01+", b"t"), DecodeError::ResponseTopic(TopicError::Wildcard), PROTOCOL),
        (body(b"", b"a/#"), DecodeError::WillTopic(TopicError::Wildcard), ReasonCode::TopicNameInvalid),
        (body(b"", b""), DecodeError::WillTopic(TopicError::Empty), ReasonCode::TopicNameInvalid),
    ] {
        refused(0x10, b"\x00\x04MQTT\x05", V5, Client, &[(body, *error, *reason)]);
    }
    let properties = b"\x01\x01\x18\x00\x00\x00\x05\x02\x00\x00\x00\x00";
    let wire = packet(0x10, &[b"\x00\x04MQTT\x05", &*body(properties, b"t")].concat());
    let Ok(Packet::Connect(connect)) = decode(&wire, V5, Client) else { panic!("a CONNECT") };
    let will = connect.will.unwrap();
    assert_eq!(will.delay_interval, 5);
    assert_eq!(*will.properties, *b"\x01\x01\x02\x00\x00\x00\x00");
}

#[test]
fn a_connect_that_fails_is_answered_as_its_version_wants() {
    let tail = b"\x03\x00\x00\x00\x00\x00";
    for (head, error, answer) in [
        (&b"\x00\x04MQTT\x05"[..], DecodeError::ConnectFlag, Some((V5, MALFORMED))),
        (b"\x00\x04MQTT\x04", DecodeError::ConnectFlag, None),
        (b"\x00\x04MQTT\x06", DecodeError::UnsupportedVersion(6), Some((V5, ReasonCode::UnsupportedProtocolVersion))),
        (b"\x00\x04MQTT\x03", DecodeError::UnsupportedVersion(3), Some((V311, ReasonCode::UnsupportedProtocolVersion))),
        (
            b"\x00\x06MQIsdp\x03",
            DecodeError::UnsupportedVersion(3),
            Some((V311, ReasonCode::UnsupportedProtocolVersion)),
        ),
        (b"\x00\x06MQIsdp\x04", DecodeError::ProtocolName, None),
        (b"\x00\x04mqtt\x04", DecodeError::ProtocolName, None),
        (b"\x00\x04MQT", TRUNCATED, None),
    ] {
        let wire = packet(0x10, &if head.len() < 7 { head.to_vec() } else { [head, tail].concat() });
        assert_eq!(decode(&wire, V311, Client), Err(error), "{head:?}");
        assert_eq!(refusal(&whole(&wire).unwrap(), error), answer, "{head:?}");
    }
    let nameless = packet(0x10, b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00");
    let error = decode(&nameless, V311, Client).unwrap_err();
    let answer = refusal(&whole(&nameless).unwrap(), error);
    assert_eq!(answer, Some((V311, ReasonCode::ClientIdentifierNotValid)));
    assert_eq!(ReasonCode::UnsupportedProtocolVersion.connect_return_code(), Some(1));
    assert_eq!(ReasonCode::ClientIdentifierNotValid.connect_return_code(), Some(2));
}

#[test]
fn connack() {
    let code = |code| DecodeError::ReasonCode { code, packet: PacketType::Connack };
    for version in [V311, V5] {
        refused(
            0x20,
            b"",
            version,
            Server,
            &[
                (b"\x02\x00\x00", DecodeError::ReservedFlags(PacketType::Connack), MALFORMED),
                (b"\x00", TRUNCATED, MALFORMED),
            ],
        );
    }
    refused(
        0x20,
        b"",
        V311,
        Server,
        &[
            (b"\x00\x06", code(6), PROTOCOL),
            (b"\x01\x05", DecodeError::SessionPresent, PROTOCOL),
            (b"\x00\x00\x00", DecodeError::TrailingBytes(PacketType::Connack), MALFORMED),
        ],
    );
    refused(
        0x20,
        b"",
        V5,
        Server,
        &[
            (b"\x00\x01\x00", code(1), PROTOCOL),
            (b"\x00\x92\x00", code(0x92), PROTOCOL),
            (b"\x01\x87\x00", DecodeError::SessionPresent, PROTOCOL),
            (b"\x00\x00\x02\x24\x02", DecodeError::PropertyValue(0x24), PROTOCOL),
            (b"\x00\x00\x02\x25\x02", DecodeError::PropertyValue(0x25), PROTOCOL),
            (b"\x00\x00\x03\x21\x00\x00", DecodeError::PropertyValue(0x21), PROTOCOL),
            (b"\x00\x00\x02\x17\x01", not_allowed(0x17, PacketType::Connack), MALFORMED),
            (b"\x00\x00", TRUNCATED, MALFORMED),
        ],
    );
}

#[test]
fn disconnect() {
    let packet = PacketType::Disconnect;
    let code = |code| DecodeError::ReasonCode { code, packet };
    refused(0xE0, b"", V311, Client, &[(b"\x00", DecodeError::TrailingBytes(packet), MALFORMED)]);
    refused(
        0xE0,
        b"",
        V5,
        Client,
        &[
            (b"\x01", code(1), PROTOCOL),
            (b"\x8B", code(0x8B), PROTOCOL),
            (b"\x00\x02\x17\x01", not_allowed(0x17, packet), MALFORMED),
            (b"\x00\x00\x00", DecodeError::TrailingBytes(packet), MALFORMED),
        ],
    );
    refused(
        0xE0,
        b"",
        V5,
        Server,
        &[
            (b"\x04", code(4), PROTOCOL),
            (b"\x00\x05\x11\x00\x00\x00\x01", DecodeError::SessionExpiryInterval, PROTOCOL),
        ],
    );
    for body in [&b""[..], b"\x04", b"\x04\x00", b"\x00\x05\x11\x00\x00\x00\x01"] {
        accepted(0xE0, body, V5, Client);
    }
    accepted(0xE0, b"\x8B", V5, Server);
}

#[test]
fn auth() {
    let packet = PacketType::Auth;
    let code = |code| DecodeError::ReasonCode { code, packet };
    refused(
        0xF0,
        b"",
        V5,
        Client,
        &[
            (b"", code(0), PROTOCOL),
            (b"\x00\x04\x15\x00\x01m", code(0), PROTOCOL),
            (b"\x01\x04\x15\x00\x01m", code(1), PROTOCOL),
            (b"\x18", TRUNCATED, MALFORMED),
            (b"\x18\x00", DecodeError::AuthenticationMethod, PROTOCOL),
            (b"\x18\x05\x11\x00\x00\x00\x00", not_allowed(0x11, packet), MALFORMED),
        ],
    );
    refused(0xF0, b"", V5, Server, &[(b"\x19\x04\x15\x00\x01m", code(0x19), PROTOCOL)]);
    accepted(0xF0, b"", V5, Server);
    accepted(0xF0, b"\x19\x04\x15\x00\x01m", V5, Client);
}
