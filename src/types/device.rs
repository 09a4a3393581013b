//! A question about devices, and its answer: `GET /api/devices`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Micros;

/// Which devices are wanted, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceQuery {
    /// How many at most, 1 to 1,000.
    pub limit: u16,
    /// [`DevicePage::next_cursor`] of the page before; none for the first page.
    pub cursor: Option<String>,
    /// Whether last values and topics are wanted as well.
    pub metrics: bool,
}

/// One page of devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePage {
    /// By name.
    pub devices: Vec<DeviceInfo>,
    /// Where the next page begins; none when there is no further device.
    pub next_cursor: Option<String>,
}

/// One device, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// Its name, as routes find it in topics.
    pub device: String,
    /// The `subjectId` of its events.
    pub subject_id: Uuid,
    /// Whether the client that published for it last is connected.
    pub online: bool,
    /// Since when that client is connected.
    pub since: Option<Micros>,
    /// What is known from its events.
    #[serde(flatten)]
    pub state: DeviceState,
}

/// What a device's events have told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceState {
    /// The client that published for it last.
    pub client_id: String,
    /// When its first event came, as far as events are known.
    pub first_seen: Micros,
    /// When its last event came.
    pub last_seen: Micros,
    /// Events since `first_seen`.
    pub events: u64,
    /// Type of its last event.
    pub last_type: String,
    /// Topic of its last event.
    pub last_topic: String,
    /// The last value of each scalar in its events' `data`, by its path: names and indexes joined by dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<BTreeMap<Box<str>, LastValue>>,
    /// Its topics that have a retained message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_topics: Option<Vec<Box<str>>>,
}

/// A value and when it was so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastValue {
    /// A number, text, a truth value or null.
    pub value: serde_json::Value,
    /// The event's own time.
    pub timestamp: Micros,
}
