//! JSON that is known to be valid, read from its text: it is cut at marks and never checked again, and
//! no tree of values is made. What it holds stays text, so a number beyond `f64`, such as 1e400, or a
//! string with half of a surrogate pair is no fault of its neighbours'.
//!
//! Other text is no danger: it ends early, and means nothing.

use std::borrow::Cow;

/// What is left to read. Stands before a value, unless its text has ended.
#[derive(Clone, Copy, Debug)]
pub struct JsonText<'a> {
    rest: &'a str,
}

impl<'a> JsonText<'a> {
    /// Before the value that a text is.
    #[must_use]
    pub fn new(json: &'a str) -> Self {
        Self { rest: json.trim_start() }
    }

    /// The scalar at a path of names and indexes, as it is written; none where there is none. Of a name that
    /// repeats the last counts, as in `jsonb`.
    #[must_use]
    pub fn at<S: AsRef<str>>(json: &'a str, path: &[S]) -> Option<&'a str> {
        Self::new(json).find(path)
    }

    fn find<S: AsRef<str>>(&mut self, path: &[S]) -> Option<&'a str> {
        let Some((step, path)) = path.split_first() else {
            return if self.is_nested() { self.skip() } else { self.each(|_, _| {}) };
        };
        let mut found = None;
        self.each(|name, value| {
            if name == step.as_ref() {
                found = value.find(path);
            } else {
                value.skip();
            }
        });
        found
    }

    /// Whether the value is an object or an array.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.rest.starts_with(['{', '['])
    }

    /// Takes the value: its scalar as it is written, or each member or item by `take`, with its name or
    /// index, which must take that value.
    pub fn each(&mut self, take: impl FnMut(&str, &mut Self)) -> Option<&'a str> {
        match self.rest.as_bytes().first() {
            Some(b'{') => self.members(take),
            Some(b'[') => self.items(take),
            Some(b'"') => return Some(self.string()),
            _ => return Some(self.word()),
        }
        None
    }

    fn members(&mut self, mut take: impl FnMut(&str, &mut Self)) {
        self.advance(1);
        while self.rest.starts_with('"') {
            let name = unquoted(self.string());
            // The colon.
            self.advance(1);
            take(&name, self);
            if !self.rest.starts_with(',') {
                break;
            }
            self.advance(1);
        }
        self.advance(1);
    }

    fn items(&mut self, mut take: impl FnMut(&str, &mut Self)) {
        self.advance(1);
        let mut index = 0_usize;
        while !self.rest.is_empty() && !self.rest.starts_with(']') {
            take(itoa::Buffer::new().format(index), self);
            index += 1;
            if !self.rest.starts_with(',') {
                break;
            }
            self.advance(1);
        }
        self.advance(1);
    }

    /// Takes the value and whatever is in it, however deep. Returns none, as there is nothing to it.
    pub fn skip(&mut self) -> Option<&'a str> {
        let mut depth = 0_usize;
        loop {
            match self.rest.as_bytes().first() {
                None => return None,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.advance(1);
                    continue;
                }
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    self.advance(1);
                }
                Some(b',' | b':') if depth > 0 => {
                    self.advance(1);
                    continue;
                }
                Some(b'"') => drop(self.string()),
                Some(_) => drop(self.word()),
            }
            if depth == 0 {
                return None;
            }
        }
    }

    /// Takes a string, quotes included.
    fn string(&mut self) -> &'a str {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while let Some(byte) = bytes.get(end) {
            end += match byte {
                b'"' => break,
                b'\\' => 2,
                _ => 1,
            };
        }
        self.advance(end + 1)
    }

    /// Takes a number, `true`, `false` or `null`.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find([',', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len());
        self.advance(end.max(1))
    }

    /// Takes so many bytes, and the white space behind them.
    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        taken
    }
}

/// What a string of JSON says; as it is written, where no text can hold it.
fn unquoted(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.strip_prefix('"').unwrap_or(quoted);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    match inner.contains('\\') {
        true => serde_json::from_str(quoted).map_or(Cow::Borrowed(inner), Cow::Owned),
        false => Cow::Borrowed(inner),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// The value again, from what is read.
    fn tree(text: &mut JsonText<'_>) -> Value {
        let is_array = text.rest.starts_with('[');
        let (mut members, mut items) = (Map::new(), Vec::new());
        let scalar = text.each(|name, value| {
            let value = tree(value);
            if is_array {
                items.push(value);
            } else {
                members.insert(name.to_owned(), value);
            }
        });
        match scalar {
            Some(scalar) => serde_json::from_str(scalar).unwrap(),
            None if is_array => Value::Array(items),
            None => Value::Object(members),
        }
    }

    #[test]
    fn scalars_are_found_by_their_path() {
        let json = "{ \"a/b\" : [ 0 , {\"~\\u0021\":\"x\\\"}\",\"n\": -1.50 }],\"t\":1,\"t\":2,\"big\":1e400,\"half\":\"\\ud800\",\"deep\":{\"a\":[1]}}";
        let at = |path: &[&str]| JsonText::at(json, path);
        assert_eq!(at(&["a/b", "1", "~!"]), Some("\"x\\\"}\""));
        assert_eq!((at(&["a/b", "1", "n"]), at(&["a/b", "0"])), (Some("-1.50"), Some("0")));
        assert_eq!((at(&["t"]), at(&["big"]), at(&["half"])), (Some("2"), Some("1e400"), Some("\"\\ud800\"")));
        for none in [&["a/b"][..], &[], &["a/b", "2"], &["a/b", "01"], &["t", "x"], &["deep", "a"], &["nothing"]] {
            assert_eq!(at(none), None, "{none:?}");
        }
        assert_eq!(JsonText::at(" 7 ", &[] as &[&str]), Some("7"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\[\\]{}\",:\\\\ ]{0,6}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_a_parser_reads(value in values(), is_pretty: bool) {
            let json = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut text = JsonText::new(&json);
            prop_assert_eq!(tree(&mut text), value);
            prop_assert_eq!(text.rest, "");
            let mut text = JsonText::new(&json);
            text.skip();
            prop_assert_eq!(text.rest, "");
        }

        #[test]
        fn text_that_is_no_json_comes_to_an_end(text in "[\\[\\]{}\",:\\\\ a1é]{0,40}") {
            fn through(text: &mut JsonText<'_>) {
                text.each(|_, value| through(value));
            }
            through(&mut JsonText::new(&text));
            JsonText::new(&text).skip();
            prop_assert!(JsonText::at(&text, &["a", "1", "a"]).is_none_or(|found| text.contains(found)));
        }
    }
}
