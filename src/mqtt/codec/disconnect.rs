//! DISCONNECT and AUTH (MQTT 5.0 sections 3.14 and 3.15).

use super::{
    DecodeError, PacketType, ProtocolVersion, ReasonCode, Sender,
    frame::write_packet,
    property::{Properties, Property, UserProperties, write_list},
};
use crate::types::{PublishProperty, wire::Reader};

/// The last packet of a connection. In 3.1.1 only clients send it, and it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why the connection ends.
    pub reason: ReasonCode,
    /// Seconds that replace the session expiry interval of CONNECT; from clients only.
    pub session_expiry_interval: Option<u32>,
    /// For diagnostics.
    pub reason_string: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// For diagnostics.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT that says no more than why.
    #[must_use]
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_interval: None,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::default(),
        }
    }

    pub(super) fn decode(
        reader: &mut Reader<'a>,
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        const PACKET: PacketType = PacketType::Disconnect;
        let mut disconnect = Self::new(ReasonCode::NORMAL_DISCONNECTION);
        if version == ProtocolVersion::V311 || reader.is_empty() {
            return Ok(disconnect);
        }
        disconnect.reason = ReasonCode::decode(reader.byte()?, PACKET, sender)?;
        if reader.is_empty() {
            return Ok(disconnect);
        }
        let properties = Properties::read(reader, PACKET)?;
        disconnect.user_properties = properties.user_properties();
        for entry in properties {
            let entry = entry?;
            match entry.property {
                Property::SessionExpiryInterval(_) if sender == Sender::Server => {
                    return Err(DecodeError::SessionExpiryInterval);
                }
                Property::SessionExpiryInterval(seconds) => disconnect.session_expiry_interval = Some(seconds),
                Property::ServerReference(text) => disconnect.server_reference = Some(text),
                Property::ReasonString(text) => disconnect.reason_string = Some(text),
                Property::Message(PublishProperty::UserProperty(..)) => {}
                _ => return Err(entry.not_allowed()),
            }
        }
        Ok(disconnect)
    }

    /// Appends the packet, in its shortest form where there is nothing more to say.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        write_packet(out, PacketType::Disconnect, |out| {
            if version == ProtocolVersion::V311 || *self == Self::new(ReasonCode::NORMAL_DISCONNECTION) {
                return;
            }
            out.push(self.reason as u8);
            if *self == Self::new(self.reason) {
                return;
            }
            let properties = [
                self.session_expiry_interval.map(Property::SessionExpiryInterval),
                self.reason_string.map(Property::ReasonString),
                self.server_reference.map(Property::ServerReference),
            ];
            write_list(out, properties, self.user_properties);
        });
    }
}

/// A step of enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Which step.
    pub reason: ReasonCode,
    /// The method named in CONNECT. There unless a server says success and no more.
    pub authentication_method: Option<&'a str>,
    /// What the method exchanges.
    pub authentication_data: Option<&'a [u8]>,
    /// For diagnostics.
    pub reason_string: Option<&'a str>,
    /// For diagnostics.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// A step without data.
    #[must_use]
    pub fn new(reason: ReasonCode, authentication_method: Option<&'a str>) -> Self {
        Self {
            reason,
            authentication_method,
            authentication_data: None,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, DecodeError> {
        const PACKET: PacketType = PacketType::Auth;
        let omitted = reader.is_empty();
        let code = if omitted { ReasonCode::Success as u8 } else { reader.byte()? };
        let mut auth = Self::new(ReasonCode::decode(code, PACKET, sender)?, None);
        if omitted {
            return Ok(auth);
        }
        let properties = Properties::read(reader, PACKET)?;
        auth.user_properties = properties.user_properties();
        for entry in properties {
            let entry = entry?;
            match entry.property {
                Property::AuthenticationMethod(text) => auth.authentication_method = Some(text),
                Property::AuthenticationData(data) => auth.authentication_data = Some(data),
                Property::ReasonString(text) => auth.reason_string = Some(text),
                Property::Message(PublishProperty::UserProperty(..)) => {}
                _ => return Err(entry.not_allowed()),
            }
        }
        auth.authentication_method.ok_or(DecodeError::AuthenticationMethod)?;
        Ok(auth)
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_packet(out, PacketType::Auth, |out| {
            if *self == Self::new(ReasonCode::Success, None) {
                return;
            }
            out.push(self.reason as u8);
            let properties = [
                self.authentication_method.map(Property::AuthenticationMethod),
                self.authentication_data.map(Property::AuthenticationData),
                self.reason_string.map(Property::ReasonString),
            ];
            write_list(out, properties, self.user_properties);
        });
    }
}
