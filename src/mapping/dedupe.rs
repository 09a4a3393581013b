//! What tells that a device sent the same message again: a name that it gave the message, in the
//! payload or as a user property.

use std::{borrow::Cow, time::Duration};

use uuid::Uuid;

use super::event_time::Pointer;
use crate::types::{MessageKey, Publication};

/// Namespace of message keys: the UUIDv5 of `message.synap-mqtt` in the DNS namespace.
const MESSAGE_NAMESPACE: Uuid = Uuid::from_u128(0x387c_c726_6598_553a_bc98_1d15_9c70_fb2a);

/// Where a message has its name, and how long it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// Where.
    pub by: DedupeBy,
    /// For how long after the first, by the time of receipt.
    pub window: Duration,
}

/// Where a message has its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedupeBy {
    /// A text or a number at a JSON pointer.
    Pointer(String),
    /// A user property.
    Property(String),
}

/// The same, compiled.
#[derive(Debug)]
pub struct Names {
    place: Place,
    window: i64,
}

#[derive(Debug)]
enum Place {
    Pointer(Pointer),
    Property(Box<str>),
}

impl Names {
    /// None, where the pointer is none.
    pub fn compile(dedupe: &Dedupe) -> Option<Self> {
        let place = match &dedupe.by {
            DedupeBy::Pointer(pointer) => Place::Pointer(Pointer::parse(pointer)?),
            DedupeBy::Property(name) => Place::Property(name.as_str().into()),
        };
        Some(Self { place, window: i64::try_from(dedupe.window.as_micros()).unwrap_or(i64::MAX) })
    }

    /// The key of a publication: of its client, its topic, and the name it has; none where it has
    /// no name.
    pub fn key(&self, publication: &Publication<'_>, json: Option<&str>) -> Option<MessageKey> {
        let name = match &self.place {
            Place::Pointer(pointer) => scalar(pointer, json?)?,
            Place::Property(wanted) => {
                let mut properties = publication.properties.user_properties();
                Cow::Borrowed(properties.find(|(name, _)| **wanted == **name)?.1)
            }
        };
        // MQTT has no U+0000 in client identifiers and topics.
        let text = [publication.client_id, "\0", publication.topic, "\0", &*name].concat();
        let key = Uuid::new_v5(&MESSAGE_NAMESPACE, text.as_bytes());
        Some(MessageKey { key, received: publication.received, window: self.window })
    }
}

/// The text or number at a place of a JSON text.
fn scalar<'a>(pointer: &Pointer, json: &'a str) -> Option<Cow<'a, str>> {
    let scalar = pointer.scalar_in(json)?;
    match scalar.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(scalar).ok().map(Cow::Owned),
        b'-' | b'0'..=b'9' => Some(scalar.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_as_documented() {
        assert_eq!(MESSAGE_NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"message.synap-mqtt"));
    }

    #[test]
    fn texts_and_numbers_are_names() {
        let at = |pointer: &str, json: &str| scalar(&Pointer::parse(pointer).unwrap(), json).map(Cow::into_owned);
        assert_eq!(at("/id", r#"{"id":1,"id":"a\u0062"}"#).as_deref(), Some("ab"));
        assert_eq!(at("/a/1/n", r#"{"a":[0,{"n":-1.50}]}"#).as_deref(), Some("-1.50"));
        for json in ["{}", "[]", "1", r#"{"id":null}"#, r#"{"id":{}}"#, r#"{"id":true}"#] {
            assert_eq!(at("/id", json), None, "{json}");
        }
    }
}
