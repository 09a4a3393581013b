//! From a client's frames to the bytes of MQTT in them, where they lie.

use super::frame::{Head, HeadError, MAXIMUM_CONTROL_BYTES, Opcode, PartialHead, unmask};

/// How a client broke RFC 6455, or MQTT's rules on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A reserved bit or opcode.
    #[error("a WebSocket frame has reserved bits or a reserved opcode (RFC 6455 section 5.2)")]
    Reserved,
    /// A frame without a mask.
    #[error("a WebSocket frame of a client is not masked (RFC 6455 section 5.1)")]
    Unmasked,
    /// A length that is too large, or not in its shortest form.
    #[error("the length of a WebSocket frame is wrong (RFC 6455 section 5.2)")]
    Length,
    /// A control frame that is fragmented or too long.
    #[error("a WebSocket control frame is fragmented or has more than 125 bytes (RFC 6455 section 5.5)")]
    Control,
    /// A continuation of nothing, or a new message within one.
    #[error("a fragmented WebSocket message is out of order (RFC 6455 section 5.4)")]
    Fragments,
    /// A Close frame with half a status code, or one that must not be sent.
    #[error("a WebSocket Close frame has a wrong status code (RFC 6455 section 7.4)")]
    CloseCode,
    /// Text instead of MQTT.
    #[error("a WebSocket frame holds text, not MQTT [MQTT-6.0.0-1]")]
    Text,
    /// Something other than text where text is spoken.
    #[error("a WebSocket message is not text")]
    Binary,
    /// Text that is none.
    #[error("a WebSocket message of text is not UTF-8 (RFC 6455 section 8.1)")]
    Utf8,
    /// A compressed message that is none.
    #[error("a compressed WebSocket message cannot be read (RFC 7692)")]
    Compressed,
    /// More than one message may have.
    #[error("a WebSocket message is too large")]
    TooLarge,
}

impl Violation {
    /// The status code of the Close frame that says so (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Text | Self::Binary => 1003,
            Self::Utf8 | Self::Compressed => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}

impl From<HeadError> for Violation {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Reserved => Self::Reserved,
            HeadError::Unmasked => Self::Unmasked,
            HeadError::Length => Self::Length,
        }
    }
}

/// A control frame that wants an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A Pong with the same payload.
    Ping(Vec<u8>),
    /// A Close frame with the same payload, and then nothing more.
    Close(Vec<u8>),
}

/// What the next byte of a client means.
#[derive(Debug, Default)]
pub struct Decoder {
    head: PartialHead,
    /// The frame whose payload comes next; its `length` is what is left of it.
    frame: Option<Head>,
    /// Whether a message has begun and not ended.
    is_fragmented: bool,
    /// The payload of a control frame so far.
    control: Vec<u8>,
}

impl Decoder {
    /// Takes in what was read and leaves the bytes of MQTT at its front; returns how many they
    /// are. Stops behind a Close frame, and at a violation: what came before it is still whole,
    /// and nothing behind it may be decoded.
    pub fn decode(&mut self, raw: &mut [u8], mut heard: impl FnMut(Control)) -> (usize, Result<(), Violation>) {
        let (mut read, mut kept) = (0, 0);
        while let Some(byte) = raw.get(read).copied() {
            let Some(frame) = &mut self.frame else {
                read += 1;
                let ended = match self.head.push(byte) {
                    Ok(None) => continue,
                    Ok(Some(head)) => self.begin(head).and_then(|()| self.end_if_whole(&mut heard)),
                    Err(error) => Err(error.into()),
                };
                match ended {
                    Ok(false) => continue,
                    Ok(true) => break,
                    Err(violation) => return (kept, Err(violation)),
                }
            };
            let there = raw.len() - read;
            let length = usize::try_from(frame.length).map_or(there, |left| left.min(there));
            let Some(part) = raw.get_mut(read..read + length) else { break };
            unmask(&mut frame.mask, part);
            frame.length -= length as u64;
            if frame.opcode.is_control() {
                self.control.extend_from_slice(part);
            } else {
                raw.copy_within(read..read + length, kept);
                kept += length;
            }
            read += length;
            match self.end_if_whole(&mut heard) {
                Ok(false) => {}
                Ok(true) => break,
                Err(violation) => return (kept, Err(violation)),
            }
        }
        (kept, Ok(()))
    }

    fn begin(&mut self, head: Head) -> Result<(), Violation> {
        match head.opcode {
            Opcode::Text => return Err(Violation::Text),
            Opcode::Binary if self.is_fragmented => return Err(Violation::Fragments),
            Opcode::Continuation if !self.is_fragmented => return Err(Violation::Fragments),
            Opcode::Binary | Opcode::Continuation => self.is_fragmented = !head.is_final,
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                if !head.is_final || head.length > MAXIMUM_CONTROL_BYTES as u64 {
                    return Err(Violation::Control);
                }
            }
        }
        self.frame = Some(head);
        Ok(())
    }

    /// Ends the frame when nothing is left of it. True when it was the last one.
    fn end_if_whole(&mut self, heard: &mut impl FnMut(Control)) -> Result<bool, Violation> {
        let Some(frame) = self.frame.take_if(|frame| frame.length == 0) else { return Ok(false) };
        match frame.opcode {
            Opcode::Ping => heard(Control::Ping(std::mem::take(&mut self.control))),
            Opcode::Close => {
                let payload = std::mem::take(&mut self.control);
                check_close(&payload)?;
                heard(Control::Close(payload));
                return Ok(true);
            }
            Opcode::Pong => self.control = Vec::new(),
            Opcode::Binary | Opcode::Continuation | Opcode::Text => {}
        }
        Ok(false)
    }
}

/// Status codes that a Close frame may hold (RFC 6455 section 7.4 and the registry it founds).
/// Its text is not looked at.
pub(super) fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload.first_chunk().map(|code| u16::from_be_bytes(*code)) {
        None if payload.is_empty() => Ok(()),
        Some(1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(()),
        _ => Err(Violation::CloseCode),
    }
}
