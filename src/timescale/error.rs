//! Why events are not in the database yet, and whose fault it is.

use std::time::Duration;

use rustls::CertificateError;
use tokio::time::timeout;

use crate::journal::ReadError;

/// Why writing stopped. All of them are retried; the events wait in the journal.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No session with the server.
    #[error("cannot connect: {0}")]
    Connect(#[source] sqlx::Error),
    /// TLS with a server that could not prove to be the one that the URL asks for.
    #[error(
        "the certificate of {host} is not accepted ({reason}); `sslrootcert` in the URL names the CA that signed it, and \
         with `sslmode=verify-full` the URL's host must be one that it names"
    )]
    Certificate {
        /// The server's name or address.
        host: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// Tables could not be made.
    #[error("cannot prepare the tables: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Tables could not be looked at, or the cursor not be read or set.
    #[error("cannot prepare the tables: {0}")]
    Prepare(#[source] sqlx::Error),
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

impl WriteError {
    /// As it is called before anything is stored.
    pub fn preparing(self) -> Self {
        match self {
            Self::Store(error) => Self::Prepare(error),
            other => other,
        }
    }

    /// Why there is no session with `host`.
    pub fn connecting(host: &str, error: sqlx::Error) -> Self {
        let refused = match &error {
            sqlx::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
            _ => None,
        };
        match refused {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Self::Certificate { host: host.to_owned(), reason: explain(reason) }
            }
            _ => Self::Connect(error),
        }
    }
}

/// What is wrong with a certificate, where the library names only its error.
fn explain(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "no trusted CA has signed it".into(),
        CertificateError::Expired => "it has expired".into(),
        CertificateError::NotValidYet => "it is not valid yet".into(),
        other => other.to_string(),
    }
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
