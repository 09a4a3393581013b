//! Measures `GET /api/series` on a year of one metric: answered from rollups, and from rows alone, in turn.
//!
//! `DATABASE_URL=… cargo run --release --example series -- [rows] [rounds]`; the user must be allowed to create
//! databases and roles, and roles to log in without a password.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};
use synap_mqtt::{
    limits,
    timescale::{Administration, EventStore, Settings},
    types::{Micros, SeriesQuery},
};
use tokio::time::Instant;

const DATABASE: &str = "synap_series";
const ROLE: &str = "synap_series_rows";
const DAY: i64 = 86_400_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rows: i64 = arguments.next().map_or(Ok(3_153_600), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let server = PgConnectOptions::from_str(&std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?)?;
    let clean = format!("drop database if exists {DATABASE} with (force); drop role if exists {ROLE}");
    let mut session = server.connect().await?;
    for statement in
        clean.split(';').chain([&*format!("create database {DATABASE}"), &format!("create role {ROLE} login")])
    {
        execute(&mut session, statement).await?;
    }
    let result = measure(&server.database(DATABASE).disable_statement_logging(), rows, rounds).await;
    for statement in clean.split(';') {
        execute(&mut session, statement).await?;
    }
    result
}

async fn measure(database: &PgConnectOptions, rows: i64, rounds: usize) -> Result<()> {
    let start = fill(database, rows).await?;
    let by_rollups = EventStore::new(&settings(database.clone())?);
    let by_rows = EventStore::new(&settings(database.clone().username(ROLE))?);
    for (name, days, width) in [
        ("a year by the day", 365, DAY),
        ("a month by the hour", 30, DAY / 24),
        ("a week by 30 minutes", 7, DAY / 48),
        ("a day by the minute", 1, DAY / 1440),
    ] {
        let end = start + 365 * DAY;
        // Not at a full minute.
        let [from, to] = [end - days * DAY, end].map(|at| Micros::saturating(at + 12_345_678));
        let query = SeriesQuery { device: "pump-7".into(), path: vec!["temperature".into()], from, to, width };
        let (mut times, mut answers) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..rounds {
            for (store, times) in [&by_rollups, &by_rows].into_iter().zip(&mut times) {
                let begun = Instant::now();
                match store.series(&query).await {
                    Ok(answer) => {
                        times.push(begun.elapsed().as_secs_f64() * 1000.0);
                        answers.push(answer.iter().map(|bucket| (bucket.start, bucket.count)).collect::<Vec<_>>());
                    }
                    Err(error) => println!("{name}: {error}"),
                }
            }
        }
        ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the answers differ");
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let [rollups, rows] = times.map(|times| times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY));
        println!("{name}: {} points, rollups {rollups:.1} ms, rows {rows:.1} ms", answers[0].len());
    }
    Ok(())
}

/// A year of as many rows, evenly, with rollups of all but the last ten minutes; gives back its start.
async fn fill(database: &PgConnectOptions, rows: i64) -> Result<i64> {
    let mut administration = Administration::open(&settings(database.clone())?).await?;
    administration.migrate().await?;
    administration.close().await?;
    let start = (jiff::Timestamp::now().as_second() / 86_400 - 366) * 86_400;
    let mut session = database.connect().await?;
    let step = 365.0 * 86_400.0 / rows as f64;
    for statement in [
        format!(
            "insert into mqtt.measurements (time, device, metric, value, event)
             select to_timestamp({start} + n * {step}::float8), 'pump-7', 'temperature', 20 + 5 * sin(n / 5000.0) + random(),
                    gen_random_uuid() from generate_series(0, {rows}) as n"
        ),
        rollup("1m", "minute", "mqtt.measurements", "time", "count(*), sum(value), min(value), max(value), (array_agg(value order by time desc))[1]"),
        rollup("1h", "hour", "mqtt.measurements_1m", "bucket", "sum(count), sum(sum), min(min), max(max), (array_agg(last order by bucket desc))[1]"),
        "insert into mqtt.measurements_touched select date_trunc('minute', max(time)) - n * interval '1 minute', 1
         from mqtt.measurements, generate_series(0, 9) as n group by n"
            .to_owned(),
        "analyze mqtt.measurements".to_owned(),
        "analyze mqtt.measurements_1m".to_owned(),
        "analyze mqtt.measurements_1h".to_owned(),
        format!("grant usage on schema mqtt to {ROLE}"),
        format!("grant select on mqtt.migrations, mqtt.measurements, events to {ROLE}"),
    ] {
        execute(&mut session, &statement).await?;
    }
    Ok(start * 1_000_000)
}

fn rollup(name: &str, unit: &str, from: &str, time: &str, values: &str) -> String {
    format!(
        "insert into mqtt.measurements_{name} (device, metric, bucket, count, sum, min, max, last)
         select device, metric, date_trunc('{unit}', {time}, 'UTC'), {values} from {from} group by 1, 2, 3"
    )
}

fn settings(database: PgConnectOptions) -> Result<Settings> {
    let mut settings = Settings::new("postgres://unused", limits::MEMORY, std::time::Duration::from_secs(30))?;
    settings.user_id = "owner".into();
    settings.database = database;
    Ok(settings)
}

async fn execute(session: &mut PgConnection, statement: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(session).await?;
    Ok(())
}
