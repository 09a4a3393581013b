//! Measurements go before their rollups, those of minutes before those of hours, and no value before its rollups
//! have it. With the Apache licence and without TimescaleDB the bridge sees to that, with the community licence
//! the database.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};
use synap_mqtt::{
    timescale::{Administration, EventStore, KeepMeasurements, Settings},
    types::{Bucket, Micros, SeriesQuery},
};

use super::{
    community::Community,
    measurements::count,
    roles::{documented, drop_all, make_role, run},
    series::roll_up,
    server::TestServer,
    support::{Log, TestDatabase},
};

const DAY: u64 = 24 * 3600;

/// Two values in each fourth hour of so many days, the last in the hour before this.
fn days_of_values(days: u32) -> String {
    format!(
        "insert into mqtt.measurements (time, device, metric, value, event)
         select date_trunc('hour', now()) - interval '1 hour' - n * interval '4 hours' + half * interval '30 minutes',
             'pump-7', 'v', n % 17 + half, gen_random_uuid()
         from generate_series(0, {days} * 6) as n, generate_series(0, 1) as half"
    )
}

/// As the writer notes them.
const NOTE: &str = "insert into mqtt.measurements_touched (bucket, version)
    select distinct date_trunc('minute', time), txid_current() from mqtt.measurements";

fn days(days: u64) -> Option<Duration> {
    Some(Duration::from_secs(days * DAY))
}

/// Ages at which values, rollups of a minute, and rollups of an hour go.
fn ages(values: u64, minutes: u64, hours: u64) -> KeepMeasurements {
    let [retention, retention_1m, retention_1h] = [values, minutes, hours].map(days);
    KeepMeasurements { retention, retention_1m, retention_1h, compress_after: None }
}

fn keeping(mut settings: Settings, measurements: KeepMeasurements) -> Settings {
    settings.keep.measurements = measurements;
    settings
}

async fn keep(settings: Settings, measurements: KeepMeasurements) -> Vec<String> {
    let mut administration = Administration::open(&keeping(settings, measurements)).await.unwrap();
    administration.migrate().await.unwrap();
    let shortfalls = administration.keep().await.unwrap().unwrap();
    administration.close().await.unwrap();
    shortfalls
}

/// Days back of the oldest value, rollup of a minute, and rollup of an hour.
async fn oldest(pool: &PgPool) -> [i32; 3] {
    let mut found = Vec::new();
    for (table, time) in [("measurements", "time"), ("measurements_1m", "bucket"), ("measurements_1h", "bucket")] {
        let sql = format!(
            "select coalesce(floor(extract(epoch from now() - min({time})) / 86400)::int, 0) from mqtt.{table}"
        );
        found.push(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap());
    }
    found.try_into().unwrap()
}

/// What there was from so many days back until so many, in buckets of so many minutes.
fn question(from: i64, to: i64, minutes: i64) -> SeriesQuery {
    let midnight = jiff::Timestamp::now().as_second() / 86_400 * 86_400;
    let [from, to] = [from, to].map(|days| Micros::saturating((midnight - days * 86_400) * 1_000_000));
    SeriesQuery { device: "pump-7".into(), path: vec!["v".into()], from, to, width: minutes * 60_000_000 }
}

async fn answer(settings: &Settings, query: &SeriesQuery) -> Vec<Bucket> {
    EventStore::new(settings).series(query).await.unwrap()
}

fn values(buckets: &[Bucket]) -> u64 {
    buckets.iter().map(|bucket| bucket.count).sum()
}

