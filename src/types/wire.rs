//! The data representations of MQTT (MQTT 5.0 section 1.5): how integers, text and binary
//! data lie on the wire, and in the property lists of the journal.

/// Largest value of a variable byte integer (section 1.5.5).
pub const MAXIMUM_VARIABLE_BYTE_INTEGER: u32 = 268_435_455;

/// Bytes that are no value of the kind that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a value.
    #[error("a field is cut off")]
    Truncated,
    /// Not well-formed UTF-8.
    #[error("text is not well-formed UTF-8 [MQTT-1.5.4-1]")]
    IllFormedText,
    /// Text with a null character.
    #[error("text contains U+0000 [MQTT-1.5.4-2]")]
    NulInText,
    /// More than four bytes, or more than the value needs.
    #[error("a variable byte integer is longer than its value needs or than four bytes [MQTT-1.5.5-1]")]
    VariableByteInteger,
}

/// Reads values from the front of borrowed bytes. After an error its position is unspecified.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `length` bytes as they are.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn byte(&mut self) -> Result<u8, WireError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A two byte integer.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn two_bytes(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A four byte integer.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn four_bytes(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer in its shortest form.
    ///
    /// # Errors
    /// When it is cut off, longer than four bytes, or longer than it needs to be.
    pub fn variable_byte_integer(&mut self) -> Result<u32, WireError> {
        let before = self.0.len();
        let value = self.padded_variable_byte_integer()?;
        if before - self.0.len() == variable_byte_integer_size(value as usize) {
            Ok(value)
        } else {
            Err(WireError::VariableByteInteger)
        }
    }

    /// A variable byte integer of one to four bytes, which may be longer than it needs to be, as
    /// MQTT 3.1.1 does not forbid.
    ///
    /// # Errors
    /// When it is cut off or longer than four bytes.
    pub fn padded_variable_byte_integer(&mut self) -> Result<u32, WireError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::VariableByteInteger)
    }

    /// Binary data with its two byte length.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn binary(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.two_bytes()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 encoded string.
    ///
    /// # Errors
    /// When it is cut off, ill-formed, or contains U+0000.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| WireError::IllFormedText)?;
        if text.as_bytes().contains(&0) { Err(WireError::NulInText) } else { Ok(text) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }
}

/// Bytes that `value` takes as a variable byte integer.
#[must_use]
pub const fn variable_byte_integer_size(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends `value` as a variable byte integer. The caller sees to it that it is at most
/// [`MAXIMUM_VARIABLE_BYTE_INTEGER`].
pub fn write_variable_byte_integer(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= MAXIMUM_VARIABLE_BYTE_INTEGER as usize);
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends binary data with its two byte length. The caller sees to it that it has at most
/// 65,535 bytes; more would be cut off, so that the bytes that follow keep their meaning.
pub fn write_binary(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(data.len() <= usize::from(u16::MAX));
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data.get(..usize::from(length)).unwrap_or_default());
}

/// Appends a UTF-8 encoded string; the same limit as for [`write_binary`].
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_binary(out, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_are_as_in_table_1_1() {
        for (value, wire) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            write_variable_byte_integer(&mut out, value);
            assert_eq!(out, wire);
            assert_eq!(variable_byte_integer_size(value), wire.len());
            assert_eq!(Reader::new(wire).variable_byte_integer(), Ok(value as u32));
        }
    }

    #[test]
    fn long_variable_byte_integers_are_refused() {
        for wire in [&[0x80, 0x00][..], &[0xFF, 0x80, 0x00], &[0xFF, 0xFF, 0xFF, 0xFF, 0x01]] {
            assert_eq!(Reader::new(wire).variable_byte_integer(), Err(WireError::VariableByteInteger), "{wire:?}");
        }
        assert_eq!(Reader::new(&[0x81, 0x00]).padded_variable_byte_integer(), Ok(1));
        assert_eq!(Reader::new(&[0x80]).variable_byte_integer(), Err(WireError::Truncated));
    }

    #[test]
    fn text_is_well_formed_and_without_nul() {
        assert_eq!(Reader::new(b"\x00\x03\xEF\xBB\xBF").text(), Ok("\u{FEFF}"));
        assert_eq!(Reader::new(b"\x00\x03\xED\xA0\x80").text(), Err(WireError::IllFormedText));
        assert_eq!(Reader::new(b"\x00\x02\xC0\x80").text(), Err(WireError::IllFormedText));
        assert_eq!(Reader::new(b"\x00\x01\x00").text(), Err(WireError::NulInText));
        assert_eq!(Reader::new(b"\x00\x02a").text(), Err(WireError::Truncated));
    }
}
