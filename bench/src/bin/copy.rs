//! `copy`: the yardstick for the way into TimescaleDB. A client that does nothing but
//! `COPY BINARY` rows of the pod's `events` table, and the clock for rows that arrive there by
//! other ways.

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use bytes::BufMut;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use synap_mqtt_bench::{
    process::Process,
    report::print_json,
    stamp::{Form, Stamp},
    watch::{Observer, Watch},
};
use uuid::Uuid;

/// Seconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH: u64 = 946_684_800;

/// `PGCOPY`, no flags, no header extension (PostgreSQL documentation, COPY, "Binary Format").
const COPY_HEADER: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";

const COPY_STATEMENT: &str = "copy events (id, timestamp, type, subject_id, subject_type, data, metadata, source, \
    correlation_id, user_id) from stdin (format binary)";

/// The pod's table as a hypertable, for a database that no bridge has migrated.
const TABLE: &str = "
    create table events (
        id uuid not null default gen_random_uuid(),
        timestamp timestamptz not null default now(),
        type text not null,
        subject_id text not null,
        subject_type text not null,
        data jsonb not null,
        metadata jsonb,
        source text default 'api',
        correlation_id uuid,
        user_id text not null,
        primary key (id, timestamp)
    );
    select create_hypertable('events', by_range('timestamp', interval '1 day'), create_default_indexes => false);
    create index on events (subject_type, subject_id, timestamp);
    create index on events (user_id, type);
    create index on events (timestamp);";

/// Like the bridge's own: what it adds to each event.
const METADATA: &str = r#"{"version":"v1","topic":"devices/device-17/telemetry","qos":1,"clientId":"device-17"}"#;

/// Devices that the rows are spread over.
const DEVICES: u64 = 100;

