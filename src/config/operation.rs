//! `[stream]`, `[log]` and `[shutdown]`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::units::{duration, write_duration};
use crate::limits;

/// Server-Sent Events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct StreamSettings {
    /// Silence after which a client gets a comment, so that nothing between closes the connection.
    #[serde(deserialize_with = "duration::<_, 1_000, 300_000>", serialize_with = "write_duration")]
    pub heartbeat: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { heartbeat: limits::STREAM_HEARTBEAT }
    }
}

/// The log, on standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged.
    pub filter: LogFilter,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Directives of `tracing`, for instance `info,synap_mqtt::mqtt=debug`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

/// Text that is no log filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; expected a level (error, warn, info, debug, trace, off), or directives such as info,synap_mqtt::mqtt=debug"
)]
pub struct LogFilterError(String);

impl LogFilter {
    /// The directives as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info,fjall=warn,lsm_tree=warn".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        EnvFilter::try_new(text).map_err(|error| LogFilterError(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LogFilter {
    type Error = LogFilterError;

    fn try_from(text: String) -> Result<Self, LogFilterError> {
        text.parse()
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of the process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct ShutdownSettings {
    /// Time for connections and consumers to finish after SIGTERM.
    #[serde(deserialize_with = "duration::<_, 0, 600_000>", serialize_with = "write_duration")]
    pub grace: Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { grace: limits::SHUTDOWN_GRACE }
    }
}
