//! The writer's life: connect, prepare, resume, store; and again whenever that ends.

use std::{
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    encode::Encoder,
    error::{WriteError, within},
    feed::{Batches, Feed},
    progress::Progress,
    resume::resume,
    rows::RowBatch,
    schema,
    statistics::Statistics,
    store::{self, Known, Origin},
    transport,
};
use crate::{
    journal::{Cursor, Journal, ReadError, Watermark},
    limits,
    types::{EventMapper, Sequence},
};

/// Where events go.
#[derive(Clone)]
pub struct Settings {
    /// The database. Not printable: it holds a password.
    pub database: PgConnectOptions,
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
        let database = PgConnectOptions::from_str(url)?.application_name("synap-mqtt").disable_statement_logging();
        let memory = limits::scaled(memory, limits::share::TIMESCALE_BATCH);
        Ok(Self { database, memory: usize::try_from(memory).unwrap_or(usize::MAX), grace })
    }
}

/// Writes every durable publication of a journal to the table `events`, once.
pub struct Writer {
    settings: Settings,
    origin: Origin,
    /// Holds the journal's retention: what the database does not have is kept.
    cursor: Cursor,
    statistics: Arc<Statistics>,
    table_reported: bool,
}

impl Writer {
    /// A writer, which from now on holds the journal's retention: everything is kept until the
    /// database has said how far it is.
    #[must_use]
    pub fn new(settings: Settings, journal: Journal, mapper: Arc<dyn EventMapper>) -> Self {
        let cursor = journal.register_cursor("timescale", Sequence::ZERO);
        let origin = Origin { journal, mapper };
        Self { settings, origin, cursor, statistics: Arc::default(), table_reported: false }
    }

