//! A pod with the older `events_timescale`, and tables that the configuration names.

use serde_json::Value;
use sqlx::PgPool;
use synap_mqtt::{
    timescale::EventStore,
    types::{EventMapper, EventQuery, Sequence},
};

use super::support::{Log, TestDatabase, TestJournal, eventually, stored_numbers};

/// The older pod's table: a hypertable without a key, particular about what it takes.
pub const OLDER: &str = "create extension if not exists timescaledb;
    create table events_timescale (id uuid default gen_random_uuid(), timestamp timestamptz not null default now(),
        aggregate_id uuid not null, event_type text not null, user_id text not null, data jsonb not null,
        aggregate_type text not null check (aggregate_type in ('entity', 'relation', 'user', 'system')),
        metadata jsonb, version integer not null, causation_id uuid, correlation_id uuid,
        source text not null default 'api' check (source in ('api', 'automation', 'sync', 'migration', 'system')));
    select create_hypertable('events_timescale', 'timestamp', chunk_time_interval => interval '1 day');
    create index on events_timescale (aggregate_id, timestamp desc, version desc)";

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

async fn exists(pool: &PgPool, table: &str) -> bool {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(pool).await.unwrap()
}

async fn older_numbers(pool: &PgPool) -> Vec<i32> {
    let sql =
        "select (data->>'n')::int from events_timescale where data ? 'n' order by (metadata->>'sequence')::bigint";
    sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
}

/// What streams show of everything in the journal, newest first.
async fn streamed(journal: &TestJournal) -> Vec<Value> {
    let mut reader = journal.journal.reader(Sequence::ZERO, synap_mqtt::journal::Watermark::Durable);
    let (mapper, mut events) = (journal.mapper(), Vec::new());
    while reader.position() < journal.journal.watermark(synap_mqtt::journal::Watermark::Durable) {
        for record in reader.next().await.unwrap().records() {
            if let synap_mqtt::journal::Record::Publication { publication, .. } = record {
                let mut json = Vec::new();
                mapper.map(&publication).write_json(&mut json);
                events.insert(0, serde_json::from_slice(&json).unwrap());
            }
        }
    }
    events
}

#[tokio::test]
async fn an_older_pod_s_table_takes_every_event_once_and_answers_as_streams_do() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    let pool = database.pool();
    run(&pool, OLDER).await;
    journal.publish("home/light", &[b"on"]).await;
    journal.publish("devices/pump-7/log/x", &[b"{\"level\":\"info\"}"]).await;
    let expected = streamed(&journal).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!((writer.statistics.rows(), writer.statistics.dead_letters()), (2, 0));

    let rows: Vec<(String, i32, String)> = sqlx::query_as(
        "select aggregate_type, version, event_type from events_timescale order by (metadata->>'sequence')::bigint",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let row = |event_type: &str| ("entity".to_owned(), 1, event_type.to_owned());
    assert_eq!(rows, [row("mqtt.message.received"), row("devices.message.received")]);
    assert!(!exists(&pool, "events").await, "no second table is made");

    let store = EventStore::new(&database.settings());
    let shown = |page: synap_mqtt::types::EventPage| -> Vec<Value> {
        page.events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    };
    assert_eq!(shown(store.events(&super::query::any(10)).await.unwrap()), expected);
    let of_device = EventQuery { device: Some("pump-7".into()), ..super::query::any(10) };
    assert_eq!(shown(store.events(&of_device).await.unwrap()), expected[..1]);
    let by_type = EventQuery { event_type: Some("mqtt.message.received".into()), ..super::query::any(10) };
    assert_eq!(shown(store.events(&by_type).await.unwrap()), expected[1..]);

    let id = expected[0]["id"].as_str().unwrap().parse().unwrap();
    let event = store.event(id).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&event).unwrap(), expected[0]);
    let of_subject = |subject: &str| EventQuery { subject: Some(subject.into()), ..super::query::any(10) };
    let subject = of_subject(expected[0]["subjectId"].as_str().unwrap());
    assert_eq!(shown(store.events(&subject).await.unwrap()), expected[..1]);
    assert_eq!(store.events(&of_subject("no uuid")).await.unwrap().events.len(), 0);

    writer.stop().await;
    journal.publish_numbers(40_000).await;
    let writer = journal.write_to(&database);
    writer.catch_up_in_spite_of_cuts(&pool).await;
    writer.stop().await;
    assert_eq!(older_numbers(&pool).await, (0..40_000).collect::<Vec<_>>());
    // The cursor is lost: there is no key, and still nothing is there twice.
    run(&pool, "delete from mqtt.writer_cursor; delete from events_timescale where data->>'n' = '250'").await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!((writer.statistics.rows(), writer.statistics.known_rows()), (1, 40_001));
    writer.stop().await;
    assert_eq!(older_numbers(&pool).await, (0..40_000).collect::<Vec<_>>());
    assert!(log.lines()[0].contains("`events_timescale` has no unique key"), "{:?}", log.lines());
    drop(store);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn the_configuration_says_which_of_two_tables_it_is() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    run(&pool, OLDER).await;
    run(&pool, "create schema pod; alter table events_timescale set schema pod").await;
    let mut settings = database.settings();
    settings.table = Some("pod.events_timescale".into());
    journal.publish_range(0..100).await;
    let writer = journal.write_with(settings.clone());
    writer.catch_up().await;
    writer.stop().await;
    assert!(!exists(&pool, "events").await);
    assert_eq!(EventStore::new(&settings).events(&super::query::any(1000)).await.unwrap().events.len(), 100);

    // Another time `events` is wanted, and made then; what follows goes there.
    journal.publish_range(100..150).await;
    settings.table = Some("events".into());
    let writer = journal.write_with(settings);
    writer.catch_up().await;
    writer.stop().await;
    assert_eq!(stored_numbers(&pool).await, (100..150).collect::<Vec<_>>());
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_table_that_is_not_there_or_wants_more_is_named_in_one_line_and_waited_for() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    let pool = database.pool();
    let mut settings = database.settings();
    settings.table = Some("log_of_events".into());
    journal.publish_numbers(10).await;
    let writer = journal.write_with(settings);
    let told = async |part: &str| {
        eventually(part, async || writer.statistics.last_error().is_some_and(|error| error.contains(part))).await;
    };
    told("the table log_of_events, which `timescale.table` names, does not exist").await;
    run(
        &pool,
        "create table log_of_events (id uuid primary key, timestamp timestamptz, type text, subject_id text,
            subject_type text, data jsonb, metadata jsonb, source text, correlation_id uuid, user_id text,
            tenant text not null, made timestamptz not null default now())",
    )
    .await;
    told("the table log_of_events needs a value in columns that events have none for, and gives no default: tenant")
        .await;
    run(&pool, "alter table log_of_events alter tenant set default 'me'").await;
    writer.catch_up().await;
    assert_eq!((writer.statistics.rows(), writer.statistics.dead_letters()), (10, 0));
    writer.stop().await;
    log.assert_said(&["does not exist", "gives no default: tenant", "events go to a plain table"]);
    pool.close().await;
    database.drop().await;
}
