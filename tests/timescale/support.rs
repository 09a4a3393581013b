//! A fresh database, a journal on disk, and a writer between them.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use synap_mqtt::{
    journal::{BatchBuilder, Journal, JournalOptions, Origin, Outcome, Record, Watermark},
    limits,
    mapping::{Mapper, RouteTable},
    timescale::{Settings, Statistics, Writer},
    types::{Micros, Publication, PublishProperties, Qos, Sequence, Signal},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longest wait for any condition; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// A server's URL with another database's name.
pub struct TestDatabase {
    server: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Names a database that does not exist yet.
    pub fn name() -> Self {
        let url = std::env::var("SYNAP_TEST_DATABASE_URL")
            .expect("SYNAP_TEST_DATABASE_URL names a TimescaleDB; `scripts/timescaledb up` prints one");
        let server = PgConnectOptions::from_str(&url).expect("SYNAP_TEST_DATABASE_URL is a postgres URL");
        Self { server, name: format!("synap_test_{}", Uuid::new_v4().simple()) }
    }

    pub async fn create() -> Self {
        let database = Self::name();
        database.create_now().await;
        database
    }

    pub async fn create_now(&self) {
        self.on_server(format!("create database {}", self.name)).await;
    }

    pub async fn drop(self) {
        self.on_server(format!("drop database {} with (force)", self.name)).await;
    }

    async fn on_server(&self, sql: String) {
        let mut connection: PgConnection = self.server.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new("postgres://unused", limits::MEMORY, Duration::from_secs(30)).unwrap();
        settings.database =
            self.server.clone().database(&self.name).application_name("synap-mqtt").disable_statement_logging();
        settings
    }

    pub fn pool(&self) -> PgPool {
        PgPool::connect_lazy_with(self.server.clone().database(&self.name))
    }
}

/// A journal in a directory of its own.
pub struct TestJournal {
    pub journal: Journal,
    _directory: tempfile::TempDir,
}

impl TestJournal {
    pub fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = JournalOptions::default();
        options.log.segment_bytes = 1 << 20;
        options.memory.tail = 256 << 10;
        let (journal, _) = Journal::open(directory.path(), options).unwrap();
        Self { journal, _directory: directory }
    }

    /// Appends payloads to a topic, in one batch, durably. Returns the first sequence.
    pub async fn publish(&self, topic: &str, payloads: &[&[u8]]) -> Sequence {
        let mut batch = BatchBuilder::default();
        for payload in payloads {
            batch.push(&Record::Publication {
                publication: Publication {
                    sequence: Sequence::ZERO,
                    received: Micros::default(),
                    topic,
                    payload,
                    qos: Qos::AtLeastOnce,
                    retain: false,
                    guaranteed: true,
                    client_id: "tester",
                    properties: PublishProperties::default(),
                },
                origin: Origin::Plain,
            });
        }
        let signal = Arc::new(Signal::new());
        let batch = self.journal.append(batch, Some(&signal)).await.unwrap();
        while batch.outcome() == Outcome::Pending {
            signal.wait().await;
        }
        assert_eq!(batch.outcome(), Outcome::Durable);
        batch.first()
    }

    /// Appends `count` telemetry messages `{"n":0}`, `{"n":1}`, … in batches of a hundred.
    pub async fn publish_numbers(&self, count: usize) {
        let payloads: Vec<_> = (0..count).map(|n| format!("{{\"n\":{n}}}").into_bytes()).collect();
        for batch in payloads.chunks(100) {
            let batch: Vec<_> = batch.iter().map(Vec::as_slice).collect();
            self.publish("devices/pump-7/telemetry", &batch).await;
        }
    }

    pub fn mapper(&self) -> Arc<Mapper> {
        Arc::new(Mapper::new(RouteTable::compile(&[]).unwrap(), self.journal.id(), "owner"))
    }

    pub fn write_to(&self, database: &TestDatabase) -> RunningWriter {
        let writer = Writer::new(database.settings(), self.journal.clone(), self.mapper());
        let (statistics, stop) = (writer.statistics(), CancellationToken::new());
        RunningWriter { statistics, task: tokio::spawn(writer.run(stop.clone())), stop, journal: self.journal.clone() }
    }
}

/// A writer in a task of its own.
pub struct RunningWriter {
    pub statistics: Arc<Statistics>,
    task: JoinHandle<()>,
    stop: CancellationToken,
    journal: Journal,
}

impl RunningWriter {
    pub fn caught_up(&self) -> bool {
        self.statistics.connected() && self.statistics.lag(self.journal.watermark(Watermark::Durable)) == 0
    }

    pub async fn catch_up(&self) {
        eventually("the writer catches up", async || self.caught_up()).await;
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the writer stops").unwrap();
    }
}

/// The numbers that [`TestJournal::publish_numbers`] put in, in the order of the journal.
pub async fn stored_numbers(pool: &PgPool) -> Vec<i32> {
    let sql = "select (data->>'n')::int from events where data ? 'n' order by (metadata->>'sequence')::bigint";
    sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
}
