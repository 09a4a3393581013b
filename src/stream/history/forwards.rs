//! Oldest first. Waits for the disk at most.

use super::{
    HistoryError, arrival_of, cursor,
    page::{Page, Progress},
};
use crate::{
    journal::{Journal, Record, Slice},
    stream::source::{Next, Source},
    types::{EventMapper, EventPage, EventQuery, Micros, Sequence},
};

/// The events after a cursor, or from the oldest on. Damage and removed records are passed over,
/// as the other order does.
pub async fn scan(
    journal: &Journal,
    mapper: &dyn EventMapper,
    query: EventQuery,
    after: Option<Sequence>,
) -> Result<EventPage, HistoryError> {
    let start = start(journal, &query, after.unwrap_or(Sequence::ZERO)).await?;
    let (mut source, mut page) = (Source::new(journal, start), Page::new(query));
    let mut passed = start;
    loop {
        let slice = match source.advance().await? {
            Next::Records(slice) => slice,
            Next::Lost(_) => continue,
            Next::CaughtUp => return Ok(EventPage { events: page.events, next_cursor: None }),
        };
        match look_through(&slice, &mut page, &mut passed, mapper) {
            Progress::More => {}
            Progress::Done => return Ok(EventPage { events: page.events, next_cursor: None }),
            Progress::Full => {
                return Ok(EventPage { events: page.events, next_cursor: Some(cursor(journal, passed)) });
            }
        }
        // A query is long where others on this thread want to be quick.
        tokio::task::yield_now().await;
    }
}

/// Where nothing before can be wanted.
async fn start(journal: &Journal, query: &EventQuery, after: Sequence) -> Result<Sequence, HistoryError> {
    match query.from {
        None => Ok(after),
        Some(from) => Ok(position_of(journal, from).await?.max(after)),
    }
}

/// Behind which everything lies that happened at `from` or later.
pub async fn position_of(journal: &Journal, from: Micros) -> Result<Sequence, HistoryError> {
    let journal = journal.clone();
    let position = tokio::task::spawn_blocking(move || journal.position_at(arrival_of(from)));
    Ok(position.await.map_err(|_| HistoryError::Cancelled)??)
}

fn look_through(slice: &Slice, page: &mut Page, passed: &mut Sequence, mapper: &dyn EventMapper) -> Progress {
    for record in slice.records() {
        let Record::Publication { publication, .. } = record else { continue };
        match page.look_at(&publication, mapper) {
            Progress::More => *passed = publication.sequence,
            progress => return progress,
        }
    }
    Progress::More
}
