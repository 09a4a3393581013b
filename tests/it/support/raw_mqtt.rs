//! MQTT by hand: packets as bytes, so that a test sends exactly what it means, right or wrong,
//! and shares no code with what it tests.

use std::{collections::VecDeque, io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::within;

/// The protocol level in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Control packet types (MQTT 5.0 section 2.1.2).
pub mod kind {
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBACK: u8 = 9;
    pub const UNSUBACK: u8 = 11;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
}

/// What CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: Version,
    pub id: String,
    pub clean: bool,
    pub keep_alive: u16,
    /// Seconds that the session lives on; MQTT 5 only.
    pub session_expiry: u32,
    /// Receive Maximum; MQTT 5 only.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size; MQTT 5 only.
    pub maximum_packet_size: Option<u32>,
    /// Topic, payload, QoS and retain.
    pub will: Option<(String, Vec<u8>, u8, bool)>,
}

impl Connect {
    /// A clean session without keep alive.
    pub fn new(version: Version, id: &str) -> Self {
        Self {
            version,
            id: id.to_owned(),
            clean: true,
            keep_alive: 0,
            session_expiry: 0,
            receive_maximum: None,
            maximum_packet_size: None,
            will: None,
        }
    }

    /// A session that is kept, and continued if there is one.
    pub fn persistent(version: Version, id: &str) -> Self {
        Self { clean: false, session_expiry: 3600, ..Self::new(version, id) }
    }

    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let v5 = self.version == Version::V5;
        let mut flags = u8::from(self.clean) << 1;
        if let Some((_, _, qos, retain)) = &self.will {
            flags |= 0x04 | qos << 3 | u8::from(*retain) << 5;
        }
        let mut body = text("MQTT");
        body.extend([self.version as u8, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if v5 {
            let mut properties = vec![0x11];
            properties.extend(self.session_expiry.to_be_bytes());
            if let Some(maximum) = self.receive_maximum {
                properties.push(0x21);
                properties.extend(maximum.to_be_bytes());
            }
            if let Some(maximum) = self.maximum_packet_size {
                properties.push(0x27);
                properties.extend(maximum.to_be_bytes());
            }
            body.extend(variable(properties.len()));
            body.extend(properties);
        }
        body.extend(text(&self.id));
        if let Some((topic, payload, _, _)) = &self.will {
            if v5 {
                body.push(0);
            }
            body.extend(text(topic));
            body.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            body.extend(payload);
        }
        packet(0x10, &body)
    }
}

/// What PUBLISH says, on its way in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// 0 with QoS 0.
    pub id: u16,
}

impl Publish {
    /// A message that is neither retained nor repeated.
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>, qos: u8, id: u16) -> Self {
        Self { topic: topic.to_owned(), payload: payload.into(), qos, retain: false, dup: false, id }
    }

    /// The packet.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if version == Version::V5 {
            body.push(0);
        }
        body.extend(&self.payload);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP with success.
pub fn ack(kind: u8, id: u16) -> Vec<u8> {
    let flags = if kind == kind::PUBREL { 0x02 } else { 0 };
    packet(kind << 4 | flags, &id.to_be_bytes())
}

/// SUBSCRIBE to one filter.
pub fn subscribe(version: Version, id: u16, filter: &str, options: u8) -> Vec<u8> {
    let mut body = with_properties(version, id);
    body.extend(text(filter));
    body.push(options);
    packet(0x82, &body)
}

/// UNSUBSCRIBE from one filter.
pub fn unsubscribe(version: Version, id: u16, filter: &str) -> Vec<u8> {
    let mut body = with_properties(version, id);
    body.extend(text(filter));
    packet(0xa2, &body)
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];
/// DISCONNECT, a normal one.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

fn with_properties(version: Version, id: u16) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body
}

/// Text with its length in front (MQTT 5.0 section 1.5.4).
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A Variable Byte Integer (MQTT 5.0 section 1.5.5).
pub fn variable(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number % 128).unwrap();
        number /= 128;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A packet of a first byte and a body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

/// A packet that the bridge sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    version: Version,
    first: u8,
    body: Vec<u8>,
}

impl Packet {
    /// One of [`kind`].
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet identifier that an acknowledgement begins with.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The reason or return code: of an acknowledgement, CONNACK, SUBACK or DISCONNECT.
    pub fn reason(&self) -> u8 {
        let place = match (self.kind(), self.version) {
            (kind::DISCONNECT, _) => 0,
            (kind::CONNACK, _) => 1,
            (kind::SUBACK | kind::UNSUBACK, Version::V5) => 3 + usize::from(self.body[2]),
            _ => 2,
        };
        self.body.get(place).copied().unwrap_or(0)
    }

    /// All reason or return codes, of a SUBACK.
    pub fn reasons(&self) -> &[u8] {
        assert_eq!(self.kind(), kind::SUBACK, "{self:?}");
        let start = if self.version == Version::V5 { 3 + usize::from(self.body[2]) } else { 2 };
        &self.body[start..]
    }

