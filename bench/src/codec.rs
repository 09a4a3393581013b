//! The client half of MQTT 3.1.1 and 5.0, as far as a benchmark needs it.
//!
//! Packets are appended to a caller's buffer and parsed in place. Anything a broker may not
//! send ends the connection with [`Malformed`].

use std::io;

use bytes::{Buf, BufMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes asked for in one read after the first. A subscriber of small messages gets several
/// hundred at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes asked for in the first read, which brings CONNACK: all that an idle connection needs.
const HANDSHAKE_READ_BYTES: usize = 256;

/// Session expiry of a persistent session, in seconds. In 3.1.1 it is the broker's choice.
const SESSION_EXPIRY: u32 = 3600;

/// Protocol level of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// The first byte of a packet without its flags (MQTT 5.0 section 2.1.2).
pub mod kind {
    #![expect(missing_docs, reason = "the standard's own names")]

    pub const CONNACK: u8 = 0x20;
    pub const PUBLISH: u8 = 0x30;
    pub const PUBACK: u8 = 0x40;
    pub const PUBREC: u8 = 0x50;
    pub const PUBREL: u8 = 0x60;
    pub const PUBCOMP: u8 = 0x70;
    pub const SUBACK: u8 = 0x90;
}

/// DISCONNECT, normal.
pub const DISCONNECT: &[u8] = &[0xE0, 0];

/// Bytes that no broker may send.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for io::Error {
    fn from(Malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "the broker sent a malformed packet")
    }
}

/// Whether a session outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// New, and over with the connection.
    Clean,
    /// Resumed if there is one, and kept.
    Persistent,
}

/// Appends a CONNECT.
pub fn connect(out: &mut Vec<u8>, version: Version, client_id: &str, keep_alive: u16, session: Session) {
    let mut properties = Vec::new();
    if version == Version::V5 && session == Session::Persistent {
        properties.put_slice(&[5, 0x11]);
        properties.put_u32(SESSION_EXPIRY);
    } else if version == Version::V5 {
        properties.put_u8(0);
    }
    let level = if version == Version::V5 { 5 } else { 4 };
    let flags = if session == Session::Clean { 0b10 } else { 0 };
    out.put_u8(0x10);
    put_length(out, 10 + properties.len() + 2 + client_id.len());
    put_text(out, "MQTT");
    out.put_slice(&[level, flags]);
    out.put_u16(keep_alive);
    out.put_slice(&properties);
    put_text(out, client_id);
}

/// Appends a SUBSCRIBE to some filters.
pub fn subscribe(out: &mut Vec<u8>, version: Version, packet_id: u16, filters: &[String], qos: u8) {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    out.put_u8(0x82);
    put_length(out, 2 + properties.len() + filters.iter().map(|filter| 2 + filter.len() + 1).sum::<usize>());
    out.put_u16(packet_id);
    out.put_slice(properties);
    for filter in filters {
        put_text(out, filter);
        out.put_u8(qos);
    }
}

