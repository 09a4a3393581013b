//! The fixed header (MQTT 5.0 section 2.1): where a packet begins and ends.

use std::fmt;

use super::{DecodeError, ProtocolVersion};
use crate::types::wire::{
    MAXIMUM_VARIABLE_BYTE_INTEGER, Reader, WireError, variable_byte_integer_size, write_variable_byte_integer,
};

/// The largest packet that the protocol can carry, fixed header included (section 2.1.4): what a
/// peer takes that names no Maximum Packet Size.
pub const MAXIMUM_PACKET_SIZE: u32 = 1 + 4 + MAXIMUM_VARIABLE_BYTE_INTEGER;

/// The type of a packet (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Connection request, from a client.
    Connect = 1,
    /// Answer to CONNECT, from a server.
    Connack = 2,
    /// Application message.
    Publish = 3,
    /// Answer to a QoS 1 PUBLISH.
    Puback = 4,
    /// First answer to a QoS 2 PUBLISH.
    Pubrec = 5,
    /// Answer to PUBREC.
    Pubrel = 6,
    /// Answer to PUBREL.
    Pubcomp = 7,
    /// Subscribe request, from a client.
    Subscribe = 8,
    /// Answer to SUBSCRIBE, from a server.
    Suback = 9,
    /// Unsubscribe request, from a client.
    Unsubscribe = 10,
    /// Answer to UNSUBSCRIBE, from a server.
    Unsuback = 11,
    /// Ping request, from a client.
    Pingreq = 12,
    /// Answer to PINGREQ, from a server.
    Pingresp = 13,
    /// Last packet of a connection.
    Disconnect = 14,
    /// A step of enhanced authentication; not in 3.1.1.
    Auth = 15,
}

impl PacketType {
    /// The type and the flags in the first byte of a packet.
    fn of_header(header: u8) -> Result<(Self, u8), DecodeError> {
        let packet_type = match header >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return Err(DecodeError::ReservedPacketType),
        };
        let flags = header & 0x0F;
        if packet_type != Self::Publish && header != packet_type.header() {
            return Err(DecodeError::ReservedFlags(packet_type));
        }
        Ok((packet_type, flags))
    }

    /// The first byte of a packet of this type; for PUBLISH with all flags clear (table 2-2).
    pub(super) const fn header(self) -> u8 {
        let flags = match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// The standard's own name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One whole packet, its fixed header checked and its body not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub(super) packet_type: PacketType,
    pub(super) flags: u8,
    pub(super) body: &'a [u8],
    length: usize,
}

impl Frame<'_> {
    /// What kind of packet it is.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// Bytes of the packet, fixed header included: where the next one starts.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Checks that the remaining length is in its shortest form, as only 5.0 demands.
    pub(super) const fn check_length(&self, version: ProtocolVersion) -> Result<(), DecodeError> {
        let minimal = self.length == 1 + variable_byte_integer_size(self.body.len()) + self.body.len();
        if minimal || matches!(version, ProtocolVersion::V311) {
            Ok(())
        } else {
            Err(DecodeError::Wire(WireError::VariableByteInteger))
        }
    }
}

/// The first packet in `bytes`; nothing while it is not there in full. Its first bytes are
/// enough to find it malformed or too large.
///
/// # Errors
/// On a packet type or flags that do not exist, a malformed remaining length, or a packet of more
/// than `maximum_packet_size` bytes, fixed header included.
pub fn split(bytes: &[u8], maximum_packet_size: u32) -> Result<Option<Frame<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let Ok(header) = reader.byte() else { return Ok(None) };
    let (packet_type, flags) = PacketType::of_header(header)?;
    let remaining = match reader.padded_variable_byte_integer() {
        Ok(remaining) => remaining as usize,
        Err(WireError::Truncated) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = bytes.len() - reader.rest().len() + remaining;
    if length > maximum_packet_size as usize {
        return Err(DecodeError::PacketTooLarge { size: length, maximum: maximum_packet_size });
    }
    Ok(reader.take(remaining).ok().map(|body| Frame { packet_type, flags, body, length }))
}

/// Appends a packet of this type with what `body` appends. For small packets: their bytes are
/// moved once, to make room for the length.
pub(super) fn write_packet(out: &mut Vec<u8>, packet_type: PacketType, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(packet_type.header());
    write_with_length(out, body);
}

/// Appends what `body` appends, with its length in front as a variable byte integer.
pub(super) fn write_with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    body(out);
    let end = out.len();
    write_variable_byte_integer(out, end - start);
    let added = out.len() - end;
    if let Some(written) = out.get_mut(start..) {
        written.rotate_right(added);
    }
}
