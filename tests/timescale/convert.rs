//! Making a hypertable of the plain table that the pod's backend has made.

use std::process::{Command, Output};

use sqlx::PgPool;
use synap_mqtt::timescale::{Administration, ConvertError};

use super::support::{Log, TestDatabase, TestJournal, eventually, stored_numbers};

/// The table as the backend makes it, with rows of ten days.
const POD: &str = "create extension if not exists timescaledb;
    create table events (id uuid primary key default gen_random_uuid(), timestamp timestamptz not null default now(),
        type text not null, subject_id text not null, subject_type text not null, data jsonb not null, metadata jsonb,
        source text default 'api', correlation_id uuid, user_id text not null);
    create index events_by_subject on events (subject_type, subject_id, timestamp);
    create index events_by_user on events (user_id, type);
    create index events_by_time on events (timestamp);
    insert into events (timestamp, type, subject_id, subject_type, data, user_id)
        select now() - n * interval '144 seconds', 'notes.note.created', n::text, 'note', '{}', 'owner'
        from generate_series(1, 6000) as n";

const DELIVERIES: &str = "create table webhook_deliveries (id uuid primary key, event_id uuid references events (id));
    insert into webhook_deliveries select gen_random_uuid(), id from events limit 1";

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

async fn is_hypertable(pool: &PgPool) -> bool {
    let sql = "select exists (select from timescaledb_information.hypertables where hypertable_name = 'events')";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

async fn indexes(pool: &PgPool) -> Vec<String> {
    let sql = "select split_part(indexdef, 'btree ', 2) from pg_indexes
        where schemaname = 'public' and tablename = 'events' order by 1";
    sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
}

async fn count(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from events").fetch_one(pool).await.unwrap()
}

async fn pod(sql: &'static str) -> (TestDatabase, PgPool) {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    run(&pool, POD).await;
    run(&pool, sql).await;
    (database, pool)
}

async fn administration(database: &TestDatabase) -> Administration {
    Administration::open(&database.settings()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_or_doubled_while_a_bridge_goes_on_writing() {
    const COUNT: usize = 40_000;
    let (database, pool) = pod("").await;
    let journal = TestJournal::open();
    let writer = journal.write_to(&database);
    let convert = async {
        eventually("rows arrive", async || writer.statistics.rows() > 2_000).await;
        administration(&database).await.convert().await.unwrap()
    };
    let (_, converted) = tokio::join!(journal.publish_numbers(COUNT), convert);
    assert!(converted > 8_000, "{converted} rows");
    writer.catch_up().await;
    assert_eq!((writer.statistics.known_rows(), writer.statistics.dead_letters()), (0, 0));

    assert!(is_hypertable(&pool).await);
    assert_eq!(stored_numbers(&pool).await, (0..COUNT as i32).collect::<Vec<_>>());
    assert_eq!(count(&pool).await, COUNT as i64 + 6_000);
    let expected = [
        "(\"timestamp\")",
        "(id, \"timestamp\")",
        "(subject_type, subject_id, \"timestamp\")",
        "(type, \"timestamp\")",
        "(user_id, type)",
    ];
    assert_eq!(indexes(&pool).await, expected);
    // The key that the writer goes by is another one now.
    run(&pool, "delete from mqtt.writer_cursor; delete from events where data->>'n' = '250'").await;
    writer.stop().await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!((writer.statistics.rows(), writer.statistics.known_rows()), (1, COUNT as u64 - 1));
    writer.stop().await;
    assert!(administration(&database).await.conversion().await.unwrap().is_none());
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn what_is_in_the_way_is_named_with_what_can_be_done_and_nothing_is_changed() {
    let (database, pool) = pod(DELIVERIES).await;
    run(&pool, "create unique index events_once on events (subject_id)").await;
    let before = indexes(&pool).await;
    let mut administration = administration(&database).await;
    let plan = administration.conversion().await.unwrap().unwrap();
    assert!(!plan.is_possible());
    let shown = plan.to_string();
    for part in [
        "6000 rows",
        "dropped: events_pkey (id); then (id, timestamp), a new primary key",
        "added: (type, timestamp)",
        "events_by_user (user_id, type)",
        "in the way: webhook_deliveries refers to it by `id` alone",
        "`alter table webhook_deliveries drop constraint webhook_deliveries_event_id_fkey;`",
        "in the way: the unique index events_once (subject_id)",
    ] {
        assert!(shown.replace("rows      6000", "6000 rows").contains(part), "{part} in\n{shown}");
    }
    assert!(matches!(administration.convert().await, Err(ConvertError::Obstacles)));
    assert_eq!((indexes(&pool).await, is_hypertable(&pool).await), (before, false));

    run(
        &pool,
        "alter table webhook_deliveries drop constraint webhook_deliveries_event_id_fkey; drop index events_once",
    )
    .await;
    assert_eq!(administration.convert().await.unwrap(), 6_000);
    assert!(is_hypertable(&pool).await);
    drop(administration);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_unique_id_beside_the_new_key_goes_and_the_key_stays() {
    let (database, pool) = pod("alter table events drop constraint events_pkey, add primary key (id, timestamp);
        create unique index events_id on events (id)")
    .await;
    let mut administration = administration(&database).await;
    let shown = administration.conversion().await.unwrap().unwrap().to_string();
    assert!(shown.contains("dropped: events_id (id); then (id, timestamp), which is there"), "{shown}");
    assert_eq!(administration.convert().await.unwrap(), 6_000);
    let indexes = indexes(&pool).await;
    assert!(indexes.contains(&"(id, \"timestamp\")".into()) && !indexes.contains(&"(id)".into()), "{indexes:?}");
    drop(administration);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_the_table_as_it_was() {
    // TimescaleDB makes no hypertable of a table with children, which shows when the key is changed already.
    let (database, pool) = pod("create table child () inherits (events)").await;
    let before = indexes(&pool).await;
    let failed = administration(&database).await.convert().await;
    assert!(matches!(failed, Err(ConvertError::Server(_))), "{failed:?}");
    assert_eq!((indexes(&pool).await, count(&pool).await), (before, 6_000));
    pool.close().await;
    database.drop().await;
}

/// Runs `synap-mqtt migrate` on a database.
fn migrate(database: &TestDatabase, arguments: &[&str]) -> Output {
    let server = std::env::var("SYNAP_TEST_DATABASE_URL").unwrap();
    let url = format!("{}/{}", server.rsplit_once('/').unwrap().0, database.name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_synap-mqtt"));
    command.arg("migrate").args(arguments).env("DATABASE_URL", url).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn the_command_shows_the_plan_asks_and_converts() {
    let log = Log::start();
    let (database, pool) = pod("").await;
    let plan = migrate(&database, &["--plan"]);
    assert!(plan.status.success() && said(&plan).contains("migrations to apply: 1 bookkeeping, 2 events"), "{plan:?}");
    let migrated = migrate(&database, &[]);
    assert!(migrated.status.success() && said(&migrated).contains("plain table `events`"), "{migrated:?}");
    let again = migrate(&database, &["--convert-events", "--plan"]);
    assert!(again.status.success() && said(&again).contains("migrations: all are applied"), "{again:?}");
    assert!(said(&again).contains("`events` becomes a hypertable on `timestamp`"), "{again:?}");
    let unasked = migrate(&database, &["--convert-events"]);
    assert!(!unasked.status.success() && said(&unasked).contains("give --yes"), "{unasked:?}");
    assert!(!is_hypertable(&pool).await);
    let converted = migrate(&database, &["--convert-events", "--yes"]);
    assert!(converted.status.success() && said(&converted).ends_with("converted, 6000 rows\n"), "{converted:?}");
    assert!(is_hypertable(&pool).await);
    let nothing = migrate(&database, &["--convert-events", "--yes"]);
    assert!(nothing.status.success() && said(&nothing).contains("nothing to convert"), "{nothing:?}");
    log.assert_said(&[]);
    pool.close().await;
    database.drop().await;
}
