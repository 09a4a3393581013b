//! Reason codes (MQTT 5.0 section 2.4) and their counterparts in 3.1.1.

use super::{DecodeError, PacketType, Sender};
use crate::types::Qos;

macro_rules! reason_codes {
    ($($name:ident = $code:literal $text:literal $($packet:ident)*;)*) => {
        /// What a packet says about the outcome of another, or about the end of a connection.
        /// Code 0 has three names: see [`ReasonCode::NORMAL_DISCONNECTION`] and [`ReasonCode::GRANTED_QOS_0`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = $text] $name = $code,)*
        }

        impl ReasonCode {
            /// The standard's own name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The packets that may carry it, as bits counted by packet type (table 2-6).
            const fn packets(self) -> u16 {
                match self { $(Self::$name => 0 $(| 1 << PacketType::$packet as u8)*,)* }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = u8;

            fn try_from(code: u8) -> Result<Self, u8> {
                match code { $($code => Ok(Self::$name),)* other => Err(other) }
            }
        }
    };
}

reason_codes! {
    Success = 0x00 "Success" Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth;
    GrantedQos1 = 0x01 "Granted QoS 1" Suback;
    GrantedQos2 = 0x02 "Granted QoS 2" Suback;
    DisconnectWithWillMessage = 0x04 "Disconnect with Will Message" Disconnect;
    NoMatchingSubscribers = 0x10 "No matching subscribers" Puback Pubrec;
    NoSubscriptionExisted = 0x11 "No subscription existed" Unsuback;
    ContinueAuthentication = 0x18 "Continue authentication" Auth;
    ReAuthenticate = 0x19 "Re-authenticate" Auth;
    UnspecifiedError = 0x80 "Unspecified error" Connack Puback Pubrec Suback Unsuback Disconnect;
    MalformedPacket = 0x81 "Malformed Packet" Connack Disconnect;
    ProtocolError = 0x82 "Protocol Error" Connack Disconnect;
    ImplementationSpecificError = 0x83 "Implementation specific error" Connack Puback Pubrec Suback Unsuback Disconnect;
    UnsupportedProtocolVersion = 0x84 "Unsupported Protocol Version" Connack;
    ClientIdentifierNotValid = 0x85 "Client Identifier not valid" Connack;
    BadUserNameOrPassword = 0x86 "Bad User Name or Password" Connack;
    NotAuthorized = 0x87 "Not authorized" Connack Puback Pubrec Suback Unsuback Disconnect;
    ServerUnavailable = 0x88 "Server unavailable" Connack;
    ServerBusy = 0x89 "Server busy" Connack Disconnect;
    Banned = 0x8A "Banned" Connack;
    ServerShuttingDown = 0x8B "Server shutting down" Disconnect;
    BadAuthenticationMethod = 0x8C "Bad authentication method" Connack Disconnect;
    KeepAliveTimeout = 0x8D "Keep Alive timeout" Disconnect;
    SessionTakenOver = 0x8E "Session taken over" Disconnect;
    TopicFilterInvalid = 0x8F "Topic Filter invalid" Suback Unsuback Disconnect;
    TopicNameInvalid = 0x90 "Topic Name invalid" Connack Puback Pubrec Disconnect;
    PacketIdentifierInUse = 0x91 "Packet Identifier in use" Puback Pubrec Suback Unsuback;
    PacketIdentifierNotFound = 0x92 "Packet Identifier not found" Pubrel Pubcomp;
    ReceiveMaximumExceeded = 0x93 "Receive Maximum exceeded" Disconnect;
    TopicAliasInvalid = 0x94 "Topic Alias invalid" Disconnect;
    PacketTooLarge = 0x95 "Packet too large" Connack Disconnect;
    MessageRateTooHigh = 0x96 "Message rate too high" Disconnect;
    QuotaExceeded = 0x97 "Quota exceeded" Connack Puback Pubrec Suback Disconnect;
    AdministrativeAction = 0x98 "Administrative action" Disconnect;
    PayloadFormatInvalid = 0x99 "Payload format invalid" Connack Puback Pubrec Disconnect;
    RetainNotSupported = 0x9A "Retain not supported" Connack Disconnect;
    QosNotSupported = 0x9B "QoS not supported" Connack Disconnect;
    UseAnotherServer = 0x9C "Use another server" Connack Disconnect;
    ServerMoved = 0x9D "Server moved" Connack Disconnect;
    SharedSubscriptionsNotSupported = 0x9E "Shared Subscriptions not supported" Suback Disconnect;
    ConnectionRateExceeded = 0x9F "Connection rate exceeded" Connack Disconnect;
    MaximumConnectTime = 0xA0 "Maximum connect time" Disconnect;
    SubscriptionIdentifiersNotSupported = 0xA1 "Subscription Identifiers not supported" Suback Disconnect;
    WildcardSubscriptionsNotSupported = 0xA2 "Wildcard Subscriptions not supported" Suback Disconnect;
}

impl ReasonCode {
    /// Code 0 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// Code 0 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Whether it tells of a failure (0x80 and above).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The SUBACK code that grants `qos`.
    #[must_use]
    pub const fn granted(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::GRANTED_QOS_0,
            Qos::AtLeastOnce => Self::GrantedQos1,
            Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// The return code of a 3.1.1 CONNACK that says the same; none where no code does, and the
    /// connection is closed without an answer [MQTT-3.2.2-6 in 3.1.1].
    #[must_use]
    pub const fn connect_return_code(self) -> Option<u8> {
        Some(match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => 4,
            Self::NotAuthorized | Self::Banned => 5,
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::ServerMoved
            | Self::UseAnotherServer
            | Self::ConnectionRateExceeded => 3,
            _ => return None,
        })
    }

    /// The reason code of a 3.1.1 CONNACK's return code; nothing for the reserved ones.
    #[must_use]
    pub const fn from_connect_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The reason code `code` in a packet of this type from this side.
    pub(super) fn decode(code: u8, packet: PacketType, sender: Sender) -> Result<Self, DecodeError> {
        let error = DecodeError::ReasonCode { code, packet };
        let reason = Self::try_from(code).map_err(|_| error)?;
        if reason.packets() & 1 << packet as u8 == 0 || !reason.may_come_from(sender, packet) {
            return Err(error);
        }
        Ok(reason)
    }

    /// Of the packets that both sides send, DISCONNECT and AUTH have codes of one side only
    /// (tables 3-10 and 3-11).
    const fn may_come_from(self, sender: Sender, packet: PacketType) -> bool {
        match (packet, sender) {
            (PacketType::Disconnect, Sender::Server) => !matches!(self, Self::DisconnectWithWillMessage),
            (PacketType::Disconnect, Sender::Client) => matches!(
                self,
                Self::Success
                    | Self::DisconnectWithWillMessage
                    | Self::UnspecifiedError
                    | Self::MalformedPacket
                    | Self::ProtocolError
                    | Self::ImplementationSpecificError
                    | Self::TopicNameInvalid
                    | Self::ReceiveMaximumExceeded
                    | Self::TopicAliasInvalid
                    | Self::PacketTooLarge
                    | Self::MessageRateTooHigh
                    | Self::QuotaExceeded
                    | Self::AdministrativeAction
                    | Self::PayloadFormatInvalid
            ),
            (PacketType::Auth, Sender::Client) => !matches!(self, Self::Success),
            (PacketType::Auth, Sender::Server) => !matches!(self, Self::ReAuthenticate),
            _ => true,
        }
    }
}

impl std::fmt::Display for ReasonCode {
    /// As the standard writes it: `0x97 Quota exceeded`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:02X} {}", *self as u8, self.as_str())
    }
}
