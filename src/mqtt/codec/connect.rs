//! CONNECT (MQTT 5.0 section 3.1): the packet that says which version its connection speaks.

use std::borrow::Cow;

use super::{
    DecodeError, Frame, PacketType, ProtocolVersion, ReasonCode,
    frame::{write_packet, write_with_length},
    property::{Properties, Property, UserProperties, write_list},
};
use crate::types::{
    PublishProperties, PublishProperty, Qos, TopicName,
    wire::{Reader, write_binary, write_text},
};

const PACKET: PacketType = PacketType::Connect;
const PROTOCOL_NAME: &[u8] = b"MQTT";

const USER_NAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS_SHIFT: u8 = 3;
const WILL: u8 = 0b0000_0100;
const CLEAN_START: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;

/// A request for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that every packet of the connection is in.
    pub version: ProtocolVersion,
    /// Whether a session that exists is to be discarded; called clean session in 3.1.1, where it
    /// also says that the session ends with its connection.
    pub clean_start: bool,
    /// The longest time in seconds that the client is silent; 0 for no limit.
    pub keep_alive: u16,
    /// Properties that 3.1.1 does not have and that are at their defaults there.
    pub properties: ConnectProperties<'a>,
    /// May be empty: then the server chooses one.
    pub client_id: &'a str,
    /// What to publish when the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// Who the client says it is.
    pub user_name: Option<&'a str>,
    /// Any credential.
    pub password: Option<&'a [u8]>,
}

/// The properties of a CONNECT; by default as if none were sent (section 3.1.2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds that the session outlives its connection; 0xFFFF_FFFF for ever.
    pub session_expiry_interval: u32,
    /// QoS 1 and 2 messages that the client takes at once; never 0.
    pub receive_maximum: u16,
    /// Bytes of the largest packet that the client takes; never 0.
    pub maximum_packet_size: Option<u32>,
    /// The highest topic alias that the client takes.
    pub topic_alias_maximum: u16,
    /// Whether the client wants response information in CONNACK.
    pub request_response_information: bool,
    /// Whether reason strings and user properties may be sent in packets other than PUBLISH,
    /// CONNACK and DISCONNECT [MQTT-3.1.2-29].
    pub request_problem_information: bool,
    /// The method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// What the method exchanges; only with a method.
    pub authentication_data: Option<&'a [u8]>,
    /// What the client adds for the server's own use.
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_interval: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

/// A will (section 3.1.2.5): the PUBLISH that the server makes when the client is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The level it is published with.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds between the end of the connection and the will; always 0 in 3.1.1.
    pub delay_interval: u32,
    /// Its other properties in wire form, in order, checked; see [`Will::properties`].
    pub properties: Cow<'a, [u8]>,
    /// A valid topic name.
    pub topic: &'a str,
    /// The application message.
    pub payload: &'a [u8],
}

impl<'a> Connect<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let version = read_version(reader)?;
        let flags = reader.byte()?;
        check_flags(flags, version)?;
        let clean_start = flags & CLEAN_START != 0;
        let keep_alive = reader.two_bytes()?;
        let properties = match version {
            ProtocolVersion::V311 => ConnectProperties::default(),
            ProtocolVersion::V5 => ConnectProperties::decode(reader)?,
        };
        let client_id = reader.text()?;
        if version == ProtocolVersion::V311 && client_id.is_empty() && !clean_start {
            return Err(DecodeError::ClientIdentifier);
        }
        let will = if flags & WILL == 0 { None } else { Some(Will::decode(reader, flags, version)?) };
        let user_name = if flags & USER_NAME == 0 { None } else { Some(reader.text()?) };
        let password = if flags & PASSWORD == 0 { None } else { Some(reader.binary()?) };
        Ok(Self { version, clean_start, keep_alive, properties, client_id, will, user_name, password })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_packet(out, PACKET, |out| {
            write_binary(out, PROTOCOL_NAME);
            out.extend_from_slice(&[self.version as u8, self.flags()]);
            out.extend_from_slice(&self.keep_alive.to_be_bytes());
            if self.version == ProtocolVersion::V5 {
                self.properties.encode(out);
            }
            write_text(out, self.client_id);
            if let Some(will) = &self.will {
                will.encode(self.version, out);
            }
            if let Some(user_name) = self.user_name {
                write_text(out, user_name);
            }
            if let Some(password) = self.password {
                write_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            flags |= WILL | u8::from(will.qos) << WILL_QOS_SHIFT | if will.retain { WILL_RETAIN } else { 0 };
        }
        flags |= if self.user_name.is_some() { USER_NAME } else { 0 };
        flags | if self.password.is_some() { PASSWORD } else { 0 }
    }
}

