//! MessagePack as JSON.
//!
//! One value, whole. Keys that are numbers, booleans, nil or bytes become their text; of keys
//! that become the same, the last counts. A timestamp (extension -1) is a number of seconds since
//! 1970, another extension `{"extension": type, "base64": "…"}`. What is called a string and is no
//! UTF-8, as older writers have it, is bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use rmp::{Marker, decode::read_marker};

use super::{DecodeError, json::Json};
use crate::limits;

const FORMAT: &str = "MessagePack";

/// The type of timestamps, from the specification.
const TIMESTAMP: i8 = -1;

/// The JSON of a MessagePack value.
pub fn to_json(payload: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader { whole: payload.len(), rest: payload, out: Json::default() };
    reader.value(limits::MAXIMUM_DECODED_DEPTH)?;
    match reader.at() {
        at if at < payload.len() => Err(DecodeError::Trailing { format: FORMAT, at }),
        _ => Ok(reader.out.into_text()),
    }
}

struct Reader<'a> {
    whole: usize,
    rest: &'a [u8],
    out: Json,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        let marker = self.marker()?;
        match marker {
            Marker::FixPos(value) => self.out.integer(value),
            Marker::FixNeg(value) => self.out.integer(value),
            Marker::Null => self.out.null(),
            Marker::True => self.out.boolean(true),
            Marker::False => self.out.boolean(false),
            Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                let value = self.unsigned(width(marker))?;
                self.out.integer(value)
            }
            Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
                let width = width(marker);
                let unused = 64 - 8 * width as u32;
                let value = (self.unsigned(width)? << unused).cast_signed() >> unused;
                self.out.integer(value)
            }
            Marker::F32 => {
                let bits = self.unsigned(4)?;
                self.out.float32(f32::from_bits(bits as u32))
            }
            Marker::F64 => {
                let bits = self.unsigned(8)?;
                self.out.float64(f64::from_bits(bits))
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let bytes = self.sized(marker)?;
                match str::from_utf8(bytes) {
                    Ok(text) => self.out.string(text),
                    Err(_) => self.out.bytes(bytes),
                }
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let bytes = self.sized(marker)?;
                self.out.bytes(bytes)
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                self.array(marker, depth.checked_sub(1).ok_or(DecodeError::Depth)?)
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                self.map(marker, depth.checked_sub(1).ok_or(DecodeError::Depth)?)
            }
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => self.extension(marker),
            Marker::Reserved => Err(self.malformed()),
        }
    }

    fn array(&mut self, marker: Marker, depth: usize) -> Result<(), DecodeError> {
        let length = self.length(marker)?;
        self.out.open(b'[')?;
        for _ in 0..length {
            self.value(depth)?;
        }
        self.out.close(b']');
        Ok(())
    }

    fn map(&mut self, marker: Marker, depth: usize) -> Result<(), DecodeError> {
        let length = self.length(marker)?;
        self.out.open(b'{')?;
        for _ in 0..length {
            let key = self.map_key()?;
            self.out.key(&key)?;
            self.value(depth)?;
        }
        self.out.close(b'}');
        Ok(())
    }

    fn map_key(&mut self) -> Result<String, DecodeError> {
        let start = self.rest;
        let marker = self.marker()?;
        match marker {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let bytes = self.sized(marker)?;
                Ok(str::from_utf8(bytes).map_or_else(|_| STANDARD.encode(bytes), str::to_owned))
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Ok(STANDARD.encode(self.sized(marker)?)),
            Marker::Null
            | Marker::True
            | Marker::False
            | Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::F32
            | Marker::F64
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64 => {
                let mut key = Reader { whole: self.whole, rest: start, out: Json::default() };
                key.value(0)?;
                self.rest = key.rest;
                Ok(key.out.into_text().replace('"', ""))
            }
            Marker::Reserved => Err(self.malformed()),
            _ => Err(DecodeError::Key),
        }
    }

    fn extension(&mut self, marker: Marker) -> Result<(), DecodeError> {
        let length = self.length(marker)?;
        let kind = self.take(1)?.first().copied().unwrap_or_default().cast_signed();
        let bytes = self.take(length)?;
        if kind == TIMESTAMP
            && let Some((seconds, nanoseconds)) = timestamp(bytes)
        {
            return match nanoseconds {
                0 => self.out.integer(seconds),
                _ => self.out.decimal(seconds, nanoseconds),
            };
        }
        self.out.open(b'{')?;
        self.out.key("extension")?;
        self.out.integer(kind)?;
        self.out.key("base64")?;
        self.out.string(&STANDARD.encode(bytes))?;
        self.out.close(b'}');
        Ok(())
    }

    /// The bytes of a string or of binary data.
    fn sized(&mut self, marker: Marker) -> Result<&'a [u8], DecodeError> {
        let length = self.length(marker)?;
        self.take(length)
    }

    /// How many bytes, items, or pairs follow.
    fn length(&mut self, marker: Marker) -> Result<usize, DecodeError> {
        match marker {
            Marker::FixStr(length) | Marker::FixArray(length) | Marker::FixMap(length) => Ok(length.into()),
            Marker::FixExt1 => Ok(1),
            Marker::FixExt2 => Ok(2),
            Marker::FixExt4 => Ok(4),
            Marker::FixExt8 => Ok(8),
            Marker::FixExt16 => Ok(16),
            _ => self.unsigned(width(marker)).map(|length| length as usize),
        }
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, DecodeError> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn marker(&mut self) -> Result<Marker, DecodeError> {
        read_marker(&mut self.rest).map_err(|_| self.malformed())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn at(&self) -> usize {
        self.whole - self.rest.len()
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { format: FORMAT, at: self.at() }
    }
}

/// Bytes of the number that follows a marker.
fn width(marker: Marker) -> usize {
    match marker {
        Marker::U8 | Marker::I8 | Marker::Str8 | Marker::Bin8 | Marker::Ext8 => 1,
        Marker::U16 | Marker::I16 | Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => {
            2
        }
        Marker::U64 | Marker::I64 => 8,
        _ => 4,
    }
}

/// Seconds since 1970 and nanoseconds, of the three forms that a timestamp has.
fn timestamp(bytes: &[u8]) -> Option<(i64, u32)> {
    let (seconds, nanoseconds) = match *bytes {
        [a, b, c, d] => (u32::from_be_bytes([a, b, c, d]).into(), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            ((both & 0x3_FFFF_FFFF).cast_signed(), (both >> 34) as u32)
        }
        [a, b, c, d, ref seconds @ ..] if seconds.len() == 8 => {
            (i64::from_be_bytes(*seconds.first_chunk()?), u32::from_be_bytes([a, b, c, d]))
        }
        _ => return None,
    };
    (nanoseconds < 1_000_000_000).then_some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<String, DecodeError> {
        to_json(bytes)
    }

    #[test]
    fn every_type_decodes() {
        for (bytes, json) in [
            (&b"\x07"[..], "7"),
            (b"\xff", "-1"),
            (b"\xc0", "null"),
            (b"\xc3", "true"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xd0\x80", "-128"),
            (b"\xd1\xff\x00", "-256"),
            (b"\xd2\xff\xff\xff\xfe", "-2"),
            (b"\xcd\x01\x00", "256"),
            (b"\xca\x41\xa8\xcc\xcd", "21.1"),
            (b"\xcb\x3f\xf1\x99\x99\x99\x99\x99\x9a", "1.1"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\"NaN\""),
            (b"\xa3on\"", "\"on\\\"\""),
            (b"\xd9\x02hi", "\"hi\""),
            (b"\xa2\xc3\x28", "{\"base64\":\"wyg=\"}"),
            (b"\xc4\x02\x00\x01", "{\"base64\":\"AAE=\"}"),
            (b"\x92\x01\x90", "[1,[]]"),
            (b"\xdc\x00\x01\xc2", "[false]"),
            (b"\x83\xa1a\x01\x02\x03\xc0\x80", "{\"a\":1,\"2\":3,\"null\":{}}"),
            (b"\xde\x00\x01\xa1a\xa1b", "{\"a\":\"b\"}"),
            (b"\xd4\x05\x00", "{\"extension\":5,\"base64\":\"AA==\"}"),
            (b"\xd6\xff\x00\x00\x00\x05", "5"),
            (b"\xc7\x0c\xff\x1d\xcd\x65\x00\xff\xff\xff\xff\xff\xff\xff\xfe", "-1.500000000"),
            (b"\xd7\xff\x00\x00\x00\x04\x00\x00\x00\x07", "7.000000001"),
        ] {
            assert_eq!(decoded(bytes).as_deref(), Ok(json), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        for bytes in
            [&b""[..], b"\xc1", b"\xcd\x01", b"\xa2a", b"\x91", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
        {
            assert!(matches!(decoded(bytes), Err(DecodeError::Malformed { .. })), "{bytes:x?}");
        }
        assert_eq!(decoded(b"\x01\x01"), Err(DecodeError::Trailing { format: FORMAT, at: 1 }));
        assert_eq!(decoded(b"\x81\x90\x01"), Err(DecodeError::Key));
        assert_eq!(decoded(b"\xa1\0"), Err(DecodeError::Nul));
        assert_eq!(decoded(&[0x91; 100_000]), Err(DecodeError::Depth));
        let mut wide = vec![0xDD, 0, 0x0F, 0x42, 0x40];
        wide.extend([0xC4, 0].repeat(1_000_000));
        assert_eq!(decoded(&wide), Err(DecodeError::Size));
    }
}
