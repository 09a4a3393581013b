//! `mqtt = { … }` of a listener: what its clients may use, where that is not what `[mqtt]` says.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    broker::{LimitSettings, MqttSettings},
    text::{Text, from_text},
    units::{bytes, number},
};

use crate::types::ResponseInformation;

const KIB: u64 = 1 << 10;

/// Values that take the place of those of `[mqtt]` and `[limits]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct ProfileSettings {
    /// Longest keep alive, in seconds; 0 for as long as clients like.
    #[serde(deserialize_with = "some_number::<_, _, 0, 65_535>", skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<u16>,
    /// Highest QoS.
    #[serde(deserialize_with = "some_number::<_, _, 0, 2>", skip_serializing_if = "Option::is_none")]
    pub maximum_qos: Option<u8>,
    /// Whether messages can be retained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_available: Option<bool>,
    /// The beginning of response topics that clients are told where they ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_information: Option<ResponseTopics>,
    /// Whether a payload that is said to be UTF-8 must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_payload_format: Option<bool>,
    /// QoS 1 and 2 messages in flight.
    #[serde(deserialize_with = "some_number::<_, _, 1, 65_535>", skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<u16>,
    /// Largest packet taken from a client, in bytes.
    #[serde(deserialize_with = "some_bytes::<_, KIB, 268_435_460>", skip_serializing_if = "Option::is_none")]
    pub maximum_packet_size: Option<u32>,
    /// QoS 1 and 2 messages that wait for a session.
    #[serde(deserialize_with = "some_number::<_, _, 1, 100_000_000>", skip_serializing_if = "Option::is_none")]
    pub maximum_queued_messages: Option<usize>,
}

/// The beginning of response topics, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseTopics(pub ResponseInformation);

impl Text for ResponseInformation {
    const EXPECTED: &str = "the beginning of a topic name, such as \"replies/%c\"";
}

impl<'de> Deserialize<'de> for ResponseTopics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer).map(Self)
    }
}

impl Serialize for ResponseTopics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl ProfileSettings {
    /// These, and what the common sections say of the rest.
    #[must_use]
    pub fn or(&self, limits: &LimitSettings, mqtt: &MqttSettings) -> (u32, MqttSettings) {
        let mqtt = MqttSettings {
            keep_alive: self.keep_alive.unwrap_or(mqtt.keep_alive),
            maximum_qos: self.maximum_qos.unwrap_or(mqtt.maximum_qos),
            retain_available: self.retain_available.unwrap_or(mqtt.retain_available),
            response_information: self.response_information.clone().or_else(|| mqtt.response_information.clone()),
            check_payload_format: self.check_payload_format.unwrap_or(mqtt.check_payload_format),
            receive_maximum: self.receive_maximum.unwrap_or(mqtt.receive_maximum),
            maximum_queued_messages: self.maximum_queued_messages.unwrap_or(mqtt.maximum_queued_messages),
            ..mqtt.clone()
        };
        (self.maximum_packet_size.unwrap_or(limits.maximum_packet_size), mqtt)
    }
}

fn some_number<'de, D: Deserializer<'de>, T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    number::<D, T, MIN, MAX>(deserializer).map(Some)
}

fn some_bytes<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    bytes::<D, u32, MIN, MAX>(deserializer).map(Some)
}
