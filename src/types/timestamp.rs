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

    /// A number since the epoch, as programs write it. Its unit follows from its size, as in years from 1973 to 5138
    /// no two of them meet: seconds below 10^11, then milliseconds, microseconds and nanoseconds, each a thousandfold.
    #[must_use]
    pub fn from_number(number: f64) -> Option<Self> {
        let micros = match number.abs() {
            size if size < 1e11 => number * 1e6,
            size if size < 1e14 => number * 1e3,
            size if size < 1e17 => number,
            size if size < 1e20 => number / 1e3,
            _ => return None,
        };
        Self::new(micros.round() as i64).ok()
    }

    /// As [`Micros::from_number`], exactly.
    #[must_use]
    pub fn from_integer(number: i64) -> Option<Self> {
        let micros = match number.unsigned_abs() {
            0..100_000_000_000 => number.checked_mul(1_000_000)?,
            100_000_000_000..100_000_000_000_000 => number.checked_mul(1_000)?,
            100_000_000_000_000..100_000_000_000_000_000 => number,
            _ => number.div_euclid(1_000),
        };
        Self::new(micros).ok()
    }

    /// The text of such a number.
    #[must_use]
    pub fn since_epoch(text: &str) -> Option<Self> {
        match text.contains(['.', 'e', 'E']) {
            true => Self::from_number(text.parse().ok().filter(|number: &f64| number.is_finite())?),
            false => Self::from_integer(text.parse().ok()?),
        }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Appends the text of [`fmt::Display`], in a tenth of its time: every event has two of
    /// them. The calendar is Howard Hinnant's `civil_from_days`, with years from 1 March.
    pub fn write(self, out: &mut Vec<u8>) {
        let (days, micros) = (self.0.div_euclid(86_400_000_000), self.0.rem_euclid(86_400_000_000));
        let shifted = (days + 719_468).cast_unsigned();
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let micros = micros.cast_unsigned();
        let seconds = micros / 1_000_000;

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (end, digits, mut value) in [
            (4, 4, year),
            (7, 2, month),
            (10, 2, day),
            (13, 2, seconds / 3600),
            (16, 2, seconds / 60 % 60),
            (19, 2, seconds % 60),
            (26, 6, micros % 1_000_000),
        ] {
            for at in (end - digits..end).rev() {
                text[at] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        out.extend_from_slice(&text);
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

impl serde::Serialize for Micros {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Micros {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
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
    fn fast_and_plain_text_agree() {
        let day = 86_400_000_000;
        let leaps =
            ["0004-02-29T00:00:00Z", "1900-03-01T00:00:00Z", "2000-02-29T23:59:59.999999Z", "2024-12-31T12:00:00Z"];
        let leaps = leaps.map(|text| text.parse::<Micros>().unwrap().get());
        let every_few_days = (Micros::MIN.get()..Micros::MAX.get()).step_by(11 * 86_399_999_999);
        for micros in every_few_days.chain([Micros::MIN.get(), Micros::MAX.get(), 0, -1, day]).chain(leaps) {
            let mut text = Vec::new();
            Micros(micros).write(&mut text);
            assert_eq!(String::from_utf8(text).unwrap(), Micros(micros).to_string());
        }
    }

    #[test]
    fn both_ends_can_be_printed() {
        assert_eq!(Micros::MIN.to_string(), "0001-01-01T00:00:00.000000Z");
        assert_eq!(Micros::MAX.to_string(), "9999-12-30T21:59:59.999999Z");
        assert_eq!(Micros::new(i64::MAX), Err(TimestampError));
    }
}
