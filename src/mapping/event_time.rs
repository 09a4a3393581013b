//! The device's own time, found by JSON pointer (RFC 6901).

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::types::Micros;

/// A JSON pointer, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Box<[Box<str>]>);

impl Pointer {
    /// Reads a pointer, for instance `/meta/time`; none when it does not start with `/`.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens = text.strip_prefix('/')?.split('/');
        Some(Self(tokens.map(|token| token.replace("~1", "/").replace("~0", "~").into()).collect()))
    }

    /// The names and indices that lead there.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| &**token)
    }

    /// The time at that place of a JSON text: RFC 3339 text, or a number since 1970. None when
    /// there is nothing, or nothing that is a time.
    pub fn time_in(&self, json: &str) -> Option<Micros> {
        At(&self.0).deserialize(&mut serde_json::Deserializer::from_str(json)).ok()?
    }
}

/// Reads a JSON value and finds the time at the place that the remaining tokens name.
struct At<'a>(&'a [Box<str>]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Micros>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Micros>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match self.0.split_first() {
                // Of a name that repeats the last counts, as in jsonb.
                Some((token, rest)) if **token == *key.0 => found = map.next_value_seed(At(rest))?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.split_first().and_then(|(token, rest)| Some((token.parse::<usize>().ok()?, rest)));
        let mut found = None;
        for index in 0.. {
            let more = match wanted {
                Some((at, rest)) if at == index => {
                    let item = items.next_element_seed(At(rest))?;
                    found = item.flatten();
                    item.is_some()
                }
                _ => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(if self.0.is_empty() { text.parse().ok() } else { None })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(if self.0.is_empty() { Micros::from_integer(number) } else { None })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(if self.0.is_empty() { i64::try_from(number).ok().and_then(Micros::from_integer) } else { None })
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(if self.0.is_empty() { Micros::from_number(number) } else { None })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A member's name, borrowed unless it holds escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn time(pointer: &str, json: &str) -> Option<String> {
        Pointer::parse(pointer).unwrap().time_in(json).map(|time| time.to_string())
    }

    #[test]
    fn every_unit_gives_the_same_instant() {
        for value in [
            "\"2026-01-31T12:00:00.5Z\"",
            "\"2026-01-31T13:00:00.5+01:00\"",
            "1769860800.5",
            "1769860800500",
            "1769860800500000",
            "1769860800500000000",
            "1769860800500.0",
        ] {
            let json = format!("{{\"x\":[1,{{}}],\"t\":{value}}}");
            assert_eq!(time("/t", &json).as_deref(), Some("2026-01-31T12:00:00.500000Z"), "{value}");
        }
        assert_eq!(time("/t", "{\"t\":-1}").as_deref(), Some("1969-12-31T23:59:59.000000Z"));
    }

    #[test]
    fn pointers_lead_through_objects_and_arrays() {
        let json = "{\"a/b\":[{\"~\":0},{\"\\u007e\":5,\"z\":9}]}";
        assert_eq!(time("/a~1b/1/~0", json).as_deref(), Some("1970-01-01T00:00:05.000000Z"));
        assert_eq!(time("/t", "{\"t\":1,\"t\":2}").as_deref(), Some("1970-01-01T00:00:02.000000Z"));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for json in [
            "{}",
            "{\"t\":null}",
            "{\"t\":true}",
            "{\"t\":\"soon\"}",
            "{\"t\":1e40}",
            "{\"t\":{}}",
            "{\"t\":[1]}",
            "[1]",
            "7",
            "{\"t\":18446744073709551615}",
        ] {
            assert_eq!(time("/t", json), None, "{json}");
        }
        assert_eq!(Pointer::parse("t"), None);
    }
}