/// Appends a PUBLISH of QoS 1 that is to be retained.
pub fn retain(out: &mut Vec<u8>, version: Version, packet_id: u16, topic: &str, payload: &[u8]) {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    out.put_u8(kind::PUBLISH | 0b011);
    put_length(out, 2 + topic.len() + 2 + properties.len() + payload.len());
    put_text(out, topic);
    out.put_u16(packet_id);
    out.put_slice(properties);
    out.put_slice(payload);
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP meaning success.
pub fn acknowledge(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    let flags = if kind == kind::PUBREL { 0b10 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[kind | flags, 2, high, low]);
}

/// A PUBLISH encoded once; a message is a copy of it with its own packet id and stamp.
#[derive(Debug)]
pub struct PublishTemplate {
    frame: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl PublishTemplate {
    /// Encodes a PUBLISH of `payload` to `topic`.
    #[must_use]
    pub fn new(version: Version, qos: u8, topic: &str, payload: &[u8]) -> Self {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let packet_id = if qos == 0 { 0 } else { 2 };
        let mut frame = vec![kind::PUBLISH | qos << 1];
        put_length(&mut frame, 2 + topic.len() + packet_id + properties.len() + payload.len());
        put_text(&mut frame, topic);
        let packet_id_at = (qos > 0).then_some(frame.len());
        frame.put_bytes(0, packet_id);
        frame.put_slice(properties);
        let payload_at = frame.len();
        frame.put_slice(payload);
        Self { frame, packet_id_at, payload_at }
    }

    /// Bytes of one message on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Appends one message; `stamp` gets its payload to fill in.
    pub fn append(&self, out: &mut Vec<u8>, packet_id: u16, stamp: impl FnOnce(&mut [u8])) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        if let Some(at) = self.packet_id_at
            && let Some(field) = out.get_mut(start + at..start + at + 2)
        {
            field.copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(payload) = out.get_mut(start + self.payload_at..) {
            stamp(payload);
        }
    }
}

/// A whole packet inside a read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    first: u8,
    body: &'a [u8],
}

/// A PUBLISH from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// 0, 1 or 2.
    pub qos: u8,
    /// 0 for QoS 0.
    pub packet_id: u16,
    /// The application message.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// One of [`kind`].
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    /// The packet id of an acknowledgement and whether it means success.
    ///
    /// # Errors
    /// When the packet is too short for one.
    pub fn acknowledgement(&self) -> Result<(u16, bool), Malformed> {
        let mut body = self.body;
        let packet_id = body.try_get_u16().map_err(|_| Malformed)?;
        Ok((packet_id, body.first().is_none_or(|reason| *reason < 0x80)))
    }

    /// Whether a SUBACK grants all of the `filters` that were asked for.
    #[must_use]
    pub fn granted(&self, filters: usize) -> bool {
        let codes = self.body.len().checked_sub(filters).and_then(|start| self.body.get(start..));
        codes.is_some_and(|codes| codes.iter().all(|code| *code < 0x80))
    }

    /// Whether a CONNACK says that the session was there.
    #[must_use]
    pub fn session_present(&self) -> bool {
        self.body.first().is_some_and(|flags| flags & 1 == 1)
    }

    /// Whether it is a PUBLISH of a retained message.
    #[must_use]
    pub const fn is_retained(&self) -> bool {
        self.kind() == kind::PUBLISH && self.first & 1 == 1
    }

    /// Whether a CONNACK accepts, and the broker's Receive Maximum (65,535 where it names none).
    ///
    /// # Errors
    /// When it is too short or its properties cannot be walked.
    pub fn connack(&self, version: Version) -> Result<Result<u16, u8>, Malformed> {
        let mut body = self.body;
        let _flags = body.try_get_u8().map_err(|_| Malformed)?;
        let code = body.try_get_u8().map_err(|_| Malformed)?;
        if code != 0 {
            return Ok(Err(code));
        }
        if version == Version::V311 {
            return Ok(Ok(u16::MAX));
        }
        let length = get_length(&mut body)?.ok_or(Malformed)?;
        receive_maximum(body.get(..length).ok_or(Malformed)?).map(Ok)
    }

    /// The packet as a PUBLISH.
    ///
    /// # Errors
    /// When a length in it points outside.
    pub fn delivery(&self, version: Version) -> Result<Delivery<'a>, Malformed> {
        let mut rest = self.body;
        let topic = usize::from(rest.try_get_u16().map_err(|_| Malformed)?);
        rest = rest.get(topic..).ok_or(Malformed)?;
        let qos = self.first >> 1 & 0b11;
        let packet_id = if qos == 0 { 0 } else { rest.try_get_u16().map_err(|_| Malformed)? };
        if version == Version::V5 {
            let length = get_length(&mut rest)?.ok_or(Malformed)?;
            rest = rest.get(length..).ok_or(Malformed)?;
        }
        Ok(Delivery { qos, packet_id, payload: rest })
    }
}

/// Walks CONNACK's properties (MQTT 5.0 section 3.2.2.3) for the Receive Maximum.
fn receive_maximum(mut properties: &[u8]) -> Result<u16, Malformed> {
    while let Ok(id) = properties.try_get_u8() {
        let text = |mut at: &[u8]| at.try_get_u16().map(|length| 2 + usize::from(length)).map_err(|_| Malformed);
        let size = match id {
            0x21 => return properties.try_get_u16().map_err(|_| Malformed),
            0x11 | 0x27 => 4,
            0x13 | 0x22 => 2,
            0x24 | 0x25 | 0x28..=0x2A => 1,
            0x26 => {
                let name = text(properties)?;
                name + text(properties.get(name..).ok_or(Malformed)?)?
            }
            _ => text(properties)?,
        };
        properties = properties.get(size..).ok_or(Malformed)?;
    }
    Ok(u16::MAX)
}

