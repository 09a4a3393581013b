//! Stored events: a page as JSON, or all of them as lines or rows.
//!
//! A download is made of pages: the next is asked for when the one before has been taken, so
//! that any number of events costs the memory of one page, and a client that stops reading
//! holds nothing in the store. Where a later page cannot be had, the connection is broken off:
//! the end of a download must never look like the end of the events.

use std::{io, sync::Arc};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    EventStore, QueryError, caller,
    mqtt::Arrival,
    parameters::{self, EventsRequest, Format},
    poll,
    problem::Problem,
    routes::Context,
};
use crate::{
    auth::web::Caller,
    formats::CsvRows,
    types::{EventPage, EventQuery, Scope},
};

/// `GET /api/events`: stored ones, or, with `after` or `wait`, those that come next.
pub async fn list(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    arrival: Option<Extension<Arrival>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(mut subscription) = parameters::poll(&uri, &context.services.streams)? {
        subscription.filter.within = caller::topics(&caller, Scope::StreamRead)?;
        let who = caller::watcher(&caller, &uri, arrival.map(|Extension(arrival)| arrival.peer))?;
        return Ok(poll::answer(&context, subscription, &caller, &who));
    }
    let within = caller::topics(&caller, Scope::EventsRead)?;
    let EventsRequest { query, format, most } = parameters::events(&uri, &headers)?;
    let query = EventQuery { within, ..query };
    let store = Arc::clone(&context.services.events);
    // The first page before anything is said, so that a refusal is one.
    let page = store.query(query.clone()).await?;
    let kind = match format {
        Format::Json => return Ok(([(header::CONTENT_TYPE, "application/json")], page_json(&page)).into_response()),
        Format::Ndjson => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8; header=present",
    };
    let left = most.unwrap_or(u64::MAX);
    let stop = context.stop;
    let download = Download { store, query, format, left, page: Some(page), is_begun: false, stop, caller };
    let body = Body::from_stream(stream::try_unfold(download, Download::next));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// `GET /api/events/{id}`
pub async fn one(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let visible = caller::topics(&caller, Scope::EventsRead)?;
    let parsed = Uuid::try_parse(&id)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, format!("{id:?} is no event id: expected a UUID")))?;
    let found = context.services.events.event(parsed).await?;
    // What one may not see is as good as not there.
    let found = found.filter(|event| visible.is_all() || visible.have(topic_of(event).as_deref()));
    let event = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no event {parsed}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], event).into_response())
}

/// The topic of an event that is JSON.
fn topic_of(event: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Event {
        metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        topic: Option<String>,
    }
    serde_json::from_str::<Event>(event).ok()?.metadata?.topic
}

/// The page as JSON. Its events are JSON already, and are not parsed again.
fn page_json(page: &EventPage) -> String {
    let cursor = serde_json::Value::from(page.next_cursor.as_deref());
    format!("{{\"events\":[{}],\"nextCursor\":{cursor}}}", page.events.join(","))
}

/// A download under way.
struct Download {
    store: Arc<dyn EventStore>,
    query: EventQuery,
    format: Format,
    /// Events that may still be sent.
    left: u64,
    /// What comes next, where it is here already.
    page: Option<EventPage>,
    is_begun: bool,
    stop: CancellationToken,
    caller: Caller,
}

impl Download {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let mut page = match self.page.take() {
            Some(page) => page,
            None if self.left == 0 || self.query.cursor.is_none() => return Ok(None),
            None => self.ask().await.map_err(|error| {
                tracing::warn!(%error, "a download of events breaks off");
                io::Error::other(error)
            })?,
        };
        page.events.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= page.events.len() as u64;
        self.query.cursor = page.next_cursor;
        let bytes = match self.format {
            Format::Csv => rows(&page.events, !self.is_begun)?,
            Format::Ndjson | Format::Json => lines(&page.events),
        };
        self.is_begun = true;
        Ok(Some((bytes.into(), self)))
    }

    async fn ask(&self) -> Result<EventPage, QueryError> {
        if !self.caller.is_good().await {
            return Err(QueryError::Unavailable("the credentials of its caller are over".into()));
        }
        tokio::select! {
            page = self.store.query(self.query.clone()) => page,
            () = self.stop.cancelled() => Err(QueryError::Unavailable("the bridge is shutting down".into())),
        }
    }
}

fn lines(events: &[String]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum());
    for event in events {
        lines.extend_from_slice(event.as_bytes());
        lines.push(b'\n');
    }
    lines
}

/// As a CSV file has them, with its first row at the beginning.
fn rows(events: &[String], with_names: bool) -> io::Result<Vec<u8>> {
    let mut rows = CsvRows::new(Vec::new(), with_names)?;
    events.iter().try_for_each(|event| rows.push(event))?;
    rows.finish()
}
