//! One rule: which events it takes, and the message that it makes of each.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    limits,
    types::{EventPointer, EventTemplate, NoText, PublishProperty, Qos, TopicError, TopicName, TypePattern},
};

/// The user property that says which rule has made a message.
pub const RULE_PROPERTY: &str = "synap-egress";
/// The user property that says of which event.
pub const EVENT_PROPERTY: &str = "synap-event-id";

/// Events that become messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which no other has.
    pub name: String,
    /// Which events.
    pub event_type: TypePattern,
    /// Where messages go.
    pub topic: EventTemplate,
    /// What they say.
    pub payload: Payload,
    /// With which QoS.
    pub qos: Qos,
    /// Whether the topic keeps them.
    pub retain: bool,
    /// How long they may wait for a subscriber.
    pub expiry: Option<Duration>,
}

/// What a message says of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// All of it, as JSON.
    Event,
    /// The JSON at one place.
    Place(EventPointer),
    /// A JSON object with these members; null where the event has nothing.
    Object(Vec<(String, EventPointer)>),
    /// Text.
    Text(EventTemplate),
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    /// In wire form.
    pub properties: Vec<u8>,
}

impl Message {
    /// What it takes.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }
}

/// Why there is no message for an event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    #[error(transparent)]
    NoText(#[from] NoText),
    #[error("the event has nothing at {0}")]
    Nothing(String),
    #[error("{0} is no level of a topic: {1:?}")]
    Level(String, String),
    #[error("{0:?} is no topic for it: {1}")]
    Topic(String, TopicError),
    #[error("its topic is too long or has too many levels")]
    TopicLimits,
    #[error("topics below $SYS/ are the bridge's own")]
    Reserved,
    #[error("topic, properties and payload have more than {0} bytes together")]
    TooLarge(u32),
}

impl Rule {
    /// The message for an event of this id, which is `json`, of at most this many bytes.
    pub fn message(&self, id: Uuid, json: &str, maximum: u32) -> Result<Message, Unsent> {
        let topic = self.topic(json)?;
        let payload = self.payload(json)?;
        let properties = self.properties(id);
        let message = Message { topic, payload, properties };
        if message.bytes() > maximum as usize { Err(Unsent::TooLarge(maximum)) } else { Ok(message) }
    }

    fn topic(&self, json: &str) -> Result<String, Unsent> {
        let topic = self.topic.fill(json, |pointer, value, out| {
            if value.is_empty() || value.contains(['/', '+', '#', '\0']) {
                return Err(Unsent::Level(pointer.to_string(), value.into_owned()));
            }
            out.push_str(&value);
            Ok(())
        })?;
        if topic.starts_with("$SYS/") {
            return Err(Unsent::Reserved);
        }
        let is_within =
            topic.len() <= limits::MAXIMUM_TOPIC_BYTES && topic.split('/').count() <= limits::MAXIMUM_TOPIC_LEVELS;
        if !is_within {
            return Err(Unsent::TopicLimits);
        }
        match TopicName::check(&topic) {
            Ok(()) => Ok(topic),
            Err(error) => Err(Unsent::Topic(topic, error)),
        }
    }

    fn payload(&self, json: &str) -> Result<Vec<u8>, Unsent> {
        let text = match &self.payload {
            Payload::Event => json.to_owned(),
            Payload::Place(pointer) => {
                pointer.find(json).ok_or_else(|| Unsent::Nothing(pointer.to_string()))?.to_owned()
            }
            Payload::Object(members) => {
                let mut out = String::from("{");
                for (number, (name, pointer)) in members.iter().enumerate() {
                    out.push_str(if number == 0 { "" } else { "," });
                    out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    out.push(':');
                    out.push_str(pointer.find(json).unwrap_or("null"));
                }
                out.push('}');
                out
            }
            Payload::Text(template) => template.fill(json, |_, value, out| {
                out.push_str(&value);
                Ok::<_, Unsent>(())
            })?,
        };
        Ok(text.into_bytes())
    }

    fn properties(&self, id: Uuid) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        PublishProperty::PayloadFormatIndicator(1).write(&mut out);
        if let Some(expiry) = self.expiry {
            let seconds = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
            PublishProperty::MessageExpiryInterval(seconds).write(&mut out);
        }
        if !matches!(self.payload, Payload::Text(_)) {
            PublishProperty::ContentType("application/json").write(&mut out);
        }
        PublishProperty::UserProperty(RULE_PROPERTY, &self.name).write(&mut out);
        let mut buffer = Uuid::encode_buffer();
        PublishProperty::UserProperty(EVENT_PROPERTY, id.hyphenated().encode_lower(&mut buffer)).write(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PublishProperties;

    const EVENT: &str = r#"{"type":"a.b.c","subjectId":"7","data":{"device":"pump-7","level":3.0,"bad":"a/b"}}"#;

    fn rule(topic: &str, payload: Payload) -> Rule {
        Rule {
            name: "alerts".to_owned(),
            event_type: "a.*".parse().unwrap(),
            topic: topic.parse().unwrap(),
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry: Some(Duration::from_secs(60)),
        }
    }

    fn said(payload: Payload) -> Result<String, Unsent> {
        let message = rule("devices/{/data/device}/alerts", payload).message(Uuid::nil(), EVENT, 1 << 20)?;
        assert_eq!(message.topic, "devices/pump-7/alerts");
        Ok(String::from_utf8(message.payload).unwrap())
    }

    #[test]
    fn a_message_says_what_the_rule_takes_of_the_event() {
        let pointer = |text: &str| text.parse::<EventPointer>().unwrap();
        assert_eq!(said(Payload::Event).unwrap(), EVENT);
        assert_eq!(said(Payload::Place(pointer("/data/level"))).unwrap(), "3.0");
        let members = vec![("l\"".to_owned(), pointer("/data/level")), ("none".to_owned(), pointer("/data/x"))];
        assert_eq!(said(Payload::Object(members)).unwrap(), r#"{"l\"":3.0,"none":null}"#);
        assert_eq!(said(Payload::Text("level {/data/level}".parse().unwrap())).unwrap(), "level 3.0");
        assert_eq!(said(Payload::Place(pointer("/data/x"))), Err(Unsent::Nothing("/data/x".to_owned())));
    }

    #[test]
    fn what_is_no_topic_is_not_sent() {
        let sent = |topic: &str, maximum| rule(topic, Payload::Event).message(Uuid::nil(), EVENT, maximum);
        assert!(matches!(sent("d/{/data/bad}", 1 << 20), Err(Unsent::Level(..))));
        assert!(matches!(sent("d/{/data/none}", 1 << 20), Err(Unsent::NoText(_))));
        assert_eq!(sent("d", 100), Err(Unsent::TooLarge(100)));
        let long = format!("d/{}", "x/".repeat(limits::MAXIMUM_TOPIC_LEVELS));
        assert_eq!(sent(&long, 1 << 20), Err(Unsent::TopicLimits));
    }

    #[test]
    fn a_message_says_where_it_is_from() {
        let message = rule("d", Payload::Event).message(Uuid::nil(), EVENT, 1 << 20).unwrap();
        let properties = PublishProperties::new(&message.properties);
        let told: Vec<_> = properties.user_properties().collect();
        assert_eq!(told, [(RULE_PROPERTY, "alerts"), (EVENT_PROPERTY, "00000000-0000-0000-0000-000000000000")]);
        assert_eq!(properties.message_expiry_interval(), Some(60));
        assert_eq!(properties.content_type(), Some("application/json"));
    }
}
