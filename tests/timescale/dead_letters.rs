//! What a route refuses is kept with its reason, and stored once when it is refused no more.

use sqlx::PgPool;
use synap_mqtt::{
    mapping::{Decoder, Route},
    timescale::{EventStore, Replayed, replay_dead_letters},
    types::{DeadLetterQuery, Kept, Micros, PresenceChange, TopicFilter},
};

use super::support::{TestDatabase, TestJournal, eventually, stored_numbers, telemetry_route};

const SCHEMA: &str = r#"{"type":"object","properties":{"n":{"maximum":9}}}"#;

fn route(schema: Option<&str>) -> Route {
    let schema = schema.map(str::to_owned);
    Route { decoder: Decoder::Json, strict: true, schema, kept: Kept::Both, ..telemetry_route() }
}

async fn replay(database: &TestDatabase, journal: &TestJournal, filter: &str) -> Replayed {
    let filter: TopicFilter = filter.parse().unwrap();
    replay_dead_letters(&database.settings(), &filter, |_| journal.mapper()).await.unwrap()
}

async fn letters(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from mqtt.dead_letters").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn what_a_route_refuses_waits_and_is_stored_once_after_a_fix() {
    let (database, journal) =
        (TestDatabase::create().await, TestJournal::open().with_routes(vec![route(Some(SCHEMA))]));
    journal.publish_numbers(12).await;
    let last = journal.publish("devices/pump-7/telemetry", &[b"not JSON"]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    let pool = database.pool();
    assert_eq!(stored_numbers(&pool).await, (0..10).collect::<Vec<_>>());
    assert_eq!((writer.statistics.rows(), writer.statistics.dead_letters()), (10, 3));

    // By pages, the last first.
    let (store, mut query) = (EventStore::new(&database.settings()), DeadLetterQuery { limit: 2, cursor: None });
    let first = store.dead_letters(&query).await.unwrap();
    assert_eq!((first.dead_letters[0].sequence, &*first.dead_letters[0].payload), (last.0, "bm90IEpTT04="));
    assert!(first.dead_letters[0].reason.contains("not JSON"), "{first:?}");
    query.cursor = first.next_cursor;
    let second = store.dead_letters(&query).await.unwrap();
    assert_eq!((second.dead_letters.len(), &second.next_cursor), (1, &None));
    assert!(second.dead_letters[0].reason.starts_with("schema: /n: "), "{second:?}");

    // Nothing was mended, or the topic is another: they stay.
    assert_eq!(replay(&database, &journal, "other/#").await, Replayed::default());
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 0, refused: 3 });
    assert_eq!(letters(&pool).await, 3);

    let journal = journal.with_routes(vec![route(None)]);
    assert_eq!(replay(&database, &journal, "devices/+/telemetry").await, Replayed { stored: 2, refused: 1 });
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 0, refused: 1 });
    assert_eq!(stored_numbers(&pool).await, (0..12).collect::<Vec<_>>());
    let measured: i64 = sqlx::query_scalar("select count(*) from mqtt.measurements").fetch_one(&pool).await.unwrap();
    assert_eq!((measured, letters(&pool).await), (12, 1));
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_letter_whose_event_the_table_has_is_only_removed() {
    let (database, journal) =
        (TestDatabase::create().await, TestJournal::open().with_routes(vec![route(Some(SCHEMA))]));
    journal.publish_numbers(12).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;
    // The routes are mended, and the database forgets how far it was.
    let (pool, journal) = (database.pool(), journal.with_routes(vec![route(None)]));
    sqlx::raw_sql("delete from mqtt.writer_cursor").execute(&pool).await.unwrap();
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 2, refused: 0 });
    assert_eq!(stored_numbers(&pool).await, (0..12).collect::<Vec<_>>());
    assert_eq!(letters(&pool).await, 0);
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_letter_that_the_table_refused_is_replayed_once_the_table_takes_it() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let writer = journal.write_to(&database);
    eventually("the tables are there", async || writer.statistics.connected()).await;
    let pool = database.pool();
    sqlx::raw_sql("alter table events add constraint small check ((data->>'n')::int < 3)")
        .execute(&pool)
        .await
        .unwrap();
    journal.publish_numbers(5).await;
    writer.catch_up().await;
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 0, refused: 2 });
    sqlx::raw_sql("alter table events drop constraint small").execute(&pool).await.unwrap();
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 2, refused: 0 });
    assert_eq!(stored_numbers(&pool).await, (0..5).collect::<Vec<_>>());
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn that_a_device_has_come_or_gone_waits_too_and_is_stored_once_the_table_takes_it() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let writer = journal.write_to(&database);
    eventually("the tables are there", async || writer.statistics.connected()).await;
    let pool = database.pool();
    sqlx::raw_sql("alter table events add constraint quiet check (type not like 'devices.connection.%')")
        .execute(&pool)
        .await
        .unwrap();
    let opened = journal.announce(PresenceChange::Opened).await;
    journal.publish_numbers(5).await;
    let closed = PresenceChange::Closed { opened, since: Micros::saturating(7), reason: "keep-alive-timeout" };
    let last = journal.announce(closed).await;
    writer.catch_up().await;
    writer.stop().await;
    assert_eq!((stored_numbers(&pool).await, letters(&pool).await), ((0..5).collect(), 2));
    let page = EventStore::new(&database.settings());
    let page = page.dead_letters(&DeadLetterQuery { limit: 9, cursor: None }).await.unwrap();
    let [letter, _] = page.dead_letters.try_into().unwrap();
    assert_eq!((letter.sequence, &*letter.topic, &*letter.payload), (last.0, "", ""));
    assert_eq!((letter.device.as_deref(), &*letter.client_id), (Some("pump-7"), "sensor-pump-7"));
    assert!(letter.reason.contains("quiet"), "{letter:?}");
    let ids = "select event::jsonb->>'id' from mqtt.dead_letters order by 1";
    let refused: Vec<String> = sqlx::query_scalar(ids).fetch_all(&pool).await.unwrap();

    assert_eq!(replay(&database, &journal, "devices/#").await, Replayed::default());
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 0, refused: 2 });
    sqlx::raw_sql("alter table events drop constraint quiet").execute(&pool).await.unwrap();
    assert_eq!(replay(&database, &journal, "#").await, Replayed { stored: 2, refused: 0 });
    assert_eq!(letters(&pool).await, 0);
    let ids = "select id::text from events where type like 'devices.connection.%' order by 1";
    let stored: Vec<String> = sqlx::query_scalar(ids).fetch_all(&pool).await.unwrap();
    assert_eq!(stored, refused);
    let told: Vec<(String, Option<String>, String)> = sqlx::query_as(
        "select type, data->>'reason', data->>'keepAlive' from events where subject_type = 'device' and data ? 'device' order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let told: Vec<_> = told.iter().map(|(kind, reason, details)| (&**kind, reason.as_deref(), &**details)).collect();
    let expected =
        [("devices.connection.closed", Some("keep-alive-timeout"), "60"), ("devices.connection.opened", None, "60")];
    assert_eq!(told, expected);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn where_rows_are_stored_one_by_one_letters_keep_their_reasons_and_columns_their_defaults() {
    let (database, journal) =
        (TestDatabase::create().await, TestJournal::open().with_routes(vec![route(Some(SCHEMA))]));
    journal.publish_numbers(12).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;
    let pool = database.pool();
    let forget = "alter table events add column note text not null default 'none';
        delete from mqtt.writer_cursor; delete from mqtt.dead_letters where sequence % 2 = 0; delete from events where data->>'n' = '5'";
    sqlx::raw_sql(forget).execute(&pool).await.unwrap();
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!(stored_numbers(&pool).await, (0..10).collect::<Vec<_>>());
    let reasons: Vec<String> =
        sqlx::query_scalar("select reason from mqtt.dead_letters").fetch_all(&pool).await.unwrap();
    assert!(reasons.len() == 2 && reasons.iter().all(|reason| reason.starts_with("schema: /n: ")), "{reasons:?}");
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}
