//! JSON under construction, never larger than [`limits::MAXIMUM_DECODED_BYTES`] and one value.
//!
//! | value | JSON |
//! | --- | --- |
//! | integers of any size | a number, all digits |
//! | floating point | the shortest number that reads back as the same |
//! | NaN and the infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | bytes | `{"base64": "…"}` |

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::DecodeError;
use crate::{limits, types::write_json_string};

/// Writes values one after the other; commas come by themselves.
#[derive(Default)]
pub struct Json(Vec<u8>);

impl Json {
    /// Begins an object or an array.
    pub fn open(&mut self, bracket: u8) -> Result<(), DecodeError> {
        self.put(&[bracket])
    }

    /// Ends it.
    pub fn close(&mut self, bracket: u8) {
        self.0.push(bracket);
    }

    /// The name of a member, whose value is next.
    pub fn key(&mut self, name: &str) -> Result<(), DecodeError> {
        self.string(name)?;
        self.0.push(b':');
        Ok(())
    }

    /// A string.
    pub fn string(&mut self, text: &str) -> Result<(), DecodeError> {
        if text.contains('\0') {
            return Err(DecodeError::Nul);
        }
        self.separate();
        write_json_string(text, &mut self.0);
        self.check()
    }

    /// `null`
    pub fn null(&mut self) -> Result<(), DecodeError> {
        self.put(b"null")
    }

    /// `true` or `false`
    pub fn boolean(&mut self, value: bool) -> Result<(), DecodeError> {
        self.put(if value { b"true" } else { b"false" })
    }

    /// A whole number.
    pub fn integer(&mut self, value: impl itoa::Integer) -> Result<(), DecodeError> {
        self.put(itoa::Buffer::new().format(value).as_bytes())
    }

    /// A whole number of up to 128 bits and its sign, as CBOR's bignums have it: `-1 - value`
    /// where it is negative.
    pub fn bignum(&mut self, value: u128, negative: bool) -> Result<(), DecodeError> {
        match value.checked_add(1) {
            _ if !negative => self.integer(value),
            Some(size) => self.put(format!("-{size}").as_bytes()),
            None => self.put(b"-340282366920938463463374607431768211456"),
        }
    }

    /// Seconds and billionths of a second above them, as one number.
    pub fn decimal(&mut self, seconds: i64, nanoseconds: u32) -> Result<(), DecodeError> {
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let (sign, size) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
        self.put(format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000).as_bytes())
    }

    /// A number of single precision.
    pub fn float32(&mut self, value: f32) -> Result<(), DecodeError> {
        if value.is_finite() { self.number(&value) } else { self.float64(value.into()) }
    }

    /// A number of double precision.
    pub fn float64(&mut self, value: f64) -> Result<(), DecodeError> {
        match value {
            value if value.is_finite() => self.number(&value),
            value if value.is_nan() => self.string("NaN"),
            value if value > 0.0 => self.string("Infinity"),
            _ => self.string("-Infinity"),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.open(b'{')?;
        self.key("base64")?;
        self.string(&STANDARD.encode(bytes))?;
        self.close(b'}');
        Ok(())
    }

    /// All that was written.
    pub fn into_text(self) -> String {
        crate::mapping::into_text(self.0)
    }

    fn number(&mut self, value: &impl Serialize) -> Result<(), DecodeError> {
        self.separate();
        let written = serde_json::to_writer(&mut self.0, value);
        debug_assert!(written.is_ok(), "writing a number to memory cannot fail");
        self.check()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.separate();
        self.0.extend_from_slice(bytes);
        self.check()
    }

    /// No value ends with one of these.
    fn separate(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.0.len() > limits::MAXIMUM_DECODED_BYTES { Err(DecodeError::Size) } else { Ok(()) }
    }
}
