//! How far whatever reads the journal has come: `GET /api/consumers`.

use super::{HealthSnapshot, Micros};

/// The journal, those who read it, and the database behind one of them, at one moment.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumersInfo {
    /// What there is to read.
    pub journal: JournalInfo,
    /// Who reads it, by name.
    pub consumers: Vec<ConsumerInfo>,
    /// The database that events go to, where there is one.
    pub database: Option<DatabaseInfo>,
    /// Events of other writers on their way into the journal, where that is wanted.
    pub import: Option<ImportInfo>,
    /// Clients of the event stream; each reads as fast as it likes.
    pub stream_clients: usize,
    /// How each part is doing.
    pub health: HealthSnapshot,
}

/// Watermarks of the journal, and its size.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalInfo {
    /// The last record that was taken in.
    pub appended: u64,
    /// The last that is on disk.
    pub durable: u64,
    /// The oldest that is kept.
    pub oldest: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that it may have; then messages are refused.
    pub maximum_bytes: u64,
}

/// One reader of the journal.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerInfo {
    /// Its name: `timescale`, the writer; `devices`; `checkpoint`, of sessions and retained messages; `sessions`, whose
    /// queues the oldest message waits in.
    pub name: &'static str,
    /// The last record that it is done with.
    pub position: u64,
    /// Records that are on disk and it is not done with; at most, for sequences have holes.
    pub lag_records: u64,
    /// When the oldest of them was received.
    pub waiting_since: Option<Micros>,
    /// How long it has waited, in seconds.
    pub lag_seconds: f64,
}

/// What the writer has done since the start.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseInfo {
    /// Whether the database takes events.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// Events stored.
    pub events: u64,
    /// Measurements stored.
    pub measurements: u64,
    /// Publications refused by their route or the table.
    pub dead_letters: u64,
    /// Publications left out, for their device had sent them before.
    pub repeats: u64,
}

/// What the importer has done since the start.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportInfo {
    /// Whether events of other writers are taken over.
    pub connected: bool,
    /// Whether another bridge does it.
    pub standby: bool,
    /// Why nobody does.
    pub error: Option<String>,
    /// How long the oldest had waited, in seconds.
    pub lag_seconds: f64,
    /// Events taken over.
    pub imported: u64,
}
