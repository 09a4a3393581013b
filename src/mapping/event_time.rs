//! The device's own time, found by JSON pointer (RFC 6901).

use std::borrow::Cow;

use crate::types::{JsonText, Micros};

/// A JSON pointer, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Box<[Box<str>]>);

impl Pointer {
    /// Reads a pointer, for instance `/meta/time`; none when it does not start with `/`.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens = text.strip_prefix('/')?.split('/');
        Some(Self(tokens.map(|token| token.replace("~1", "/").replace("~0", "~").into()).collect()))
    }

    /// The scalar at that place of a JSON text, as it is written.
    pub fn scalar_in<'a>(&self, json: &'a str) -> Option<&'a str> {
        JsonText::at(json, &self.0)
    }

    /// The time at that place of a JSON text: RFC 3339 text, or a number since 1970. None when
    /// there is nothing, or nothing that is a time.
    pub fn time_in(&self, json: &str) -> Option<Micros> {
        let scalar = self.scalar_in(json)?;
        if scalar.starts_with('"') {
            return serde_json::from_str::<Cow<'_, str>>(scalar).ok()?.parse().ok();
        }
        Micros::since_epoch(scalar)
    }
}

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
