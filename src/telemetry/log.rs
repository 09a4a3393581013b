//! The log: `tracing` events on standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter, util};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter's directives are wrong.
    #[error("the log filter is wrong: {0}")]
    Filter(#[from] filter::ParseError),
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice(#[from] util::TryInitError),
}

/// Starts the log as lines of text, in colour when standard error is a terminal and `NO_COLOR`
/// is not set.
///
/// # Errors
/// When `filter` is no list of directives, or the process has a log already.
pub fn text(filter: &str) -> Result<(), LogError> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour).finish();
    Ok(util::SubscriberInitExt::try_init(log)?)
}

/// Starts the log as one JSON object a line, fields beside the message.
///
/// # Errors
/// When `filter` is no list of directives, or the process has a log already.
pub fn json(filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)?;
    let log =
        tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(io::stderr).finish();
    Ok(util::SubscriberInitExt::try_init(log)?)
}
