//! Why events are not in the database yet, and whose fault it is.

use std::time::Duration;

use tokio::time::timeout;

use crate::journal::ReadError;

/// Why writing stopped. All of them are retried; the events wait in the journal.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No session with the server.
    #[error("cannot connect: {0}")]
    Connect(#[source] sqlx::Error),
    /// Tables could not be made or looked at.
    #[error("cannot prepare the tables: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// `events` existed already, and is not the pod's table.
    #[error("the table events exists without the columns that a pod's has: {0}")]
    Columns(String),
    /// The server refused or went away.
    #[error("cannot store events: {0}")]
    Store(#[from] sqlx::Error),
    /// No answer came.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Something else moved this journal's cursor: most likely our own transaction whose
    /// outcome was unknown, else a second writer. The cursor must be read again.
    #[error("the cursor of this journal was moved by another transaction")]
    Overtaken,
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Whether an error is about the values of a row, so that it would be the same at every retry
/// and other rows may do better. SQLSTATE classes, PostgreSQL manual appendix A: 22 data
/// exception, 23 integrity constraint violation, 44 with check option violation, 54 program
/// limit exceeded, P0 raised by a trigger.
pub fn is_about_a_row(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["22", "23", "44", "54", "P0"].iter().any(|class| code.starts_with(class)))
}

/// Whether the server could not do so much at once, and might do less: 53200 out of memory, of
/// which locks are the most likely kind (each chunk of a hypertable takes some, and the times of
/// a few thousand rows may lie in as many chunks), 53400 configuration limit exceeded, 57014
/// cancelled by a timeout of statements.
pub fn is_too_much(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["53200", "53400", "57014"].contains(&&*code))
}

/// Gives up on work that takes longer than `limit`. The connection is of no use after that.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, WriteError>>) -> Result<T, WriteError> {
    timeout(limit, work).await.unwrap_or(Err(WriteError::Timeout(limit)))
}
