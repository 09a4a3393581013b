//! CONNACK (MQTT 5.0 section 3.2): what a server grants or why it refuses.

use super::{
    DecodeError, PacketType, ProtocolVersion, ReasonCode, Sender,
    frame::write_packet,
    property::{Properties, Property, UserProperties, write_list},
};
use crate::types::{PublishProperty, Qos, wire::Reader};

const PACKET: PacketType = PacketType::Connack;
const SESSION_PRESENT: u8 = 1;

/// The answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Whether the server has a session for the client; never with a refusal.
    pub session_present: bool,
    /// Success, or why not; 3.1.1 gets the nearest of its return codes.
    pub reason: ReasonCode,
    /// What 3.1.1 does not have.
    pub properties: ConnackProperties<'a>,
}

/// The properties of a CONNACK; by default as if none were sent (section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnackProperties<'a> {
    /// Seconds, where the server grants others than asked for.
    pub session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages that the server takes at once; never 0.
    pub receive_maximum: u16,
    /// The highest QoS that the server takes.
    pub maximum_qos: Qos,
    /// Whether messages can be retained.
    pub retain_available: bool,
    /// Bytes of the largest packet that the server takes; never 0.
    pub maximum_packet_size: Option<u32>,
    /// The name chosen for a client that sent none.
    pub assigned_client_identifier: Option<&'a str>,
    /// The highest topic alias that the server takes.
    pub topic_alias_maximum: u16,
    /// For diagnostics.
    pub reason_string: Option<&'a str>,
    /// Whether filters may hold wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have an identifier.
    pub subscription_identifiers_available: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscription_available: bool,
    /// Seconds that replace the client's keep alive.
    pub server_keep_alive: Option<u16>,
    /// From which the client makes response topics.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// The method named in CONNECT.
    pub authentication_method: Option<&'a str>,
    /// What the method exchanges.
    pub authentication_data: Option<&'a [u8]>,
    /// For diagnostics.
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnackProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_interval: None,
            receive_maximum: u16::MAX,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_maximum: 0,
            reason_string: None,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl<'a> Connack<'a> {
    /// A CONNACK that refuses the connection and says why.
    #[must_use]
    pub fn refusal(reason: ReasonCode, why: Option<&'a str>) -> Self {
        let properties = ConnackProperties { reason_string: why, ..ConnackProperties::default() };
        Self { session_present: false, reason, properties }
    }

    pub(super) fn decode(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let session_present = match reader.byte()? {
            0 => false,
            SESSION_PRESENT => true,
            _ => return Err(DecodeError::ReservedFlags(PACKET)),
        };
        let code = reader.byte()?;
        let (reason, properties) = match version {
            ProtocolVersion::V311 => (
                ReasonCode::from_connect_return_code(code).ok_or(DecodeError::ReasonCode { code, packet: PACKET })?,
                ConnackProperties::default(),
            ),
            ProtocolVersion::V5 => {
                (ReasonCode::decode(code, PACKET, Sender::Server)?, ConnackProperties::decode(reader)?)
            }
        };
        if session_present && reason.is_error() {
            return Err(DecodeError::SessionPresent);
        }
        Ok(Self { session_present, reason, properties })
    }

    /// Appends the packet. In 3.1.1 a reason without a return code is said as "server unavailable": ask
    /// [`ReasonCode::connect_return_code`] before.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        debug_assert!(!(self.session_present && self.reason.is_error()), "[MQTT-3.2.2-6]");
        write_packet(out, PACKET, |out| {
            out.push(self.session_present.into());
            match version {
                ProtocolVersion::V311 => out.push(self.reason.connect_return_code().unwrap_or(3)),
                ProtocolVersion::V5 => {
                    out.push(self.reason as u8);
                    self.properties.encode(out);
                }
            }
        });
    }
}

impl<'a> ConnackProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let properties = Properties::read(reader, PACKET)?;
        let mut connack = Self { user_properties: properties.user_properties(), ..Self::default() };
        for entry in properties {
            let entry = entry?;
            match entry.property {
                Property::SessionExpiryInterval(seconds) => connack.session_expiry_interval = Some(seconds),
                Property::ReceiveMaximum(maximum) => connack.receive_maximum = maximum,
                Property::MaximumQos(qos) => connack.maximum_qos = qos,
                Property::RetainAvailable(available) => connack.retain_available = available,
                Property::MaximumPacketSize(maximum) => connack.maximum_packet_size = Some(maximum),
                Property::AssignedClientIdentifier(client_id) => connack.assigned_client_identifier = Some(client_id),
                Property::TopicAliasMaximum(maximum) => connack.topic_alias_maximum = maximum,
                Property::ReasonString(text) => connack.reason_string = Some(text),
                Property::WildcardSubscriptionAvailable(available) => {
                    connack.wildcard_subscription_available = available;
                }
                Property::SubscriptionIdentifiersAvailable(available) => {
                    connack.subscription_identifiers_available = available;
                }
                Property::SharedSubscriptionAvailable(available) => connack.shared_subscription_available = available,
                Property::ServerKeepAlive(seconds) => connack.server_keep_alive = Some(seconds),
                Property::ResponseInformation(text) => connack.response_information = Some(text),
                Property::ServerReference(text) => connack.server_reference = Some(text),
                Property::AuthenticationMethod(method) => connack.authentication_method = Some(method),
                Property::AuthenticationData(data) => connack.authentication_data = Some(data),
                Property::Message(PublishProperty::UserProperty(..)) => {}
                _ => return Err(entry.not_allowed()),
            }
        }
        Ok(connack)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let default = Self::default();
        let properties = [
            self.session_expiry_interval.map(Property::SessionExpiryInterval),
            (self.receive_maximum != default.receive_maximum).then_some(Property::ReceiveMaximum(self.receive_maximum)),
            (self.maximum_qos != default.maximum_qos).then_some(Property::MaximumQos(self.maximum_qos)),
            (!self.retain_available).then_some(Property::RetainAvailable(false)),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            self.assigned_client_identifier.map(Property::AssignedClientIdentifier),
            (self.topic_alias_maximum != default.topic_alias_maximum)
                .then_some(Property::TopicAliasMaximum(self.topic_alias_maximum)),
            self.reason_string.map(Property::ReasonString),
            (!self.wildcard_subscription_available).then_some(Property::WildcardSubscriptionAvailable(false)),
            (!self.subscription_identifiers_available).then_some(Property::SubscriptionIdentifiersAvailable(false)),
            (!self.shared_subscription_available).then_some(Property::SharedSubscriptionAvailable(false)),
            self.server_keep_alive.map(Property::ServerKeepAlive),
            self.response_information.map(Property::ResponseInformation),
            self.server_reference.map(Property::ServerReference),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        write_list(out, properties, self.user_properties);
    }
}