#[tokio::test]
async fn what_is_finer_goes_first_none_before_its_rollups_have_it_and_hours_answer_for_what_is_gone() {
    let database = TestDatabase::create().await;
    keep(database.settings(), KeepMeasurements::default()).await;
    let pool = database.pool();
    run(&pool, days_of_values(200)).await;
    run(&pool, NOTE).await;

    // No rollup has been computed yet, so nothing may go.
    keep(database.settings(), ages(10, 20, 40)).await;
    assert_eq!(oldest(&pool).await[0], 200);
    roll_up(&database, &pool).await;
    let settings = database.settings();
    let asked = [
        question(15, 12, 1),
        question(15, 12, 60),
        question(35, 27, 60),
        question(35, 27, 1_440),
        question(35, 5, 1_440),
    ];
    let mut before = Vec::new();
    for query in &asked {
        before.push(answer(&settings, query).await);
    }
    assert_eq!(values(&before[4]), 30 * 12);

    keep(database.settings(), ages(10, 20, 40)).await;
    // Chunks are of 1, 7 and 90 days: what shares one with something younger stays.
    let found = oldest(&pool).await;
    let is_right = (10..=11).contains(&found[0]) && (20..=27).contains(&found[1]) && (40..=130).contains(&found[2]);
    assert!(is_right, "{found:?}");
    for (query, before) in asked.iter().zip(&before) {
        assert_eq!(&answer(&settings, query).await, before, "{query:?}");
    }

    // A late value, due in an hour whose minutes are gone: the hour goes on answering, before and after it is computed.
    let late = "insert into mqtt.measurements (time, device, metric, value, event)
        select date_trunc('hour', now()) - interval '31 days 1 hour' + interval '5 minutes', 'pump-7', 'v', -5, gen_random_uuid()";
    run(&pool, late).await;
    run(&pool, NOTE).await;
    assert_eq!(answer(&settings, &asked[3]).await, before[3]);
    roll_up(&database, &pool).await;
    assert_eq!(answer(&settings, &asked[3]).await, before[3]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn rows_of_plain_tables_are_deleted_and_those_that_wait_for_their_rollups_are_not() {
    let server = TestServer::start("", |_| {}).await;
    let database = TestDatabase::create_on(server.options()).await;
    let settings = database.settings();
    keep(settings.clone(), KeepMeasurements::default()).await;
    let pool = database.pool();
    run(&pool, days_of_values(60)).await;
    run(&pool, NOTE).await;
    keep(settings.clone(), ages(10, 20, 40)).await;
    assert_eq!(oldest(&pool).await[0], 60);
    roll_up(&database, &pool).await;
    let compressed = KeepMeasurements { compress_after: days(7), ..ages(10, 20, 40) };
    let told = keep(settings, compressed).await;
    let expected = "`timescale.measurements.compress_after` has no effect on `mqtt.measurements`: it is a plain table";
    assert_eq!(told, [expected]);
    assert_eq!(oldest(&pool).await, [9, 19, 39]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn without_ages_measurements_stay_and_a_role_that_may_not_drop_them_says_so() {
    let database = TestDatabase::create().await;
    keep(database.settings(), KeepMeasurements::default()).await;
    let pool = database.pool();
    run(&pool, days_of_values(30)).await;
    keep(database.settings(), KeepMeasurements::default()).await;
    assert_eq!(oldest(&pool).await[0], 30);
    let role = make_role(&database).await;
    run(&pool, documented("grant connect", &role, &database)).await;
    run(&pool, documented("grant select, insert, update on mqtt.measurements_1m", &role, &database)).await;
    let log = Log::start();
    let settings = keeping(database.settings_as(&role), ages(10, 20, 40));
    let error = Administration::open(&settings).await.unwrap().keep().await.unwrap_err();
    assert!(error.to_string().contains("must be owner") || error.to_string().contains("permission denied"), "{error}");
    assert_eq!(count(&pool, "mqtt.measurements").await, 30 * 12 + 2);
    log.assert_said(&[]);
    drop_all(database, pool, &role).await;
}

impl Community {
    async fn keep_measurements(&self, measurements: KeepMeasurements) {
        assert!(keep(self.settings(None, None), measurements).await.is_empty());
    }

    /// Jobs of measurements and rollups: the relation, the kind, and the age that it has.
    async fn jobs(&self) -> Vec<(String, String, Option<String>)> {
        let mut session = self.session().await;
        let sql = "select coalesce(a.view_name, j.hypertable_name)::text, proc_name::text,
                coalesce(config->>'drop_after', config->>'compress_after', config->>'start_offset')
            from timescaledb_information.jobs j left join timescaledb_information.continuous_aggregates a
            on a.materialization_hypertable_name = j.hypertable_name
            where coalesce(a.view_name, j.hypertable_name) like 'measurements%' order by 1, 2";
        let jobs = sqlx::query_as(sql).fetch_all(&mut session).await.unwrap();
        sqlx::Connection::close(session).await.unwrap();
        jobs
    }

    /// Runs the jobs of a kind.
    async fn run_jobs(&self, kind: &str) {
        self.run(format!(
            "do $$ declare job int; begin for job in select job_id from timescaledb_information.jobs
             where proc_name = 'policy_{kind}' order by job_id loop call run_job(job); end loop; end $$"
        ))
        .await;
    }

    async fn refresh_all(&self) {
        for view in ["mqtt.measurements_1m", "mqtt.measurements_1h"] {
            self.run(format!("call refresh_continuous_aggregate('{view}', null, now() - interval '2 hours')")).await;
        }
    }

    async fn asks(&self, query: &SeriesQuery) -> Vec<Bucket> {
        // The session of the question before may still be ending.
        for _ in 0..1_000 {
            if let Ok(answer) = EventStore::new(&self.settings(None, None)).series(query).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no answer to {query:?}");
    }
}

/// Jobs as they should be: kind and age of values, of minutes, and of hours.
fn expected(retention: [&str; 3], look_back: [&str; 2]) -> Vec<(String, String, Option<String>)> {
    let job =
        |relation: &str, kind: &str, age: &str| (relation.to_owned(), format!("policy_{kind}"), Some(age.to_owned()));
    let [values, minutes, hours] = retention;
    vec![
        job("measurements", "retention", values),
        job("measurements_1h", "refresh_continuous_aggregate", look_back[1]),
        job("measurements_1h", "retention", hours),
        job("measurements_1m", "refresh_continuous_aggregate", look_back[0]),
        job("measurements_1m", "retention", minutes),
    ]
}

#[tokio::test]
async fn with_the_community_licence_policies_do_it_and_refreshes_never_look_at_what_is_gone() {
    let community = Community::start();
    community.keep_measurements(KeepMeasurements::default()).await;
    community.run(days_of_values(60)).await;
    community.refresh_all().await;
    let asked = [question(15, 12, 1), question(15, 12, 60), question(45, 32, 60), question(45, 5, 1_440)];
    let mut before = Vec::new();
    for query in &asked {
        before.push(community.asks(query).await);
    }
    assert_eq!(values(&before[3]), 40 * 12);

    community.keep_measurements(ages(10, 20, 50)).await;
    let jobs = expected(["10 days", "20 days", "50 days"], ["10 days", "20 days"]);
    assert_eq!(community.jobs().await, jobs);
    community.keep_measurements(ages(10, 20, 50)).await;
    assert_eq!(community.jobs().await, jobs, "another run changes nothing");
    // What goes first, and what a refresh makes of it.
    for _ in 0..2 {
        community.run_jobs("retention").await;
        community.run_jobs("refresh_continuous_aggregate").await;
    }
    let age = "select floor(extract(epoch from now() - min(time)) / 86400)::int8 from mqtt.measurements";
    assert!((10..=11).contains(&community.number(age).await));
    let age = "select floor(extract(epoch from now() - min(bucket)) / 86400)::int8 from mqtt.measurements_1m";
    assert!((20..=31).contains(&community.number(age).await));
    for (query, before) in asked.iter().zip(&before) {
        super::series::assert_same(&community.asks(query).await, before, query);
    }

    // Longer, or for ever: what is gone stays out of what is refreshed.
    community.keep_measurements(ages(30, 30, 50)).await;
    assert_eq!(community.jobs().await, expected(["30 days", "30 days", "50 days"], ["10 days", "20 days"]));
    community.keep_measurements(KeepMeasurements::default()).await;
    let refreshes = expected([""; 3], ["10 days", "20 days"]);
    let refreshes: Vec<_> = refreshes.into_iter().filter(|(_, kind, _)| kind.contains("refresh")).collect();
    assert_eq!(community.jobs().await, refreshes);
    community.keep_measurements(ages(5, 20, 50)).await;
    assert_eq!(community.jobs().await, expected(["5 days", "20 days", "50 days"], ["5 days", "20 days"]));
}

#[tokio::test]
async fn with_the_community_licence_values_are_compressed_and_take_late_ones() {
    let community = Community::start();
    let measurements = KeepMeasurements { compress_after: days(7), ..ages(30, 30, 30) };
    community.keep_measurements(measurements).await;
    community.run(days_of_values(20)).await;
    community.run_jobs("compression").await;
    let compressed =
        "select count(*) from timescaledb_information.chunks where is_compressed and hypertable_name = 'measurements'";
    assert!((11..=14).contains(&community.number(compressed).await));
    let query = question(15, 10, 60);
    let before = values(&community.asks(&query).await);
    community
        .run(
            "insert into mqtt.measurements (time, device, metric, value, event)
             select date_trunc('day', now()) - interval '12 days' - n * interval '7 seconds', 'pump-7', 'v', n, gen_random_uuid()
             from generate_series(1, 50) as n",
        )
        .await;
    assert_eq!(values(&community.asks(&query).await), before + 50);
}
