//! The wire format of Protocol Buffers, read field by field where it lies, and written likewise.
//!
//! A schema compiler would give a tree of values, whose size a stranger chooses: two bytes of
//! an empty metric would be hundreds in memory. Groups, which no schema here has, are refused.

use super::DecodeError;

/// A field's value as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, booleans.
    Varint(u64),
    /// `double`
    Fixed64(u64),
    /// `float`
    Fixed32(u32),
    /// Strings, bytes, messages, packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message: number and value, in the order of the wire.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The values of one field, in order.
    pub fn of(self, number: u32) -> impl Iterator<Item = Result<Value<'a>, DecodeError>> {
        self.filter_map(move |field| match field {
            Ok((found, value)) if found == number => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.chunk()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.chunk()?)),
            _ => return None,
        };
        Some((number, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for index in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field().ok_or_else(|| {
            self.0 = &[];
            DecodeError::Sparkplug
        }))
    }
}

impl<'a> Value<'a> {
    /// An integer or a boolean.
    pub fn varint(self) -> Result<u64, DecodeError> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(DecodeError::Sparkplug) }
    }

    /// Bytes, or a message.
    pub fn bytes(self) -> Result<&'a [u8], DecodeError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(DecodeError::Sparkplug) }
    }

    /// A string.
    pub fn text(self) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Utf8)
    }
}

/// Appends a field that is an integer.
pub fn write_varint(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

/// Appends a field that is bytes, text or a message.
pub fn write_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Integers that lie one behind the other.
pub fn packed(bytes: &[u8]) -> Result<Vec<u64>, DecodeError> {
    let mut rest = Fields(bytes);
    let mut numbers = Vec::new();
    while !rest.0.is_empty() {
        numbers.push(rest.varint().ok_or(DecodeError::Sparkplug)?);
    }
    Ok(numbers)
}
