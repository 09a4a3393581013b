//! A message that its device sends again within the window is one row.

use std::time::Duration;

use sqlx::PgPool;
use synap_mqtt::mapping::{Dedupe, DedupeBy, Route};

use super::support::{TestDatabase, TestJournal, stored_numbers, telemetry_route};

fn journal(window: Duration) -> TestJournal {
    let dedupe = Dedupe { by: DedupeBy::Pointer("/n".into()), window };
    TestJournal::open().with_routes(vec![Route { dedupe: Some(dedupe), ..telemetry_route() }])
}

async fn keys(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from mqtt.message_keys").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn repeats_are_left_out_within_a_batch_between_batches_and_after_a_restart() {
    let (database, journal) = (TestDatabase::create().await, journal(Duration::from_secs(3_600)));
    journal.publish("devices/pump-7/telemetry", &[b"{\"n\":1}", b"{\"n\":1}", b"{\"n\":2}", b"{}", b"{}"]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    journal.publish("devices/pump-7/telemetry", &[b"{\"n\":2}", b"{\"n\":3}"]).await;
    writer.catch_up().await;
    assert_eq!(writer.statistics.repeats(), 2);
    writer.stop().await;
    let writer = journal.write_to(&database);
    // Another topic has names of its own.
    journal.publish("devices/pump-7/telemetry", &[b"{\"n\":1}", b"{\"n\":4}"]).await;
    journal.publish("devices/pump-8/telemetry", &[b"{\"n\":4}"]).await;
    writer.catch_up().await;
    let pool = database.pool();
    assert_eq!(stored_numbers(&pool).await, [1, 2, 3, 4, 4]);
    assert_eq!((writer.statistics.repeats(), keys(&pool).await), (1, 5));
    writer.stop().await;

    // From the beginning once more: each decision is as before.
    sqlx::raw_sql("delete from mqtt.writer_cursor").execute(&pool).await.unwrap();
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!(stored_numbers(&pool).await, [1, 2, 3, 4, 4]);
    assert_eq!((writer.statistics.repeats(), writer.statistics.rows()), (3, 0));
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_name_is_free_again_when_its_window_is_over() {
    let (database, journal) = (TestDatabase::create().await, journal(Duration::from_micros(1)));
    let writer = journal.write_to(&database);
    for _ in 0..3 {
        // Batches differ in time by a microsecond at least, which the journal sees to by their order.
        journal.publish("devices/pump-7/telemetry", &[b"{\"n\":1}"]).await;
        writer.catch_up().await;
    }
    let pool = database.pool();
    assert_eq!((stored_numbers(&pool).await, keys(&pool).await), (vec![1, 1, 1], 1));
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn cut_off_writers_leave_out_the_same_repeats() {
    let (database, journal) = (TestDatabase::create().await, journal(Duration::from_secs(3_600)));
    journal.publish_numbers(15_000).await;
    journal.publish_range(5_000..20_000).await;
    let writer = journal.write_to(&database);
    let pool = database.pool();
    writer.catch_up_in_spite_of_cuts(&pool).await;
    let mut stored = stored_numbers(&pool).await;
    stored.sort_unstable();
    assert_eq!(stored, (0..20_000).collect::<Vec<_>>());
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}
