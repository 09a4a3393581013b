//! The scalars of a JSON text, each with its path: names and indexes joined by dots.

use serde_json::Value;

use crate::{limits, types::JsonText};

/// Calls `take` with each scalar, in the order of the text. Too deep a value, too long a path, and what no value can
/// hold is left out; text that is too long is cut.
pub fn leaves(json: &str, take: &mut dyn FnMut(&str, Value)) {
    Walk { path: String::new(), depth: 0, take }.value(&mut JsonText::new(json));
}

struct Walk<'w> {
    path: String,
    depth: usize,
    take: &'w mut dyn FnMut(&str, Value),
}

impl Walk<'_> {
    fn value(&mut self, text: &mut JsonText<'_>) {
        let is_path_short = self.path.len() <= limits::DEVICE_VALUE_BYTES;
        if text.is_nested() && (self.depth >= limits::DEVICE_METRIC_DEPTH || !is_path_short) {
            text.skip();
            return;
        }
        let scalar = text.each(|name, value| self.below(name, value));
        if let Some(scalar) = scalar.filter(|_| is_path_short)
            && let Ok(value) = serde_json::from_str(scalar)
        {
            (self.take)(&self.path, cut(value));
        }
    }

    fn below(&mut self, name: &str, value: &mut JsonText<'_>) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.depth += 1;
        self.value(value);
        self.depth -= 1;
        self.path.truncate(length);
    }
}

/// Text has at most so many bytes.
fn cut(mut value: Value) -> Value {
    if let Value::String(text) = &mut value {
        let mut ends = (0..=text.len().min(limits::DEVICE_VALUE_BYTES)).rev();
        text.truncate(ends.find(|end| text.is_char_boundary(*end)).unwrap_or_default());
    }
    value
}

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
