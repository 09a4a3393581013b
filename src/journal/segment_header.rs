//! The first 64 bytes of a segment.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | `SYNAPJ01` |
//! | 8..24 | identity of the journal |
//! | 24..32 | base |
//! | 32..40 | creation time, microseconds since 1970 |
//! | 40..48 | ceiling |
//! | 48..56 | previous |
//! | 56..60 | salt |
//! | 60..64 | CRC-32C of the 60 bytes before |

use uuid::Uuid;

use super::record::Salt;
use crate::types::{Micros, Sequence};

/// Length of a segment's header.
pub const SEGMENT_HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"SYNAPJ01";

/// What a segment says about itself and about what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Identity of the journal, the same in all its segments.
    pub journal: Uuid,
    /// No record here is below it.
    pub base: Sequence,
    /// No record here is older, none in a segment before is younger.
    pub created: Micros,
    /// First sequence that was not reserved when it was made.
    pub ceiling: Sequence,
    /// The last record that was written before it, so that missing ones are noticed: numbers
    /// between this and base were never used, or refused.
    pub previous: Sequence,
    /// What header checksums start from, the same in all segments.
    pub salt: Salt,
}

impl SegmentHeader {
    /// The file name: base in 20 digits, so that names sort like sequences.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:020}.journal", self.base.0)
    }

    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(self.journal.as_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.created.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.ceiling.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.salt.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the bytes on disk; none when they are not a header.
    #[must_use]
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> Option<Self> {
        let field = |at: usize| bytes[at..].first_chunk().map(|field| u64::from_le_bytes(*field));
        if !bytes.starts_with(MAGIC) || crc32c::crc32c(&bytes[..60]).to_le_bytes() != bytes[60..64] {
            return None;
        }
        Some(Self {
            journal: Uuid::from_slice(&bytes[8..24]).ok()?,
            base: Sequence(field(24)?),
            created: Micros::saturating(field(32)?.cast_signed()),
            ceiling: Sequence(field(40)?),
            previous: Sequence(field(48)?),
            salt: Salt(u32::from_le_bytes(*bytes[56..].first_chunk()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_round_trips_and_any_flipped_bit_is_noticed() {
        let header = SegmentHeader {
            journal: Uuid::from_u128(7),
            base: Sequence(1 << 40),
            created: Micros::saturating(1_700_000_000_000_000),
            ceiling: Sequence(1 << 41),
            previous: Sequence(9),
            salt: Salt(0xdead_beef),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[at / 8] ^= 1 << (at % 8);
            assert_eq!(SegmentHeader::decode(&damaged), None, "bit {at}");
        }
    }
}
