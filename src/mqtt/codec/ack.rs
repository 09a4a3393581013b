//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0 sections 3.4 to 3.7), which share one form.

use super::{
    DecodeError, PacketType, ProtocolVersion, ReasonCode, Sender,
    frame::write_packet,
    property::{Properties, Property, UserProperties, write_list},
};
use crate::types::{PublishProperty, wire::Reader};

/// The packet identifier that is acknowledged, and how it went. In 3.1.1 it always went well.
///
/// A received reason string and user properties are checked and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The identifier of the PUBLISH.
    pub packet_id: u16,
    /// How it went.
    pub reason: ReasonCode,
}

impl Ack {
    /// Acknowledges `packet_id` with success.
    #[must_use]
    pub const fn success(packet_id: u16) -> Self {
        Self { packet_id, reason: ReasonCode::Success }
    }

    pub(super) fn decode(
        packet: PacketType,
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let packet_id = packet_id(reader, packet)?;
        if version == ProtocolVersion::V311 || reader.is_empty() {
            return Ok(Self::success(packet_id));
        }
        let reason = ReasonCode::decode(reader.byte()?, packet, sender)?;
        if !reader.is_empty() {
            for entry in Properties::read(reader, packet)? {
                let entry = entry?;
                match entry.property {
                    Property::ReasonString(_) | Property::Message(PublishProperty::UserProperty(..)) => {}
                    _ => return Err(entry.not_allowed()),
                }
            }
        }
        Ok(Self { packet_id, reason })
    }

    /// Appends the acknowledgement as a packet of this type, a failure with what a human should know of
    /// it. 3.1.1 has no way to say a failure: there the connection is closed instead, and `reason` is
    /// not sent.
    pub fn encode(self, packet: PacketType, version: ProtocolVersion, why: Option<&str>, out: &mut Vec<u8>) {
        debug_assert!(
            matches!(packet, PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp),
            "{packet} is no acknowledgement of this form"
        );
        let [high, low] = self.packet_id.to_be_bytes();
        match why {
            _ if version == ProtocolVersion::V311 || self.reason == ReasonCode::Success => {
                out.extend_from_slice(&[packet.header(), 2, high, low]);
            }
            None => out.extend_from_slice(&[packet.header(), 3, high, low, self.reason as u8]),
            Some(why) => write_packet(out, packet, |out| {
                out.extend_from_slice(&[high, low, self.reason as u8]);
                write_list(out, [Some(Property::ReasonString(why))], UserProperties::default());
            }),
        }
    }
}

/// Reads a packet identifier, which is never 0 [MQTT-2.2.1-3].
pub(super) fn packet_id(reader: &mut Reader<'_>, packet: PacketType) -> Result<u16, DecodeError> {
    match reader.two_bytes()? {
        0 => Err(DecodeError::PacketIdentifier(packet)),
        packet_id => Ok(packet_id),
    }
}
