//! The HTTP server: the event stream over three transports (`stream`, `socket`, `poll`), the way back to devices
//! (`publish`, `commands`), who watches (`watchers`), stored events, MQTT sessions, metrics, health, the page at `/`, and the door to MQTT over
//! WebSocket. Who may what is decided in `caller`.
//!
//! One task accepts (`server`), one task serves each connection (`connection`). Event streams and WebSockets leave
//! the HTTP server and have tasks of their own (`handover`, `direct`, `socket`), which hold their `places`; where
//! that cannot be, a stream is polled by the task of its connection. Nothing here keeps state of its own: what is shown is injected with
//! [`Services`]. Every refusal is an RFC 9457 problem (`problem`) that says what would be
//! right.

mod assets;
mod caller;
mod commands;
mod connection;
mod cors;
mod devices;
mod direct;
mod events;
mod handover;
mod host;
mod identity;
mod mortal;
mod mqtt;
mod parameters;
mod patient;
mod places;
mod poll;
mod problem;
mod publish;
mod routes;
mod series;
mod server;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod watchers;
mod writing;

use std::{error::Error, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use uuid::Uuid;

pub use identity::SignIn;
pub use server::Server;

use crate::{
    auth::web::Identities,
    stream::{History, HistoryError, Streams},
    timescale,
    types::{
        Bucket, CommandInfo, CommandPage, CommandRequest, CommandTold, ConsumersInfo, DeadLetterPage, DeadLetterQuery,
        Descriptors, DeviceInfo, DevicePage, DeviceQuery, EventPage, EventQuery, HealthSnapshot, Origin, Peer,
        PublishRequest, Published, SeriesQuery, SessionInfo, SessionPage, SessionQuery, TopicFilter,
    },
    websocket::WebSocket,
};

/// Takes connections that speak MQTT from here on.
pub type MqttDoor = dyn Fn(WebSocket<TcpStream>, Peer) + Send + Sync;

/// What the server shows.
#[derive(Clone)]
pub struct Services {
    /// Behind `/api/events/stream`.
    pub streams: Streams,
    /// Behind `/api/events`.
    pub events: Arc<dyn EventStore>,
    /// Behind `/api/dead-letters`, where there is a database.
    pub dead_letters: Option<Arc<dyn DeadLetterStore>>,
    /// Who callers are.
    pub identities: Arc<Identities>,
    /// Behind `/api/sign-in`.
    pub sign_in: SignIn,
    /// Requests that each may send in a second; 0 for any number.
    pub caller_rate: u32,
    /// Behind `/api/publish`.
    pub publisher: Arc<dyn Publisher>,
    /// Behind `/api/devices/{device}/commands`.
    pub commander: Arc<dyn Commander>,
    /// Behind `/mqtt`; none where that would ask nobody who they are, and this server does.
    pub mqtt: Option<Arc<MqttDoor>>,
    /// Origins of web pages that may connect, read and publish, besides its own.
    pub allowed_origins: Vec<Origin>,
    /// Who may still take a file descriptor.
    pub descriptors: Arc<Descriptors>,
    /// Behind `/api/devices`.
    pub devices: Arc<dyn DeviceDirectory>,
    /// Behind `/api/consumers`.
    pub consumers: Arc<dyn Overview>,
    /// Behind `/api/sessions`.
    pub sessions: Arc<dyn SessionDirectory>,
    /// Behind `/metrics`: the text that Prometheus reads.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Behind `/healthz` and `/readyz`.
    pub health: Arc<dyn Fn() -> HealthSnapshot + Send + Sync>,
}

/// Where stored events are asked for.
pub trait EventStore: Send + Sync {
    /// One page of events.
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, QueryError>>;
    /// The event with this id, as JSON.
    fn event(&self, id: Uuid) -> BoxFuture<'_, Result<Option<String>, QueryError>>;
    /// One metric over time: the buckets that have a value.
    fn series(&self, query: SeriesQuery) -> BoxFuture<'_, Result<Vec<Bucket>, QueryError>>;
}

/// Where messages to devices go.
pub trait Publisher: Send + Sync {
    /// Publishes; returns when it is on disk. Goes on when it is dropped.
    fn publish(&self, request: PublishRequest) -> BoxFuture<'_, Result<Published, PublishRefusal>>;
}

/// Where commands to devices go, and where they are asked for.
pub trait Commander: Send + Sync {
    /// Puts a command on record; returns when it is on disk. Goes on when it is dropped.
    fn request(&self, request: CommandRequest) -> BoxFuture<'_, Result<CommandTold, PublishRefusal>>;
    /// The command once it is completed or expired, or after `wait`.
    fn settled(&self, id: Uuid, wait: Duration) -> BoxFuture<'_, Result<Option<CommandInfo>, PublishRefusal>>;
    /// One command, with its answer.
    fn find(&self, id: Uuid) -> BoxFuture<'_, Result<Option<CommandInfo>, PublishRefusal>>;
    /// The newest commands of a device.
    fn of_device<'a>(&'a self, device: &'a str, limit: usize) -> BoxFuture<'a, Result<CommandPage, PublishRefusal>>;
}

/// Why nothing was published, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum PublishRefusal {
    /// It cannot be published as it is.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// It is too large.
    #[error("{0}")]
    TooLarge(String),
    /// Another request of the same name is under way.
    #[error("{0}")]
    InProgress(String),
    /// The name was used for something else.
    #[error("{0}")]
    KeyReused(String),
    /// There is no room for another one.
    #[error("{0}")]
    TooMany(String),
    /// It cannot be stored now.
    #[error("{0}")]
    Unavailable(String),
}

