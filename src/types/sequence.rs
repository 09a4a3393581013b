//! Positions in the journal, and the id by which a stream resumes.

use std::{fmt, str::FromStr};

/// The number of a journal record. Strictly increasing, never reused, not dense: a crash may
/// leave a hole where records were assigned but never synced.
///
/// [`Sequence::ZERO`] precedes every record, so "after ZERO" means "from the start".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The position before the first record.
    pub const ZERO: Self = Self(0);

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number before this one; [`Sequence::ZERO`] stays where it is.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one life of a journal: the first four bytes of its random identity. A sequence means
/// nothing in a journal of another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The last event ID of a stream (WHATWG HTML, server-sent events): opaque to clients, written
/// `<epoch>-<sequence>`, for instance `1f3a9c02-48213`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEventId {
    /// The journal that gave the id.
    pub epoch: Epoch,
    /// The last record its holder has seen.
    pub sequence: Sequence,
}

/// A text that no stream of this bridge has sent as an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a last event ID looks like 1f3a9c02-48213")]
pub struct LastEventIdError;

impl FromStr for LastEventId {
    type Err = LastEventIdError;

    fn from_str(text: &str) -> Result<Self, LastEventIdError> {
        let (epoch, sequence) = text.split_once('-').ok_or(LastEventIdError)?;
        let digits = |part: &str, valid: fn(&u8) -> bool| part.bytes().all(|b| valid(&b));
        if epoch.len() != 8 || !digits(epoch, u8::is_ascii_hexdigit) || !digits(sequence, u8::is_ascii_digit) {
            return Err(LastEventIdError);
        }
        Ok(Self {
            epoch: Epoch(u32::from_str_radix(epoch, 16).map_err(|_| LastEventIdError)?),
            sequence: Sequence(sequence.parse().map_err(|_| LastEventIdError)?),
        })
    }
}

impl fmt::Display for LastEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_event_id_survives_a_round_trip() {
        let id = LastEventId { epoch: Epoch(0x1f3a_9c02), sequence: Sequence(48_213) };
        assert_eq!(id.to_string(), "1f3a9c02-48213");
        assert_eq!("1f3a9c02-48213".parse(), Ok(id));
    }

    #[test]
    fn foreign_ids_are_refused() {
        for text in [
            "",
            "7",
            "1f3a9c02",
            "1f3a9c02-",
            "1f3a9c02--1",
            "1f3a9c02-+1",
            "+f3a9c02-1",
            "xyz-1",
            "1f3a9c02-99999999999999999999",
        ] {
            assert_eq!(text.parse::<LastEventId>(), Err(LastEventIdError), "{text}");
        }
    }
}
