//! One case for each rule that a packet can break, and for the edges that are allowed.

use super::{
    Client, DecodeError, MAXIMUM_PACKET_SIZE, Packet, ProtocolVersion, Sender, Server, V5, V311, decode, whole,
};
use crate::{
    mqtt::codec::{PacketType, ReasonCode, refusal, split},
    types::{
        QosError, TopicError,
        wire::{WireError, write_variable_byte_integer},
    },
};

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;
const TRUNCATED: DecodeError = DecodeError::Wire(WireError::Truncated);

fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut wire = vec![header];
    write_variable_byte_integer(&mut wire, body.len());
    wire.extend(body);
    wire
}

/// Joins parts, each with a one byte length before it where marked so.
fn with_length(list: &[u8]) -> Vec<u8> {
    [&[list.len() as u8], list].concat()
}

type Case<'a> = (&'a [u8], DecodeError, ReasonCode);

/// Checks that each body after `before` is refused for the reason given.
fn refused(header: u8, before: &[u8], version: ProtocolVersion, sender: Sender, cases: &[Case<'_>]) {
    for (body, error, reason) in cases {
        let wire = packet(header, &[before, body].concat());
        assert_eq!(decode(&wire, version, sender), Err(*error), "{version:?} {body:02X?}");
        assert_eq!(error.reason(), *reason, "{error}");
    }
}

fn accepted(header: u8, body: &[u8], version: ProtocolVersion, sender: Sender) {
    let wire = packet(header, body);
    decode(&wire, version, sender).unwrap_or_else(|error| panic!("{version:?} {body:02X?}: {error}"));
}

const fn not_allowed(id: u8, packet: PacketType) -> DecodeError {
    DecodeError::PropertyNotAllowed { id, packet }
}

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
    assert_eq!(ReasonCode::UnsupportedProtocolVersion.connect_return_code(), 1);
    assert_eq!(ReasonCode::ClientIdentifierNotValid.connect_return_code(), 2);
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
fn publish() {
    for version in [V311, V5] {
        let topic = |error| DecodeError::Topic(error);
        refused(0x36, b"", version, Client, &[(b"\x00\x01t\x00\x01\x00", QosError(3).into(), MALFORMED)]);
        refused(0x38, b"", version, Client, &[(b"\x00\x01t\x00", DecodeError::DupAtMostOnce, PROTOCOL)]);
        refused(
            0x32,
            b"",
            version,
            Client,
            &[
                (b"\x00\x01t\x00\x00\x00", DecodeError::PacketIdentifier(PacketType::Publish), PROTOCOL),
                (b"\x00\x01t\x00", TRUNCATED, MALFORMED),
            ],
        );
        refused(
            0x30,
            b"",
            version,
            Client,
            &[
                (b"\x00\x03a/+\x00", topic(TopicError::Wildcard), ReasonCode::TopicNameInvalid),
                (b"\x00\x01#\x00", topic(TopicError::Wildcard), ReasonCode::TopicNameInvalid),
                (b"\x00\x01\x00\x00", WireError::NulInText.into(), MALFORMED),
                (b"\x00\x03\xED\xA0\x80\x00", WireError::IllFormedText.into(), MALFORMED),
                (b"\x00\x05t", TRUNCATED, MALFORMED),
                (b"", TRUNCATED, MALFORMED),
            ],
        );
        accepted(0x30, b"\x00\x03\xEF\xBB\xBF\x00", version, Client);
        accepted(0x3B, b"\x00\x01t\x00\x01\x00", version, Client);
    }
    refused(
        0x30,
        b"",
        V311,
        Client,
        &[(b"\x00\x00", DecodeError::Topic(TopicError::Empty), ReasonCode::TopicNameInvalid)],
    );
    refused(
        0x30,
        b"",
        V5,
        Client,
        &[
            (b"\x00\x00\x00", DecodeError::NoTopic, PROTOCOL),
            (b"\x00\x01t", TRUNCATED, MALFORMED),
            (b"\x00\x01t\x02\x01", TRUNCATED, MALFORMED),
        ],
    );
    accepted(0x30, b"\x00\x00\x03\x23\x00\x01", V5, Client);
}

#[test]
fn publish_properties() {
    let foreign = |id| not_allowed(id, PacketType::Publish);
    let cases: &[Case<'_>] = &[
        (b"\x23\x00\x00", DecodeError::TopicAlias, ReasonCode::TopicAliasInvalid),
        (b"\x01\x02", DecodeError::PropertyValue(0x01), PROTOCOL),
        (b"\x08\x00\x03a/#", DecodeError::ResponseTopic(TopicError::Wildcard), PROTOCOL),
        (b"\x08\x00\x00", DecodeError::ResponseTopic(TopicError::Empty), PROTOCOL),
        (b"\x0B\x00", DecodeError::PropertyValue(0x0B), PROTOCOL),
        (b"\x0B\x80\x00", WireError::VariableByteInteger.into(), MALFORMED),
        (b"\x01\x00\x01\x00", DecodeError::DuplicateProperty(0x01), PROTOCOL),
        (b"\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01", DecodeError::DuplicateProperty(0x02), PROTOCOL),
        (b"\x03\x00\x00\x03\x00\x00", DecodeError::DuplicateProperty(0x03), PROTOCOL),
        (b"\x08\x00\x01t\x08\x00\x01t", DecodeError::DuplicateProperty(0x08), PROTOCOL),
        (b"\x09\x00\x00\x09\x00\x00", DecodeError::DuplicateProperty(0x09), PROTOCOL),
        (b"\x23\x00\x01\x23\x00\x01", DecodeError::DuplicateProperty(0x23), PROTOCOL),
        (b"\x11\x00\x00\x00\x00", foreign(0x11), MALFORMED),
        (b"\x1F\x00\x00", foreign(0x1F), MALFORMED),
        (b"\xA6\x01", foreign(0xA6), MALFORMED),
        (b"\x03\x00\x01\xFF", WireError::IllFormedText.into(), MALFORMED),
        (b"\x26\x00\x00\x00\x01\x00", WireError::NulInText.into(), MALFORMED),
        (b"\x09\x00\x05x", TRUNCATED, MALFORMED),
    ];
    for (properties, error, reason) in cases {
        refused(0x30, b"\x00\x01t", V5, Server, &[(&with_length(properties), *error, *reason)]);
    }
    let identifiers = with_length(b"\x0B\x01\x0B\x01");
    refused(0x30, b"\x00\x01t", V5, Client, &[(&identifiers, DecodeError::SubscriptionIdentifier, PROTOCOL)]);
    accepted(0x30, &[b"\x00\x01t", &*identifiers].concat(), V5, Server);
    // A message that expires at once is odd, and valid.
    accepted(0x30, b"\x00\x01t\x05\x02\x00\x00\x00\x00", V5, Client);
}

#[test]
fn acknowledgements() {
    for (header, packet, other) in [
        (0x40, PacketType::Puback, 0x92),
        (0x50, PacketType::Pubrec, 0x92),
        (0x62, PacketType::Pubrel, 0x10),
        (0x70, PacketType::Pubcomp, 0x87),
    ] {
        let code = DecodeError::ReasonCode { code: other, packet };
        for version in [V311, V5] {
            refused(
                header,
                b"",
                version,
                Client,
                &[(b"\x00\x00", DecodeError::PacketIdentifier(packet), PROTOCOL), (b"\x00", TRUNCATED, MALFORMED)],
            );
        }
        refused(header, b"\x00\x01", V311, Client, &[(b"\x00", DecodeError::TrailingBytes(packet), MALFORMED)]);
        refused(
            header,
            b"\x00\x01",
            V5,
            Client,
            &[
                (&[other], code, PROTOCOL),
                (b"\x00\x00\x00", DecodeError::TrailingBytes(packet), MALFORMED),
                (b"\x00\x05\x11\x00\x00\x00\x00", not_allowed(0x11, packet), MALFORMED),
                (b"\x00\x06\x1F\x00\x00\x1F\x00\x00", DecodeError::DuplicateProperty(0x1F), PROTOCOL),
                (b"\x00\x03\x1F\x00\x01", TRUNCATED, MALFORMED),
            ],
        );
        for body in [&b"\x00\x01"[..], b"\x00\x01\x00", b"\x00\x01\x00\x00", b"\x00\x01\x00\x04\x1F\x00\x01r"] {
            accepted(header, body, V5, Client);
        }
    }
}

#[test]
fn subscribe() {
    for version in [V311, V5] {
        refused(
            0x82,
            b"",
            version,
            Client,
            &[(b"\x00\x00\x00\x00\x01t\x00", DecodeError::PacketIdentifier(PacketType::Subscribe), PROTOCOL)],
        );
    }
    let filter = |error| DecodeError::TopicFilter(error);
    refused(
        0x82,
        b"\x00\x01",
        V311,
        Client,
        &[
            (b"", DecodeError::NoEntries(PacketType::Subscribe), PROTOCOL),
            (b"\x00\x01t\x03", DecodeError::SubscriptionQos, PROTOCOL),
            (b"\x00\x01t\x04", DecodeError::SubscriptionOptions, MALFORMED),
            (b"\x00\x01t", TRUNCATED, MALFORMED),
            (b"\x00\x00\x00", filter(TopicError::Empty), ReasonCode::TopicFilterInvalid),
            (b"\x00\x02a#\x00", filter(TopicError::MultiLevel), ReasonCode::TopicFilterInvalid),
        ],
    );
    let identifier = b"\x04\x0B\x01\x0B\x01\x00\x01t\x00";
    refused(
        0x82,
        b"\x00\x01",
        V5,
        Client,
        &[
            (b"\x00", DecodeError::NoEntries(PacketType::Subscribe), PROTOCOL),
            (b"\x00\x00\x01t\x03", DecodeError::SubscriptionQos, PROTOCOL),
            (b"\x00\x00\x01t\x40", DecodeError::SubscriptionOptions, MALFORMED),
            (b"\x00\x00\x01t\x80", DecodeError::SubscriptionOptions, MALFORMED),
            (b"\x00\x00\x01t\x30", DecodeError::RetainHandling, PROTOCOL),
            (b"\x00\x00\x0A$share/g/t\x04", DecodeError::NoLocalShared, PROTOCOL),
            (b"\x00\x00\x01\x00\x00", WireError::NulInText.into(), MALFORMED),
            (b"\x02\x0B\x00\x00\x01t\x00", DecodeError::PropertyValue(0x0B), PROTOCOL),
            (identifier, DecodeError::DuplicateProperty(0x0B), PROTOCOL),
            (b"\x03\x1F\x00\x00\x00\x01t\x00", not_allowed(0x1F, PacketType::Subscribe), MALFORMED),
        ],
    );
    accepted(0x82, b"\x00\x01\x00\x00\x0A$share/g/t\x28", V5, Client);
    // Answered with 0x8F in the SUBACK, each on its own.
    accepted(0x82, b"\x00\x01\x00\x00\x02a#\x00\x00\x00\x00", V5, Client);
}

#[test]
fn unsubscribe() {
    refused(
        0xA2,
        b"\x00\x01",
        V311,
        Client,
        &[
            (b"", DecodeError::NoEntries(PacketType::Unsubscribe), PROTOCOL),
            (b"\x00\x02+a", DecodeError::TopicFilter(TopicError::SingleLevel), ReasonCode::TopicFilterInvalid),
            (b"\x00\x01\xC1", WireError::IllFormedText.into(), MALFORMED),
        ],
    );
    refused(
        0xA2,
        b"\x00\x01",
        V5,
        Client,
        &[
            (b"\x00", DecodeError::NoEntries(PacketType::Unsubscribe), PROTOCOL),
            (b"\x02\x0B\x01\x00\x01t", not_allowed(0x0B, PacketType::Unsubscribe), MALFORMED),
            (b"\x00\x00\x01", TRUNCATED, MALFORMED),
        ],
    );
    refused(
        0xA2,
        b"",
        V5,
        Client,
        &[(b"\x00\x00\x00\x00\x01t", DecodeError::PacketIdentifier(PacketType::Unsubscribe), PROTOCOL)],
    );
}

#[test]
fn suback_and_unsuback() {
    let code = |code, packet| DecodeError::ReasonCode { code, packet };
    refused(
        0x90,
        b"\x00\x01",
        V311,
        Server,
        &[
            (b"\x03", code(3, PacketType::Suback), PROTOCOL),
            (b"\x87", code(0x87, PacketType::Suback), PROTOCOL),
            (b"", DecodeError::NoEntries(PacketType::Suback), PROTOCOL),
        ],
    );
    refused(0x90, b"\x00\x01", V5, Server, &[(b"\x00\x11", code(0x11, PacketType::Suback), PROTOCOL)]);
    refused(0xB0, b"\x00\x01", V311, Server, &[(b"\x00", DecodeError::TrailingBytes(PacketType::Unsuback), MALFORMED)]);
    refused(
        0xB0,
        b"\x00\x01",
        V5,
        Server,
        &[
            (b"\x00\x01", code(1, PacketType::Unsuback), PROTOCOL),
            (b"\x00", DecodeError::NoEntries(PacketType::Unsuback), PROTOCOL),
        ],
    );
}

#[test]
fn pings_are_empty() {
    for version in [V311, V5] {
        let trailing = |packet| -> [Case<'_>; 1] { [(b"\x00", DecodeError::TrailingBytes(packet), MALFORMED)] };
        refused(0xC0, b"", version, Client, &trailing(PacketType::Pingreq));
        refused(0xD0, b"", version, Server, &trailing(PacketType::Pingresp));
    }
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
