//! A page in the making: which events are on it, and whether it has room. Knows no direction.

use uuid::Uuid;

use super::Filter;
use crate::{
    limits,
    stream::shown::{Candidate, Shown},
    types::{EventMapper, EventQuery, Micros},
};

/// A page, and how much its query may still look at.
pub struct Page {
    filter: Filter,
    subject: Option<String>,
    from: Micros,
    to: Option<Micros>,
    limit: usize,
    left: usize,
    bytes: usize,
    /// What is on it.
    pub events: Vec<String>,
    /// What a device sends correlates with nothing.
    correlation: Option<Uuid>,
}

/// Whether there is more to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be.
    More,
    /// The page has no room for what was looked at, or its query has looked at enough.
    Full,
    /// Nothing further is wanted.
    Done,
}

impl Page {
    /// An empty page for what a query asks, but for its order and its cursor.
    pub fn new(query: EventQuery) -> Self {
        Self {
            filter: Filter {
                topics: query.topic.into_iter().collect(),
                types: query.event_type.into_iter().collect(),
                devices: query.device.into_iter().map(Into::into).collect(),
                within: query.within,
            },
            subject: query.subject,
            from: query.from.unwrap_or(Micros::MIN),
            to: query.to,
            limit: usize::from(query.limit),
            left: limits::HISTORY_SCAN_RECORDS,
            bytes: 0,
            events: Vec::new(),
            correlation: query.correlation,
        }
    }

    /// Puts an event on the page, if it is wanted.
    pub fn look_at(&mut self, candidate: Candidate<'_>, mapper: &dyn EventMapper) -> Progress {
        if self.left == 0 {
            return Progress::Full;
        }
        self.left -= 1;
        if self.correlation.is_some() && candidate.correlation() != self.correlation
            || !self.filter.matches_topic(candidate.topic())
        {
            return Progress::More;
        }
        let event = candidate.event(mapper);
        if !self.wants(&event) {
            return Progress::More;
        }
        // Full only where there is one more, so that a last page says that it is the last.
        if self.events.len() >= self.limit || self.bytes >= limits::EVENTS_PAGE_BYTES {
            return Progress::Full;
        }
        let json = json(&event);
        self.bytes += json.len();
        self.events.push(json);
        Progress::More
    }

    fn wants(&self, event: &Shown<'_>) -> bool {
        let is_in_time = event.timestamp() >= self.from && self.to.is_none_or(|to| event.timestamp() < to);
        let is_subject = self.subject.as_ref().is_none_or(|subject| event.is_about(subject));
        is_in_time && is_subject && self.filter.matches_event(event)
    }
}

/// An event in the shape of the pod's stream.
pub fn json(event: &Shown<'_>) -> String {
    let mut json = Vec::new();
    event.write_json(&mut json);
    String::from_utf8_lossy(&json).into_owned()
}
