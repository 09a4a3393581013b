//! Of SUBSCRIBE, UNSUBSCRIBE and their answers.

use super::*;

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
