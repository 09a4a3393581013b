//! Spans of time as people write them.

/// The seconds of `90s`, `1m`, `6h` or `30d`; none where it is not one of these, or beyond numbers.
#[must_use]
pub fn seconds_of(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("1m", 60), ("6h", 21_600), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(seconds_of(text), Some(seconds), "{text}");
        }
        for text in ["", "s", "1", "1w", "-1s", "1.5h", "1 s", "1\u{e4}", "18446744073709551615d"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}
