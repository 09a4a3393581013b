//! Texts that are made of an event: where they are taken from is a JSON pointer (RFC 6901) into the whole SynapEvent,
//! `/type` or `/data/level`.

use std::{borrow::Cow, collections::HashMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A place in an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPointer {
    text: String,
    tokens: Vec<String>,
}

/// Text with places of an event in braces: `devices/{/data/device}/alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(EventPointer),
}

/// Event types, with `*` for any text: `notes.*`, `devices.alert.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypePattern(String);

/// Why a text is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventTemplateError {
    /// Not RFC 6901.
    #[error("\"{0}\": expected a JSON pointer into the event, such as /data/level")]
    Pointer(String),
    /// A brace without its partner.
    #[error("\"{0}\": expected places of the event in braces, such as {{/data/level}}")]
    Brace(String),
    /// It fits no type.
    #[error("an event type has at least one character; * fits all")]
    Empty,
}

/// Why a template gives no text for an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event has no text, number or boolean at {0}")]
pub struct NoText(pub String);

impl EventPointer {
    /// The JSON at this place of an event, if there is any; as it is written there.
    #[must_use]
    pub fn find<'a>(&self, event: &'a str) -> Option<&'a str> {
        let mut here = event.trim();
        for token in &self.tokens {
            here = if here.starts_with('[') {
                let list: Vec<&RawValue> = serde_json::from_str(here).ok()?;
                list.get(token.parse::<usize>().ok()?)?.get()
            } else {
                let object: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(here).ok()?;
                object.get(token.as_str())?.get()
            };
        }
        Some(here)
    }
}

impl FromStr for EventPointer {
    type Err = EventTemplateError;

    fn from_str(text: &str) -> Result<Self, EventTemplateError> {
        let wrong = || EventTemplateError::Pointer(text.to_owned());
        let tokens = text.strip_prefix('/').ok_or_else(wrong)?;
        let unescaped = |token: &str| {
            let is_escaped = token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            is_escaped.then(|| token.replace("~1", "/").replace("~0", "~"))
        };
        let tokens = tokens.split('/').map(unescaped).collect::<Option<_>>().ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), tokens })
    }
}

impl EventTemplate {
    /// The text for an event. What is taken from it goes through `take`, which may refuse it.
    ///
    /// # Errors
    /// Where the event has no such text, or what `take` says.
    pub fn fill<E: From<NoText>>(
        &self,
        event: &str,
        mut take: impl FnMut(&EventPointer, Cow<'_, str>, &mut String) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut out = String::with_capacity(self.text.len() + 32);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place(pointer) => {
                    let value = pointer.find(event).and_then(plain).ok_or_else(|| NoText(pointer.text.clone()))?;
                    take(pointer, value, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    /// The text with `filler` in each place.
    #[must_use]
    pub fn filled_with(&self, filler: &str) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(_) => filler.to_owned(),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// A JSON value as people write it: text without its quotes, a number, true or false.
fn plain(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.into()),
    }
}

impl FromStr for EventTemplate {
    type Err = EventTemplateError;

    fn from_str(text: &str) -> Result<Self, EventTemplateError> {
        let wrong = || EventTemplateError::Brace(text.to_owned());
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            let (pointer, behind) = behind.split_once('}').ok_or_else(wrong)?;
            if before.contains('}') {
                return Err(wrong());
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Place(pointer.parse()?));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(wrong());
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }
}

impl TypePattern {
    /// Whether an event type fits.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| event_type.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The first place that fits leaves the most for what follows.
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

impl FromStr for TypePattern {
    type Err = EventTemplateError;

    fn from_str(text: &str) -> Result<Self, EventTemplateError> {
        if text.is_empty() { Err(EventTemplateError::Empty) } else { Ok(Self(text.to_owned())) }
    }
}

impl From<TypePattern> for String {
    fn from(pattern: TypePattern) -> Self {
        pattern.0
    }
}

impl From<EventPointer> for String {
    fn from(pointer: EventPointer) -> Self {
        pointer.text
    }
}

impl From<EventTemplate> for String {
    fn from(template: EventTemplate) -> Self {
        template.text
    }
}

macro_rules! text {
    ($($name:ty => $($field:tt).+),*) => {$(
        impl TryFrom<String> for $name {
            type Error = EventTemplateError;

            fn try_from(text: String) -> Result<Self, EventTemplateError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$($field).+)
            }
        }
    )*};
}

text!(EventPointer => text, EventTemplate => text, TypePattern => 0);

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"type":"a.b.c","data":{"x/y":[1.50,{"z":"pum\"p"}],"on":true,"no":null}}"#;

    fn fill(template: &str) -> Result<String, NoText> {
        template.parse::<EventTemplate>().unwrap().fill(EVENT, |_, value, out| {
            out.push_str(&value);
            Ok(())
        })
    }

    #[test]
    fn places_are_found_as_they_are_written() {
        let find = |pointer: &str| pointer.parse::<EventPointer>().unwrap().find(EVENT);
        assert_eq!(find("/data/x~1y/0"), Some("1.50"));
        assert_eq!(find("/data/x~1y/1"), Some(r#"{"z":"pum\"p"}"#));
        assert_eq!(find("/data/no"), Some("null"));
        for missing in ["/data/w", "/data/x~1y/2", "/data/x~1y/a", "/type/a"] {
            assert_eq!(find(missing), None, "{missing}");
        }
        for wrong in ["", "data", "/a~", "/a~2"] {
            assert_eq!(wrong.parse::<EventPointer>(), Err(EventTemplateError::Pointer(wrong.to_owned())));
        }
    }

    #[test]
    fn templates_are_filled_with_what_has_a_plain_text() {
        assert_eq!(fill("{/data/x~1y/1/z} is {/data/on}: {/data/x~1y/0}").unwrap(), "pum\"p is true: 1.50");
        assert_eq!(fill("fixed").unwrap(), "fixed");
        for (template, place) in [("{/data}", "/data"), ("{/data/no}", "/data/no"), ("{/data/w}", "/data/w")] {
            assert_eq!(fill(template), Err(NoText(place.to_owned())));
        }
        for wrong in ["{/a", "a}", "}{/a}", "{/a}}"] {
            assert_eq!(wrong.parse::<EventTemplate>(), Err(EventTemplateError::Brace(wrong.to_owned())), "{wrong}");
        }
        assert!(matches!("{a}".parse::<EventTemplate>(), Err(EventTemplateError::Pointer(_))));
    }

    #[test]
    fn patterns_fit_types() {
        for (pattern, fits, fits_not) in [
            ("a.b.c", &["a.b.c"][..], &["a.b.cd", "a.b", ""][..]),
            ("a.*", &["a.b.c", "a."], &["b.a.c", "a"]),
            ("*.created", &["notes.created"], &["notes.created.x"]),
            ("a.*.c", &["a.b.c", "a.b.d.c"], &["a.c", "a.b.d"]),
            ("*b*b", &["abab", "bb"], &["b", "ab"]),
            ("*", &["", "x"], &[]),
        ] {
            let pattern: TypePattern = pattern.parse().unwrap();
            assert!(fits.iter().all(|text| pattern.matches(text)), "{pattern}");
            assert!(!fits_not.iter().any(|text| pattern.matches(text)), "{pattern}");
        }
        assert_eq!("".parse::<TypePattern>(), Err(EventTemplateError::Empty));
    }
}
