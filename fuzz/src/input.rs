//! What an input means to a target that has connections.
//!
//! | byte | meaning |
//! | --- | --- |
//! | 0, bits 0–1 | [`Opening`]: the CONNECT that is sent first, if any |
//! | 0, bit 2 | the session is kept |
//! | 0, bits 3–4 | [`Order`] |
//! | 0, bit 5 | waits for deliveries before it hangs up |
//! | 0, bit 6 | WebSocket: the bytes are frames themselves, and are not framed |
//! | 0, bit 7 | WebSocket: the first piece comes with the handshake |
//! | 1 | bytes that are sent at a time; 0 for all of them |
//! | 2 | where the bytes are divided between two connections, in 1/256 |
//! | 3.. | what is sent |

use std::sync::atomic::{AtomicU32, Ordering};

use synap_mqtt::mqtt::codec::{Connect, ConnectProperties, Packet, ProtocolVersion, Sender, split};

use crate::broker::MAXIMUM_PACKET_SIZE;

/// The CONNECT that comes in front of the fuzzer's bytes.
#[derive(Clone, Copy, Debug)]
pub enum Opening {
    /// None: the bytes have to bring one.
    None,
    /// One of 3.1.1.
    V311,
    /// One of 5.0.
    V5,
    /// One of 5.0 that takes little: small packets, one message at a time, two aliases, no reasons.
    Narrow,
}

/// How connections follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// There is one.
    One,
    /// The second comes when the first has gone.
    Resumed,
    /// The second takes the session over from the first.
    TakenOver,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub opening: Opening,
    pub kept: bool,
    pub order: Order,
    pub waits: bool,
    pub are_frames: bool,
    pub is_early: bool,
    pub piece: usize,
    /// What each connection sends.
    pub halves: [&'a [u8]; 2],
    /// The client identifier, where the opening has one: another for each input.
    number: u32,
}

impl<'a> Input<'a> {
    /// None where the bytes are too few.
    pub fn new(data: &'a [u8]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (&[how, piece, place], bytes) = data.split_first_chunk()?;
        let order = match how >> 3 & 0b11 {
            1 => Order::Resumed,
            2 => Order::TakenOver,
            _ => Order::One,
        };
        let place = if matches!(order, Order::One) { bytes.len() } else { usize::from(place) * bytes.len() / 256 };
        let (first, second) = bytes.split_at(place);
        Some(Self {
            opening: match how & 0b11 {
                0 => Opening::None,
                1 => Opening::V311,
                2 => Opening::V5,
                _ => Opening::Narrow,
            },
            kept: how & 1 << 2 != 0,
            order,
            waits: how & 1 << 5 != 0,
            are_frames: how & 1 << 6 != 0,
            is_early: how & 1 << 7 != 0,
            piece: if piece == 0 { usize::MAX } else { usize::from(piece) },
            halves: [first, second],
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The opening's packet; empty where there is none.
    pub fn connect(&self) -> Vec<u8> {
        let client_id = format!("fuzz-{:08x}", self.number);
        let (version, mut properties) = match self.opening {
            Opening::None => return Vec::new(),
            Opening::V311 => (ProtocolVersion::V311, ConnectProperties::default()),
            Opening::V5 => (ProtocolVersion::V5, ConnectProperties::default()),
            Opening::Narrow => (
                ProtocolVersion::V5,
                ConnectProperties {
                    receive_maximum: 1,
                    maximum_packet_size: Some(64),
                    topic_alias_maximum: 2,
                    request_problem_information: false,
                    ..ConnectProperties::default()
                },
            ),
        };
        if self.kept && version == ProtocolVersion::V5 {
            properties.session_expiry_interval = 60;
        }
        let connect = Connect {
            version,
            clean_start: !self.kept,
            keep_alive: 0,
            properties,
            client_id: &client_id,
            will: None,
            user_name: None,
            password: None,
        };
        let mut out = Vec::new();
        connect.encode(&mut out);
        out
    }
}

/// What a client that sends these bytes has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Its CONNECT is valid.
    Agreed { version: ProtocolVersion, maximum_packet_size: u32, topic_alias_maximum: u16 },
    /// It has not sent a whole one.
    Nothing,
    /// It has sent something else, or one that is not valid.
    Invalid,
}

impl Terms {
    /// Of all bytes of MQTT that the client sends.
    pub fn of(sent: &[u8]) -> Self {
        let frame = match split(sent, MAXIMUM_PACKET_SIZE) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Self::Nothing,
            Err(_) => return Self::Invalid,
        };
        match Packet::decode(&frame, ProtocolVersion::V5, Sender::Client) {
            Ok(Packet::Connect(connect)) => Self::Agreed {
                version: connect.version,
                maximum_packet_size: connect.properties.maximum_packet_size.unwrap_or(u32::MAX),
                topic_alias_maximum: connect.properties.topic_alias_maximum,
            },
            _ => Self::Invalid,
        }
    }
}
