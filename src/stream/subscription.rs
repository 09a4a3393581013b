//! What a client asks of the stream.

use std::time::Duration;

use super::{Filter, Form};
use crate::{
    limits,
    types::{LastEventId, Sequence},
};

/// One stream: which events, from where on, how, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which events.
    pub filter: Filter,
    /// Where it begins.
    pub start: Start,
    /// What becomes of a client that does not keep up.
    pub mode: Mode,
    /// How events are written.
    pub form: Form,
    /// Whether the newest event of each topic comes first. Only for a stream that starts now.
    pub snapshot: bool,
    /// The last record that is wanted: the stream ends behind it.
    pub until: Sequence,
    /// Silence after which something is sent, if not the default.
    pub heartbeat: Option<Duration>,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            start: Start::Now,
            mode: Mode::Guaranteed,
            form: Form::default(),
            snapshot: false,
            until: Sequence(u64::MAX),
            heartbeat: None,
        }
    }
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the event after this one. An id of another journal, or of a time that this one does not
    /// know, gives a gap, and then everything that is kept: none of it can have been seen under that id.
    After(LastEventId),
    /// As with an id of another journal: the client has one that is no id of any.
    Unknown(String),
}

/// What becomes of a client that does not keep up with its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It gets all of them, in order, from the journal. Where that does not reach back to it any more, its stream
    /// ends, and it resumes with its last id.
    #[default]
    Guaranteed,
    /// Of the events that wait, it gets the newest [`limits::STREAM_QUEUE`]; how many were dropped, a gap says.
    BestEffort,
    /// Of each topic it gets the newest event, and none of them sooner than this after the one before.
    Latest {
        /// Time between two events of one topic.
        interval: Duration,
    },
}

impl Mode {
    /// [`Mode::Latest`] with so many events of one topic a second; 0 counts as 1.
    #[must_use]
    pub fn latest(rate: u32) -> Self {
        Self::Latest { interval: Duration::from_secs(1) / rate.max(1) }
    }

    /// [`Mode::Latest`] at the default rate.
    #[must_use]
    pub fn latest_by_default() -> Self {
        Self::latest(limits::STREAM_RATE)
    }
}
