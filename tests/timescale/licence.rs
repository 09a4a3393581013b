//! What the database's TimescaleDB may do.

use synap_mqtt::timescale::{Licence, TimescaleDb};

use super::support::TestDatabase;

#[tokio::test]
async fn the_licence_is_what_the_server_says_also_in_a_schema_of_its_own() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(TimescaleDb::detect(&mut connection).await.unwrap(), None);
    drop(connection);
    sqlx::raw_sql("create schema \"Time\"; create extension timescaledb schema \"Time\"").execute(&pool).await.unwrap();
    // Debian's build is the Apache-licensed one.
    let mut connection = database.pool().acquire().await.unwrap();
    let expected = TimescaleDb { licence: Licence::Apache, schema: "\"Time\"".into() };
    assert_eq!(TimescaleDb::detect(&mut connection).await.unwrap(), Some(expected));
    drop(connection);
    pool.close().await;
    database.drop().await;
}