/// Bytes read from one connection and not yet taken apart.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    filled: usize,
}

impl Inbox {
    /// Reads once. Cancel safe: either bytes were added or nothing happened.
    ///
    /// # Errors
    /// The stream's, and `UnexpectedEof` when the broker closed it.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let wanted = match self.buffer.len() {
            0 => HANDSHAKE_READ_BYTES,
            HANDSHAKE_READ_BYTES => READ_BYTES,
            full if full == self.filled => full * 2,
            enough => enough,
        };
        self.buffer.resize(wanted, 0);
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match stream.read(free).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection")),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }

    /// Hands every whole packet to `each` and keeps the rest for the next read.
    ///
    /// # Errors
    /// The first error of `each`, or a remaining length of more than four bytes.
    pub fn drain(&mut self, mut each: impl FnMut(Packet<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let mut rest = self.buffer.get(..self.filled).unwrap_or_default();
        while let Some(packet) = take_packet(&mut rest)? {
            each(packet)?;
        }
        let kept = rest.len();
        self.buffer.copy_within(self.filled - kept..self.filled, 0);
        self.filled = kept;
        Ok(())
    }
}

fn take_packet<'a>(from: &mut &'a [u8]) -> Result<Option<Packet<'a>>, Malformed> {
    let mut rest = *from;
    let Ok(first) = rest.try_get_u8() else { return Ok(None) };
    let Some(length) = get_length(&mut rest)? else { return Ok(None) };
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    *from = rest;
    Ok(Some(Packet { first, body }))
}

/// A variable byte integer (section 1.5.5); `None` when its end has not arrived yet.
fn get_length(from: &mut &[u8]) -> Result<Option<usize>, Malformed> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let Ok(byte) = from.try_get_u8() else { return Ok(None) };
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Err(Malformed)
}

fn put_length(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        out.put_u8(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            return;
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn packets(chunks: &[&[u8]], version: Version) -> Vec<(u8, u16, Vec<u8>)> {
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for mut chunk in chunks.iter().copied() {
            // The first read is a small one.
            while !chunk.is_empty() {
                inbox.fill(&mut chunk).await.unwrap();
                inbox
                    .drain(|packet| {
                        let delivery = packet.delivery(version)?;
                        seen.push((delivery.qos, delivery.packet_id, delivery.payload.to_vec()));
                        Ok(())
                    })
                    .unwrap();
            }
        }
        seen
    }

    #[tokio::test]
    async fn a_publish_survives_being_cut_anywhere() {
        for version in [Version::V311, Version::V5] {
            let mut wire = Vec::new();
            let payload = [0; 200];
            let template = PublishTemplate::new(version, 1, "a/b", &payload);
            template.append(&mut wire, 7, |payload| payload.fill(1));
            template.append(&mut wire, 8, |payload| payload.fill(2));
            assert_eq!(wire.len(), 2 * template.wire_bytes());
            for cut in 1..wire.len() - 1 {
                let (head, tail) = wire.split_at(cut);
                let expected = vec![(1, 7, vec![1; 200]), (1, 8, vec![2; 200])];
                assert_eq!(packets(&[head, tail], version).await, expected, "{version:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn receive_maximum_is_found_behind_other_properties() {
        let connack = [0, 0, 17, 0x27, 0, 1, 0, 0, 0x26, 0, 1, b'k', 0, 1, b'v', 0x25, 1, 0x21, 0, 20];
        assert_eq!(connack.len(), 3 + 17);
        let packet = Packet { first: kind::CONNACK, body: &connack };
        assert_eq!(packet.connack(Version::V5), Ok(Ok(20)));
        assert_eq!(Packet { first: kind::CONNACK, body: &[0, 5] }.connack(Version::V311), Ok(Err(5)));
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for value in [0, 127, 128, 16_383, 16_384, 268_435_455] {
            let mut wire = Vec::new();
            put_length(&mut wire, value);
            assert_eq!(get_length(&mut &wire[..]), Ok(Some(value)));
            assert_eq!(get_length(&mut &wire[..wire.len() - 1]), Ok(None));
        }
        assert_eq!(get_length(&mut &[0xFF; 4][..]), Err(Malformed));
    }
}
