//! Events of other writers join the journal, and with it every stream (decision 0013).
//!
//! A trigger notes the rows that others put into `events` in the queue `mqtt.arrivals` and signals.
//! One task with one session reads what the queue has (`arrivals`), appends it to the journal, waits
//! until it is durable, and takes it out of the queue (`settle`) in the statement that moves the
//! journal's own mark in `mqtt.importer`. So at any moment an entry is in the queue, in the journal
//! behind the mark, or both; a start settles what is both before it reads on (`resume`). The signal
//! only spares waiting: one that is lost costs a poll.
//!
//! On failure the session ends, and what others write waits in the queue. Dropping the task at any
//! point loses and repeats nothing. It holds no part of the journal: where it may not read the database, devices
//! must not suffer, and a start behind records that are gone says what that may mean.

mod arrivals;
mod error;
mod resume;
mod session;
mod settle;
mod statistics;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use self::error::ImportError;
pub use self::statistics::ImportStatistics;
use super::{
    retry::{Retry, Words},
    settings::Settings,
    statistics::Statistics,
};
use crate::journal::Journal;

/// How often it is looked whether the writer has prepared the tables, while it has not.
const PREPARED_INTERVAL: Duration = Duration::from_millis(100);

const OUTAGE: Words = Words {
    failed: "no events of other writers in the stream; they wait in the database",
    still: "still no events of other writers in the stream",
    works: "events of other writers join the stream again",
};

/// Takes the events of other writers into a journal.
pub struct Importer {
    settings: Settings,
    journal: Journal,
    statistics: Arc<ImportStatistics>,
    writer: Arc<Statistics>,
}

impl Importer {
    /// An importer from the writer's database. It begins once `writer` is connected, for that has
    /// prepared the tables.
    #[must_use]
    pub fn new(settings: &Settings, journal: Journal, writer: Arc<Statistics>) -> Self {
        Self { settings: named(settings.clone()), journal, statistics: Arc::default(), writer }
    }

    /// Counters, for metrics and health.
    #[must_use]
    pub fn statistics(&self) -> Arc<ImportStatistics> {
        Arc::clone(&self.statistics)
    }

    /// Imports until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_importing()).await;
    }

    async fn keep_importing(&self) {
        let mut retry = Retry::new(&OUTAGE);
        loop {
            connected(&self.writer).await;
            let Err(error) = self.import(&mut retry).await;
            if matches!(error, ImportError::NoTable) {
                // An older pod, or one whose configuration names another table.
                self.statistics.record_standby();
                tracing::info!("{error}");
                return std::future::pending().await;
            }
            self.statistics.record_failure(error.to_string());
            retry.failed(error.to_string());
            tokio::time::sleep(retry.pause()).await;
        }
    }
}

/// Says once that rows are noted for nobody, where the trigger was made before importing was turned
/// off; then waits for `stop`.
pub async fn report_unwanted(settings: Settings, writer: Arc<Statistics>, stop: CancellationToken) {
    let report = async {
        connected(&writer).await;
        if session::is_watched(&named(settings)).await {
            tracing::warn!(
                "`[timescale] import` is false, and the database still notes rows of other writers for it, which fills \
                 mqtt.arrivals; unless another bridge imports them, `select mqtt.unwatch_events()` ends that"
            );
        }
    };
    stop.run_until_cancelled(report).await;
    stop.cancelled().await;
}

/// Under a name of its own, for whoever looks at sessions.
fn named(mut settings: Settings) -> Settings {
    settings.database = settings.database.application_name("synap-mqtt import");
    settings
}

async fn connected(writer: &Statistics) {
    while !writer.connected() {
        tokio::time::sleep(PREPARED_INTERVAL).await;
    }
}
