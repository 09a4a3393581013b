//! Small facts about topic filters that several places need (MQTT 5.0 section 4.7 and 4.8.2).

/// The part of a filter in front of its first wildcard.
pub fn literal_prefix(filter: &str) -> &str {
    filter.split(['+', '#']).next().unwrap_or_default()
}

/// The filter that a subscription's text asks for, and the share name if it is shared; none where it
/// looks shared and is not well formed [MQTT-4.8.2-1] [MQTT-4.8.2-2].
pub fn split_share(text: &str) -> Option<(Option<&str>, &str)> {
    let Some(rest) = text.strip_prefix("$share/") else { return Some((None, text)) };
    let (name, filter) = rest.split_once('/')?;
    let valid = !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty();
    valid.then_some((Some(name), filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_names_are_split_off() {
        assert_eq!(split_share("a/b"), Some((None, "a/b")));
        assert_eq!(split_share("$share/g/a/#"), Some((Some("g"), "a/#")));
        assert_eq!(split_share("$share/g//"), Some((Some("g"), "/")));
        for text in ["$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a"] {
            assert_eq!(split_share(text), None, "{text}");
        }
        assert_eq!(literal_prefix("a/+/b"), "a/");
        assert_eq!(literal_prefix("a"), "a");
    }
}
