//! One session of the importer: prepare, resume, then import and wait in turn.

use std::{convert::Infallible, sync::Arc, time::Duration};

use sqlx::{
    Connection,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::time::{sleep, timeout};

use super::{
    Importer,
    arrivals::{self, Arrivals},
    error::{ImportError, within},
    resume::resume,
    settle::{Mark, Settled},
};
use crate::{
    journal::{Batch, Outcome, Watermark},
    limits,
    timescale::{
        error::WriteError,
        retry::Retry,
        settings::{KEEP_ALIVE, Settings},
    },
    types::{Sequence, Signal},
};

/// What the trigger signals on.
const CHANNEL: &str = "mqtt_arrivals";

/// Two bridges that take turns at one queue would each have half of the events.
const LOCK: &str = "select pg_try_advisory_lock(hashtextextended('mqtt.arrivals', 0))";

const HAS_EVENTS: &str = "select to_regclass('events') is not null";

const IS_WATCHED: &str =
    "select exists (select from pg_trigger where tgrelid = to_regclass('events') and tgname = 'mqtt_arrivals')";

/// Whether the table has the trigger, as far as that can be found out.
pub async fn is_watched(settings: &Settings) -> bool {
    let look = async {
        let mut connection = settings.connect().await?;
        let watched = sqlx::query_scalar(IS_WATCHED).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, WriteError>(watched)
    };
    timeout(limits::TIMESCALE_CONNECT_TIMEOUT, look).await.is_ok_and(|watched| watched.unwrap_or_default())
}

impl Importer {
    /// Imports in one session with the database, until it fails.
    pub(super) async fn import(&self, retry: &mut Retry) -> Result<Infallible, ImportError> {
        let mut session = within(limits::TIMESCALE_CONNECT_TIMEOUT, connect(&self.settings)).await?;
        watch(&mut session).await?;
        self.take_turn(&mut session).await?;
        // First listen, then look: what comes between is signalled.
        within(limits::TIMESCALE_CONNECT_TIMEOUT, session.listen(CHANNEL)).await?;
        let mut mark = resume(&mut session, &self.journal).await?;
        self.statistics.record_working();
        retry.worked(0);
        loop {
            while self.import_batch(&mut session, &mut mark).await? {}
            self.settle_idle(&mut session, &mut mark).await?;
            wait(&mut session, limits::IMPORT_POLL_INTERVAL).await?;
        }
    }

    /// Waits until no other session imports from this database.
    async fn take_turn(&self, session: &mut PgListener) -> Result<(), ImportError> {
        let mut told = false;
        while !within(limits::TIMESCALE_CONNECT_TIMEOUT, sqlx::query_scalar::<_, bool>(LOCK).fetch_one(&mut *session))
            .await?
        {
            if !std::mem::replace(&mut told, true) {
                tracing::info!("another session imports the events of other writers; waiting for its end");
            }
            self.statistics.record_standby();
            sleep(limits::IMPORT_TURN_INTERVAL).await;
        }
        Ok(())
    }

    /// Takes over what one batch holds; whether there was anything.
    async fn import_batch(&self, session: &mut PgListener, mark: &mut Mark) -> Result<bool, ImportError> {
        let Arrivals { numbers, ids, records, last, waited, counts } = arrivals::read(session).await?;
        self.statistics.record_lag(waited);
        if numbers.is_empty() {
            return Ok(false);
        }
        let appended = self.append(records).await?;
        let through = appended.unwrap_or(mark.sequence);
        let last = appended.zip(last);
        mark.settle(session, Settled { through, last, numbers: &numbers, ids: &ids }).await?;
        self.statistics.record_batch(counts);
        Ok(true)
    }

    /// Puts records on disk; the last one's place, where there are any.
    async fn append(&self, records: crate::journal::BatchBuilder) -> Result<Option<Sequence>, ImportError> {
        if records.is_empty() {
            return Ok(None);
        }
        let signal = Arc::new(Signal::new());
        let batch: Arc<Batch> = self.journal.append(records, Some(&signal)).await?;
        while batch.outcome() == Outcome::Pending {
            signal.wait().await;
        }
        match batch.outcome() {
            Outcome::Durable => Ok(Some(batch.last())),
            _ => Err(ImportError::Unwritten),
        }
    }

    /// Moves the mark over what devices have published meanwhile, so that a start has little to look
    /// through.
    async fn settle_idle(&self, session: &mut PgListener, mark: &mut Mark) -> Result<(), ImportError> {
        // Only this task appends events, and none of its own is unsettled.
        let through = self.journal.watermark(Watermark::Durable);
        if through > mark.sequence {
            mark.settle(session, Settled { through, ..Settled::default() }).await?;
        }
        Ok(())
    }
}

async fn connect(settings: &Settings) -> Result<PgListener, sqlx::Error> {
    let options = settings.options().map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let settings = settings.clone();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(limits::TIMESCALE_CONNECT_TIMEOUT)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                let mut variables = vec![("client_min_messages", "warning")];
                variables.extend(KEEP_ALIVE);
                settings.prepare(connection, &variables).await
            })
        })
        .connect_lazy_with(options);
    let mut session = PgListener::connect_with(&pool).await?;
    // A session that is not this one does not have its lock.
    session.eager_reconnect(false);
    session.ignore_pool_close_event(true);
    Ok(session)
}

/// Makes the trigger where it is missing.
async fn watch(session: &mut PgListener) -> Result<(), ImportError> {
    let there = sqlx::query_scalar::<_, bool>(HAS_EVENTS).fetch_one(&mut *session);
    if !within(limits::TIMESCALE_CONNECT_TIMEOUT, there).await? {
        return Err(ImportError::NoTable);
    }
    let watched = sqlx::query_scalar::<_, bool>(IS_WATCHED).fetch_one(&mut *session);
    if within(limits::TIMESCALE_CONNECT_TIMEOUT, watched).await? {
        return Ok(());
    }
    let made = within(limits::TIMESCALE_TIMEOUT, sqlx::query("select mqtt.watch_events()").execute(session)).await;
    match made {
        Ok(_) => Ok(()),
        Err(ImportError::Database(error)) if error.as_database_error().is_some() => Err(ImportError::Watch(error)),
        Err(error) => Err(error),
    }
}

/// Waits for a signal, for `limit` at most. Those that came meanwhile count as one.
async fn wait(session: &mut PgListener, limit: Duration) -> Result<(), ImportError> {
    match timeout(limit, session.try_recv()).await {
        Ok(Ok(Some(_))) => while session.next_buffered().is_some() {},
        Ok(Ok(None)) => return Err(ImportError::Lost),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => {}
    }
    Ok(())
}
