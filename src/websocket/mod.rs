//! WebSocket (RFC 6455), the server's side: an HTTP request becomes a stream of bytes that are MQTT (MQTT 5.0
//! section 6), or an exchange of messages of text.
//!
//! `handshake` decides whether a request may become a WebSocket and what is answered; `frame` is the wire format;
//! `decoder` and `stream` are what the MQTT broker reads and writes, `message` is for text. Whoever
//! serves HTTP, the port of its own or a listener, brings request and answer together.
//!
//! Invariant: nothing is buffered for a peer that is silent. Frames are unmasked where they were
//! read, so their size has no limit and needs none; what leaves is framed in a buffer that goes
//! when it is sent. A peer that breaks RFC 6455 is told so with a Close frame, and its stream
//! fails; no one else notices.
//!
//! Only binary frames carry MQTT [MQTT-6.0.0-1], and no extension is agreed to there. Messages of text are whole in
//! memory, and bounded; they may be compressed where a client asks for it (`deflate`).

mod decoder;
mod deflate;
mod frame;
mod handshake;
pub mod message;
mod stream;
#[cfg(test)]
mod tests;

pub use decoder::Violation;
pub use handshake::{Policy, Protocol, Refusal, answer};
pub use stream::WebSocket;
