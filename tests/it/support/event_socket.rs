//! The stream's WebSocket, as a client: messages of JSON.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::raw_websocket::{RawWebSocket, first, frame, handshake};

/// Where it is.
pub const PATH: &str = "/api/events/ws";

/// An open connection.
pub struct EventSocket {
    raw: RawWebSocket,
    /// Messages that came while an answer was waited for.
    early: VecDeque<Value>,
    references: u64,
}

impl EventSocket {
    /// Connects as a program does that knows what is right.
    pub async fn open(address: SocketAddr) -> Self {
        Self::try_open(address).await.unwrap_or_else(|answer| panic!("{answer}"))
    }

    /// The same, where the server may be gone.
    pub async fn try_open(address: SocketAddr) -> Result<Self, String> {
        Self::try_open_at(address, PATH, "").await
    }

    /// The same, at a path with parameters and with more headers, each with its line end.
    pub async fn try_open_at(address: SocketAddr, path: &str, headers: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let raw = RawWebSocket::try_on(stream, &(handshake(path, &address.to_string()) + headers)).await?;
        Ok(Self { raw, early: VecDeque::new(), references: 0 })
    }

    /// Sends a frame that may be anything.
    pub async fn send_frame(&mut self, bytes: &[u8]) {
        self.raw.send(bytes).await;
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &Value) {
        self.try_say(message).await.unwrap();
    }

    /// The same, where the server may be gone.
    pub async fn try_say(&mut self, message: &Value) -> std::io::Result<()> {
        self.raw.try_send(&frame(first::TEXT, message.to_string().as_bytes())).await
    }

    /// Sends a message with a reference, and returns its answer. What else comes is kept.
    pub async fn ask(&mut self, mut message: Value) -> Value {
        self.references += 1;
        message["ref"] = json!(self.references);
        self.say(&message).await;
        loop {
            let answer = self.receive().await.expect("an answer");
            if answer["ref"] == message["ref"] {
                return answer;
            }
            self.early.push_back(answer);
        }
    }

    /// The next message but those of silence; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let message = match self.early.pop_front() {
                Some(message) => message,
                None => self.receive().await?,
            };
            if message["type"] != "position" {
                return Some(message);
            }
        }
    }

    /// The next message, which must be of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let message = self.next().await.expect("a message");
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Waits for a Close frame and the end of the connection behind it; its status.
    pub async fn closed(&mut self) -> Option<u16> {
        let mut status = None;
        while let Some((first, payload)) = self.raw.frame().await {
            if first == first::CLOSE {
                status = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
        status
    }

    async fn receive(&mut self) -> Option<Value> {
        loop {
            match self.raw.frame().await? {
                (first::TEXT, text) => return Some(serde_json::from_slice(&text).unwrap()),
                (first::PING, payload) => self.raw.try_send(&frame(first::PONG, &payload)).await.ok()?,
                (first::CLOSE, _) => return None,
                other => panic!("{other:02x?}"),
            }
        }
    }
}
