//! Of PUBLISH and its acknowledgements.

use super::*;

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
