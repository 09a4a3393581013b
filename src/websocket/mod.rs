//! MQTT over WebSocket (MQTT 5.0 section 6, RFC 6455), the server's side: an HTTP request
//! becomes a stream of bytes.
//!
//! `handshake` decides whether a request may become a WebSocket and what is answered; `decoder`
//! and `frame` are the wire format; `stream` is what the MQTT broker reads and writes. Whoever
//! serves HTTP, the port of its own or a listener, brings request and answer together.
//!
//! Invariant: nothing is buffered for a peer that is silent. Frames are unmasked where they were
//! read, so their size has no limit and needs none; what leaves is framed in a buffer that goes
//! when it is sent. A peer that breaks RFC 6455 is told so with a Close frame, and its stream
//! fails; no one else notices.
//!
//! Only binary frames carry MQTT [MQTT-6.0.0-1]. No extension is agreed to, compression
//! included.

mod decoder;
mod frame;
mod handshake;
mod stream;
#[cfg(test)]
mod tests;

pub use decoder::Violation;
pub use handshake::{Policy, Refusal, answer};
pub use stream::WebSocket;
