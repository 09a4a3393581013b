//! Something to be published that no MQTT client sends.

use uuid::Uuid;

use super::{PublishProperty, Qos, Sequence, TopicName};

/// What is published, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Where.
    pub topic: TopicName,
    /// The application message.
    pub payload: Vec<u8>,
    /// With which QoS.
    pub qos: Qos,
    /// Whether it becomes the topic's retained message.
    pub retain: bool,
    /// MQTT 5 properties in wire form.
    pub properties: Vec<u8>,
    /// The name of this publication: within some time, another one of the same name is a repetition.
    pub key: Option<IdempotencyKey>,
    /// Whether its publisher was granted this topic. Else the access rules for clients without an account are asked.
    pub is_granted: bool,
}

/// What became of a [`PublishRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// The event that it is.
    pub event_id: Uuid,
    /// Whether an earlier request of the same name had done it.
    pub is_repeated: bool,
}

/// The user property that carries [`PublishRequest::key`].
pub const KEY_PROPERTY: &str = "idempotency-key";

/// A name that a client gives to what it publishes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Text that is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 128 visible ASCII characters, such as a UUID")]
pub struct IdempotencyKeyError;

impl IdempotencyKey {
    /// Its longest form.
    const MAXIMUM_BYTES: usize = 128;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IdempotencyKey {
    type Err = IdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, IdempotencyKeyError> {
        // The header is a structured field (RFC 9651): a string, whose quotes are no part of it. Many send it bare.
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let is_valid = (1..=Self::MAXIMUM_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        is_valid.then(|| Self(text.to_owned())).ok_or(IdempotencyKeyError)
    }
}

impl PublishRequest {
    /// Its properties, with its name among them.
    #[must_use]
    pub fn properties_with_key(&self) -> Vec<u8> {
        let mut properties = self.properties.clone();
        if let Some(key) = &self.key {
            PublishProperty::UserProperty(KEY_PROPERTY, key.as_str()).write(&mut properties);
        }
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_quotes_or_without() {
        for text in ["8e03978e-40d5-43dd-bc93-6894a57f9324", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""] {
            assert_eq!(text.parse::<IdempotencyKey>().unwrap().as_str(), "8e03978e-40d5-43dd-bc93-6894a57f9324");
        }
        for text in ["", "\"\"", "a b", "\"", "a\"b", "é", &"x".repeat(129)] {
            assert_eq!(text.parse::<IdempotencyKey>(), Err(IdempotencyKeyError), "{text}");
        }
    }
}
