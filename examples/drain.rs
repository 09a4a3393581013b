//! Measures the writer: how fast it drains a journal into the table, beside a bare COPY BINARY
//! of the same rows in the same batches over the same kind of connection, in turn.
//!
//! `DATABASE_URL=… cargo run --release --example drain -- [records] [rounds] [directory]`; the
//! user must be allowed to create databases. Give a directory on a real disk.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use synap_mqtt::{
    journal::{BatchBuilder, Journal, JournalOptions, Origin, Outcome, Record, Watermark},
    limits,
    mapping::{Mapper, RouteTable},
    timescale::{Settings, Writer},
    types::{Micros, Publication, PublishProperties, Qos, Sequence, Signal},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "synap_drain";
const COLUMNS: &str = "id, timestamp, type, subject_id, subject_type, data, metadata, source, user_id";
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let records: usize = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let server = PgConnectOptions::from_str(&std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?)?;

    let directory = directory.join(format!("synap-drain-{}", std::process::id()));
    let result = measure(&server, &directory, records, rounds).await;
    std::fs::remove_dir_all(&directory)?;
    execute(&mut server.connect().await?, &format!("drop database if exists {DATABASE} with (force)")).await?;
    result
}

async fn measure(server: &PgConnectOptions, directory: &std::path::Path, records: usize, rounds: usize) -> Result<()> {
    execute(&mut server.connect().await?, &format!("drop database if exists {DATABASE} with (force)")).await?;
    execute(&mut server.connect().await?, &format!("create database {DATABASE}")).await?;
    let database = server.clone().database(DATABASE).disable_statement_logging();
    let (journal, _) = Journal::open(directory, JournalOptions::default())?;
    fill(&journal, records).await?;

    drain(&journal, &database).await?;
    let mut connection = database.connect().await?;
    let rows = read_rows(&mut connection).await?;
    ensure!(rows.count == records, "{} rows of {records} records", rows.count);
    println!("{records} rows, {} bytes each on the wire", rows.bytes.len() / records);
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        reset(&mut connection).await?;
        let writer = drain(&journal, &database).await?;
        reset(&mut connection).await?;
        let bare = copy_all(&mut connection, &rows).await?;
        let per_second = |took: Duration| records as f64 / took.as_secs_f64();
        ratios.push(bare.as_secs_f64() / writer.as_secs_f64());
        println!("writer {:.0} rows/s, bare COPY {:.0} rows/s", per_second(writer), per_second(bare));
    }
    println!("writer / bare: {ratios:.2?}");
    journal.close();
    Ok(())
}

/// Appends telemetry of a thousand devices, about 200 bytes of JSON each.
async fn fill(journal: &Journal, records: usize) -> Result<()> {
    for start in (0..records).step_by(500) {
        let mut batch = BatchBuilder::default();
        for n in start..records.min(start + 500) {
            let device = n % 1000;
            let payload = format!(
                "{{\"temperature\":{}.{},\"pressure\":{},\"humidity\":{},\"battery\":3.{:02},\"status\":\"running normally\",\
                 \"firmware\":\"v1.22.3-build.7\",\"location\":\"hall {}\",\"note\":\"{:064x}\",\"n\":{n}}}",
                20 + n % 10,
                n % 7,
                101_325 + n % 50,
                n % 100,
                n % 100,
                n % 7,
                n as u128 * 0x9E37_79B9_7F4A_7C15
            );
            batch.push(&Record::Publication {
                publication: Publication {
                    sequence: Sequence::ZERO,
                    received: Micros::default(),
                    topic: &format!("devices/pump-{device}/telemetry"),
                    payload: payload.as_bytes(),
                    qos: Qos::AtLeastOnce,
                    retain: false,
                    guaranteed: true,
                    client_id: &format!("pump-{device}"),
                    properties: PublishProperties::default(),
                },
                origin: Origin::Plain,
            });
        }
        let signal = Arc::new(Signal::new());
        let batch = journal.append(batch, Some(&signal)).await?;
        while batch.outcome() == Outcome::Pending {
            signal.wait().await;
        }
        ensure!(batch.outcome() == Outcome::Durable, "the journal failed");
    }
    Ok(())
}

/// Runs the writer until everything is stored; returns the time from its first session on.
async fn drain(journal: &Journal, database: &PgConnectOptions) -> Result<Duration> {
    let mut settings = Settings::new("postgres://unused", limits::MEMORY, Duration::from_secs(60))?;
    settings.database = database.clone();
    let mapper = Mapper::new(RouteTable::compile(&[])?, journal.id(), "6f9619ff-8b86-4011-b42d-00c04fc964ff");
    let writer = Writer::new(settings, journal.clone(), Arc::new(mapper));
    let (statistics, stop) = (writer.statistics(), CancellationToken::new());
    let task = tokio::spawn(writer.run(stop.clone()));
    while !statistics.connected() {
        ensure!(statistics.last_error().is_none(), "{:?}", statistics.last_error());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    while statistics.lag(journal.watermark(Watermark::Durable)) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = start.elapsed();
    stop.cancel();
    task.await?;
    Ok(took)
}

async fn reset(connection: &mut PgConnection) -> Result<()> {
    execute(connection, "truncate events; delete from mqtt.writer_cursor").await?;
    execute(connection, "checkpoint").await
}

/// All rows as the server sends them, with the places where batches end.
struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

async fn read_rows(connection: &mut PgConnection) -> Result<Rows> {
    let statement = format!("copy (select {COLUMNS} from events order by id) to stdout (format binary)");
    let mut rows = Rows { bytes: Vec::new(), ends: Vec::new(), count: 0 };
    let mut stream = connection.copy_out_raw(&statement).await?;
    let mut first = true;
    while let Some(row) = stream.try_next().await? {
        // The server sends the header with the first row, then each row by itself.
        let row = if std::mem::take(&mut first) { row.slice(COPY_HEADER.len()..) } else { row };
        if row.starts_with(&[0xFF, 0xFF]) || row.is_empty() {
            continue;
        }
        rows.bytes.extend_from_slice(&row);
        rows.count += 1;
        if rows.count.is_multiple_of(limits::TIMESCALE_BATCH_ROWS) {
            rows.ends.push(rows.bytes.len());
        }
    }
    rows.ends.push(rows.bytes.len());
    Ok(rows)
}

async fn copy_all(connection: &mut PgConnection, rows: &Rows) -> Result<Duration> {
    let start = Instant::now();
    let mut from = 0;
    for &end in &rows.ends {
        let mut transaction = connection.begin().await?;
        let mut copy = transaction.copy_in_raw(&format!("copy events ({COLUMNS}) from stdin (format binary)")).await?;
        copy.send(COPY_HEADER).await?;
        copy.send(rows.bytes.get(from..end).context("batch ends rise")?).await?;
        copy.send((-1_i16).to_be_bytes().as_slice()).await?;
        copy.finish().await?;
        transaction.commit().await?;
        from = end;
    }
    Ok(start.elapsed())
}

async fn execute(connection: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
