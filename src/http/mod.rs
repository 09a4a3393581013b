//! The HTTP server: the event stream, stored events, metrics, health, and the page at `/`.
//!
//! One task accepts, one task serves each connection (`server`); a stream is polled by the
//! task of its connection. Nothing here keeps state of its own: what is shown is injected with
//! [`Services`]. Every refusal is an RFC 9457 problem (`problem`) that says what would be
//! right. Requests are answered to anyone who reaches the address: bind to loopback, or put a
//! proxy in front that knows its users.

mod assets;
mod host;
mod parameters;
mod problem;
mod routes;
mod server;
#[cfg(test)]
mod tests;

use std::{error::Error, sync::Arc};

use futures_util::future::BoxFuture;
use serde::Serialize;

pub use server::Server;

use crate::{
    stream::{History, HistoryError, Streams},
    types::{EventPage, EventQuery},
};

/// What the server shows.
#[derive(Clone)]
pub struct Services {
    /// Behind `/api/events/stream`.
    pub streams: Streams,
    /// Behind `/api/events`.
    pub events: Arc<dyn EventStore>,
    /// Behind `/metrics`: the text that Prometheus reads.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Behind `/healthz` and `/readyz`.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
}

/// Where stored events are asked for.
pub trait EventStore: Send + Sync {
    /// One page of events.
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, QueryError>>;
}

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query's cursor is not one of this store.
    #[error("the cursor is not one that this store has given")]
    Cursor,
    /// The store does not answer, now.
    #[error("stored events cannot be read: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl EventStore for History {
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, QueryError>> {
        Box::pin(async move {
            Self::query(self, query).await.map_err(|error| match error {
                HistoryError::Cursor => QueryError::Cursor,
                other => QueryError::Unavailable(other.into()),
            })
        })
    }
}

/// How the bridge is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// False when only a restart can help.
    pub live: bool,
    /// What it depends on, each by name.
    pub checks: Vec<Check>,
}

/// One thing that the bridge depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Short and stable, for instance `journal` or `timescale`.
    pub name: &'static str,
    /// Whether it does its work.
    pub ready: bool,
    /// For a human: how far it is, or what is wrong.
    pub detail: String,
}

impl Health {
    /// Whether requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.live && self.checks.iter().all(|check| check.ready)
    }
}
