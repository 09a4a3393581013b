//! A publication that became no event of the table, and questions about such.

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

/// A publication with the reason why it is not in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The journal that it is of.
    pub journal: Uuid,
    /// Its place there.
    pub sequence: u64,
    /// When the bridge received it (RFC 3339).
    pub received_at: String,
    /// What it was published to.
    pub topic: String,
    /// Who published it.
    pub client_id: String,
    /// Its bytes, in base64.
    pub payload: String,
    /// Why it was refused.
    pub reason: String,
}
