//! One case for each rule that a packet can break, and for the edges that are allowed.

mod connecting;
mod framing;
mod publishing;
mod subscribing;

use super::{
    Client, DecodeError, MAXIMUM_PACKET_SIZE, Packet, ProtocolVersion, Sender, Server, V5, V311, decode, whole,
};
use crate::{
    mqtt::codec::{PacketType, ReasonCode, refusal, split},
    types::{
        QosError, TopicError,
        wire::{WireError, write_variable_byte_integer},
    },
};

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;
const TRUNCATED: DecodeError = DecodeError::Wire(WireError::Truncated);

fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut wire = vec![header];
    write_variable_byte_integer(&mut wire, body.len());
    wire.extend(body);
    wire
}

/// `list` with its length before it in one byte.
fn with_length(list: &[u8]) -> Vec<u8> {
    [&[list.len() as u8], list].concat()
}

/// What is wrong, how it is found, and what the peer is told.
type Case<'a> = (&'a [u8], DecodeError, ReasonCode);

/// Checks that each body after `before` is refused for the reason given.
fn refused(header: u8, before: &[u8], version: ProtocolVersion, sender: Sender, cases: &[Case<'_>]) {
    for (body, error, reason) in cases {
        let wire = packet(header, &[before, body].concat());
        assert_eq!(decode(&wire, version, sender), Err(*error), "{version:?} {body:02X?}");
        assert_eq!(error.reason(), *reason, "{error}");
    }
}

fn accepted(header: u8, body: &[u8], version: ProtocolVersion, sender: Sender) {
    let wire = packet(header, body);
    decode(&wire, version, sender).unwrap_or_else(|error| panic!("{version:?} {body:02X?}: {error}"));
}

const fn not_allowed(id: u8, packet: PacketType) -> DecodeError {
    DecodeError::PropertyNotAllowed { id, packet }
}
