//! Where events go, and how sessions with that database are opened.

use std::{str::FromStr, time::Duration};

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use url::Url;

use super::{
    error::WriteError,
    keep::Keep,
    password::{PasswordError, PasswordSource},
    transport,
};
use crate::limits;

/// What the pod's policies of row-level security ask for.
const USER_SETTING: &str = "app.user_id";

/// Lets the server find out that a bridge has vanished, with its network or its machine. By the system's
/// defaults that takes hours, in which its session would hold the cursor's lock in the middle of a COPY, or the
/// turn to import.
pub(super) const KEEP_ALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "15"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")];

/// Where events go.
#[derive(Clone)]
pub struct Settings {
    /// The database. Not printable: it holds a password.
    pub database: PgConnectOptions,
    /// Where the password is, if not in `database`.
    pub password: Option<PasswordSource>,
    /// The pod's owner, by whom row-level security tells rows apart; `app.user_id` of each session.
    pub user_id: String,
    /// The table, as SQL writes its name; without it, the pod's is looked for.
    pub table: Option<String>,
    /// How long events are kept.
    pub keep: Keep,
    /// Memory for encoded rows, in bytes.
    pub memory: usize,
    /// How long the writer may go on after it was told to stop, to write what is durable.
    pub grace: Duration,
}

impl Settings {
    /// Settings for a `postgres://` URL, with memory as the writer's share of the budget.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn new(url: &str, memory: u64, grace: Duration) -> Result<Self, sqlx::Error> {
        let (url, passfile) = without_passfile(url);
        // What exact floats ask for is the default since PostgreSQL 12, and pgbouncer would refuse it.
        let database = PgConnectOptions::from_str(&url)?
            .application_name("synap-mqtt")
            .extra_float_digits(None)
            .disable_statement_logging();
        let memory = limits::scaled(memory, limits::share::TIMESCALE_BATCH);
        Ok(Self {
            database,
            password: passfile.map(|file| PasswordSource::Passfile(file.into())),
            user_id: String::new(),
            table: None,
            keep: Keep::default(),
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            grace,
        })
    }

    /// The database, with the password that its file has now.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub fn options(&self) -> Result<PgConnectOptions, PasswordError> {
        match &self.password {
            Some(source) => source.apply(self.database.clone()),
            None => Ok(self.database.clone()),
        }
    }

    /// Opens a session for writing and upkeep.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn connect(&self) -> Result<PgConnection, WriteError> {
        let refused = |error| WriteError::connecting(self.database.get_host(), error);
        let mut connection = transport::connect(&self.options()?).await.map_err(refused)?;
        // Notices are not news.
        let mut settings = vec![("client_min_messages", "warning"), ("idle_in_transaction_session_timeout", "60s")];
        settings.extend(KEEP_ALIVE);
        self.prepare(&mut connection, &settings).await.map_err(WriteError::Connect)?;
        Ok(connection)
    }

    /// Sets a fresh session's variables, and whose rows it works on. By statements: a start-up
    /// parameter would be refused by a pooler.
    ///
    /// # Errors
    /// As the server says.
    pub(super) async fn prepare(
        &self,
        connection: &mut PgConnection,
        settings: &[(&str, &str)],
    ) -> Result<(), sqlx::Error> {
        let user = (USER_SETTING, &*self.user_id);
        let (names, values): (Vec<&str>, Vec<&str>) = settings.iter().copied().chain([user]).unzip();
        sqlx::query("select set_config(name, value, false) from unnest($1::text[], $2::text[]) as s (name, value)")
            .bind(names)
            .bind(values)
            .execute(connection)
            .await
            .map(drop)
    }
}

/// The URL without `passfile`, which PostgreSQL's own clients know and `sqlx` does not, and its value.
fn without_passfile(text: &str) -> (String, Option<String>) {
    let Ok(mut url) = Url::parse(text) else { return (text.to_owned(), None) };
    let (passfiles, others): (Vec<_>, Vec<_>) =
        url.query_pairs().into_owned().partition(|(name, _)| name == "passfile");
    let Some((_, passfile)) = passfiles.into_iter().next_back() else { return (text.to_owned(), None) };
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(others);
    }
    (url.into(), Some(passfile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passfile_is_taken_out_of_the_url() {
        for (text, url, passfile) in [
            ("postgres://db/pod", "postgres://db/pod", None),
            ("postgres://db/pod?passfile=/run/p%20w", "postgres://db/pod", Some("/run/p w")),
            ("postgres://db/pod?a=1&passfile=p&b=2", "postgres://db/pod?a=1&b=2", Some("p")),
        ] {
            assert_eq!(without_passfile(text), (url.to_owned(), passfile.map(str::to_owned)));
        }
    }
}
