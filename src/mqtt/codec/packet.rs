//! All packets as one type: what a connection reads, and what tests and load generators send.

use super::{
    Ack, Auth, Connack, Connect, DecodeError, Disconnect, Frame, OutgoingPublish, PacketTooLarge, PacketType,
    ProtocolVersion, Publish, Sender, Suback, Subscribe, Unsubscribe, frame::write_packet,
};
use crate::types::wire::Reader;

/// A packet that borrows from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// See [`Connect`]. Boxed, as it is large and comes once.
    Connect(Box<Connect<'a>>),
    /// See [`Connack`].
    Connack(Box<Connack<'a>>),
    /// See [`Publish`].
    Publish(Publish<'a>),
    /// A QoS 1 message is taken over.
    Puback(Ack),
    /// A QoS 2 message is taken over.
    Pubrec(Ack),
    /// The sender of a QoS 2 message has forgotten it.
    Pubrel(Ack),
    /// The receiver has forgotten the packet identifier.
    Pubcomp(Ack),
    /// See [`Subscribe`].
    Subscribe(Subscribe<'a>),
    /// See [`Suback`].
    Suback(Suback<'a>),
    /// See [`Unsubscribe`].
    Unsubscribe(Unsubscribe<'a>),
    /// See [`Suback`].
    Unsuback(Suback<'a>),
    /// A sign of life.
    Pingreq,
    /// The answer to it.
    Pingresp,
    /// See [`Disconnect`].
    Disconnect(Disconnect<'a>),
    /// See [`Auth`].
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes a packet of a connection that speaks `version`; a CONNECT names its own.
    ///
    /// # Errors
    /// The first rule that the packet breaks.
    pub fn decode(frame: &Frame<'a>, version: ProtocolVersion, sender: Sender) -> Result<Self, DecodeError> {
        let packet_type = frame.packet_type;
        check_sender(packet_type, version, sender)?;
        if packet_type != PacketType::Connect {
            frame.check_length(version)?;
        }
        let mut body = Reader::new(frame.body);
        let reader = &mut body;
        let packet = match packet_type {
            PacketType::Publish => return Publish::decode(frame, version, sender).map(Packet::Publish),
            PacketType::Connect => {
                let connect = Connect::decode(reader)?;
                frame.check_length(connect.version)?;
                Packet::Connect(Box::new(connect))
            }
            PacketType::Connack => Packet::Connack(Box::new(Connack::decode(reader, version)?)),
            PacketType::Puback => Packet::Puback(Ack::decode(packet_type, reader, version, sender)?),
            PacketType::Pubrec => Packet::Pubrec(Ack::decode(packet_type, reader, version, sender)?),
            PacketType::Pubrel => Packet::Pubrel(Ack::decode(packet_type, reader, version, sender)?),
            PacketType::Pubcomp => Packet::Pubcomp(Ack::decode(packet_type, reader, version, sender)?),
            PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(reader, version)?),
            PacketType::Suback => Packet::Suback(Suback::decode(packet_type, reader, version)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(reader, version)?),
            PacketType::Unsuback => Packet::Unsuback(Suback::decode(packet_type, reader, version)?),
            PacketType::Pingreq => Packet::Pingreq,
            PacketType::Pingresp => Packet::Pingresp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(reader, version, sender)?),
            PacketType::Auth => Packet::Auth(Auth::decode(reader, sender)?),
        };
        if body.is_empty() { Ok(packet) } else { Err(DecodeError::TrailingBytes(packet_type)) }
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// When it had more than `maximum_packet_size` bytes; nothing is appended then.
    pub fn encode(
        &self,
        version: ProtocolVersion,
        maximum_packet_size: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), PacketTooLarge> {
        let start = out.len();
        match self {
            Packet::Publish(publish) => {
                return OutgoingPublish::from(publish).encode(version, maximum_packet_size, out);
            }
            Packet::Connect(connect) => connect.encode(out),
            Packet::Connack(connack) => connack.encode(version, out),
            Packet::Puback(ack) => ack.encode(PacketType::Puback, version, None, out),
            Packet::Pubrec(ack) => ack.encode(PacketType::Pubrec, version, None, out),
            Packet::Pubrel(ack) => ack.encode(PacketType::Pubrel, version, None, out),
            Packet::Pubcomp(ack) => ack.encode(PacketType::Pubcomp, version, None, out),
            Packet::Subscribe(subscribe) => subscribe.encode(version, out),
            Packet::Suback(suback) => suback.encode(PacketType::Suback, version, out),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Packet::Unsuback(suback) => suback.encode(PacketType::Unsuback, version, out),
            Packet::Pingreq => write_packet(out, PacketType::Pingreq, |_| {}),
            Packet::Pingresp => write_packet(out, PacketType::Pingresp, |_| {}),
            Packet::Disconnect(disconnect) => disconnect.encode(version, out),
            Packet::Auth(auth) => auth.encode(out),
        }
        let size = out.len() - start;
        if size > maximum_packet_size as usize {
            out.truncate(start);
            return Err(PacketTooLarge { size, maximum: maximum_packet_size });
        }
        Ok(())
    }
}

/// Which side may send which packet (MQTT 5.0 table 2-1).
const fn check_sender(packet: PacketType, version: ProtocolVersion, sender: Sender) -> Result<(), DecodeError> {
    let allowed = match packet {
        PacketType::Publish | PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
            true
        }
        PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::Pingreq => {
            matches!(sender, Sender::Client)
        }
        PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
            matches!(sender, Sender::Server)
        }
        PacketType::Disconnect => matches!(version, ProtocolVersion::V5) || matches!(sender, Sender::Client),
        PacketType::Auth => matches!(version, ProtocolVersion::V5),
    };
    if allowed { Ok(()) } else { Err(DecodeError::UnexpectedPacket(packet)) }
}
