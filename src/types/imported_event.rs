//! An event from a file, on its way into the table.

use uuid::Uuid;

use super::Micros;

/// What the table keeps of an event that was not made here and now: one that was exported, or of a device's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedEvent {
    /// The event's own, by which a repeat is known.
    pub id: Uuid,
    /// When it happened.
    pub timestamp: Micros,
    /// `{domain}.{action}.{modifier}`, not empty.
    pub event_type: String,
    /// The subject's UUID, most often; the table has text.
    pub subject_id: String,
    /// The kind of subject.
    pub subject_type: String,
    /// JSON text.
    pub data: String,
    /// A JSON object, not an empty one: it says that the event was imported.
    pub metadata: String,
    /// The pod's owner, not empty.
    pub user_id: String,
    /// Who wrote it first.
    pub source: String,
    /// What it belongs to.
    pub correlation_id: Option<Uuid>,
}
