//! What the community licence of TimescaleDB adds, against the edition that runs as WebAssembly: one
//! session at a time, and no background workers, so jobs are run by hand.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use synap_mqtt::timescale::{Administration, Keep, Licence, Settings, TimescaleDb};

const DAY: u64 = 24 * 3600;

/// A database in a process of its own, which ends with this value.
struct Community {
    process: Child,
    port: u16,
    _stdin: ChildStdin,
}

impl Community {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/pglite.mjs");
        let mut command = Command::new("node");
        let mut process = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
        let stdin = process.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").expect("npm's packages are installed").parse().unwrap();
        Self { process, port, _stdin: stdin }
    }

    fn settings(&self, retention: Option<u64>, compress_after: Option<u64>) -> Settings {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port);
        let mut settings = Settings::new(&url, 64 << 20, Duration::from_secs(30)).unwrap();
        let days = |days: u64| Duration::from_secs(days * DAY);
        settings.keep = Keep { retention: retention.map(days), compress_after: compress_after.map(days) };
        settings.user_id = "owner".into();
        settings
    }

    /// Keeps events as the bridge does at each run.
    async fn keep(&self, retention: Option<u64>, compress_after: Option<u64>) {
        let settings = self.settings(retention, compress_after);
        let mut administration = Administration::open(&settings).await.unwrap();
        administration.migrate().await.unwrap();
        assert_eq!(administration.keep().await.unwrap(), Some(Vec::new()));
        administration.close().await.unwrap();
    }

    async fn session(&self) -> PgConnection {
        let options: PgConnectOptions = self.settings(None, None).database;
        options.connect().await.unwrap()
    }

    async fn run(&self, sql: impl Into<String>) {
        let mut session = self.session().await;
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let mut session = self.session().await;
        let number = sqlx::query_scalar(sql).fetch_one(&mut session).await.unwrap();
        session.close().await.unwrap();
        number
    }

    /// The policies of `events`, with their numbers.
    async fn policies(&self) -> Vec<(i32, String, String)> {
        let mut session = self.session().await;
        let sql = "select job_id, proc_name::text, coalesce(config->>'drop_after', config->>'compress_after')
            from timescaledb_information.jobs where hypertable_name = 'events' order by proc_name desc";
        let policies = sqlx::query_as(sql).fetch_all(&mut session).await.unwrap();
        session.close().await.unwrap();
        policies
    }

    /// Their kinds and ages.
    async fn ages(&self) -> Vec<(String, String)> {
        self.policies().await.into_iter().map(|(_, kind, age)| (kind, age)).collect()
    }
}

impl Drop for Community {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

fn policy(kind: &str, age: &str) -> (String, String) {
    (format!("policy_{kind}"), age.to_owned())
}

#[tokio::test]
async fn policies_follow_the_configuration_and_do_what_it_says() {
    let community = Community::start();
    let mut session = community.session().await;
    let found = TimescaleDb::detect(&mut session).await.unwrap().unwrap();
    assert_eq!((found.licence, &*found.schema), (Licence::Community, "public"));
    session.close().await.unwrap();

    community.keep(Some(90), Some(7)).await;
    let first = community.policies().await;
    assert_eq!(community.ages().await, [policy("retention", "90 days"), policy("compression", "7 days")]);
    community.keep(Some(90), Some(7)).await;
    assert_eq!(community.policies().await, first, "another run changes nothing");
    community.keep(Some(30), Some(7)).await;
    assert_eq!(community.ages().await, [policy("retention", "30 days"), policy("compression", "7 days")]);
    assert_eq!(community.policies().await[1], first[1], "what is right already stays");

    community
        .run(
            "insert into events (timestamp, type, subject_id, subject_type, data, user_id)
             select now() - n * interval '6 hours', 'a.b.c', 'x', 'device', '{}', 'owner' from generate_series(1, 240) n",
        )
        .await;
    for (job, ..) in community.policies().await {
        community.run(format!("call run_job({job})")).await;
    }
    let days = "select floor(extract(epoch from now() - min(timestamp)) / 86400)::int8 from events";
    assert!((29..=31).contains(&community.number(days).await), "older chunks are dropped");
    let compressed = "select count(*) from timescaledb_information.chunks where is_compressed";
    let compressed = community.number(compressed).await;
    assert!((20..=24).contains(&compressed), "{compressed} chunks are compressed");
    let settings = "select count(*) from timescaledb_information.compression_settings
        where hypertable_name = 'events' and (attname = 'user_id' and segmentby_column_index = 1
        or attname = 'subject_type' and segmentby_column_index = 2 or attname = 'timestamp' and not orderby_asc)";
    assert_eq!(community.number(settings).await, 3);

    community.keep(None, Some(14)).await;
    assert_eq!(community.ages().await, [policy("compression", "14 days")]);
    community.keep(None, None).await;
    assert_eq!(community.ages().await, []);
}

#[tokio::test]
async fn policies_that_the_pod_has_made_stay_until_the_configuration_says_otherwise() {
    let community = Community::start();
    community.keep(None, None).await;
    community.run("select add_retention_policy('events', interval '1 year')").await;
    community.keep(None, None).await;
    assert_eq!(community.ages().await, [policy("retention", "1 year")]);
    community.keep(Some(365), None).await;
    assert_eq!(community.ages().await, [policy("retention", "365 days")]);
    community.keep(None, None).await;
    assert_eq!(community.ages().await, []);
}
