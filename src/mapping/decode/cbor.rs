//! CBOR (RFC 8949) as JSON, along the advice of its section 6.1 where that loses nothing.
//!
//! One value, whole; no sequence of them. Keys that are numbers, booleans, null or bytes become
//! their text; of keys that become the same, the last counts. Tags are left out, and bignums
//! (tags 2 and 3) of more than 128 bits stay bytes. `undefined` and unassigned simple values are
//! `null`.

use base64::{Engine, engine::general_purpose::STANDARD};
use minicbor::{Decoder, data::Type};

use super::{DecodeError, json::Json};
use crate::limits;

const FORMAT: &str = "CBOR";

/// The JSON of a CBOR value.
pub fn to_json(payload: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader { from: Decoder::new(payload), out: Json::default() };
    reader.value(limits::MAXIMUM_DECODED_DEPTH)?;
    match reader.from.position() {
        at if at < payload.len() => Err(DecodeError::Trailing { format: FORMAT, at }),
        _ => Ok(reader.out.into_text()),
    }
}

struct Reader<'a> {
    from: Decoder<'a>,
    out: Json,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.datatype()? {
            Type::Bool => {
                let value = self.from.bool();
                self.out.boolean(self.valid(value)?)
            }
            Type::Null | Type::Undefined | Type::Simple => {
                let skipped = self.from.skip();
                self.valid(skipped)?;
                self.out.null()
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                let value = self.from.int();
                self.out.integer(i128::from(self.valid(value)?))
            }
            Type::F16 => {
                let value = self.from.f16();
                self.out.float32(self.valid(value)?)
            }
            Type::F32 => {
                let value = self.from.f32();
                self.out.float32(self.valid(value)?)
            }
            Type::F64 => {
                let value = self.from.f64();
                self.out.float64(self.valid(value)?)
            }
            Type::String | Type::StringIndef => {
                let text = self.text()?;
                self.out.string(&text)
            }
            Type::Bytes | Type::BytesIndef => {
                let bytes = self.bytes()?;
                self.out.bytes(&bytes)
            }
            Type::Tag => self.tagged(depth.checked_sub(1).ok_or(DecodeError::Depth)?),
            Type::Array | Type::ArrayIndef => self.array(depth.checked_sub(1).ok_or(DecodeError::Depth)?),
            Type::Map | Type::MapIndef => self.map(depth.checked_sub(1).ok_or(DecodeError::Depth)?),
            Type::Break | Type::Unknown(_) => Err(self.malformed()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), DecodeError> {
        let length = self.from.array();
        let mut left = self.valid(length)?;
        self.out.open(b'[')?;
        while self.has_next(&mut left)? {
            self.value(depth)?;
        }
        self.out.close(b']');
        Ok(())
    }

    fn map(&mut self, depth: usize) -> Result<(), DecodeError> {
        let length = self.from.map();
        let mut left = self.valid(length)?;
        self.out.open(b'{')?;
        while self.has_next(&mut left)? {
            let key = self.map_key()?;
            self.out.key(&key)?;
            self.value(depth)?;
        }
        self.out.close(b'}');
        Ok(())
    }

    /// Whether another item follows: of those that were announced, or before the break.
    fn has_next(&mut self, left: &mut Option<u64>) -> Result<bool, DecodeError> {
        match left {
            Some(0) => return Ok(false),
            Some(left) => *left -= 1,
            None if self.datatype()? == Type::Break => {
                self.from.set_position(self.from.position() + 1);
                return Ok(false);
            }
            None => {}
        }
        Ok(true)
    }

    fn map_key(&mut self) -> Result<String, DecodeError> {
        match self.datatype()? {
            Type::String | Type::StringIndef => self.text(),
            Type::Bytes | Type::BytesIndef => Ok(STANDARD.encode(self.bytes()?)),
            Type::Array | Type::ArrayIndef | Type::Map | Type::MapIndef | Type::Tag => Err(DecodeError::Key),
            _ => {
                let mut key = Reader { from: self.from.clone(), out: Json::default() };
                key.value(0)?;
                self.from.set_position(key.from.position());
                Ok(key.out.into_text().replace('"', ""))
            }
        }
    }

    fn tagged(&mut self, depth: usize) -> Result<(), DecodeError> {
        let tag = self.from.tag();
        let tag = self.valid(tag)?.as_u64();
        if matches!(tag, 2 | 3) && matches!(self.datatype()?, Type::Bytes | Type::BytesIndef) {
            let bytes = self.bytes()?;
            let size = bytes.iter().position(|byte| *byte != 0).map_or(0, |zeros| bytes.len() - zeros);
            if size > size_of::<u128>() {
                return self.out.bytes(&bytes);
            }
            let value = bytes.iter().fold(0, |value: u128, byte| value << 8 | u128::from(*byte));
            return self.out.bignum(value, tag == 3);
        }
        self.value(depth)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let pieces = self.from.str_iter().and_then(Iterator::collect);
        self.valid(pieces)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let pieces = self.from.bytes_iter().and_then(Iterator::collect::<Result<Vec<&[u8]>, _>>);
        Ok(self.valid(pieces)?.concat())
    }

    fn datatype(&self) -> Result<Type, DecodeError> {
        self.valid(self.from.datatype())
    }

    fn valid<T>(&self, read: Result<T, minicbor::decode::Error>) -> Result<T, DecodeError> {
        read.map_err(|_| self.malformed())
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { format: FORMAT, at: self.from.position() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hex: &str) -> Result<String, DecodeError> {
        let bytes: Vec<u8> =
            hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect();
        to_json(&bytes)
    }

    #[test]
    fn the_examples_of_the_standard_decode() {
        // RFC 8949 appendix A
        for (hex, json) in [
            ("00", "0"),
            ("1bffffffffffffffff", "18446744073709551615"),
            ("c249010000000000000000", "18446744073709551616"),
            ("3bffffffffffffffff", "-18446744073709551616"),
            ("c349010000000000000000", "-18446744073709551617"),
            ("3903e7", "-1000"),
            ("f90000", "0.0"),
            ("f98000", "-0.0"),
            ("f97bff", "65504.0"),
            ("f90001", "5.9604645e-8"),
            ("fb3ff199999999999a", "1.1"),
            ("fa47c35000", "100000.0"),
            ("fb7e37e43c8800759c", "1e+300"),
            ("f97c00", "\"Infinity\""),
            ("f97e00", "\"NaN\""),
            ("fbfff0000000000000", "\"-Infinity\""),
            ("f5", "true"),
            ("f6", "null"),
            ("f7", "null"),
            ("f8ff", "null"),
            ("c074323031332d30332d32315432303a30343a30305a", "\"2013-03-21T20:04:00Z\""),
            ("c11a514b67b0", "1363896240"),
            ("4401020304", "{\"base64\":\"AQIDBA==\"}"),
            ("62225c", "\"\\\"\\\\\""),
            ("63e6b0b4", "\"水\""),
            ("8301820203820405", "[1,[2,3],[4,5]]"),
            ("a201020304", "{\"1\":2,\"3\":4}"),
            ("a26161016162820203", "{\"a\":1,\"b\":[2,3]}"),
            ("5f42010243030405ff", "{\"base64\":\"AQIDBAU=\"}"),
            ("7f657374726561646d696e67ff", "\"streaming\""),
            ("9f018202039f0405ffff", "[1,[2,3],[4,5]]"),
            ("bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}"),
            ("a4f50120024101036161f6", "{\"true\":1,\"-1\":2,\"AQ==\":3,\"a\":null}"),
        ] {
            assert_eq!(decoded(hex).as_deref(), Ok(json), "{hex}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        for hex in
            ["", "18", "1c", "62c328", "ff", "8201", "9bffffffffffffffff", "bf01ff", "5f6161ff", "7b7fffffffffffffff"]
        {
            assert!(matches!(decoded(hex), Err(DecodeError::Malformed { .. })), "{hex}: {:?}", decoded(hex));
        }
        assert_eq!(decoded("0000"), Err(DecodeError::Trailing { format: FORMAT, at: 1 }));
        assert_eq!(decoded("a18000"), Err(DecodeError::Key));
        assert_eq!(decoded("6100"), Err(DecodeError::Nul));
        for bomb in ["81", "a100", "c1", "9f"] {
            assert_eq!(decoded(&bomb.repeat(100_000)), Err(DecodeError::Depth), "{bomb}");
        }
        assert_eq!(decoded(&format!("9b00000000000f4240{}", "40".repeat(1_000_000))), Err(DecodeError::Size));
    }
}
