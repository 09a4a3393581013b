//! What can be wrong with a packet, the rule it breaks, and the reason code to answer with.

use super::{PacketType, ReasonCode};
use crate::types::{QosError, TopicError, wire::WireError};

/// Why bytes are not a packet that their sender may send. The connection they came from must be
/// closed (MQTT 5.0 section 4.13, MQTT 3.1.1 section 4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value is not what belongs there.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Packet type 0.
    #[error("packet type 0 is reserved (section 2.1.2)")]
    ReservedPacketType,
    /// Flags of the fixed header, or of a CONNACK, that must be what the standard says.
    #[error("reserved flags of {0} are not as the standard says [MQTT-2.1.3-1]")]
    ReservedFlags(PacketType),
    /// A packet that only the other side may send, or that this version does not have.
    #[error("{0} may not be sent by this side in this version (section 2.1.2)")]
    UnexpectedPacket(PacketType),
    /// More bytes than the receiver takes.
    #[error("a packet of {size} bytes is larger than the maximum of {maximum} [MQTT-3.2.2-15]")]
    PacketTooLarge {
        /// Bytes of the packet, fixed header included.
        size: usize,
        /// What the receiver takes.
        maximum: u32,
    },
    /// Bytes after the end of the last field.
    #[error("{0} has bytes after its last field (section 2.1.4)")]
    TrailingBytes(PacketType),
    /// Packet identifier 0.
    #[error("the packet identifier of {0} is 0 [MQTT-2.2.1-3]")]
    PacketIdentifier(PacketType),
    /// A reason or return code that the packet cannot carry in this direction.
    #[error("0x{code:02X} is no reason code of {packet} (section 2.4)")]
    ReasonCode {
        /// The code.
        code: u8,
        /// The packet it came in.
        packet: PacketType,
    },

    /// A property that the packet cannot have, or that does not exist.
    #[error("property 0x{id:02X} does not belong in {packet} (section 2.2.2.2)")]
    PropertyNotAllowed {
        /// The property's identifier.
        id: u8,
        /// The packet it came in.
        packet: PacketType,
    },
    /// A property that may occur once only.
    #[error("property 0x{0:02X} occurs more than once (section 2.2.2.2)")]
    DuplicateProperty(u8),
    /// A property whose value is out of its range.
    #[error("property 0x{0:02X} has a value that the standard forbids (section 3)")]
    PropertyValue(u8),

    /// Not `MQTT`.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// A protocol level other than 4 and 5.
    #[error("protocol level {0} is not supported [MQTT-3.1.2-2]")]
    UnsupportedVersion(u8),
    /// Bit 0 of the connect flags.
    #[error("the reserved connect flag is set [MQTT-3.1.2-3]")]
    ConnectFlag,
    /// Will QoS or will retain without a will, or will QoS 3.
    #[error("the will flags contradict each other [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13]")]
    WillFlags,
    /// Forbidden in 3.1.1 only.
    #[error("a password without a user name (3.1.1: [MQTT-3.1.2-22])")]
    PasswordWithoutUserName,
    /// Forbidden in 3.1.1 only: a session to be kept cannot be found again without a name.
    #[error("an empty client identifier without clean session (3.1.1: [MQTT-3.1.3-8])")]
    ClientIdentifier,
    /// The will topic is no topic name.
    #[error("the will topic is invalid: {0} [MQTT-3.1.3-11]")]
    WillTopic(TopicError),
    /// Authentication data without authentication method.
    #[error("authentication data without an authentication method (section 3.1.2.11.10)")]
    AuthenticationMethod,
    /// Session present together with a refusal.
    #[error("a refused connection has no session present [MQTT-3.2.2-6]")]
    SessionPresent,

    /// QoS 3.
    #[error("{0} [MQTT-3.3.1-4]")]
    Qos(#[from] QosError),
    /// A duplicate of what is never sent again.
    #[error("DUP is set with QoS 0 [MQTT-3.3.1-2]")]
    DupAtMostOnce,
    /// The topic is no topic name.
    #[error("the topic name is invalid: {0} [MQTT-3.3.2-2]")]
    Topic(TopicError),
    /// Neither topic name nor topic alias.
    #[error("neither a topic name nor a topic alias (section 3.3.2.1)")]
    NoTopic,
    /// Topic alias 0.
    #[error("the topic alias is 0 [MQTT-3.3.2-8]")]
    TopicAlias,
    /// The response topic is no topic name.
    #[error("the response topic is invalid: {0} [MQTT-3.3.2-14]")]
    ResponseTopic(TopicError),
    /// A subscription identifier from a client.
    #[error("a client must not send a subscription identifier in a PUBLISH [MQTT-3.3.4-6]")]
    SubscriptionIdentifier,

    /// An empty payload where at least one entry must be.
    #[error("{0} has no payload [MQTT-3.8.3-2], [MQTT-3.10.3-2]")]
    NoEntries(PacketType),
    /// An invalid filter. In 3.1.1 only: in 5.0 each filter is answered on its own.
    #[error("a topic filter is invalid: {0} (section 4.7)")]
    TopicFilter(TopicError),
    /// Reserved bits of the subscription options.
    #[error("reserved bits of the subscription options are set [MQTT-3.8.3-5] (3.1.1: [MQTT-3-8.3-4])")]
    SubscriptionOptions,
    /// Maximum QoS 3.
    #[error("a subscription asks for QoS 3 (section 3.8.3.1; 3.1.1: [MQTT-3-8.3-4])")]
    SubscriptionQos,
    /// Retain handling 3.
    #[error("a subscription asks for retain handling 3 (section 3.8.3.1)")]
    RetainHandling,
    /// No Local on a shared subscription.
    #[error("No Local is set on a shared subscription [MQTT-3.8.3-4]")]
    NoLocalShared,

    /// A session expiry interval from a server.
    #[error("a server must not send a session expiry interval in a DISCONNECT [MQTT-3.14.2-2]")]
    SessionExpiryInterval,
}

