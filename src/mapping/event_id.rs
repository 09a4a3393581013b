//! Event ids, derived: the same for the table, the stream, and every retry.
//!
//! UUIDv7 layout (RFC 9562 section 5.7): 48 bits of milliseconds; 12 bits of the millisecond's
//! fraction (section 6.2, method 3); 42 bits of sequence; 20 bits of the journal's identity.
//! Receive times never decrease along a journal, so ids rise with the sequence, but for a wrap
//! of 2^42 records within one microsecond. Two journals meet only where receive time in µs,
//! sequence and 20 random bits agree.

use uuid::Uuid;

use crate::types::{Micros, Sequence};

const SEQUENCE_MASK: u64 = (1 << 42) - 1;

/// The journal's share of an id, made once.
#[derive(Clone, Copy, Debug)]
pub struct JournalBits(u64);

impl JournalBits {
    /// The last 20 bits of a journal's identity, which are random in a UUIDv4.
    pub const fn new(journal: Uuid) -> Self {
        Self((journal.as_u128() & 0xF_FFFF) as u64)
    }

    /// The id of the event at `sequence`.
    pub fn event_id(self, sequence: Sequence, received: Micros) -> Uuid {
        let micros = received.get().max(0).cast_unsigned();
        let fraction = (micros % 1000) * 4096 / 1000;
        let high = (micros / 1000) << 16 | 0x7000 | fraction;
        let low = 1 << 63 | (sequence.0 & SEQUENCE_MASK) << 20 | self.0;
        Uuid::from_u64_pair(high, low)
    }
}

/// The sequence in an id, up to 2^42.
pub const fn sequence(id: Uuid) -> Sequence {
    Sequence((id.as_u128() >> 20) as u64 & SEQUENCE_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_version_7_and_the_time_of_receipt() {
        let received: Micros = "2026-01-31T12:00:00.123999Z".parse().unwrap();
        let id = JournalBits::new(Uuid::from_u128(0xABCDE)).event_id(Sequence(0x3FF_FFFF_FFFF), received);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.as_u128() >> 80, 1_769_860_800_123);
        assert_eq!(sequence(id), Sequence(0x3FF_FFFF_FFFF));
        assert_eq!(id.to_string(), "019c13ec-9e7b-7ffb-bfff-fffffffabcde");
    }

    #[test]
    fn ids_rise_with_the_journal() {
        let bits = JournalBits::new(Uuid::from_u128(u128::MAX));
        let mut last = Uuid::nil();
        for (sequence, micros) in [(1, 5), (2, 5), (3, 6), (9_000_000, 999), (9_000_001, 1000), (1 << 41, 1000)] {
            let id = bits.event_id(Sequence(sequence), Micros::saturating(1_769_860_800_000_000 + micros));
            assert!(id > last, "{sequence}");
            last = id;
        }
    }
}
