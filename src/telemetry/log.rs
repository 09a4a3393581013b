//! The log: `tracing` events on standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, filter,
    fmt::SubscriberBuilder,
    reload,
    util::{self, SubscriberInitExt},
};

/// Why there is no log, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter's directives are wrong.
    #[error("the log filter is wrong: {0}")]
    Filter(#[from] filter::ParseError),
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice(#[from] util::TryInitError),
    /// The log is gone.
    #[error("the log filter cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

/// Changes what is logged.
pub struct Log(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl Log {
    /// Logs by this filter from now on.
    ///
    /// # Errors
    /// When `filter` is no list of directives.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        Ok((self.0)(EnvFilter::try_new(filter)?)?)
    }
}

/// Starts the log as lines of text, in colour when standard error is a terminal and `NO_COLOR`
/// is not set.
///
/// # Errors
/// When `filter` is no list of directives, or the process has a log already.
pub fn text(filter: &str) -> Result<Log, LogError> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    let log = log.with_filter_reloading();
    let handle = log.reload_handle();
    init(log, move |filter| handle.reload(filter))
}

/// Starts the log as one JSON object a line, fields beside the message.
///
/// # Errors
/// When `filter` is no list of directives, or the process has a log already.
pub fn json(filter: &str) -> Result<Log, LogError> {
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(io::stderr);
    let log = log.with_filter_reloading();
    let handle = log.reload_handle();
    init(log, move |filter| handle.reload(filter))
}

fn init<N, E, F, W>(
    log: SubscriberBuilder<N, E, F, W>,
    reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static,
) -> Result<Log, LogError>
where
    SubscriberBuilder<N, E, F, W>: Into<tracing::Dispatch>,
{
    SubscriberInitExt::try_init(log)?;
    Ok(Log(Box::new(reload)))
}