impl DecodeError {
    /// What to tell a peer that speaks 5.0 in CONNACK or DISCONNECT.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Wire(_)
            | Self::ReservedPacketType
            | Self::ReservedFlags(_)
            | Self::TrailingBytes(_)
            | Self::PropertyNotAllowed { .. }
            | Self::ConnectFlag
            | Self::WillFlags
            | Self::PasswordWithoutUserName
            | Self::Qos(_)
            | Self::SubscriptionOptions => ReasonCode::MalformedPacket,
            Self::UnexpectedPacket(_)
            | Self::PacketIdentifier(_)
            | Self::ReasonCode { .. }
            | Self::DuplicateProperty(_)
            | Self::PropertyValue(_)
            | Self::AuthenticationMethod
            | Self::SessionPresent
            | Self::DupAtMostOnce
            | Self::NoTopic
            | Self::ResponseTopic(_)
            | Self::SubscriptionIdentifier
            | Self::NoEntries(_)
            | Self::SubscriptionQos
            | Self::RetainHandling
            | Self::NoLocalShared
            | Self::SessionExpiryInterval => ReasonCode::ProtocolError,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::UnsupportedVersion(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdentifier => ReasonCode::ClientIdentifierNotValid,
            Self::Topic(_) | Self::WillTopic(_) => ReasonCode::TopicNameInvalid,
            Self::TopicAlias => ReasonCode::TopicAliasInvalid,
            Self::TopicFilter(_) => ReasonCode::TopicFilterInvalid,
        }
    }
}

/// A packet that is not sent because its receiver takes no packets of this size
/// [MQTT-3.1.2-24], or because no packet can be this large (section 2.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {size} bytes is larger than the {maximum} its receiver takes [MQTT-3.1.2-24]")]
pub struct PacketTooLarge {
    /// Bytes that the packet would have.
    pub size: usize,
    /// Bytes that the receiver takes.
    pub maximum: u32,
}
