//! Why events of other writers do not reach the journal yet.

use std::time::Duration;

use tokio::time::timeout;

use crate::journal::{AppendError, ReadError};

/// Why importing stopped. All of them are retried; the events wait in `mqtt.arrivals`.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is nothing to take over, and will not be before a restart.
    #[error("there is no table `events`, whose other writers' rows could join the stream")]
    NoTable,
    /// The table cannot be watched.
    #[error(
        "the table events has no trigger mqtt_arrivals, and it cannot be made ({0}); its owner runs `select \
         mqtt.watch_events()`, or `[timescale] import = false` does without"
    )]
    Watch(#[source] sqlx::Error),
    /// The server refused or went away.
    #[error("cannot read what others have written: {0}")]
    Database(#[from] sqlx::Error),
    /// No answer came.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The session ended while it waited for a signal.
    #[error("the session with the database was lost")]
    Lost,
    /// Another session has moved this journal's mark.
    #[error("this journal's mark in mqtt.importer was moved by another session")]
    Overtaken,
    /// The journal takes nothing.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The journal has taken it and given it up.
    #[error("the journal could not keep what others have written")]
    Unwritten,
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Gives up on work that takes longer than `limit`. The session is of no use after that.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, ImportError> {
    Ok(timeout(limit, work).await.map_err(|_| ImportError::Timeout(limit))??)
}
