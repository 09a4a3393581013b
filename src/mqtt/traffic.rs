//! Bytes and packets on the wire, counted as they pass.
//!
//! A [`Meter`] follows one direction of one connection from packet to packet; what it has counted is
//! added to the shared [`Traffic`] once a read or write. It looks at fixed headers only (MQTT 5.0 section
//! 2.1) and believes them: bytes that are no packets end the connection elsewhere, and are counted here as
//! whatever they look like.

use super::{codec::PacketType, statistics::Counter};

/// What has passed in one direction. On cache lines of its own, since every thread adds to it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Traffic {
    /// Bytes, without those of TLS.
    pub bytes: Counter,
    /// Packets of any type that have begun.
    pub packets: Counter,
    /// Bytes of PUBLISH packets, whole.
    pub publish_bytes: Counter,
}

/// Where in a packet the last byte was.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Behind a packet.
    #[default]
    Between,
    /// In the remaining length: its bits so far, and how many of them.
    Length(u32, u32),
    /// In the body, of which this much is to come.
    Body(u32),
}

/// Bits of the remaining length in its last possible byte's place.
const LAST_SHIFT: u32 = 21;

/// The packets of one direction of one connection.
#[derive(Debug, Default)]
pub struct Meter {
    place: Place,
    is_publish: bool,
}

impl Meter {
    /// Counts what has been read or written.
    pub fn pass(&mut self, bytes: &[u8], traffic: &Traffic) {
        let (mut packets, mut publish_bytes) = (0, 0);
        let mut rest = bytes;
        while let Some((&first, behind)) = rest.split_first() {
            // Nearly all of them: no step by step where a packet is there from its first byte to its last.
            if let (Place::Between, Some(length)) = (self.place, whole(rest)) {
                packets += 1;
                publish_bytes += if is_publish(first) { length as u64 } else { 0 };
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            let before = rest.len();
            (self.place, rest) = match self.place {
                Place::Between => {
                    self.is_publish = is_publish(first);
                    packets += 1;
                    (Place::Length(0, 0), behind)
                }
                Place::Length(bits, shift) => {
                    let bits = bits | u32::from(first & 0x7F) << shift;
                    let goes_on = first & 0x80 != 0 && shift < LAST_SHIFT;
                    (if goes_on { Place::Length(bits, shift + 7) } else { body(bits) }, behind)
                }
                Place::Body(length) => {
                    let here = rest.len().min(length as usize);
                    (body(length - here as u32), rest.get(here..).unwrap_or_default())
                }
            };
            publish_bytes += if self.is_publish { (before - rest.len()) as u64 } else { 0 };
        }
        traffic.bytes.add(bytes.len() as u64);
        traffic.packets.add(packets);
        if publish_bytes > 0 {
            traffic.publish_bytes.add(publish_bytes);
        }
    }
}

const fn is_publish(first: u8) -> bool {
    first >> 4 == PacketType::Publish as u8
}

/// The length of a packet that is there as a whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (at, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let length = at + 2 + length;
            return (length <= bytes.len()).then_some(length);
        }
    }
    None
}

const fn body(length: u32) -> Place {
    if length == 0 { Place::Between } else { Place::Body(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINGREQ: [u8; 2] = [0xC0, 0];

    fn publish(payload: usize) -> Vec<u8> {
        let length = 3 + payload;
        let mut packet = vec![0x30, length as u8 & 0x7F | 0x80, (length >> 7) as u8, 0, 1, b'a'];
        packet.resize(packet.len() + payload, b'x');
        packet
    }

    fn counted(chunks: impl IntoIterator<Item = Vec<u8>>) -> (u64, u64, u64) {
        let (mut meter, traffic) = (Meter::default(), Traffic::default());
        chunks.into_iter().for_each(|chunk| meter.pass(&chunk, &traffic));
        (traffic.bytes.get(), traffic.packets.get(), traffic.publish_bytes.get())
    }

    #[test]
    fn packets_are_counted_however_they_are_cut() {
        let stream = [&PINGREQ[..], &publish(500), &PINGREQ, &publish(0), &[0x40, 2, 0, 7]].concat();
        let publishes = (publish(500).len() + publish(0).len()) as u64;
        for size in 1..stream.len() {
            let chunks = stream.chunks(size).map(<[u8]>::to_vec);
            assert_eq!(counted(chunks), (stream.len() as u64, 5, publishes), "in pieces of {size}");
        }
    }

    #[test]
    fn a_length_that_never_ends_is_no_trap() {
        assert_eq!(counted([vec![0x30; 1], vec![0xFF; 100]]), (101, 1, 101));
    }
}
