//! Every durable publication is a row, once, whatever happens to the connection.

use serde_json::Value;
use synap_mqtt::types::{EventMapper, Sequence};

use super::support::{TestDatabase, TestJournal, eventually, stored_numbers};

#[tokio::test]
async fn every_publication_becomes_a_row_of_a_hypertable() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    journal.publish_numbers(12_345).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    let first = journal.publish("home/light", &[b"on", b"\xff\x00", b"[1]"]).await;
    writer.stop().await;

    let pool = database.pool();
    let hypertables: i64 =
        sqlx::query_scalar("select count(*) from timescaledb_information.hypertables where hypertable_name = 'events'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(hypertables, 1);
    assert_eq!(stored_numbers(&pool).await[..12_345], (0..12_345).collect::<Vec<i32>>());
    let last: Vec<(String, String, String, String)> = sqlx::query_as(
        "select data::text, type, subject_type, user_id from events where (metadata->>'sequence')::bigint >= $1
         order by id",
    )
    .bind(first.0.cast_signed())
    .fetch_all(&pool)
    .await
    .unwrap();
    let row = |data: &str| (data.into(), "mqtt.message.received".into(), "topic".into(), "owner".into());
    assert_eq!(last, [row("{\"text\": \"on\"}"), row("{\"size\": 2, \"base64\": \"/wA=\"}"), row("{\"value\": [1]}")]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_row_holds_the_event_that_streams_see() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    journal.publish("devices/pump-7/telemetry", &[b"{\"temperature\": 21.5, \"note\": \"\\u00e9\\n\"}"]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;

    let store = synap_mqtt::timescale::EventStore::new(&database.settings());
    let page = store.events(&super::query::any(10)).await.unwrap();
    let mut reader = journal.journal.reader(Sequence::ZERO, synap_mqtt::journal::Watermark::Durable);
    let slice = reader.next().await.unwrap();
    let mapper = journal.mapper();
    let mut streamed = Vec::new();
    if let Some(synap_mqtt::journal::Record::Publication { publication, .. }) = slice.records().next() {
        mapper.map(&publication).write_json(&mut streamed);
    }
    let streamed: Value = serde_json::from_slice(&streamed).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&page.events[0]).unwrap(), streamed);
    drop(store);
    database.drop().await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_the_connection_is_cut_at_any_time() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    journal.publish_numbers(60_000).await;
    let pool = database.pool();
    let writer = journal.write_to(&database);
    writer.catch_up_in_spite_of_cuts(&pool).await;
    assert_eq!(stored_numbers(&pool).await, (0..60_000).collect::<Vec<_>>());
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn two_writers_of_one_journal_write_each_row_once() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let (one, other) = (journal.write_to(&database), journal.write_to(&database));
    journal.publish_numbers(20_000).await;
    let pool = database.pool();
    eventually("both find everything written", async || one.caught_up() && other.caught_up()).await;
    assert_eq!(stored_numbers(&pool).await, (0..20_000).collect::<Vec<_>>());
    assert_eq!(one.statistics.known_rows() + other.statistics.known_rows(), 0);
    one.stop().await;
    other.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_refused_row_is_set_aside_with_its_reason_and_blocks_nothing() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let writer = journal.write_to(&database);
    eventually("the tables are there", async || writer.statistics.connected()).await;
    let pool = database.pool();
    sqlx::raw_sql("alter table events add constraint no_poison check (not data ? 'poison')")
        .execute(&pool)
        .await
        .unwrap();
    let payloads: Vec<Vec<u8>> = (0..1_000)
        .map(|n| if n % 333 == 7 { format!("{{\"poison\":{n}}}") } else { format!("{{\"n\":{n}}}") }.into_bytes())
        .collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let first = journal.publish("devices/pump-7/telemetry", &payloads).await;
    writer.catch_up().await;

    assert_eq!(stored_numbers(&pool).await, (0..1_000).filter(|n| n % 333 != 7).collect::<Vec<_>>());
    let letters: Vec<(i64, Vec<u8>, String, String, String)> = sqlx::query_as(
        "select sequence, payload, topic, reason, event::jsonb->'data'->>'poison' from mqtt.dead_letters order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let found: Vec<_> = letters.iter().map(|(sequence, payload, ..)| (*sequence, payload.as_slice())).collect();
    let expected = [7, 340, 673].map(|n| (first.0.cast_signed() + n, payloads[n as usize]));
    assert_eq!(found, expected);
    assert!(
        letters
            .iter()
            .all(|(_, _, topic, reason, _)| topic == "devices/pump-7/telemetry" && reason.contains("no_poison"))
    );
    assert_eq!(letters[0].4, "7");
    assert_eq!(writer.statistics.dead_letters(), 3);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn what_jsonb_refuses_is_stored_all_the_same() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let payloads: [&[u8]; 9] = [
        b"{\"a\":\"\\u0000\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":1e999999}",
        b"{\"a\":1e-999999}",
        b"a\0b",
        b"\xed\xa0\x80",
        b"",
        deep.as_bytes(),
        b"{\"a\":9e999}",
    ];
    journal.publish("devices/pump-7/telemetry", &payloads).await;
    journal.publish("devices/\u{1}\"\\\u{ffff}/telemetry", &[b"{}"]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!((writer.statistics.rows(), writer.statistics.dead_letters()), (10, 0));
    writer.stop().await;
    database.drop().await;
}

#[tokio::test]
async fn a_database_that_comes_late_gets_everything_in_order() {
    let (database, journal) = (TestDatabase::name(), TestJournal::open());
    let writer = journal.write_to(&database);
    eventually("the failure is told", async || writer.statistics.last_error().is_some()).await;
    journal.publish_numbers(500).await;
    assert!(!writer.statistics.connected());
    let held = journal.journal.cursors().into_iter().find(|(name, _)| *name == "timescale");
    assert_eq!(held, Some(("timescale", Sequence::ZERO)), "retention is held until the database is asked");
    database.create_now().await;
    writer.catch_up().await;
    let pool = database.pool();
    assert_eq!(stored_numbers(&pool).await, (0..500).collect::<Vec<_>>());
    assert_eq!(writer.statistics.last_error(), None);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_missing_table_is_waited_for() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let writer = journal.write_to(&database);
    eventually("the tables are there", async || writer.statistics.connected()).await;
    let pool = database.pool();
    sqlx::raw_sql("alter table events rename to away").execute(&pool).await.unwrap();
    journal.publish_numbers(10).await;
    eventually("the failure is told", async || writer.statistics.last_error().is_some()).await;
    sqlx::raw_sql("alter table away rename to events").execute(&pool).await.unwrap();
    writer.catch_up().await;
    assert_eq!(stored_numbers(&pool).await, (0..10).collect::<Vec<_>>());
    assert_eq!(writer.statistics.dead_letters(), 0);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_pod_s_own_plain_table_is_used_as_it_is() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    sqlx::raw_sql(
        "create table events (id uuid primary key default gen_random_uuid(), timestamp timestamptz not null
         default now(), type text not null, subject_id text not null, subject_type text not null, data jsonb not null,
         metadata jsonb, source text default 'api', correlation_id uuid, user_id text not null, extra int default 5)",
    )
    .execute(&pool)
    .await
    .unwrap();
    journal.publish_numbers(300).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!(stored_numbers(&pool).await, (0..300).collect::<Vec<_>>());
    let extra: i64 = sqlx::query_scalar("select sum(extra) from events").fetch_one(&pool).await.unwrap();
    assert_eq!(extra, 1_500);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}
