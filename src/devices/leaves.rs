//! The scalars of a JSON text, each with its path: names and indexes joined by dots.

use std::borrow::Cow;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{limits, types::JsonParts};

/// Calls `take` with each scalar, in the order of the text. Too deep a value, and too long a path,
/// is left out; text that is too long is cut.
pub fn leaves(json: &str, take: &mut dyn FnMut(&str, Value)) {
    let mut walk = Walk { path: String::new(), depth: 0, take };
    if walk.deserialize(&mut serde_json::Deserializer::from_str(json)).is_err() {
        // Data of an event is JSON, so something in it is beyond what a value can be; the rest is not lost with it.
        let mut walk = Walk { path: String::new(), depth: 0, take };
        walk.parts(json);
    }
}

struct Walk<'w> {
    path: String,
    depth: usize,
    take: &'w mut dyn FnMut(&str, Value),
}

impl Walk<'_> {
    fn scalar(&mut self, value: Value) {
        if self.path.len() <= limits::DEVICE_VALUE_BYTES {
            (self.take)(&self.path, value);
        }
    }

    /// As the walk, at the price of reading each level again.
    fn parts(&mut self, json: &str) {
        let is_shallow = self.is_shallow();
        match JsonParts::of(json) {
            JsonParts::Object(members) if is_shallow => {
                members.iter().for_each(|(name, value)| self.below(name, |walk| walk.parts(value)));
            }
            JsonParts::Array(items) if is_shallow => {
                let mut indexes = itoa::Buffer::new();
                for (index, item) in items.iter().enumerate() {
                    self.below(indexes.format(index), |walk| walk.parts(item));
                }
            }
            JsonParts::Scalar => drop(self.deserialize(&mut serde_json::Deserializer::from_str(json))),
            JsonParts::Object(_) | JsonParts::Array(_) => {}
        }
    }

    /// Whether the walk goes into what is nested here.
    const fn is_shallow(&self) -> bool {
        self.depth < limits::DEVICE_METRIC_DEPTH && self.path.len() <= limits::DEVICE_VALUE_BYTES
    }

    /// Does something one level deeper, below `name`.
    fn below<T>(&mut self, name: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        self.path.truncate(length);
        result
    }
}

impl<'de> DeserializeSeed<'de> for &mut Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if self.is_shallow() {
                self.below(&name, |walk| map.next_value_seed(walk))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let more = if self.is_shallow() {
                let index = itoa::Buffer::new().format(index).to_owned();
                self.below(&index, |walk| items.next_element_seed(walk))?.is_some()
            } else {
                items.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let mut ends = (0..=text.len().min(limits::DEVICE_VALUE_BYTES)).rev();
        let cut = ends.find_map(|end| text.get(..end)).unwrap_or_default();
        self.scalar(cut.into());
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.scalar(number.into());
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.scalar(number.into());
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.scalar(number.into());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value.into());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(Value::Null);
        Ok(())
    }
}

/// A member's name, borrowed unless it holds escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(json: &str) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        leaves(json, &mut |path, value| found.push((path.to_owned(), value)));
        found
    }

    #[test]
    fn every_scalar_has_its_path() {
        let found = all(r#"{"t":21.5,"on":true,"pos":{"x":[1,{"y":-2}]},"none":null,"name":"a\"b","empty":{}}"#);
        let expected = [
            ("t", json!(21.5)),
            ("on", json!(true)),
            ("pos.x.0", json!(1)),
            ("pos.x.1.y", json!(-2)),
            ("none", Value::Null),
            ("name", json!("a\"b")),
        ];
        assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    #[test]
    fn what_no_value_can_hold_hides_nothing_beside_it() {
        let found = all(r#"{"a":1,"big":1e400,"half":"\ud800","in":[true,{"b":-1e999,"c":2}],"t":"x"}"#);
        let last: std::collections::BTreeMap<_, _> = found.into_iter().collect();
        let expected = [("a", json!(1)), ("in.0", json!(true)), ("in.1.c", json!(2)), ("t", json!("x"))];
        assert_eq!(last, expected.map(|(path, value)| (path.to_owned(), value)).into());
    }

    #[test]
    fn what_is_too_deep_or_too_long_costs_nothing() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        assert_eq!(all(&deep), []);
        assert_eq!(all(&format!("{{\"{}\":1,\"b\":2}}", "n".repeat(300))), [("b".to_owned(), json!(2))]);
        let long = all(&format!("{{\"a\":\"{}\"}}", "é".repeat(200)));
        assert_eq!(long, [("a".to_owned(), json!("é".repeat(128)))]);
    }
}
