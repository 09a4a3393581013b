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
    /// Whether its client is connected: one that is this device by `[presence]`, or, where none ever was, the
    /// one that published for it last.
    pub online: bool,
    /// Since when.
    pub since: Option<Micros>,
    /// What is known from its events.
    #[serde(flatten)]
    pub state: DeviceState,
}

/// What a device's events have told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceState {
    /// The client that published for it last or, where none has, connected as it.
    pub client_id: String,
    /// When it was heard first, as far as is known.
    pub first_seen: Micros,
    /// When it was heard last: it has published, or connected.
    pub last_seen: Micros,
    /// Messages since `first_seen`.
    pub events: u64,
    /// Type of its last message's event; empty where it has only connected.
    pub last_type: String,
    /// Topic of its last message; empty where it has only connected.
    pub last_topic: String,
    /// Connections of clients that are this device, oldest first: those that its events say are open.
    #[serde(default)]
    pub connections: Vec<OpenConnection>,
    /// The last of them that has ended.
    #[serde(default)]
    pub last_closed: Option<LastClosed>,
    /// The last value of each scalar in its events' `data`, by its path: names and indexes joined by dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<BTreeMap<Box<str>, LastValue>>,
    /// Its topics that have a retained message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_topics: Option<Vec<Box<str>>>,
}

/// A connection that was opened and not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenConnection {
    /// Its client.
    pub client_id: String,
    /// When it was opened.
    pub since: Micros,
    /// The record of that.
    pub sequence: u64,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastClosed {
    /// Its client.
    pub client_id: String,
    /// When it was on record.
    pub timestamp: Micros,
    /// Why, in the word of the event's `data.reason`.
    pub reason: String,
}

/// A value and when it was so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastValue {
    /// A number, text, a truth value or null.
    pub value: serde_json::Value,
    /// The event's own time.
    pub timestamp: Micros,
}
