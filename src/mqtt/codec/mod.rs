//! The wire format of MQTT 3.1.1 and 5.0: bytes to packets and back.
//!
//! [`split`] finds the next packet in what a connection has read, [`Packet::decode`] checks it
//! against every rule of sections 1 to 3 of the standards that needs no state, and the `encode`
//! methods append to a buffer. Decoded packets borrow from the bytes they were read from: a
//! PUBLISH is decoded and encoded without an allocation.
//!
//! Pure functions: no task owns anything here, and bytes from outside end in a packet or a
//! [`DecodeError`], never in a panic. An error names the rule that was broken and the
//! [`ReasonCode`] for the peer; after it the connection must be closed, as both standards say.
//!
//! What needs state is the caller's: whether a CONNECT may come now, topic aliases above the
//! granted maximum, packet identifiers in use, the receive maximum, and in MQTT 5.0 whether the
//! filters of a SUBSCRIBE or UNSUBSCRIBE are valid (each is answered with a reason code of its own).
//!
//! Rules are cited by their number in MQTT 5.0, or in 3.1.1 where only that has them.

mod ack;
mod connack;
mod connect;
mod disconnect;
mod error;
mod frame;
mod packet;
mod property;
mod publish;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;

pub use ack::Ack;
pub use connack::{Connack, ConnackProperties};
pub use connect::{Connect, ConnectProperties, Will, refusal};
pub use disconnect::{Auth, Disconnect};
pub use error::{DecodeError, PacketTooLarge};
pub use frame::{Frame, MAXIMUM_PACKET_SIZE, PacketType, split};
pub use packet::Packet;
pub use property::UserProperties;
pub use publish::{OutgoingPublish, Publish};
pub use reason::ReasonCode;
pub use subscribe::{RetainHandling, Suback, Subscribe, Subscription, Unsubscribe};

/// The versions of the protocol that are spoken here, by their protocol level
/// (MQTT 5.0 section 3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Which side a packet comes from: some packets, properties and reason codes are one side's only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The packet was sent by a client.
    Client,
    /// The packet was sent by a server.
    Server,
}
