//! A question about stored events, and its answer: `GET /api/events`, whichever store answers.

use super::{Micros, TopicFilter};

/// Which events are wanted, newest first. Filters that are present must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Published to a topic that this filter matches.
    pub topic: Option<TopicFilter>,
    /// Of exactly this type.
    pub event_type: Option<String>,
    /// From the device of this name.
    pub device: Option<String>,
    /// Happened at this time or later.
    pub from: Option<Micros>,
    /// Happened before this time.
    pub to: Option<Micros>,
    /// How many at most, 1 to 1,000.
    pub limit: u16,
    /// [`EventPage::next_cursor`] of the page before; none for the first page.
    pub cursor: Option<String>,
}

/// One page of events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// Each a JSON object in the shape of the pod's stream.
    pub events: Vec<String>,
    /// Where the next page begins, opaque to clients; none when there is no further event.
    pub next_cursor: Option<String>,
}
