//! Whether text is JSON that PostgreSQL's `jsonb` can hold, found in one pass.
//!
//! The stream and the table must carry the same event, so what the table would refuse is not
//! JSON here either; it travels as text, whole. `jsonb` is narrower than RFC 8259: no `\u0000`
//! and no lone surrogates, numbers within `numeric` (131,072 digits before the point, 16,383
//! behind it), nesting within the server's stack. The limits here lie well inside of those,
//! and inside of what browsers parse. `serde_json` can state none of them.

/// Arrays and objects within each other. PostgreSQL stops at some thousands, by stack size.
const MAXIMUM_DEPTH: usize = 128;

/// Characters of a number; with [`MAXIMUM_EXPONENT_DIGITS`] it stays inside of `numeric`.
const MAXIMUM_NUMBER_BYTES: usize = 1_000;

/// Digits of an exponent, leading zeros included.
const MAXIMUM_EXPONENT_DIGITS: usize = 3;

/// What a JSON text is, outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object.
    Object,
    /// An array, string, number, boolean or null.
    Other,
}

/// The kind of JSON that `text` is; none when it is no JSON, or more than `jsonb` can hold.
pub fn kind(text: &str) -> Option<Kind> {
    let mut rest = Scanner(text.as_bytes());
    rest.skip_whitespace();
    let kind = if rest.0.first() == Some(&b'{') { Kind::Object } else { Kind::Other };
    rest.value(MAXIMUM_DEPTH)?;
    rest.skip_whitespace();
    rest.0.is_empty().then_some(kind)
}

/// The bytes still to be read. Each method reads one thing of the grammar, or gives up.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.0.first()? {
            b'{' => self.object(depth.checked_sub(1)?),
            b'[' => self.array(depth.checked_sub(1)?),
            b'"' => self.string(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.literal(b"{")?;
        self.skip_whitespace();
        if self.accept(b'}') {
            return Some(());
        }
        loop {
            self.skip_whitespace();
            self.string()?;
            self.skip_whitespace();
            self.literal(b":")?;
            self.skip_whitespace();
            self.value(depth)?;
            self.skip_whitespace();
            if !self.accept(b',') {
                return self.literal(b"}");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.literal(b"[")?;
        self.skip_whitespace();
        if self.accept(b']') {
            return Some(());
        }
        loop {
            self.skip_whitespace();
            self.value(depth)?;
            self.skip_whitespace();
            if !self.accept(b',') {
                return self.literal(b"]");
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.literal(b"\"")?;
        loop {
            let plain = self.0.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')?;
            let (&stop, rest) = self.0.get(plain..)?.split_first()?;
            self.0 = rest;
            match stop {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.take()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.code_unit()? {
                0 | 0xDC00..=0xDFFF => None,
                0xD800..=0xDBFF => {
                    self.literal(b"\\u")?;
                    matches!(self.code_unit()?, 0xDC00..=0xDFFF).then_some(())
                }
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn code_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    }

    fn number(&mut self) -> Option<()> {
        let start = self.0.len();
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _sign = self.accept(b'+') || self.accept(b'-');
            if self.digits()? > MAXIMUM_EXPONENT_DIGITS {
                return None;
            }
        }
        (start - self.0.len() <= MAXIMUM_NUMBER_BYTES).then_some(())
    }

    /// One digit or more; returns how many.
    fn digits(&mut self) -> Option<usize> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.0 = self.0.get(digits..)?;
        (digits > 0).then_some(digits)
    }

    fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.literal(&[byte]).is_some()
    }

    fn take(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_told_by_its_outermost_value() {
        for (text, expected) in [
            (" {\"a\" : [1, -0.5e+10, {}], \"\\u00e9\\ud83d\\ude00\":null}\n", Some(Kind::Object)),
            ("[]", Some(Kind::Other)),
            ("-0", Some(Kind::Other)),
            ("\"text\"", Some(Kind::Other)),
            ("true", Some(Kind::Other)),
            ("", None),
            ("{}{}", None),
            ("{\"a\":1,}", None),
            ("[1 2]", None),
            ("01", None),
            ("1.", None),
            ("-", None),
            ("\"tab\tinside\"", None),
            ("\"\\x\"", None),
            ("NaN", None),
            ("\u{feff}{}", None),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn what_jsonb_cannot_hold_is_no_json() {
        for text in ["\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "1e1000", "1e-99999"] {
            assert_eq!(kind(text), None, "{text}");
        }
        assert_eq!(kind(&format!("0.{}1", "0".repeat(20_000))), None);
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(kind(&nested(MAXIMUM_DEPTH)), Some(Kind::Other));
        assert_eq!(kind(&nested(MAXIMUM_DEPTH + 1)), None);
        assert_eq!(kind(&"[".repeat(1_000_000)), None);
    }

    fn json_like() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"\\u0041\"",
            "\\",
            "\\ud83d\\ude00",
            "0",
            "-1",
            ".5",
            "e3",
            "1E-9",
            "true",
            "false",
            "null",
            " ",
            "\n",
            "é",
            "\u{1}",
            "{\"k\":",
            "\"\"",
        ]);
        prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in json_like()) {
            let parsed = serde_json::from_str::<serde_json::Value>(&text).ok();
            let expected = parsed.map(|value| if value.is_object() { Kind::Object } else { Kind::Other });
            prop_assert_eq!(kind(&text), expected);
        }
    }
}
