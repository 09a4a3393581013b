//! A fresh database, a journal on disk, and a writer between them.

use std::{
    io,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use synap_mqtt::{
    journal::{BatchBuilder, Journal, JournalOptions, Origin, Outcome, Record, Watermark},
    limits,
    mapping::{Mapper, Route, RouteTable},
    timescale::{Settings, Statistics, Writer},
    types::{Micros, Presence, PresenceChange, Publication, PublishProperties, Qos, Sequence, Signal},
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

/// The server that the tests may use, as `scripts/timescaledb up` prints it.
pub fn server() -> PgConnectOptions {
    let url = std::env::var("SYNAP_TEST_DATABASE_URL")
        .expect("SYNAP_TEST_DATABASE_URL names a TimescaleDB; `scripts/timescaledb up` prints one");
    PgConnectOptions::from_str(&url).expect("SYNAP_TEST_DATABASE_URL is a postgres URL")
}

/// A name that nothing on the server has.
pub fn fresh_name(kind: &str) -> String {
    format!("synap_{kind}_{}", Uuid::new_v4().simple())
}

/// A server's URL with another database's name.
pub struct TestDatabase {
    server: PgConnectOptions,
    pub name: String,
}

impl TestDatabase {
    /// Names a database that does not exist yet.
    pub fn name() -> Self {
        Self { server: server(), name: fresh_name("test") }
    }

    /// Makes a database on a server of the test's own.
    pub async fn create_on(server: PgConnectOptions) -> Self {
        let database = Self { server, name: fresh_name("test") };
        database.create_now().await;
        database
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

    /// Runs statements outside of the database.
    pub async fn on_server(&self, sql: String) {
        let mut connection: PgConnection = self.server.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub fn settings(&self) -> Settings {
        self.settings_of(self.server.clone())
    }

    /// Settings to connect as another role.
    pub fn settings_as(&self, role: &str) -> Settings {
        self.settings_of(self.server.clone().username(role))
    }

    /// Settings with another way to the same server.
    pub fn settings_of(&self, server: PgConnectOptions) -> Settings {
        let mut settings = Settings::new("postgres://unused", limits::MEMORY, Duration::from_secs(30)).unwrap();
        settings.user_id = "owner".into();
        settings.database = server.database(&self.name).application_name("synap-mqtt").disable_statement_logging();
        settings
    }

    pub fn pool(&self) -> PgPool {
        PgPool::connect_lazy_with(self.server.clone().database(&self.name))
    }
}

/// A journal in a directory of its own.
pub struct TestJournal {
    pub journal: Journal,
    pub routes: Vec<Route>,
    directory: tempfile::TempDir,
}

impl TestJournal {
    pub fn open() -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), |_| {})
    }

    /// A journal that removes each segment as soon as no cursor needs it.
    pub fn open_forgetful() -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), |options| options.log.retain_bytes = 0)
    }

    fn open_in(directory: tempfile::TempDir, adjust: impl FnOnce(&mut JournalOptions)) -> Self {
        let mut options = JournalOptions::default();
        options.log.segment_bytes = 1 << 20;
        options.memory.tail = 256 << 10;
        adjust(&mut options);
        let (journal, _) = Journal::open(directory.path(), options).unwrap();
        Self { journal, routes: Vec::new(), directory }
    }

    /// The same, whose publications are mapped by these routes.
    pub fn with_routes(self, routes: Vec<Route>) -> Self {
        Self { routes, ..self }
    }

    /// A copy of its files as they are now, as a backup would take them.
    pub fn back_up(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    /// The journal in a backup.
    pub fn restore(copy: tempfile::TempDir) -> Self {
        Self::open_in(copy, |_| {})
    }

    /// Closes it and opens it again, as a restart does.
    pub fn restart(self) -> Self {
        self.journal.close();
        drop(self.journal);
        Self::open_in(self.directory, |_| {})
    }

    /// Appends that a device has come or gone, durably. Returns the sequence.
    pub async fn announce(&self, change: PresenceChange<'_>) -> Sequence {
        let mut batch = BatchBuilder::default();
        batch.push(&Record::Presence(Presence {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            client_id: "sensor-pump-7",
            device: "pump-7",
            change,
            details: "\"keepAlive\":60",
        }));
        self.append(batch).await
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
        self.append(batch).await
    }

    async fn append(&self, batch: BatchBuilder) -> Sequence {
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
        self.publish_range(0..count).await;
    }

    /// Appends telemetry messages with these numbers, in batches of a hundred.
    pub async fn publish_range(&self, numbers: std::ops::Range<usize>) {
        let payloads: Vec<_> = numbers.map(|n| format!("{{\"n\":{n}}}").into_bytes()).collect();
        for batch in payloads.chunks(100) {
            let batch: Vec<_> = batch.iter().map(Vec::as_slice).collect();
            self.publish("devices/pump-7/telemetry", &batch).await;
        }
    }

    pub fn mapper(&self) -> Arc<Mapper> {
        Arc::new(Mapper::new(RouteTable::compile(&self.routes).unwrap(), self.journal.id(), "owner"))
    }

    pub fn write_to(&self, database: &TestDatabase) -> RunningWriter {
        self.write_with(database.settings())
    }

    pub fn write_with(&self, settings: Settings) -> RunningWriter {
        let writer = Writer::new(settings, self.journal.clone(), self.mapper());
        let (statistics, stop) = (writer.statistics(), CancellationToken::new());
        RunningWriter { statistics, task: tokio::spawn(writer.run(stop.clone())), stop, journal: self.journal.clone() }
    }
}

/// A route for the telemetry of devices, which says its time at `/at`.
pub fn telemetry_route() -> Route {
    let route = Route::new("devices/{device}/telemetry", "devices.telemetry.received");
    Route { timestamp: Some("/at".into()), ..route }
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

    /// Waits until everything is written, and cuts four COPYs off meanwhile.
    pub async fn catch_up_in_spite_of_cuts(&self, pool: &PgPool) {
        let mut cuts = 0;
        eventually("all is written in spite of cuts", async || {
            let cut: i64 = sqlx::query_scalar(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where application_name = 'synap-mqtt' and datname = current_database() and state = 'active'
                 and query like 'copy events%' and $1 < 4",
            )
            .bind(cuts)
            .fetch_one(pool)
            .await
            .unwrap();
            cuts += cut;
            self.caught_up()
        })
        .await;
        assert!(cuts > 0, "no COPY was cut");
        assert_eq!(self.statistics.known_rows(), 0, "a row was written twice");
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

/// What is logged at WARN and ERROR by tasks of this thread, which are all of a test's on a
/// current-thread runtime.
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    /// Listens from now on.
    pub fn start() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(Arc::new(Lines(Arc::clone(&lines))))
            .finish();
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// Asserts that these are the lines, by a part of each, in this order.
    pub fn assert_said(&self, parts: &[&str]) {
        let lines = self.lines();
        let right = lines.len() == parts.len() && lines.iter().zip(parts).all(|(line, part)| line.contains(part));
        assert!(right, "expected {parts:#?}\nin {lines:#?}");
    }
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