    /// CONNACK's session present.
    pub fn session_present(&self) -> bool {
        self.body[0] & 1 == 1
    }

    /// The message, of a PUBLISH.
    pub fn publish(&self) -> Publish {
        assert_eq!(self.kind(), kind::PUBLISH, "{self:?}");
        let qos = self.first >> 1 & 3;
        let end = 2 + usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let topic = String::from_utf8(self.body[2..end].to_vec()).unwrap();
        let (id, mut start) = match qos {
            0 => (0, end),
            _ => (u16::from_be_bytes([self.body[end], self.body[end + 1]]), end + 2),
        };
        if self.version == Version::V5 {
            assert!(self.body[start] < 0x80, "more than 127 bytes of properties");
            start += 1 + usize::from(self.body[start]);
        }
        Publish {
            topic,
            payload: self.body[start..].to_vec(),
            qos,
            retain: self.first & 1 == 1,
            dup: self.first & 8 == 8,
            id,
        }
    }
}

/// What MQTT can be spoken on.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection to the bridge.
pub struct RawMqtt {
    stream: BufReader<Box<dyn Stream>>,
    version: Version,
    /// Packets that came while another one was waited for.
    early: VecDeque<Packet>,
}

impl RawMqtt {
    /// Opens the socket, nothing more.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream, version)
    }

    /// Goes on with a connection of any kind.
    pub fn on(stream: impl Stream + 'static, version: Version) -> Self {
        Self { stream: BufReader::new(Box::new(stream)), version, early: VecDeque::new() }
    }

    /// Sends bytes; an error says that the bridge is gone.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends bytes to a bridge that must be there.
    pub async fn send(&mut self, bytes: &[u8]) {
        within("room to send", self.try_send(bytes)).await.unwrap();
    }

    /// The next packet, or none at the end of the connection.
    pub async fn read(&mut self) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read_from_wire().await,
        }
    }

    async fn read_from_wire(&mut self) -> Option<Packet> {
        within("a packet or the end of the connection", self.try_read()).await.ok()
    }

    async fn try_read(&mut self) -> io::Result<Packet> {
        let first = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(Packet { version: self.version, first, body })
    }

    /// The next packet, which must be of this kind.
    pub async fn expect(&mut self, kind: u8) -> Packet {
        let packet = self.read().await.unwrap_or_else(|| panic!("closed instead of a packet of type {kind}"));
        assert_eq!(packet.kind(), kind, "{packet:?}");
        packet
    }

    /// Waits for the end of the connection. A DISCONNECT may come first, and its reason is
    /// returned; any other packet is a failure.
    pub async fn expect_close(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.read().await {
            assert_eq!(packet.kind(), kind::DISCONNECT, "{packet:?}");
            reason = Some(packet.reason());
        }
        reason
    }

    /// Sends CONNECT and expects to be accepted; returns whether a session was present.
    pub async fn connect_as(&mut self, connect: &Connect) -> bool {
        self.send(&connect.encode()).await;
        let connack = self.expect(kind::CONNACK).await;
        assert_eq!(connack.reason(), 0, "{connack:?}");
        connack.session_present()
    }

    /// As [`RawMqtt::connect_as`], with defaults.
    pub async fn connect(&mut self, id: &str, clean: bool) -> bool {
        let connect = if clean { Connect::new } else { Connect::persistent };
        self.connect_as(&connect(self.version, id)).await
    }

    /// Subscribes to one filter; returns the granted QoS or the reason code.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        self.send(&subscribe(self.version, 1, filter, qos)).await;
        self.expect(kind::SUBACK).await.reason()
    }

    /// Publishes with a handshake to its end, and expects success.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, qos: u8) {
        let message = Publish::new(topic, payload, qos, 1);
        self.send(&message.encode(self.version)).await;
        match qos {
            0 => {}
            1 => assert_eq!(self.expect(kind::PUBACK).await.reason(), 0),
            _ => {
                assert_eq!(self.expect(kind::PUBREC).await.reason(), 0);
                self.send(&ack(kind::PUBREL, 1)).await;
                assert_eq!(self.expect(kind::PUBCOMP).await.reason(), 0);
            }
        }
    }

    /// The next message, acknowledged to its end.
    pub async fn message(&mut self) -> Publish {
        let message = self.expect(kind::PUBLISH).await.publish();
        match message.qos {
            0 => {}
            1 => self.send(&ack(kind::PUBACK, message.id)).await,
            _ => {
                self.send(&ack(kind::PUBREC, message.id)).await;
                // Other messages may come in between.
                loop {
                    let packet = self.read_from_wire().await.expect("PUBREL follows PUBREC");
                    if packet.kind() == kind::PUBREL && packet.id() == message.id {
                        break;
                    }
                    self.early.push_back(packet);
                }
                self.send(&ack(kind::PUBCOMP, message.id)).await;
            }
        }
        message
    }

    /// Proves that the bridge has handled everything sent so far, and sent nothing else.
    pub async fn ping(&mut self) {
        self.send(&PINGREQ).await;
        self.expect(kind::PINGRESP).await;
    }
}
