//! The head of a frame (RFC 6455 section 5.2).

/// Bytes of the longest head.
pub const MAXIMUM_HEAD_BYTES: usize = 14;

/// Bytes of a control frame's payload (RFC 6455 section 5.5).
pub const MAXIMUM_CONTROL_BYTES: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The reserved bit that says that a message is compressed, where that is agreed to (RFC 7692 section 6).
const COMPRESSED: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// Close, Ping and Pong, which may come between the frames of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame's head, as a client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub is_final: bool,
    /// Only where compression is agreed to.
    pub is_compressed: bool,
    pub opcode: Opcode,
    pub length: u64,
    pub mask: [u8; 4],
}

/// Why bytes are no head of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    Reserved,
    Unmasked,
    Length,
}

/// The bytes of a head that have come so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct PartialHead {
    bytes: [u8; MAXIMUM_HEAD_BYTES],
    filled: u8,
    /// Reserved bits that may be set.
    allowed: u8,
}

impl PartialHead {
    /// Nothing has come; messages may be compressed, or not.
    pub const fn new(may_be_compressed: bool) -> Self {
        let allowed = if may_be_compressed { COMPRESSED } else { 0 };
        Self { bytes: [0; MAXIMUM_HEAD_BYTES], filled: 0, allowed }
    }

    /// Takes one byte in; the head once it is whole, and then begins anew.
    pub fn push(&mut self, byte: u8) -> Result<Option<Head>, HeadError> {
        if let Some(place) = self.bytes.get_mut(usize::from(self.filled)) {
            *place = byte;
            self.filled += 1;
        }
        let [first, second, rest @ ..] = self.bytes;
        if self.filled == 1 {
            return opcode(first & !self.allowed).map(|_| None);
        }
        if second & MASKED == 0 {
            return Err(HeadError::Unmasked);
        }
        let (extended, length) = match (second & LENGTH, rest) {
            (127, [a, b, c, d, e, f, g, h, ..]) => (8, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            (126, [a, b, ..]) => (2, u64::from(u16::from_be_bytes([a, b]))),
            (length, _) => (0, u64::from(length)),
        };
        if usize::from(self.filled) < 2 + extended + 4 {
            return Ok(None);
        }
        let mask = rest.get(extended..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        // The shortest form must be used, and the highest bit must be 0.
        let is_shortest = match extended {
            0 => true,
            2 => length > 125,
            _ => length > u64::from(u16::MAX) && length >> 63 == 0,
        };
        *self = Self { allowed: self.allowed, ..Self::default() };
        if !is_shortest {
            return Err(HeadError::Length);
        }
        let opcode = opcode(first & !self.allowed)?;
        let is_compressed = first & COMPRESSED != 0;
        Ok(Some(Head { is_final: first & FINAL != 0, is_compressed, opcode, length, mask }))
    }
}

/// The opcode, of a first byte without reserved bits: those belong to extensions, and none of
/// them is agreed to.
fn opcode(first: u8) -> Result<Opcode, HeadError> {
    if first & RESERVED != 0 {
        return Err(HeadError::Reserved);
    }
    Ok(match first & OPCODE {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(HeadError::Reserved),
    })
}

/// Appends a whole frame as a server sends it: final and not masked.
pub fn encode(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    encode_first(FINAL | opcode as u8, payload, out);
}

/// The same, with a compressed payload.
pub fn encode_compressed(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    encode_first(FINAL | COMPRESSED | opcode as u8, payload, out);
}

/// Makes what stands in `out` from `start` on the payload of a whole frame.
pub fn enclose(opcode: Opcode, start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    put_head(FINAL | opcode as u8, end.saturating_sub(start), out);
    let head = out.len() - end;
    if let Some(frame) = out.get_mut(start..) {
        frame.rotate_right(head);
    }
}

fn encode_first(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(MAXIMUM_HEAD_BYTES + payload.len());
    put_head(first, payload.len(), out);
    out.extend_from_slice(payload);
}

fn put_head(first: u8, length: usize, out: &mut Vec<u8>) {
    out.push(first);
    if let Ok(length @ 0..=125) = u8::try_from(length) {
        out.push(length);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(126);
        out.extend(length.to_be_bytes());
    } else {
        out.push(127);
        out.extend((length as u64).to_be_bytes());
    }
}

/// Takes the mask off, or puts it on; `mask` then stands where the next part of the same frame
/// needs it.
pub fn unmask(mask: &mut [u8; 4], payload: &mut [u8]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(*mask)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(&*mask) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len());
}
