//! Stored events from the journal: `GET /api/events` where there is no database.
//!
//! The order is that of arrival. `from` and `to` are compared with the event's own time, which a
//! late device sets long before it arrives, and which is nowhere indexed: a query looks at every
//! record from its cursor on until its page is full, at most [`limits::HISTORY_SCAN_RECORDS`] of
//! them; then it gives what it has and a cursor to go on with. Nothing that arrived earlier than
//! [`limits::CLOCK_AHEAD`] before `from` is looked at.
//!
//! A page's cursor is `<epoch>-<sequence>`: newest first, the page holds what came before that
//! record; oldest first, what came after it. `backwards` reads on a blocking thread, and a caller
//! that goes away leaves it to finish its one page; `forwards` reads as the streams do, and may
//! be dropped anywhere.

mod backwards;
mod forwards;
mod page;
mod search;
mod series;

use std::{io, sync::Arc};

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::Filter;
use crate::{
    journal::{Journal, ReadError, Watermark},
    limits,
    types::{Bucket, EventMapper, EventPage, EventQuery, LastEventId, Micros, Order, Sequence, SeriesQuery},
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
    /// The journal refused.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The question takes more records than one may.
    #[error(
        "there are more than {} records since then: ask for a later time, or for less of it",
        limits::SERIES_SCAN_RECORDS
    )]
    TooMuch,
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
    others: Arc<search::Others>,
}

impl History {
    /// The history that `mapper` makes of what `journal` holds.
    #[must_use]
    pub fn new(journal: Journal, mapper: Arc<dyn EventMapper>) -> Self {
        Self { journal, mapper, scans: Arc::new(Semaphore::new(limits::HISTORY_SCANS)), others: Arc::default() }
    }

    /// One page.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn query(&self, query: EventQuery) -> Result<EventPage, HistoryError> {
        let cursor = query.cursor.as_deref().map(|cursor| self.position(cursor).ok_or(HistoryError::Cursor));
        let cursor = cursor.transpose()?;
        let permit = Arc::clone(&self.scans).acquire_owned().await.map_err(|_| HistoryError::Cancelled)?;
        let (journal, mapper) = (self.journal.clone(), Arc::clone(&self.mapper));
        match query.order {
            Order::OldestFirst => forwards::scan(&journal, &*mapper, query, cursor).await,
            Order::NewestFirst => {
                let before = cursor.unwrap_or_else(|| journal.watermark(Watermark::Visible).next());
                let scan = move || {
                    let _permit = permit;
                    backwards::scan(&journal, &*mapper, query, before)
                };
                Ok(tokio::task::spawn_blocking(scan).await.map_err(|_| HistoryError::Cancelled)??)
            }
        }
    }

    /// The event with this id, as JSON, where the journal still has it.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn event(&self, id: Uuid) -> Result<Option<String>, HistoryError> {
        let (journal, mapper) = (self.journal.clone(), Arc::clone(&self.mapper));
        let find = move || search::mapped(&journal, &*mapper, id);
        let found = tokio::task::spawn_blocking(find).await.map_err(|_| HistoryError::Cancelled)??;
        if found.is_some() || self.others.get() == Some(&None) {
            return Ok(found);
        }
        let permit = Arc::clone(&self.scans).acquire_owned().await.map_err(|_| HistoryError::Cancelled)?;
        let (journal, others) = (self.journal.clone(), Arc::clone(&self.others));
        let find = move || {
            let _permit = permit;
            search::of_others(&journal, &others, id)
        };
        Ok(tokio::task::spawn_blocking(find).await.map_err(|_| HistoryError::Cancelled)??)
    }

    /// One metric over time: the buckets that have a value.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn series(&self, query: &SeriesQuery) -> Result<Vec<Bucket>, HistoryError> {
        let _permit = self.scans.acquire().await.map_err(|_| HistoryError::Cancelled)?;
        series::buckets(&self.journal, &*self.mapper, query).await
    }

    fn position(&self, cursor: &str) -> Option<Sequence> {
        let id: LastEventId = cursor.parse().ok()?;
        let end = self.journal.watermark(Watermark::Visible).next();
        (id.epoch == self.journal.epoch() && id.sequence <= end).then_some(id.sequence)
    }
}

/// Nothing that is wanted from `from` on arrived before this time.
fn arrival_of(from: Micros) -> Micros {
    let ahead = i64::try_from(limits::CLOCK_AHEAD.as_micros()).unwrap_or(i64::MAX);
    Micros::saturating(from.get().saturating_sub(ahead))
}

/// The page's cursor where there may be more behind it.
fn cursor(journal: &Journal, sequence: Sequence) -> String {
    LastEventId { epoch: journal.epoch(), sequence }.to_string()
}
