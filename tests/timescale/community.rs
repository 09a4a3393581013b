//! TimescaleDB with its community licence, as WebAssembly: one session at a time, and no background
//! workers, so jobs are run by hand.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use synap_mqtt::timescale::{Administration, Keep, Settings};

const DAY: u64 = 24 * 3600;

/// A database in a process of its own, which ends with this value.
pub struct Community {
    process: Child,
    port: u16,
    _stdin: ChildStdin,
}

impl Community {
    /// Starts it.
    pub fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/pglite.mjs");
        let mut command = Command::new("node");
        let mut process = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
        let stdin = process.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").expect("npm's packages are installed").parse().unwrap();
        Self { process, port, _stdin: stdin }
    }

    /// Settings that keep events for so many days, and compress them after so many.
    pub fn settings(&self, retention: Option<u64>, compress_after: Option<u64>) -> Settings {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port);
        let mut settings = Settings::new(&url, 64 << 20, Duration::from_secs(30)).unwrap();
        let days = |days: u64| Duration::from_secs(days * DAY);
        settings.keep =
            Keep { retention: retention.map(days), compress_after: compress_after.map(days), ..Keep::default() };
        settings.user_id = "owner".into();
        settings
    }

    /// Keeps events as the bridge does at each run.
    pub async fn keep(&self, retention: Option<u64>, compress_after: Option<u64>) {
        let settings = self.settings(retention, compress_after);
        let mut administration = Administration::open(&settings).await.unwrap();
        administration.migrate().await.unwrap();
        assert_eq!(administration.keep().await.unwrap(), Some(Vec::new()));
        administration.close().await.unwrap();
    }

    /// A session, the only one.
    pub async fn session(&self) -> PgConnection {
        let options: PgConnectOptions = self.settings(None, None).database;
        options.connect().await.unwrap()
    }

    /// Runs statements.
    pub async fn run(&self, sql: impl Into<String>) {
        let mut session = self.session().await;
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    /// What a query finds.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let mut session = self.session().await;
        let number = sqlx::query_scalar(sql).fetch_one(&mut session).await.unwrap();
        session.close().await.unwrap();
        number
    }

    /// The policies of `events`, with their numbers.
    pub async fn policies(&self) -> Vec<(i32, String, String)> {
        let mut session = self.session().await;
        let sql = "select job_id, proc_name::text, coalesce(config->>'drop_after', config->>'compress_after')
            from timescaledb_information.jobs where hypertable_name = 'events' order by proc_name desc";
        let policies = sqlx::query_as(sql).fetch_all(&mut session).await.unwrap();
        session.close().await.unwrap();
        policies
    }

    /// Their kinds and ages.
    pub async fn ages(&self) -> Vec<(String, String)> {
        self.policies().await.into_iter().map(|(_, kind, age)| (kind, age)).collect()
    }
}

impl Drop for Community {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}
