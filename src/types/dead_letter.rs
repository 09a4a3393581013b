//! A record that became no event of the table, and questions about such.

use serde::Serialize;
use uuid::Uuid;

/// Which dead letters are wanted, the last received first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// How many at most.
    pub limit: u16,
    /// [`DeadLetterPage::next_cursor`] of the page before; none for the first page.
    pub cursor: Option<String>,
}

/// One page of dead letters, the last received first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterPage {
    /// The letters.
    pub dead_letters: Vec<DeadLetter>,
    /// Where the next page begins, opaque to clients; none when there is no further one.
    pub next_cursor: Option<String>,
}

/// A publication, or that a device has come or gone, with the reason why it is not in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The journal that it is of.
    pub journal: Uuid,
    /// Its place there.
    pub sequence: u64,
    /// When the bridge received it (RFC 3339).
    pub received_at: String,
    /// What it was published to; empty where it is of a device that has come or gone.
    pub topic: String,
    /// Who published it, or has come or gone.
    pub client_id: String,
    /// Its bytes, in base64.
    pub payload: String,
    /// Why it was refused.
    pub reason: String,
    /// The device that has come or gone; none of a publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}