    /// Counters, for metrics and health.
    #[must_use]
    pub fn statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.statistics)
    }

    /// Writes until `stop` is cancelled, then what is durable by then, as far as the grace
    /// period allows. The database may be away at any time. Dropping the future loses nothing.
    pub async fn run(mut self, stop: CancellationToken) {
        let grace = self.settings.grace;
        let statistics = self.statistics();
        let journal = self.origin.journal.clone();
        tokio::select! {
            () = self.keep_writing(&stop) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(grace).await } => {}
        }
        let lag = statistics.lag(journal.watermark(Watermark::Durable));
        if lag > 0 {
            tracing::info!(
                lag,
                "stopped before the database has every event; the rest is written after the next start"
            );
        }
    }

    async fn keep_writing(&mut self, stop: &CancellationToken) {
        let mut retry = Retry::default();
        while let Err(error) = self.write(stop, &mut retry).await {
            if matches!(error, WriteError::Read(ReadError::Cancelled)) {
                return;
            }
            retry.failed(&error, &self.statistics);
            tokio::select! {
                () = tokio::time::sleep(retry.pause()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One session with the database, until it fails or `stop` is cancelled and all is stored.
    async fn write(&mut self, stop: &CancellationToken, retry: &mut Retry) -> Result<(), WriteError> {
        let mut connection = within(limits::TIMESCALE_CONNECT_TIMEOUT, self.connect()).await?;
        let prepared = within(limits::TIMESCALE_TIMEOUT, self.prepare(&mut connection)).await;
        let Prepared { position, known } = prepared.map_err(WriteError::preparing)?;
        self.cursor.set(position);
        self.statistics.record_position(position);
        if retry.failures == 0 || self.lag() == 0 {
            self.works(retry);
        }

        let feed = Feed {
            reader: self.origin.journal.reader(position, Watermark::Durable),
            encoder: Encoder::new(self.origin.journal.id(), Arc::clone(&self.origin.mapper)),
            statistics: Arc::clone(&self.statistics),
            batch_bytes: self.settings.memory / 2,
        };
        let (mut batches, task) = feed.start(stop.clone());
        self.store_all(&mut connection, &mut batches, known, retry).await?;
        let ended = task.await.unwrap_or(Err(ReadError::Cancelled));
        connection.close().await?;
        Ok(ended?)
    }

    async fn store_all(
        &self,
        connection: &mut PgConnection,
        batches: &mut Batches,
        known: Known,
        retry: &mut Retry,
    ) -> Result<(), WriteError> {
        let (mut progress, mut known_told) = (Progress::default(), false);
        batches.give_back(RowBatch::default());
        loop {
            let batch = match timeout(limits::TIMESCALE_PING_INTERVAL, batches.next()).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(()),
                Err(_) => {
                    within(limits::TIMESCALE_CONNECT_TIMEOUT, async { Ok(connection.ping().await?) }).await?;
                    continue;
                }
            };
            let stored = store::store(connection, &self.origin, known, &batch).await?;
            if stored.known_rows > 0 && !std::mem::replace(&mut known_told, true) {
                tracing::warn!(
                    rows = stored.known_rows,
                    "the table has events already that its cursor is not at: left out"
                );
            }
            self.cursor.set(batch.through());
            self.statistics.record_stored(&stored, batch.through());
            self.works(retry);
            progress.stored(stored.rows, self.lag());
            batches.give_back(batch);
        }
    }

    /// Ends an outage. After one, a session alone proves nothing: a missing table shows only
    /// when there is something to store.
    fn works(&self, retry: &mut Retry) {
        self.statistics.record_working();
        retry.worked(self.lag());
    }

    fn lag(&self) -> u64 {
        self.statistics.lag(self.origin.journal.watermark(Watermark::Durable))
    }

    async fn connect(&self) -> Result<PgConnection, WriteError> {
        let database = &self.settings.database;
        let refused = |error| WriteError::connecting(database.get_host(), error);
        let mut connection = transport::connect(database).await.map_err(refused)?;
        // A bridge that vanished must not hold the cursor's lock; and notices are not news.
        let settings = "set client_min_messages = warning; set idle_in_transaction_session_timeout = '60s'";
        sqlx::raw_sql(settings).execute(&mut connection).await.map_err(WriteError::Connect)?;
        Ok(connection)
    }

    /// Makes and looks at the tables, then asks the database how far it is.
    async fn prepare(&mut self, connection: &mut PgConnection) -> Result<Prepared, WriteError> {
        schema::migrate(connection).await?;
        let table = schema::inspect(connection).await?;
        if !std::mem::replace(&mut self.table_reported, true) {
            table.report();
        }
        let resumed = resume(connection, &self.origin, table.key).await?;
        if resumed.position < self.statistics.cursor() {
            tracing::warn!(stored = %self.statistics.cursor(), now = %resumed.position,
                "the database has gone back, to an older copy or to a server that had not yet followed: \
                 writing again what the journal holds");
        }
        let own_rollups = schema::has_own_rollups(connection).await?;
        let known = Known { key: table.key, through: resumed.known_through, own_rollups };
        Ok(Prepared { position: resumed.position, known })
    }
}

/// Where a session begins, and what it must look for.
struct Prepared {
    position: Sequence,
    known: Known,
}

/// When to try again, and what was last said about it: one line for each change of state.
#[derive(Default)]
struct Retry {
    failures: u32,
    outage: Option<(Instant, String)>,
}

impl Retry {
    fn failed(&mut self, error: &WriteError, statistics: &Statistics) {
        self.failures += 1;
        let reason = error.to_string();
        statistics.record_failure(reason.clone());
        match &mut self.outage {
            Some((_, known)) if *known == reason => {}
            Some((_, known)) => {
                tracing::warn!(error = reason, "still no events to the database");
                *known = reason;
            }
            None => {
                tracing::warn!(error = reason, "no events to the database; they wait in the journal");
                self.outage = Some((Instant::now(), reason));
            }
        }
    }

    fn worked(&mut self, lag: u64) {
        self.failures = 0;
        if let Some((since, _)) = self.outage.take() {
            tracing::info!(outage = ?since.elapsed(), lag, "events go to the database again");
        }
    }

    /// Twice as long each time up to a maximum, less up to half by chance.
    fn pause(&self) -> Duration {
        let longest = limits::TIMESCALE_RETRY_MINIMUM * 2_u32.saturating_pow(self.failures.min(16));
        let longest = longest.min(limits::TIMESCALE_RETRY_MAXIMUM);
        let chance = RandomState::new().hash_one(self.failures) % 1024;
        longest - longest / 2 * (chance as u32) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        let mut retry = Retry::default();
        for _ in 0..40 {
            let pause = retry.pause();
            assert!(pause >= limits::TIMESCALE_RETRY_MINIMUM / 2 && pause <= limits::TIMESCALE_RETRY_MAXIMUM);
            retry.failures += 1;
        }
        assert!(retry.pause() >= limits::TIMESCALE_RETRY_MAXIMUM / 2);
    }
}
