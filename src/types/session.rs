//! A question about MQTT sessions, and its answer: `GET /api/sessions`.

use serde::Serialize;

use super::Micros;

/// Which sessions are wanted, in the order of their client identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionQuery {
    /// How many at most, 1 to 1,000.
    pub limit: u16,
    /// [`SessionPage::next_cursor`] of the page before; none for the first page.
    pub cursor: Option<String>,
    /// Whether topic filters are wanted as well.
    pub filters: bool,
}

/// One page of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPage {
    /// By client identifier.
    pub sessions: Vec<SessionInfo>,
    /// Where the next page begins; none when there is no further session.
    pub next_cursor: Option<String>,
}

/// One session, as it is now. What is not known is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Whose it is.
    pub client_id: String,
    /// The account that it belongs to.
    pub user: Option<String>,
    /// Whether its client is there.
    pub connected: bool,
    /// When it connected, or when its connection ended.
    pub since: Option<Micros>,
    /// Address and port of the client that is there.
    pub peer: Option<String>,
    /// `3.1.1` or `5.0`, of the client that is there.
    pub protocol_version: Option<&'static str>,
    /// Seconds, of the client that is there; 0 for none.
    pub keep_alive: Option<u16>,
    /// Seconds that it outlives its connection (session expiry interval); 4,294,967,295 for ever.
    pub session_expiry_interval: Option<u32>,
    /// When it ends, if its client stays away.
    pub expires_at: Option<Micros>,
    /// How many topic filters it has.
    pub subscriptions: usize,
    /// The topic filters, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<String>>,
    /// Messages that wait.
    pub queued_messages: usize,
    /// Bytes of those of QoS 1 and 2: topic, properties and payload.
    pub queued_bytes: u64,
    /// Messages sent and not acknowledged.
    pub in_flight: Option<u64>,
    /// Messages that it was to get and that its queue had no room for.
    pub dropped: u64,
    /// Since when they are counted.
    pub dropped_since: Micros,
}
