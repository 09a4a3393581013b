//! `[presence]`: whose coming and going becomes events.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    limits,
    types::{ClientPattern, DeviceClients},
};

/// Random names that common clients make up for themselves, each time another.
const MADE_UP: [&str; 3] = ["mqttjs_*", "mqttx_*", "mqtt-explorer-*"];

/// Whose coming and going becomes events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct PresenceSettings {
    /// Whether anybody's does.
    pub events: bool,
    /// Clients that are devices, by their identifiers; the first pattern that fits gives the name.
    pub devices: Patterns,
    /// But not these.
    pub except: Patterns,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        // Text of ours.
        let patterns = |texts: &[&str]| Patterns(texts.iter().filter_map(|text| text.parse().ok()).collect());
        Self { events: true, devices: patterns(&["*"]), except: patterns(&MADE_UP) }
    }
}

impl PresenceSettings {
    /// The clients that are devices.
    #[must_use]
    pub fn clients(&self) -> DeviceClients {
        if !self.events {
            return DeviceClients::default();
        }
        DeviceClients { devices: self.devices.0.clone(), except: self.except.0.clone() }
    }
}

/// Patterns of client identifiers, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(pub Vec<ClientPattern>);

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let patterns = Vec::<Pattern>::deserialize(deserializer)?;
        if patterns.len() > limits::PRESENCE_PATTERNS {
            return Err(de::Error::custom(format!("at most {} patterns", limits::PRESENCE_PATTERNS)));
        }
        Ok(Self(patterns.into_iter().map(|pattern| pattern.0).collect()))
    }
}

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

struct Pattern(ClientPattern);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| de::Error::custom(format!("\"{}\": {error}", text.escape_debug())))
    }
}
