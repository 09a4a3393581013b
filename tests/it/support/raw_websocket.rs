//! WebSocket by hand, as a client: a test sends exactly the frames it means, right or wrong.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{
    raw_mqtt::{Stream, kind},
    within,
};

/// First bytes of frames (RFC 6455 section 5.2).
pub mod first {
    pub const BINARY: u8 = 0x82;
    pub const BINARY_BEGINNING: u8 = 0x02;
    pub const TEXT: u8 = 0x81;
    pub const MIDDLE: u8 = 0x00;
    pub const END: u8 = 0x80;
    pub const CLOSE: u8 = 0x88;
    pub const PING: u8 = 0x89;
    pub const PONG: u8 = 0x8a;
}

/// The head of a handshake that is right, without its end.
pub fn handshake(path: &str, host: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
    )
}

/// Offers the subprotocol.
pub const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

/// A client's frame: whole, masked, of any size.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A client's end of a WebSocket.
pub struct RawWebSocket {
    stream: BufReader<Box<dyn Stream>>,
    /// Bytes of MQTT that came and were not asked for yet.
    data: Vec<u8>,
}

impl RawWebSocket {
    /// Connects to `/mqtt` as a program does that knows what is right.
    pub async fn open(address: SocketAddr) -> Self {
        let head = handshake("/mqtt", &address.to_string()) + MQTT;
        Self::try_open(address, &head).await.unwrap_or_else(|answer| panic!("{answer}"))
    }

    /// Sends a head, `\r\n` behind it; the whole answer where it is not 101.
    pub async fn try_open(address: SocketAddr, head: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::try_on(stream, head).await
    }

    /// As [`RawWebSocket::try_open`], on a connection of any kind.
    pub async fn try_on(stream: impl Stream + 'static, head: &str) -> Result<Self, String> {
        let mut stream: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
        let sent = async {
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            stream.flush().await
        };
        sent.await.map_err(|error: std::io::Error| error.to_string())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            match within("an answer to the handshake", stream.read_u8()).await {
                Ok(byte) => answer.push(byte),
                Err(_) => return Err(String::from_utf8_lossy(&answer).into_owned()),
            }
        }
        let text = String::from_utf8(answer).unwrap();
        if text.starts_with("HTTP/1.1 101 ") {
            let lower = text.to_ascii_lowercase();
            let names_mqtt = lower.contains("\r\nsec-websocket-protocol: mqtt\r\n");
            let offers = head.to_ascii_lowercase().contains("\r\nsec-websocket-protocol: ");
            assert_eq!(names_mqtt, offers, "{text}");
            assert!(!lower.contains("sec-websocket-extensions"), "{text}");
            return Ok(Self { stream, data: Vec::new() });
        }
        // What a refusal says is as long as it says.
        let length =
            text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        within("the body of a refusal", stream.read_exact(&mut body)).await.unwrap();
        Err(text + &String::from_utf8(body).unwrap())
    }

    /// Sends bytes that may be frames.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.unwrap();
    }

    /// The same, where the server may be gone.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let send = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("room to send", send).await
    }

    /// The next frame's first byte and payload, or none at the end of the connection.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        within("a frame or the end of the connection", self.try_frame()).await.ok()
    }

    async fn try_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let (first, length) = (self.stream.read_u8().await?, self.stream.read_u8().await?);
        let length = match length {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            masked @ 128.. => panic!("a server's frame is masked: {masked:02x}"),
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// The next MQTT packet, which must be of this kind.
    pub async fn packet(&mut self, kind: u8) -> Vec<u8> {
        let packet = self.any_packet().await;
        assert_eq!(packet[0] >> 4, kind, "{packet:02x?}");
        packet
    }

    /// The message that this client publishes and subscribes to, and its PUBACK, in any order.
    pub async fn echo(&mut self) -> Vec<u8> {
        let mut packets = [self.any_packet().await, self.any_packet().await];
        packets.sort_by_key(|packet| packet[0] >> 4);
        let [message, puback] = packets;
        assert_eq!((message[0] >> 4, puback[0] >> 4), (kind::PUBLISH, kind::PUBACK));
        message
    }

    async fn any_packet(&mut self) -> Vec<u8> {
        loop {
            if let Some((packet, rest)) = split(&self.data) {
                let (packet, rest) = (packet.to_vec(), rest.to_vec());
                self.data = rest;
                return packet;
            }
            match self.frame().await {
                Some((first::BINARY, payload)) => self.data.extend(payload),
                Some((first::PONG, _)) => {}
                other => panic!("{other:02x?} instead of a packet"),
            }
        }
    }

    /// Sends CONNECT in a frame of its own, and expects to be accepted.
    pub async fn connect(&mut self, connect: &[u8]) {
        self.send(&frame(first::BINARY, connect)).await;
        let connack = self.packet(kind::CONNACK).await;
        assert_eq!(connack[3], 0, "{connack:02x?}");
    }

    /// Waits for a Close frame and the end of the connection behind it; its status.
    pub async fn closed(&mut self) -> Option<u16> {
        let mut status = None;
        while let Some((first, payload)) = self.frame().await {
            match first {
                first::CLOSE => status = payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
                other => assert_eq!((other, status), (first::BINARY, None), "{payload:02x?}"),
            }
        }
        status
    }
}

/// The first whole packet of bytes that begin with one.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            return bytes.split_at_checked(at + length);
        }
    }
}
