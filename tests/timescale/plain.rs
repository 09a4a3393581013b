//! PostgreSQL without TimescaleDB.

use sqlx::PgPool;

use super::{
    server::TestServer,
    support::{Log, TestDatabase, TestJournal, stored_numbers},
};

/// Asserts that `events` is a plain table with the key and indexes of the hypertable.
pub async fn assert_is_plain(pool: &PgPool) {
    let extensions: i64 = sqlx::query_scalar("select count(*) from pg_extension where extname = 'timescaledb'")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(extensions, 0);
    let (kind, triggers): (String, i64) = sqlx::query_as(
        "select relkind::text, (select count(*) from pg_trigger where tgrelid = c.oid) from pg_class c
         where oid = 'events'::regclass",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((kind.as_str(), triggers), ("r", 0));
    let indexes: Vec<String> = sqlx::query_scalar(
        "select split_part(indexdef, 'btree ', 2) from pg_indexes where tablename = 'events' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let expected = [
        "(\"timestamp\")",
        "(id, \"timestamp\")",
        "(subject_type, subject_id, \"timestamp\")",
        "(type, \"timestamp\")",
    ];
    assert_eq!(indexes, expected);
}

#[tokio::test]
async fn a_server_without_timescaledb_gets_a_plain_table_and_each_event_once() {
    let server = TestServer::start("", |_| {}).await;
    let database = TestDatabase::create_on(server.options()).await;
    let (journal, log) = (TestJournal::open(), Log::start());
    journal.publish_numbers(60_000).await;
    let pool = database.pool();
    let writer = journal.write_to(&database);
    writer.catch_up_in_spite_of_cuts(&pool).await;
    writer.stop().await;
    assert_eq!(stored_numbers(&pool).await, (0..60_000).collect::<Vec<_>>());
    assert_is_plain(&pool).await;
    assert!(log.lines()[0].contains("events go to a plain table"), "{:?}", log.lines());

    let store = synap_mqtt::timescale::EventStore::new(&database.settings());
    assert_eq!(store.events(&super::query::any(10)).await.unwrap().events.len(), 10);
    // Everything is applied: a second start finds it so.
    let writer = journal.write_to(&database);
    journal.publish_range(60_000..60_010).await;
    writer.catch_up().await;
    writer.stop().await;
    assert_eq!(stored_numbers(&pool).await, (0..60_010).collect::<Vec<_>>());
    pool.close().await;
}
