//! Points in time, in the resolution that PostgreSQL keeps.

use std::{fmt, str::FromStr};

/// Microseconds since 1970-01-01T00:00:00Z, within the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(i64);

/// A value that is no point in time this bridge can store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 time such as 2026-01-31T12:00:00Z, between the years 1 and 9999")]
pub struct TimestampError;

impl Micros {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-30T21:59:59.999999Z, the last instant that every offset can still print.
    pub const MAX: Self = Self(253_402_207_199_999_999);

    /// A point in time from microseconds since the epoch.
    ///
    /// # Errors
    /// When it lies outside of the years 1 to 9999.
    pub fn new(micros: i64) -> Result<Self, TimestampError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(TimestampError) }
    }

    /// As [`Micros::new`], with a value out of range moved to the nearest end.
    #[must_use]
    pub fn saturating(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for Micros {
    type Err = TimestampError;

    /// RFC 3339; digits beyond the microsecond are dropped.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Self::new(timestamp.as_microsecond())
    }
}

impl fmt::Display for Micros {
    /// RFC 3339 in UTC with six digits: `2026-01-31T12:00:00.000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.6}"),
            Err(_) => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_to_the_microsecond() {
        let at: Micros = "2026-01-31T12:00:00.123456789+02:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-01-31T10:00:00.123456Z");
        assert_eq!(at.to_string().parse(), Ok(at));
    }

    #[test]
    fn both_ends_can_be_printed() {
        assert_eq!(Micros::MIN.to_string(), "0001-01-01T00:00:00.000000Z");
        assert_eq!(Micros::MAX.to_string(), "9999-12-30T21:59:59.999999Z");
        assert_eq!(Micros::new(i64::MAX), Err(TimestampError));
    }
}