/// Where dead letters are asked for.
pub trait DeadLetterStore: Send + Sync {
    /// One page of dead letters.
    fn page(&self, query: DeadLetterQuery) -> BoxFuture<'_, Result<DeadLetterPage, QueryError>>;
}

impl DeadLetterStore for timescale::EventStore {
    fn page(&self, query: DeadLetterQuery) -> BoxFuture<'_, Result<DeadLetterPage, QueryError>> {
        Box::pin(async move { Ok(self.dead_letters(&query).await?) })
    }
}

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query's cursor is not one of this store.
    #[error("the cursor is not one that this store has given")]
    Cursor,
    /// The question is larger than the store answers.
    #[error("{0}")]
    TooMuch(String),
    /// The store does not answer, now.
    #[error("stored events cannot be read: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Where devices are asked for.
pub trait DeviceDirectory: Send + Sync {
    /// One page of devices.
    fn page(&self, query: DeviceQuery) -> BoxFuture<'_, Result<DevicePage, DevicesUnavailable>>;
    /// The device of this name, with its last values and topics.
    fn device<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<DeviceInfo>, DevicesUnavailable>>;
    /// What matches every topic that may have told something of the device; nothing where no topic does.
    fn topics(&self, name: &str) -> Vec<TopicFilter>;
}

/// Why nothing is known of devices.
#[derive(Debug, thiserror::Error)]
#[error("devices cannot be listed: {0}")]
pub struct DevicesUnavailable(#[source] pub Box<dyn Error + Send + Sync>);

/// Who tells how far the readers of the journal have come.
pub trait Overview: Send + Sync {
    /// How it is now.
    fn consumers(&self) -> BoxFuture<'_, Result<ConsumersInfo, ConsumersUnavailable>>;
}

/// Why that is not known.
#[derive(Debug, thiserror::Error)]
#[error("consumers cannot be looked at: {0}")]
pub struct ConsumersUnavailable(#[source] pub Box<dyn Error + Send + Sync>);

/// Where MQTT sessions are asked for.
pub trait SessionDirectory: Send + Sync {
    /// One page of sessions.
    fn page(&self, query: SessionQuery) -> BoxFuture<'_, Result<SessionPage, SessionsUnavailable>>;
    /// The session of a client, with its filters.
    fn session<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Option<SessionInfo>, SessionsUnavailable>>;
}

/// Why nothing is known of sessions.
#[derive(Debug, thiserror::Error)]
#[error("sessions cannot be listed: {0}")]
pub struct SessionsUnavailable(#[source] pub Box<dyn Error + Send + Sync>);

impl EventStore for History {
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, QueryError>> {
        Box::pin(async move { Ok(Self::query(self, query).await?) })
    }

    fn event(&self, id: Uuid) -> BoxFuture<'_, Result<Option<String>, QueryError>> {
        Box::pin(async move { Ok(Self::event(self, id).await?) })
    }

    fn series(&self, query: SeriesQuery) -> BoxFuture<'_, Result<Vec<Bucket>, QueryError>> {
        Box::pin(async move { Ok(Self::series(self, &query).await?) })
    }
}

impl EventStore for timescale::EventStore {
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, QueryError>> {
        Box::pin(async move { Ok(self.events(&query).await?) })
    }

    fn event(&self, id: Uuid) -> BoxFuture<'_, Result<Option<String>, QueryError>> {
        Box::pin(async move { Ok(Self::event(self, id).await?) })
    }

    fn series(&self, query: SeriesQuery) -> BoxFuture<'_, Result<Vec<Bucket>, QueryError>> {
        Box::pin(async move { Ok(Self::series(self, &query).await?) })
    }
}

impl From<HistoryError> for QueryError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Cursor => Self::Cursor,
            HistoryError::TooMuch => Self::TooMuch(error.to_string()),
            other => Self::Unavailable(other.into()),
        }
    }
}

impl From<timescale::QueryError> for QueryError {
    fn from(error: timescale::QueryError) -> Self {
        match error {
            timescale::QueryError::Cursor => Self::Cursor,
            other => Self::Unavailable(other.into()),
        }
    }
}
