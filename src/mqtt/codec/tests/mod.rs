//! The codec against the rules of the standards, against itself, and against a foreign codec.

mod draw;
mod foreign;
mod round_trip;
mod rules;

use super::{DecodeError, Frame, MAXIMUM_PACKET_SIZE, Packet, ProtocolVersion, Sender, split};
use ProtocolVersion::{V5, V311};
use Sender::{Client, Server};

/// The one packet that `bytes` are.
fn whole(bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    let frame = split(bytes, MAXIMUM_PACKET_SIZE)?.expect("a whole packet");
    assert_eq!(frame.length(), bytes.len(), "one packet");
    Ok(frame)
}

fn decode(bytes: &[u8], version: ProtocolVersion, sender: Sender) -> Result<Packet<'_>, DecodeError> {
    Packet::decode(&whole(bytes)?, version, sender)
}

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, MAXIMUM_PACKET_SIZE, &mut out).expect("fits");
    out
}

/// A side that may send this packet.
fn sender(packet: &Packet<'_>) -> Sender {
    match packet {
        Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => Server,
        _ => Client,
    }
}
