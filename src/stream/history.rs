//! Stored events, newest first, from the journal: `GET /api/events` where there is no database.
//!
//! Newest first means in the order of their arrival, backwards. `from` and `to` are compared with
//! the event's own time, which a late device sets long before it arrives, and which is nowhere
//! indexed: a query looks at every record from its cursor backwards until its page is full, at
//! most [`limits::HISTORY_SCAN_RECORDS`] of them; then it gives what it has and a cursor to go
//! on with. It ends where everything older arrived [`limits::CLOCK_AHEAD`] before `from`.
//!
//! A page's cursor is `<epoch>-<sequence>`: the page holds what came before that record. Runs
//! on a blocking thread; a caller that goes away leaves it to finish its one page.

use std::{io, sync::Arc};

use tokio::sync::Semaphore;

use super::{
    Filter,
    shown::{Candidate, Shown},
};
use crate::{
    journal::{Batch, Journal, Watermark},
    limits,
    types::{EventMapper, EventPage, EventQuery, LastEventId, Micros, Sequence},
};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The cursor is none of this journal's.
    #[error("the cursor is not one of this journal")]
    Cursor,
    /// The file system refused.
    #[error("cannot read the journal: {0}")]
    Io(#[from] io::Error),
    /// The bridge is shutting down.
    #[error("reading was cancelled")]
    Cancelled,
}

/// Answers queries from the journal. Cheap to clone.
#[derive(Clone)]
pub struct History {
    journal: Journal,
    mapper: Arc<dyn EventMapper>,
    scans: Arc<Semaphore>,
}

impl History {
    /// The history that `mapper` makes of what `journal` holds.
    #[must_use]
    pub fn new(journal: Journal, mapper: Arc<dyn EventMapper>) -> Self {
        Self { journal, mapper, scans: Arc::new(Semaphore::new(limits::HISTORY_SCANS)) }
    }

    /// One page.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn query(&self, query: EventQuery) -> Result<EventPage, HistoryError> {
        let before = match &query.cursor {
            None => self.journal.watermark(Watermark::Visible).next(),
            Some(cursor) => self.position(cursor).ok_or(HistoryError::Cursor)?,
        };
        let permit = Arc::clone(&self.scans).acquire_owned().await.map_err(|_| HistoryError::Cancelled)?;
        let (journal, mapper) = (self.journal.clone(), Arc::clone(&self.mapper));
        let scan = move || {
            let _permit = permit;
            Page::new(&journal, query, before).scan(&*mapper)
        };
        tokio::task::spawn_blocking(scan).await.map_err(|_| HistoryError::Cancelled)?.map_err(HistoryError::Io)
    }

    fn position(&self, cursor: &str) -> Option<Sequence> {
        let id: LastEventId = cursor.parse().ok()?;
        let end = self.journal.watermark(Watermark::Visible).next();
        (id.epoch == self.journal.epoch() && id.sequence <= end).then_some(id.sequence)
    }
}

/// A page in the making.
struct Page<'a> {
    journal: &'a Journal,
    filter: Filter,
    from: Micros,
    to: Option<Micros>,
    /// Nothing that arrived before this time is wanted.
    arrived: Micros,
    limit: usize,
    /// Everything from here on was looked at, or is no part of the page.
    before: Sequence,
    left: usize,
    events: Vec<String>,
    bytes: usize,
}

/// Whether there is more to look at.
#[derive(PartialEq, Eq)]
enum Progress {
    More,
    Full,
    Done,
}

impl<'a> Page<'a> {
    fn new(journal: &'a Journal, query: EventQuery, before: Sequence) -> Self {
        let from = query.from.unwrap_or(Micros::MIN);
        let ahead = i64::try_from(limits::CLOCK_AHEAD.as_micros()).unwrap_or(i64::MAX);
        Self {
            journal,
            filter: Filter {
                topics: query.topic.into_iter().collect(),
                types: query.event_type.into_iter().collect(),
                devices: query.device.into_iter().map(Into::into).collect(),
            },
            from,
            to: query.to,
            arrived: Micros::saturating(from.get().saturating_sub(ahead)),
            limit: usize::from(query.limit),
            before,
            left: limits::HISTORY_SCAN_RECORDS,
            events: Vec::new(),
            bytes: 0,
        }
    }

    fn scan(mut self, mapper: &dyn EventMapper) -> io::Result<EventPage> {
        let mut progress = Progress::More;
        while progress == Progress::More {
            let Some(batches) = self.journal.read_before(self.before)? else {
                progress = Progress::Done;
                break;
            };
            progress = self.look_through(&batches, mapper);
        }
        let cursor = LastEventId { epoch: self.journal.epoch(), sequence: self.before };
        Ok(EventPage { events: self.events, next_cursor: (progress == Progress::Full).then(|| cursor.to_string()) })
    }

    fn look_through(&mut self, batches: &[Arc<Batch>], mapper: &dyn EventMapper) -> Progress {
        for batch in batches.iter().rev() {
            for record in (0..batch.len()).rev().filter_map(|index| batch.get(index)) {
                let Some(candidate) = Candidate::of(&record) else { continue };
                if candidate.sequence() >= self.before {
                    continue;
                }
                match self.look_at(candidate, mapper) {
                    Progress::More => self.before = candidate.sequence(),
                    progress => return progress,
                }
            }
            self.before = self.before.min(batch.first());
        }
        Progress::More
    }

    fn look_at(&mut self, candidate: Candidate<'_>, mapper: &dyn EventMapper) -> Progress {
        if candidate.received() < self.arrived {
            return Progress::Done;
        }
        if self.left == 0 {
            return Progress::Full;
        }
        self.left -= 1;
        if !self.filter.matches_topic(candidate.topic()) {
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
        let mut json = Vec::new();
        event.write_json(&mut json);
        self.bytes += json.len();
        self.events.push(String::from_utf8_lossy(&json).into_owned());
        Progress::More
    }

    fn wants(&self, event: &Shown<'_>) -> bool {
        let is_in_time = event.timestamp() >= self.from && self.to.is_none_or(|to| event.timestamp() < to);
        is_in_time && self.filter.matches_event(event)
    }
}
