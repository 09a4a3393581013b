//! JSON by hand: written where events are too many for a tree of values, and taken apart where a
//! tree cannot hold what is in it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A JSON text taken apart by one level. Its values stay text: a number beyond `f64`, such as 1e400, or a string with
/// half of a surrogate pair is JSON, and no fault of its neighbours'.
pub enum JsonParts<'a> {
    /// Members by name; where a name repeats, the last.
    Object(BTreeMap<String, &'a str>),
    /// Items in their order.
    Array(Vec<&'a str>),
    /// Anything else, and what is not JSON.
    Scalar,
}

impl<'a> JsonParts<'a> {
    /// Those of a text.
    #[must_use]
    pub fn of(json: &'a str) -> Self {
        match json.trim_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(json).map_or(Self::Scalar, |members| {
                Self::Object(members.into_iter().map(|(name, value)| (name, value.get())).collect())
            }),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(json)
                .map_or(Self::Scalar, |items| Self::Array(items.into_iter().map(RawValue::get).collect())),
            _ => Self::Scalar,
        }
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let written = serde_json::to_writer(out, text);
        debug_assert!(written.is_ok(), "writing text to memory cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_from_a_parser() {
        for text in ["", "plain é", "\"quoted\"", "back\\slash", "\u{1}\n\u{7f}\u{2028}"] {
            let mut out = Vec::new();
            write_json_string(text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
