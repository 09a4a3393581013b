//! The writer's life: connect, prepare, resume, store; and again whenever that ends.

use std::sync::Arc;

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    encode::Encoder,
    error::{WriteError, within},
    feed::{Batches, Feed},
    inspect::inspect,
    progress::Progress,
    resume::resume,
    retry::{Retry, Words},
    rows::RowBatch,
    schema::{self, EventsTable},
    settings::Settings,
    statistics::Statistics,
    store::{self, Known, Origin},
};
use crate::{
    journal::{Cursor, Journal, ReadError, Watermark},
    limits,
    types::{EventMapper, Sequence},
};

/// What is said of the database.
const OUTAGE: Words = Words {
    failed: "no events to the database; they wait in the journal",
    still: "still no events to the database",
    works: "events go to the database again",
};

/// Writes every durable publication of a journal to the table `events`, once.
pub struct Writer {
    settings: Settings,
    origin: Origin,
    /// Holds the journal's retention: what the database does not have is kept.
    cursor: Cursor,
    statistics: Arc<Statistics>,
    /// The table as it was last reported.
    table: Option<EventsTable>,
}

impl Writer {
    /// A writer, which from now on holds the journal's retention: everything is kept until the
    /// database has said how far it is.
    #[must_use]
    pub fn new(settings: Settings, journal: Journal, mapper: Arc<dyn EventMapper>) -> Self {
        let cursor = journal.register_cursor("timescale", Sequence::ZERO);
        let origin = Origin { journal, mapper };
        Self { settings, origin, cursor, statistics: Arc::default(), table: None }
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
        let mut retry = Retry::new(&OUTAGE);
        while let Err(error) = self.write(stop, &mut retry).await {
            if matches!(error, WriteError::Read(ReadError::Cancelled)) {
                return;
            }
            self.statistics.record_failure(error.to_string());
            retry.failed(error.to_string());
            tokio::select! {
                () = tokio::time::sleep(retry.pause()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One session with the database, until it fails or `stop` is cancelled and all is stored.
    async fn write(&mut self, stop: &CancellationToken, retry: &mut Retry) -> Result<(), WriteError> {
        let mut connection = within(limits::TIMESCALE_CONNECT_TIMEOUT, self.settings.connect()).await?;
        let prepared = within(limits::TIMESCALE_TIMEOUT, self.prepare(&mut connection)).await;
        let Prepared { position, known } = prepared.map_err(WriteError::preparing)?;
        self.cursor.set(position);
        self.statistics.record_position(position);
        if !retry.has_failed() || self.lag() == 0 {
            self.works(retry);
        }

        let feed = Feed {
            reader: self.origin.journal.reader(position, Watermark::Durable),
            encoder: Encoder::new(self.origin.journal.id(), Arc::clone(&self.origin.mapper)),
            statistics: Arc::clone(&self.statistics),
            layout: known.table.layout.clone(),
            batch_bytes: self.settings.memory / 2,
        };
        let (mut batches, task) = feed.start(stop.clone());
        self.store_all(&mut connection, &mut batches, &known, retry).await?;
        let ended = task.await.unwrap_or(Err(ReadError::Cancelled));
        connection.close().await?;
        Ok(ended?)
    }

    async fn store_all(
        &self,
        connection: &mut PgConnection,
        batches: &mut Batches,
        known: &Known,
        retry: &mut Retry,
    ) -> Result<(), WriteError> {
        let (mut progress, mut known_told) = (Progress::default(), false);
        batches.give_back(RowBatch::new(known.table.layout.clone()));
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

    /// Makes and looks at the tables, then asks the database how far it is.
    async fn prepare(&mut self, connection: &mut PgConnection) -> Result<Prepared, WriteError> {
        let name = schema::resolve(connection, self.settings.table.as_deref()).await?;
        schema::migrate(connection, &name).await?;
        let table = inspect(connection, &name).await?;
        if self.table.as_ref() != Some(&table) {
            table.report();
            self.table = Some(table.clone());
        }
        let resumed = resume(connection, &self.origin, table.key).await?;
        if resumed.position < self.statistics.cursor() {
            tracing::warn!(stored = %self.statistics.cursor(), now = %resumed.position,
                "the database has gone back, to an older copy or to a server that had not yet followed: \
                 writing again what the journal holds");
        }
        let own_rollups = schema::has_own_rollups(connection).await?;
        let known = Known { table, through: resumed.known_through, own_rollups };
        Ok(Prepared { position: resumed.position, known })
    }
}

/// Where a session begins, and what it must look for.
struct Prepared {
    position: Sequence,
    known: Known,
}