/// COPYs rows of the pod's events table, or waits for rows that come another way.
#[derive(Parser)]
struct Cli {
    /// The database.
    #[arg(long, env = "DATABASE_URL")]
    url: PgConnectOptions,
    /// Print one line of JSON instead of text.
    #[arg(long, global = true)]
    output_json: bool,
    /// Fields to add to the line of JSON, as KEY=VALUE.
    #[arg(long = "label", global = true)]
    labels: Vec<String>,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Creates a database with TimescaleDB on the same server and prints its URL.
    Create {
        /// Its name.
        name: String,
    },
    /// Drops such a database.
    Drop {
        /// Its name.
        name: String,
    },
    /// Copies rows and prints rows per second.
    Run {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        rows: u64,
        /// Rows of one COPY, which is one transaction.
        #[arg(long, default_value_t = 5_000)]
        batch: u64,
        /// Bytes of `data`, as JSON text.
        #[arg(long, default_value_t = 200)]
        data_bytes: usize,
        /// Empty the table first.
        #[arg(long)]
        truncate: bool,
    },
    /// Waits until the table exists and holds so many rows; prints rows per second since the start, and what
    /// the database and the bridge have used for them.
    Await {
        /// How many.
        #[arg(long)]
        rows: u64,
        /// Begin with the first row that comes.
        #[arg(long)]
        from_first_row: bool,
        /// The bridge's process, when its memory and processor time are wanted.
        #[arg(long)]
        pid: Option<u32>,
        /// Give up after so many seconds without a new row.
        #[arg(long, default_value_t = 30)]
        quiet: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match start(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(cli: Cli) -> Result<()> {
    let mut connection = PgConnection::connect_with(&cli.url).await.context("connect to the database")?;
    let (rows, time, costs) = match cli.mode {
        Mode::Create { name } => {
            connection.execute(AssertSqlSafe(format!("create database \"{name}\""))).await?;
            let url = cli.url.database(&name);
            PgConnection::connect_with(&url).await?.execute("create extension if not exists timescaledb").await?;
            let mut printed = url.to_url_lossy();
            // sqlx's own parameters, which no other client understands.
            printed.set_query(None);
            println!("{printed}");
            return Ok(());
        }
        Mode::Drop { name } => {
            connection.execute(AssertSqlSafe(format!("drop database if exists \"{name}\" with (force)"))).await?;
            return Ok(());
        }
        Mode::Run { rows, batch, data_bytes, truncate } => {
            if count(&mut connection).await?.is_none() {
                sqlx::raw_sql(TABLE).execute(&mut connection).await.context("create the table")?;
            }
            if truncate {
                // Rows that a bridge would take for another writer's have their own price.
                connection.execute("truncate events; drop trigger if exists mqtt_arrivals on events").await?;
            }
            let watch = Watch::start(&mut connection, None, Observer::Works).await?;
            let time = copy(&mut connection, rows, batch, &Form::Json.payload(data_bytes)).await?;
            (rows, time, watch.finish(rows))
        }
        Mode::Await { rows, from_first_row, pid, quiet } => {
            let watch = Watch::start(&mut connection, pid.map(Process::new), Observer::Looks).await?;
            let clock = Clock { rows, from_first_row, quiet: Duration::from_secs(quiet) };
            let (landed, time, watch) = clock.wait(&mut connection, watch).await?;
            (landed, time, watch.finish(landed))
        }
    };
    let per_second = rows as f64 / time.as_secs_f64();
    if cli.output_json {
        let mut figures =
            json!({ "rows": rows, "seconds": time.as_secs_f64(), "rows_per_second": per_second, "ok": true });
        if let (Some(figures), Value::Object(costs)) = (figures.as_object_mut(), costs) {
            figures.extend(costs);
        }
        return print_json(&cli.labels, figures);
    }
    println!("{rows} rows in {:.2} s: {per_second:.0} rows/s; {costs}", time.as_secs_f64());
    Ok(())
}

async fn copy(connection: &mut PgConnection, rows: u64, batch: u64, data: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    let epoch_us = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    let subjects: Vec<String> =
        (0..DEVICES).map(|n| Uuid::new_v5(&Uuid::NAMESPACE_URL, &n.to_be_bytes()).to_string()).collect();
    let user = Uuid::new_v4().to_string();
    let (mut data, mut buffer) = (data.to_vec(), Vec::new());
    let mut row = 0;
    while row < rows {
        buffer.clear();
        buffer.put_slice(COPY_HEADER);
        let end = rows.min(row + batch);
        for ((number, subject), counter) in (0_u32..).zip(subjects.iter().cycle()).zip(row..end) {
            let time_us = epoch_us + counter;
            Stamp { publisher: number, counter, sent_ns: time_us }.write(Form::Json, &mut data);
            put_row(&mut buffer, counter, time_us, subject, &data, &user);
        }
        buffer.put_i16(-1);
        let mut sink = connection.copy_in_raw(COPY_STATEMENT).await?;
        sink.send(buffer.as_slice()).await?;
        let copied = sink.finish().await?;
        ensure!(copied == end - row, "the database took {copied} of {} rows", end - row);
        row = end;
    }
    Ok(start.elapsed())
}

/// One row with a time-ordered id (UUIDv7 layout), as the bridge makes them.
fn put_row(out: &mut Vec<u8>, counter: u64, time_us: u64, subject: &str, data: &[u8], user: &str) {
    let field = |out: &mut Vec<u8>, parts: &[&[u8]]| {
        out.put_i32(parts.iter().map(|part| part.len()).sum::<usize>() as i32);
        parts.iter().for_each(|part| out.put_slice(part));
    };
    let id = u128::from(time_us / 1000) << 80 | 7 << 76 | 0b10 << 62 | u128::from(counter);
    let time = time_us - POSTGRES_EPOCH * 1_000_000;
    out.put_i16(10);
    field(out, &[&id.to_be_bytes()]);
    field(out, &[&time.to_be_bytes()]);
    field(out, &[b"devices.telemetry.received"]);
    field(out, &[subject.as_bytes()]);
    field(out, &[b"device"]);
    field(out, &[&[1], data]);
    field(out, &[&[1], METADATA.as_bytes()]);
    field(out, &[b"api"]);
    out.put_i32(-1);
    field(out, &[user.as_bytes()]);
}

/// Waits for rows.
struct Clock {
    rows: u64,
    from_first_row: bool,
    quiet: Duration,
}

impl Clock {
    /// Until they are there. How many there are then, the time that they took, and the watch.
    ///
    /// Counting costs the database at most a tenth of one core: the pause is nine times as long. A count is of
    /// the moment when it was asked for.
    async fn wait(&self, connection: &mut PgConnection, mut watch: Watch) -> Result<(u64, Duration, Watch)> {
        connection.execute("set max_parallel_workers_per_gather = 0").await?;
        let (mut start, mut first) = (Instant::now(), 0);
        let (mut last, mut moved) = (None, Instant::now());
        loop {
            let asked = Instant::now();
            let now = count(connection).await?;
            if let Some(landed) = now.filter(|now| *now >= self.rows) {
                return Ok((landed - first, asked - start, watch));
            }
            if now != last {
                if self.from_first_row && last.unwrap_or_default() == 0 {
                    (start, first) = (asked, now.unwrap_or_default());
                }
                (last, moved) = (now, Instant::now());
            }
            ensure!(
                moved.elapsed() < self.quiet,
                "{} of {} rows arrived, then none",
                last.unwrap_or_default(),
                self.rows
            );
            watch.sample(now.unwrap_or_default());
            tokio::time::sleep((asked.elapsed() * 9).max(Duration::from_millis(20))).await;
        }
    }
}

/// Rows of the table, `None` while it does not exist.
async fn count(connection: &mut PgConnection) -> Result<Option<u64>> {
    let exists: bool =
        sqlx::query_scalar("select to_regclass('events') is not null").fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(None);
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(connection).await?;
    Ok(Some(u64::try_from(rows)?))
}