/// How to answer a CONNECT that could not be decoded, before the connection is closed; nothing
/// where the standard of its version wants no answer.
///
/// A level above 5 is refused in the form of 5.0, one below 4 in that of 3.1.1, which clients of
/// 3.1 understand.
#[must_use]
pub fn refusal(connect: &Frame<'_>, error: DecodeError) -> Option<(ProtocolVersion, ReasonCode)> {
    let version = match read_version(&mut Reader::new(connect.body)) {
        Ok(version) => version,
        Err(DecodeError::UnsupportedVersion(0..=3)) => ProtocolVersion::V311,
        Err(DecodeError::UnsupportedVersion(_)) => ProtocolVersion::V5,
        Err(_) => return None,
    };
    match (version, error) {
        (ProtocolVersion::V311, DecodeError::UnsupportedVersion(_) | DecodeError::ClientIdentifier)
        | (ProtocolVersion::V5, _) => Some((version, error.reason())),
        (ProtocolVersion::V311, _) => None,
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, DecodeError> {
    let name = reader.binary()?;
    let level = reader.byte();
    match (name, level?) {
        (PROTOCOL_NAME, 4) => Ok(ProtocolVersion::V311),
        (PROTOCOL_NAME, 5) => Ok(ProtocolVersion::V5),
        (PROTOCOL_NAME, level) | (b"MQIsdp", level @ 3) => Err(DecodeError::UnsupportedVersion(level)),
        _ => Err(DecodeError::ProtocolName),
    }
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    if flags & RESERVED != 0 {
        return Err(DecodeError::ConnectFlag);
    }
    let will_qos = flags >> WILL_QOS_SHIFT & 0b11;
    if will_qos == 3 || flags & WILL == 0 && (will_qos != 0 || flags & WILL_RETAIN != 0) {
        return Err(DecodeError::WillFlags);
    }
    if version == ProtocolVersion::V311 && flags & (USER_NAME | PASSWORD) == PASSWORD {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

impl<'a> ConnectProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let properties = Properties::read(reader, PACKET)?;
        let mut connect = Self { user_properties: properties.user_properties(), ..Self::default() };
        for entry in properties {
            let entry = entry?;
            match entry.property {
                Property::SessionExpiryInterval(seconds) => connect.session_expiry_interval = seconds,
                Property::ReceiveMaximum(maximum) => connect.receive_maximum = maximum,
                Property::MaximumPacketSize(maximum) => connect.maximum_packet_size = Some(maximum),
                Property::TopicAliasMaximum(maximum) => connect.topic_alias_maximum = maximum,
                Property::RequestResponseInformation(wanted) => connect.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => connect.request_problem_information = wanted,
                Property::AuthenticationMethod(method) => connect.authentication_method = Some(method),
                Property::AuthenticationData(data) => connect.authentication_data = Some(data),
                Property::Message(PublishProperty::UserProperty(..)) => {}
                _ => return Err(entry.not_allowed()),
            }
        }
        if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationMethod);
        }
        Ok(connect)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let default = Self::default();
        let properties = [
            (self.session_expiry_interval != default.session_expiry_interval)
                .then_some(Property::SessionExpiryInterval(self.session_expiry_interval)),
            (self.receive_maximum != default.receive_maximum).then_some(Property::ReceiveMaximum(self.receive_maximum)),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            (self.topic_alias_maximum != default.topic_alias_maximum)
                .then_some(Property::TopicAliasMaximum(self.topic_alias_maximum)),
            self.request_response_information.then_some(Property::RequestResponseInformation(true)),
            (!self.request_problem_information).then_some(Property::RequestProblemInformation(false)),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        write_list(out, properties, self.user_properties);
    }
}

impl<'a> Will<'a> {
    /// Its properties less the delay: those of the PUBLISH that it becomes.
    #[must_use]
    pub fn properties(&self) -> PublishProperties<'_> {
        PublishProperties::new(&self.properties)
    }

    fn decode(reader: &mut Reader<'a>, flags: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let (delay_interval, properties) = match version {
            ProtocolVersion::V311 => (0, Vec::new()),
            ProtocolVersion::V5 => split_delay(Properties::read(reader, PACKET)?)?,
        };
        let topic = reader.text()?;
        TopicName::check(topic).map_err(DecodeError::WillTopic)?;
        Ok(Self {
            qos: Qos::try_from(flags >> WILL_QOS_SHIFT & 0b11)?,
            retain: flags & WILL_RETAIN != 0,
            delay_interval,
            properties: Cow::Owned(properties),
            topic,
            payload: reader.binary()?,
        })
    }

    fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version == ProtocolVersion::V5 {
            write_with_length(out, |out| {
                if self.delay_interval != 0 {
                    Property::WillDelayInterval(self.delay_interval).write(out);
                }
                out.extend_from_slice(&self.properties);
            });
        }
        write_text(out, self.topic);
        write_binary(out, self.payload);
    }
}

/// Checks the properties of a will and takes the delay out of them (section 3.1.3.2).
fn split_delay(properties: Properties<'_>) -> Result<(u32, Vec<u8>), DecodeError> {
    let mut delay_interval = 0;
    let mut others = Vec::new();
    for entry in properties {
        let entry = entry?;
        match entry.property {
            Property::WillDelayInterval(seconds) => delay_interval = seconds,
            Property::Message(PublishProperty::TopicAlias(_) | PublishProperty::SubscriptionIdentifier(_)) => {
                return Err(entry.not_allowed());
            }
            Property::Message(_) => others.extend_from_slice(entry.wire),
            _ => return Err(entry.not_allowed()),
        }
    }
    Ok((delay_interval, others))
}
