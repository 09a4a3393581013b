//! Why events are not in the database yet, and whose fault it is.

use std::{fmt, time::Duration};

use rustls::CertificateError;
use sqlx::migrate::MigrateError;
use tokio::time::timeout;

use super::password::PasswordError;
use crate::journal::ReadError;

/// Why writing stopped. All of them are retried; the events wait in the journal.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No session with the server.
    #[error("cannot connect: {}", Told(.0))]
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
    #[error("cannot prepare the tables: {}", ToldMigration(.0))]
    Migrate(#[from] MigrateError),
    /// Migrations are still to be applied, by the writer or by an owner.
    #[error("the tables are not prepared yet")]
    Unprepared,
    /// Tables could not be looked at, or the cursor not be read or set.
    #[error("cannot prepare the tables: {}", Told(.0))]
    Prepare(#[source] sqlx::Error),
    /// The table existed already, and is not the pod's.
    #[error("the table {table} exists without the columns that a pod's has: {columns}")]
    Columns {
        /// Its name.
        table: String,
        /// What it lacks.
        columns: String,
    },
    /// The table wants more of a row than events have.
    #[error("the table {table} needs a value in columns that events have none for, and gives no default: {columns}")]
    Unfilled {
        /// Its name.
        table: String,
        /// What it has beyond the pod's.
        columns: String,
    },
    /// The configuration names a table that does not exist.
    #[error("the table {0}, which `timescale.table` names, does not exist")]
    NoTable(String),
    /// A file with the password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The server refused or went away.
    #[error("cannot store events: {}", Told(.0))]
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

    /// What it kept from being done, in words, and why.
    pub fn about(&self, doing: &str) -> String {
        match self {
            Self::Store(error) => format!("cannot {doing}: {}", Told(error)),
            other => format!("cannot {doing}: {other}"),
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

/// An error with what to do about it, where the mistake is one of the set-up. SQLSTATE, PostgreSQL manual
/// appendix A.
struct Told<'a>(&'a sqlx::Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.as_database_error() else { return self.0.fmt(f) };
        let advice = match error.code().as_deref() {
            Some("3D000") => "; `timescale.url` names the database",
            Some("28P01") => {
                "; the password is that of `timescale.url`, of `timescale.password_file`, or of PGPASSFILE"
            }
            Some("28000") => "; `timescale.url` names the role, and the server's pg_hba.conf says who may connect",
            Some("42501") if error.message().contains("row-level security") => {
                "; `pod.user_id` is the `app.user_id` by which its policies tell rows apart"
            }
            Some("42501") => "; docs/database.md has the grants that the bridge's role needs",
            _ => "",
        };
        write!(f, "{}{advice}", error.message())
    }
}

/// As [`Told`].
struct ToldMigration<'a>(&'a MigrateError);

impl fmt::Display for ToldMigration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MigrateError::Execute(error) => Told(error).fmt(f),
            MigrateError::ExecuteMigration(error, version) => write!(f, "migration {version}: {}", Told(error)),
            other => other.fmt(f),
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
