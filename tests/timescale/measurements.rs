//! Numbers of events become rows of their own, each once, and rollups of them are right.

use sqlx::PgPool;
use synap_mqtt::{mapping::Route, timescale::keep_rollups, types::Kept};
use tokio_util::sync::CancellationToken;

use super::{
    roles::{documented, drop_all, make_role, run},
    support::{Log, TestDatabase, TestJournal, eventually, stored_numbers, telemetry_route},
};

/// Midnight before the first of the measurements here, in seconds since 1970: some time ago, so that all minutes are over.
pub fn start() -> i64 {
    jiff::Timestamp::now().as_second() / 86_400 * 86_400 - 86_400
}

fn journal(kept: Kept, metrics: &[&str]) -> TestJournal {
    let metrics = metrics.iter().map(|&pointer| pointer.to_owned()).collect();
    TestJournal::open().with_routes(vec![Route { kept, metrics, ..telemetry_route() }])
}

/// Publishes these in one batch, as devices would.
async fn publish(journal: &TestJournal, device: &str, payloads: &[String]) {
    let payloads: Vec<_> = payloads.iter().map(|payload| payload.as_bytes()).collect();
    journal.publish(&format!("devices/{device}/telemetry"), &payloads).await;
}

pub async fn count(pool: &PgPool, table: &'static str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}"))).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn numbers_are_rows_at_the_time_of_the_event_and_nothing_else_is_lost() {
    let (database, journal) = (TestDatabase::create().await, journal(Kept::Measurements, &[]));
    let at = start();
    publish(
        &journal,
        "pump-7",
        &[
            format!(
                "{{\"at\":\"{}\",\"t\":21.5,\"motor\":{{\"rpm\":900}}}}",
                jiff::Timestamp::from_second(at).unwrap()
            ),
            "{\"state\":\"on\"}".into(),
            "not JSON".into(),
        ],
    )
    .await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    let pool = database.pool();
    let rows: Vec<(i64, String, String, f64)> = sqlx::query_as(
        "select extract(epoch from time)::bigint, device, metric, value from mqtt.measurements order by metric",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let row = |metric: &str, value| (at, "pump-7".to_owned(), metric.to_owned(), value);
    assert_eq!(rows, [row("motor.rpm", 900.0), row("t", 21.5)]);
    assert_eq!(count(&pool, "events").await, 2, "what has no number stays an event");
    assert_eq!((writer.statistics.rows(), writer.statistics.measurements()), (2, 2));
    let hypertable: bool = sqlx::query_scalar(
        "select exists (select from timescaledb_information.hypertables where hypertable_name = 'measurements')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(hypertable);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_writer_that_is_cut_off_measures_nothing_twice() {
    let (database, journal) = (TestDatabase::create().await, journal(Kept::Both, &["/n"]));
    journal.publish_numbers(30_000).await;
    let writer = journal.write_to(&database);
    let pool = database.pool();
    writer.catch_up_in_spite_of_cuts(&pool).await;
    assert_eq!(stored_numbers(&pool).await, (0..30_000).collect::<Vec<_>>());
    let same: i64 = sqlx::query_scalar(
        "select count(*) from mqtt.measurements m join events e on e.id = m.event and (e.data->>'n')::float8 = m.value
         and e.timestamp = m.time",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((same, count(&pool, "mqtt.measurements").await), (30_000, 30_000));
    writer.stop().await;

    // From the beginning once more: the cursor is lost.
    sqlx::raw_sql("delete from mqtt.writer_cursor").execute(&pool).await.unwrap();
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!((count(&pool, "events").await, count(&pool, "mqtt.measurements").await), (30_000, 30_000));
    assert_eq!(writer.statistics.known_rows(), 30_000);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn an_event_that_is_refused_takes_its_measurements_with_it_and_no_others() {
    let (database, journal) = (TestDatabase::create().await, journal(Kept::Both, &[]));
    let writer = journal.write_to(&database);
    eventually("the tables are there", async || writer.statistics.connected()).await;
    let pool = database.pool();
    sqlx::raw_sql("alter table events add constraint no_poison check (not data ? 'poison')")
        .execute(&pool)
        .await
        .unwrap();
    let payloads: Vec<_> =
        (0..100).map(|n| if n == 41 { "{\"poison\":1}".into() } else { format!("{{\"n\":{n}}}") }).collect();
    publish(&journal, "pump-7", &payloads).await;
    writer.catch_up().await;
    assert_eq!((count(&pool, "mqtt.measurements").await, count(&pool, "mqtt.dead_letters").await), (99, 1));
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

/// Bucket, count, sum, min, max, last of one metric.
type Rollup = (i64, i64, f64, f64, f64, f64);

async fn rollups(pool: &PgPool, table: &str) -> Vec<Rollup> {
    let sql = format!(
        "select extract(epoch from bucket)::bigint, count, sum, min, max, last from {table}
         where device = 'pump-7' and metric = 'v' order by bucket"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.unwrap()
}

pub async fn rolled_up(pool: &PgPool) {
    eventually("no minute is due", async || count(pool, "mqtt.measurements_touched").await == 0).await;
}

#[tokio::test]
async fn rollups_are_what_the_rows_say_also_of_data_that_comes_late() {
    let (database, journal) = (TestDatabase::create().await, journal(Kept::Measurements, &["/v"]));
    let (at, pool, stop) = (start(), database.pool(), CancellationToken::new());
    let sample = |seconds: i64, value: i32| format!("{{\"at\":{},\"v\":{value}}}", at + seconds);
    publish(&journal, "pump-7", &[sample(0, 4), sample(59, 1), sample(61, 7), sample(3_600, 10)]).await;
    publish(&journal, "pump-8", &[sample(1, 100)]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    // Two at once: one of them works, the other finds it locked.
    let runners = [0, 1].map(|_| tokio::spawn(keep_rollups(database.settings(), stop.clone())));
    rolled_up(&pool).await;
    let second = (at + 3_600, 1, 10.0, 10.0, 10.0, 10.0);
    assert_eq!(
        rollups(&pool, "mqtt.measurements_1m").await,
        [(at, 2, 5.0, 1.0, 4.0, 1.0), (at + 60, 1, 7.0, 7.0, 7.0, 7.0), second]
    );
    assert_eq!(rollups(&pool, "mqtt.measurements_1h").await, [(at, 3, 12.0, 1.0, 7.0, 7.0), second]);

    publish(&journal, "pump-7", &[sample(30, -2)]).await;
    writer.catch_up().await;
    rolled_up(&pool).await;
    assert_eq!(rollups(&pool, "mqtt.measurements_1m").await[0], (at, 3, 3.0, -2.0, 4.0, 1.0));
    assert_eq!(rollups(&pool, "mqtt.measurements_1h").await[0], (at, 4, 10.0, -2.0, 7.0, 7.0));

    // Retention removes rows; what is known of them stays.
    sqlx::raw_sql("delete from mqtt.measurements").execute(&pool).await.unwrap();
    publish(&journal, "pump-7", &[sample(31, 50)]).await;
    writer.catch_up().await;
    rolled_up(&pool).await;
    assert_eq!(rollups(&pool, "mqtt.measurements_1m").await[0], (at, 3, 3.0, -2.0, 4.0, 1.0));
    stop.cancel();
    for runner in runners {
        runner.await.unwrap();
    }
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_role_that_may_not_keep_rollups_says_what_is_missing_and_needs_the_documented_grants_alone() {
    let (database, journal) = (TestDatabase::create().await, journal(Kept::Measurements, &["/v"]));
    let (at, pool, stop) = (start(), database.pool(), CancellationToken::new());
    let owner = journal.write_to(&database);
    owner.catch_up().await;
    owner.stop().await;
    let role = make_role(&database).await;
    run(&pool, documented("grant connect", &role, &database)).await;
    let log = Log::start();
    let writer = journal.write_with(database.settings_as(&role));
    publish(&journal, "pump-7", &[format!("{{\"at\":{at},\"v\":4}}")]).await;
    let runner = tokio::spawn(keep_rollups(database.settings_as(&role), stop.clone()));
    let said = |part: &'static str| log.lines().iter().filter(|line| line.contains(part)).count();
    eventually("both say it", async || {
        said("cannot store events: permission denied for table measurements_touched; docs/database.md has the grants")
            == 1
            && said("cannot compute rollups of measurements: permission denied for table measurements_touched") == 1
    })
    .await;
    run(&pool, documented("grant select, insert, update on mqtt.measurements_1m", &role, &database)).await;
    writer.catch_up().await;
    rolled_up(&pool).await;
    assert_eq!(rollups(&pool, "mqtt.measurements_1h").await, [(at, 1, 4.0, 4.0, 4.0, 4.0)]);
    assert_eq!(said("rollups"), 1, "{:?}", log.lines());
    stop.cancel();
    runner.await.unwrap();
    writer.stop().await;
    drop_all(database, pool, &role).await;
}
