//! A question about stored events, and its answer: `GET /api/events`, whichever store answers.

use std::str::FromStr;

use uuid::Uuid;

use super::{Micros, TopicFilter, Topics};

/// Which events are wanted. Filters that are present must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Published to a topic that this filter matches.
    pub topic: Option<TopicFilter>,
    /// Of exactly this type.
    pub event_type: Option<String>,
    /// From the device of this name.
    pub device: Option<String>,
    /// About exactly this subject, a [`SynapEvent::subject_id`](super::SynapEvent) as text.
    pub subject: Option<String>,
    /// Part of this chain of cause and effect.
    pub correlation: Option<Uuid>,
    /// Happened at this time or later.
    pub from: Option<Micros>,
    /// Happened before this time.
    pub to: Option<Micros>,
    /// Which comes first.
    pub order: Order,
    /// How many at most, 1 to 1,000.
    pub limit: u16,
    /// [`EventPage::next_cursor`] of the page before, in the same order; none for the first page.
    pub cursor: Option<String>,
    /// What whoever asks may see at all.
    pub within: Topics,
}

/// Which event comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// `desc`
    #[default]
    NewestFirst,
    /// `asc`
    OldestFirst,
}

/// Neither `asc` nor `desc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected asc (oldest first) or desc (newest first)")]
pub struct OrderError;

impl FromStr for Order {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Self, OrderError> {
        match text {
            "desc" => Ok(Self::NewestFirst),
            "asc" => Ok(Self::OldestFirst),
            _ => Err(OrderError),
        }
    }
}

impl EventQuery {
    /// A page of whatever there is, newest first.
    #[must_use]
    pub const fn everything(limit: u16) -> Self {
        Self {
            topic: None,
            event_type: None,
            device: None,
            subject: None,
            correlation: None,
            from: None,
            to: None,
            order: Order::NewestFirst,
            limit,
            cursor: None,
            within: Topics::All,
        }
    }
}

/// One page of events, in the order of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// Each a JSON object in the shape of the pod's stream.
    pub events: Vec<String>,
    /// Where the next page begins, opaque to clients; none when there is no further event.
    pub next_cursor: Option<String>,
}
