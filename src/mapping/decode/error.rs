//! Why a payload is not what its route or its content type says.

use crate::limits;

/// Its text goes into the event's metadata, so it depends on the payload alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RFC 8259, within what `jsonb` can hold.
    #[error("the payload is not JSON that the table can hold")]
    Json,
    /// RFC 3629
    #[error("the payload is not UTF-8 text")]
    Utf8,
    /// Bytes that the format does not allow.
    #[error("not {format}, from byte {at} on")]
    Malformed {
        /// The format that was expected.
        format: &'static str,
        /// Where reading stopped.
        at: usize,
    },
    /// Not the messages of `sparkplug_b.proto`.
    #[error("not a Sparkplug B payload")]
    Sparkplug,
    /// A whole value, and then more.
    #[error("more than one {format} value: the first ends at byte {at}")]
    Trailing {
        /// The format that was expected.
        format: &'static str,
        /// Where the first value ends.
        at: usize,
    },
    /// Values within values.
    #[error("nested deeper than {} levels", limits::MAXIMUM_DECODED_DEPTH)]
    Depth,
    /// The JSON would be too large.
    #[error("more than {} bytes as JSON", limits::MAXIMUM_DECODED_BYTES)]
    Size,
    /// `jsonb` has no U+0000.
    #[error("text with U+0000, which the table cannot hold")]
    Nul,
    /// The name of a member is an array or an object.
    #[error("a map whose key is no scalar value")]
    Key,
}
