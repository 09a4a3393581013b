//! Sizes, spans of time and bounded numbers as they are written in configuration.
//!
//! Every reader here says what would be right, with its bounds, when a value is wrong. What is
//! written by `check-config` is read back as the same value.

use std::{fmt, time::Duration};

use serde::{
    Deserializer, Serializer,
    de::{self, Unexpected, Visitor},
};

/// Units of size, largest first.
const SIZES: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units of time in milliseconds, largest first.
const TIMES: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a whole number from `MIN` to `MAX`.
pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = deserializer.deserialize_u64(Bounded { min: MIN, max: MAX, units: &[] })?;
    T::try_from(number).map_err(|_| de::Error::custom("a bound of this key does not fit its type"))
}

/// As [`number`], for a key that may be left out.
pub(super) fn optional_number<'de, D: Deserializer<'de>, T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    number::<D, T, MIN, MAX>(deserializer).map(Some)
}

/// Reads a size of `MIN` to `MAX` bytes: `"128MiB"`, or a plain number of bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<T, D::Error> {
    let bytes = deserializer.deserialize_any(Bounded { min: MIN, max: MAX, units: SIZES })?;
    T::try_from(bytes).map_err(|_| de::Error::custom("a bound of this key does not fit its type"))
}

/// Reads a span of `MIN` to `MAX` milliseconds: `"7d"`, `"20s"`, `"100ms"`.
pub(super) fn duration<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Bounded { min: MIN, max: MAX, units: TIMES }).map(Duration::from_millis)
}

/// As [`duration`], for a key that may be left out.
pub(super) fn optional_duration<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration::<D, MIN, MAX>(deserializer).map(Some)
}

/// As [`write_duration`], for a key that may be left out.
pub(super) fn write_optional_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => write_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// Writes a size in the largest unit that divides it.
pub(super) fn write_bytes<S: Serializer, T: Copy + Into<u64>>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Written((*bytes).into(), SIZES))
}

/// Writes a span of time in the largest unit that divides it.
pub(super) fn write_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    serializer.collect_str(&Written(millis, TIMES))
}

/// A number with the largest unit that divides it.
struct Written<'a>(u64, &'a [(&'a str, u64)]);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, units) = *self;
        match units.iter().find(|(_, unit)| number != 0 && number.is_multiple_of(*unit)).or(units.last()) {
            Some((name, unit)) => write!(f, "{}{name}", number / unit),
            None => number.fmt(f),
        }
    }
}

/// A whole number and one of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, name) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name.trim_start()))?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

/// A whole number within bounds, in one of the units; without units, or in bytes, a TOML integer.
struct Bounded {
    min: u64,
    max: u64,
    units: &'static [(&'static str, u64)],
}

impl Bounded {
    fn within<E: de::Error>(&self, number: Option<u64>, found: Unexpected<'_>) -> Result<u64, E> {
        number.filter(|number| (self.min..=self.max).contains(number)).ok_or_else(|| E::invalid_value(found, self))
    }

    /// Whether a number without a unit has a meaning: a count, or bytes.
    fn takes_plain_numbers(&self) -> bool {
        self.units.last().is_none_or(|(name, _)| *name == "B")
    }
}

impl Visitor<'_> for Bounded {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (Written(self.min, self.units), Written(self.max, self.units));
        match self.units.last() {
            None => write!(f, "a whole number from {min} to {max}"),
            Some((name, _)) if *name == "B" => {
                write!(f, "a size from {min} to {max}, such as \"128MiB\" or a number of bytes")
            }
            Some(_) => write!(f, "a time from {min} to {max}, a number and one of d, h, m, s, ms, such as \"90s\""),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        self.within(Some(number).filter(|_| self.takes_plain_numbers()), Unexpected::Unsigned(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        let plain = u64::try_from(number).ok().filter(|_| self.takes_plain_numbers());
        self.within(plain, Unexpected::Signed(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let plain = || text.parse().ok().filter(|_| self.takes_plain_numbers() && !self.units.is_empty());
        self.within(parse(text, self.units).or_else(plain), Unexpected::Str(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_and_written_alike() {
        for (text, value) in [("128MiB", 128 << 20), ("1KiB", 1024), ("1025B", 1025), ("0B", 0), ("16GiB", 16 << 30)] {
            assert_eq!(parse(text, SIZES), Some(value), "{text}");
            assert_eq!(Written(value, SIZES).to_string(), text);
        }
        for (text, value) in [("7d", 604_800_000), ("90s", 90_000), ("100ms", 100), ("36h", 129_600_000)] {
            assert_eq!(parse(text, TIMES), Some(value), "{text}");
            assert_eq!(Written(value, TIMES).to_string(), text);
        }
        assert_eq!(parse("64 mib", SIZES), Some(64 << 20));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in ["", "MiB", "-1MiB", "1.5MiB", "12", "9999999TiB99", "99999999999TiB", "1MB", "5 m s"] {
            assert_eq!(parse(text, SIZES), None, "{text}");
        }
    }
}
