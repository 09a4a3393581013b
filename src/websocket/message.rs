//! From a client's frames to messages of text: for programs that speak JSON and not MQTT.

use super::{
    decoder::{Violation, check_close},
    deflate,
    frame::{self, Head, MAXIMUM_CONTROL_BYTES, Opcode, PartialHead, unmask},
};

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole message of text.
    Text(String),
    /// It wants a Pong with the same payload.
    Ping(Vec<u8>),
    /// It is alive.
    Pong,
    /// It wants a Close frame with the same payload, and then nothing more.
    Close(Vec<u8>),
}

/// What the next byte of a client means. Holds one message of at most so many bytes.
#[derive(Debug)]
pub struct MessageDecoder {
    maximum: usize,
    head: PartialHead,
    /// The frame whose payload comes next; its `length` is what is left of it.
    frame: Option<Head>,
    /// Whether a message has begun and not ended.
    is_fragmented: bool,
    /// Whether that message is compressed.
    is_compressed: bool,
    message: Vec<u8>,
    control: Vec<u8>,
}

impl MessageDecoder {
    /// For messages of at most `maximum` bytes, which may come compressed where that is agreed to.
    #[must_use]
    pub const fn new(maximum: usize, may_be_compressed: bool) -> Self {
        Self {
            maximum,
            head: PartialHead::new(may_be_compressed),
            frame: None,
            is_fragmented: false,
            is_compressed: false,
            message: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Takes in what was read, and hands over what became whole with it. Nothing behind a Close frame or a
    /// violation is looked at.
    ///
    /// # Errors
    /// [`Violation`], where the client breaks RFC 6455, sends something other than text, or too much of it.
    pub fn decode(&mut self, raw: &mut [u8], mut heard: impl FnMut(Message)) -> Result<(), Violation> {
        let mut read = 0;
        while let Some(byte) = raw.get(read).copied() {
            let Some(frame) = &mut self.frame else {
                read += 1;
                if let Some(head) = self.head.push(byte)? {
                    self.begin(head)?;
                    if self.end_if_whole(&mut heard)? {
                        return Ok(());
                    }
                }
                continue;
            };
            let there = raw.len() - read;
            let length = usize::try_from(frame.length).map_or(there, |left| left.min(there));
            let Some(part) = raw.get_mut(read..read + length) else { break };
            unmask(&mut frame.mask, part);
            frame.length -= length as u64;
            let target = if frame.opcode.is_control() { &mut self.control } else { &mut self.message };
            target.extend_from_slice(part);
            read += length;
            if self.end_if_whole(&mut heard)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: Head) -> Result<(), Violation> {
        let room = self.maximum.saturating_sub(self.message.len()) as u64;
        if head.is_compressed && head.opcode != Opcode::Text {
            return Err(Violation::Reserved);
        }
        match head.opcode {
            Opcode::Binary => return Err(Violation::Binary),
            Opcode::Text if self.is_fragmented => return Err(Violation::Fragments),
            Opcode::Continuation if !self.is_fragmented => return Err(Violation::Fragments),
            Opcode::Text | Opcode::Continuation if head.length > room => return Err(Violation::TooLarge),
            Opcode::Text | Opcode::Continuation => {
                if head.opcode == Opcode::Text {
                    self.is_compressed = head.is_compressed;
                }
                self.is_fragmented = !head.is_final;
            }
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
    fn end_if_whole(&mut self, heard: &mut impl FnMut(Message)) -> Result<bool, Violation> {
        let Some(frame) = self.frame.take_if(|frame| frame.length == 0) else { return Ok(false) };
        match frame.opcode {
            Opcode::Ping => heard(Message::Ping(std::mem::take(&mut self.control))),
            Opcode::Pong => {
                self.control = Vec::new();
                heard(Message::Pong);
            }
            Opcode::Close => {
                let payload = std::mem::take(&mut self.control);
                check_close(&payload)?;
                heard(Message::Close(payload));
                return Ok(true);
            }
            Opcode::Text | Opcode::Continuation | Opcode::Binary => {
                if !self.is_fragmented {
                    let message = std::mem::take(&mut self.message);
                    let message =
                        if self.is_compressed { deflate::decompress(message, self.maximum)? } else { message };
                    heard(Message::Text(String::from_utf8(message).map_err(|_| Violation::Utf8)?));
                }
            }
        }
        Ok(false)
    }
}

/// Appends a message of text; compressed where that is agreed to and worth it.
pub fn write_text(text: &[u8], may_compress: bool, out: &mut Vec<u8>) {
    match may_compress.then(|| deflate::compress(text)).flatten() {
        Some(compressed) => frame::encode_compressed(Opcode::Text, &compressed, out),
        None => frame::encode(Opcode::Text, text, out),
    }
}

/// Makes what stands in `out` from `start` on a message of text, not compressed.
pub fn enclose_text(start: usize, out: &mut Vec<u8>) {
    frame::enclose(Opcode::Text, start, out);
}

/// Appends a Ping without a payload.
pub fn write_ping(out: &mut Vec<u8>) {
    frame::encode(Opcode::Ping, &[], out);
}

/// Appends the answer to a Ping.
pub fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    frame::encode(Opcode::Pong, payload, out);
}

/// Appends a Close frame: a status code and why, of which as much is sent as has room.
pub fn write_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut payload = code.to_be_bytes().to_vec();
    let mut room = reason.len().min(MAXIMUM_CONTROL_BYTES - payload.len());
    while !reason.is_char_boundary(room) {
        room -= 1;
    }
    payload.extend_from_slice(reason.get(..room).unwrap_or_default().as_bytes());
    frame::encode(Opcode::Close, &payload, out);
}

/// Appends the answer to a Close frame.
pub fn write_closed(payload: &[u8], out: &mut Vec<u8>) {
    frame::encode(Opcode::Close, payload.get(..2).unwrap_or_default(), out);
}

#[cfg(test)]
mod tests {
    use super::{super::tests::client_frame, *};

    fn decode(bytes: &[u8], size: usize) -> (Vec<Message>, Result<(), Violation>) {
        let (mut decoder, mut messages) = (MessageDecoder::new(300, false), Vec::new());
        for part in bytes.chunks(size) {
            let decoded = decoder.decode(&mut part.to_vec(), |message| messages.push(message));
            if decoded.is_err() || matches!(messages.last(), Some(Message::Close(_))) {
                return (messages, decoded);
            }
        }
        (messages, Ok(()))
    }

    #[test]
    fn messages_are_whole_however_they_come() {
        let mut bytes = client_frame(0x81, b"one");
        bytes.extend(client_frame(0x81, b""));
        bytes.extend(client_frame(0x01, "é".as_bytes().get(..1).unwrap()));
        bytes.extend(client_frame(0x89, b"ping"));
        bytes.extend(client_frame(0x00, "é".as_bytes().get(1..).unwrap()));
        bytes.extend(client_frame(0x8a, b"pong"));
        bytes.extend(client_frame(0x80, &[b'x'; 298]));
        bytes.extend(client_frame(0x88, b"\x03\xe8bye"));
        bytes.extend(client_frame(0x81, b"too late"));
        for size in [1, 2, 7, 1000] {
            let (messages, decoded) = decode(&bytes, size);
            assert_eq!(decoded, Ok(()));
            let expected = [
                Message::Text("one".into()),
                Message::Text(String::new()),
                Message::Ping(b"ping".into()),
                Message::Pong,
                Message::Text(format!("é{}", "x".repeat(298))),
                Message::Close(b"\x03\xe8bye".into()),
            ];
            assert_eq!(messages, expected);
        }
    }

    #[test]
    fn violations_are_told_apart() {
        for (bytes, violation, code) in [
            (client_frame(0x82, b"x"), Violation::Binary, 1003),
            (client_frame(0x81, &[0xff]), Violation::Utf8, 1007),
            (client_frame(0x81, &[b'x'; 301]), Violation::TooLarge, 1009),
            ([client_frame(0x01, &[b'x'; 200]), client_frame(0x80, &[b'x'; 101])].concat(), Violation::TooLarge, 1009),
            (client_frame(0x80, b""), Violation::Fragments, 1002),
            ([client_frame(0x01, b"a"), client_frame(0x81, b"b")].concat(), Violation::Fragments, 1002),
            (client_frame(0xc1, b"x"), Violation::Reserved, 1002),
            (client_frame(0x89, &[0; 126]), Violation::Control, 1002),
            (client_frame(0x88, b"\x03"), Violation::CloseCode, 1002),
            (b"\x81\x01x".to_vec(), Violation::Unmasked, 1002),
        ] {
            let before = [client_frame(0x81, b"before"), bytes].concat();
            for size in [1, 1000] {
                let (messages, decoded) = decode(&before, size);
                assert_eq!((messages, decoded), (vec![Message::Text("before".into())], Err(violation)));
            }
            assert_eq!(violation.close_code(), code);
        }
    }

    #[test]
    fn compressed_messages_are_read_where_that_is_agreed_to() {
        let text = "a message that repeats itself, ".repeat(20);
        let compressed = deflate::compress(text.as_bytes()).unwrap();
        let (first, second) = compressed.split_at(9);
        let mut bytes = client_frame(0xc1, &compressed);
        bytes.extend(client_frame(0x41, first));
        bytes.extend(client_frame(0x80, second));
        bytes.extend(client_frame(0x81, b"plain"));
        let mut decoder = MessageDecoder::new(1000, true);
        let mut messages = Vec::new();
        decoder.decode(&mut bytes, |message| messages.push(message)).unwrap();
        assert_eq!(messages, [&*text, &text, "plain"].map(|text| Message::Text(text.into())));
        for first in [0xc9, 0xa1, 0x91] {
            let decoded = MessageDecoder::new(1000, true).decode(&mut client_frame(first, b"x"), |_| {});
            assert_eq!(decoded, Err(Violation::Reserved), "{first:02x}");
        }
        let mut small = MessageDecoder::new(500, true);
        assert_eq!(small.decode(&mut client_frame(0xc1, &compressed), |_| {}), Err(Violation::TooLarge));
        let mut out = Vec::new();
        write_text(text.as_bytes(), true, &mut out);
        assert_eq!((out[0], &out[2..]), (0xc1, &compressed[..]));
    }

    #[test]
    fn text_becomes_a_message_where_it_stands() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let text = vec![b'x'; length];
            let (mut written, mut enclosed) = (b"before".to_vec(), b"before".to_vec());
            write_text(&text, false, &mut written);
            enclosed.extend_from_slice(&text);
            enclose_text(6, &mut enclosed);
            assert!(written == enclosed, "{length}");
        }
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(1008, &"é".repeat(100), &mut out);
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xf0]);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
