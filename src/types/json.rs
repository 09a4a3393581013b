//! JSON written by hand, where events are too many for a tree of values.

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
