//! An importer beside a writer, and what it has put into the journal.

use std::{collections::HashSet, sync::Arc};

use sqlx::PgPool;
use synap_mqtt::{
    journal::{Journal, Record, Step, Watermark},
    timescale::{ImportStatistics, Importer, Settings},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::support::{RunningWriter, TestDatabase, TestJournal, eventually};

/// A writer and an importer in tasks of their own.
pub struct RunningImporter {
    pub statistics: Arc<ImportStatistics>,
    pub writer: RunningWriter,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningImporter {
    /// Starts both; does not wait for anything.
    pub fn launch(journal: &TestJournal, settings: &Settings) -> Self {
        let writer = journal.write_with(settings.clone());
        let importer = Importer::new(settings, journal.journal.clone(), Arc::clone(&writer.statistics));
        let (statistics, stop) = (importer.statistics(), CancellationToken::new());
        let task = tokio::spawn(importer.run(stop.clone()));
        Self { statistics, writer, stop, task }
    }

    /// Starts both, and waits until rows are noted and taken over.
    pub async fn start(journal: &TestJournal, database: &TestDatabase) -> Self {
        let running = Self::launch(journal, &database.settings());
        running.works().await;
        running
    }

    pub async fn works(&self) {
        eventually("the importer works", async || self.statistics.connected()).await;
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.writer.stop().await;
    }

    /// Ends it at once, wherever it is.
    pub async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
        self.writer.stop().await;
    }
}

/// What the journal has of another writer's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub id: Uuid,
    pub data: String,
    pub json: serde_json::Value,
}

/// All that was imported, in the order of the journal.
pub fn imported(journal: &Journal) -> Vec<Imported> {
    let mut reader = journal.reader(journal.oldest().previous(), Watermark::Durable);
    let mut found = Vec::new();
    loop {
        let slice = match reader.step() {
            Step::Slice(slice) => slice,
            Step::Disk => match reader.read_disk().unwrap() {
                Some(slice) => slice,
                None => continue,
            },
            Step::CaughtUp => return found,
        };
        for record in slice.records() {
            if let Record::Event(event) = record {
                let mut json = Vec::new();
                event.write_json(&mut json);
                let json = serde_json::from_slice(&json).unwrap();
                found.push(Imported { id: event.id, data: event.data.to_owned(), json });
            }
        }
    }
}

/// The numbers in `data`, in the order of the journal.
pub fn imported_numbers(journal: &Journal) -> Vec<i64> {
    let number = |event: &Imported| serde_json::from_str::<serde_json::Value>(&event.data).unwrap()["n"].as_i64();
    imported(journal).iter().map(|event| number(event).expect("a number")).collect()
}

/// Waits until the journal has this many.
pub async fn until_imported(journal: &Journal, count: usize) {
    eventually(&format!("{count} events are imported"), async || imported(journal).len() >= count).await;
}

/// How many rows wait to be taken over.
pub async fn waiting(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from mqtt.arrivals").fetch_one(pool).await.unwrap()
}

/// Waits until nothing waits, and asserts that each row is there once, and is what another writer wrote.
pub async fn assert_imported_once(pool: &PgPool, journal: &Journal) {
    eventually("all is taken over", async || waiting(pool).await == 0).await;
    let rows: Vec<Uuid> = sqlx::query_scalar("select id from events where not coalesce(metadata, '{}') ? 'sequence'")
        .fetch_all(pool)
        .await
        .unwrap();
    let found: Vec<_> = imported(journal).iter().map(|event| event.id).collect();
    let distinct: HashSet<_> = found.iter().copied().collect();
    assert_eq!(found.len(), distinct.len(), "an event is there twice");
    assert_eq!(distinct, rows.into_iter().collect::<HashSet<_>>());
}

/// Makes the chunk that rows of now go to: a transaction that makes one holds up all others that need it.
pub async fn make_chunk(pool: &PgPool) {
    sqlx::raw_sql(
        "begin; set local mqtt.writer = 'bridge'; insert into events (type, subject_id, subject_type, data, metadata, user_id)
         values ('t', 's', 'none', '{}', '{\"sequence\":0}', 'owner'); commit",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// Inserts rows with these numbers, as the pod's backend does.
pub async fn insert(connection: impl sqlx::PgExecutor<'_>, numbers: std::ops::Range<i64>) {
    let sql = "insert into events (type, subject_id, subject_type, data, metadata, user_id)
        select 'notes.creation.completed', n::text, 'note', jsonb_build_object('n', n), '{\"version\":1}', 'owner'
        from generate_series($1, $2 - 1) as numbers (n) order by numbers.n";
    sqlx::query(sql).bind(numbers.start).bind(numbers.end).execute(connection).await.unwrap();
}
