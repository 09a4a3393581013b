//! Row-level security: whose rows a session may write and see is decided by `app.user_id`.

use sqlx::PgPool;
use synap_mqtt::timescale::EventStore;

use super::{
    roles::{documented, drop_all, make_role, run},
    support::{Log, TestDatabase, TestJournal, eventually, stored_numbers},
};

/// As the pod protects its tables.
const PROTECT: &str = "alter table events enable row level security;
    create policy own on events using (user_id = current_setting('app.user_id', true))";

/// A row of someone else, newer than any of the tests'.
const FOREIGN: &str = "insert into events (timestamp, type, subject_id, subject_type, data, user_id)
    values (now() + interval '1 hour', 'a.b.c', 'x', 'y', '{}', 'someone else')";

/// Ends the sessions that a role has with the database.
async fn cut(pool: &PgPool, role: &str) -> i64 {
    sqlx::query_scalar(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where usename = $1 and datname = current_database()",
    )
    .bind(role)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// A database with a protected `events`, and a role with the documented grants.
async fn protected(journal: &TestJournal) -> (TestDatabase, PgPool, String) {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let role = make_role(&database).await;
    let owner = journal.write_to(&database);
    eventually("the tables are there", async || owner.statistics.connected()).await;
    owner.stop().await;
    run(&pool, documented("grant connect", &role, &database)).await;
    run(&pool, PROTECT).await;
    run(&pool, FOREIGN).await;
    (database, pool, role)
}

#[tokio::test]
async fn a_role_writes_and_sees_the_owner_s_rows_alone_also_over_new_sessions() {
    let journal = TestJournal::open();
    let (database, pool, role) = protected(&journal).await;
    run(&pool, "alter table events add constraint no_poison check (not data ? 'poison')").await;
    let log = Log::start();
    let settings = database.settings_as(&role);
    let (writer, store) = (journal.write_with(settings.clone()), EventStore::new(&settings));
    for round in 0..4 {
        journal.publish_range(round * 7_000..(round + 1) * 7_000).await;
        writer.catch_up().await;
        let page = store.events(&super::query::any(10)).await.unwrap();
        assert_eq!(page.events.len(), 10);
        assert!(page.events.iter().all(|event| !event.contains("someone else")), "{page:?}");
        // Both the writer's session and the queries'.
        assert!(cut(&pool, &role).await >= 2);
        // Sessions of a pool may be found to be cut by the query itself.
        eventually("queries work again", async || store.events(&super::query::any(1)).await.is_ok()).await;
    }
    journal.publish("devices/pump-7/telemetry", &[b"{\"poison\":1}"]).await;
    writer.catch_up().await;
    assert_eq!(writer.statistics.dead_letters(), 1);
    writer.stop().await;
    assert_eq!(stored_numbers(&pool).await, (0..28_000).collect::<Vec<_>>());
    let refusals = log.lines().iter().filter(|line| line.contains("the table refused an event")).count();
    assert_eq!(refusals, 1, "{:?}", log.lines());
    drop(store);
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn events_of_another_owner_are_refused_in_one_line_and_none_is_set_aside() {
    let journal = TestJournal::open();
    let (database, pool, role) = protected(&journal).await;
    let log = Log::start();
    let mut settings = database.settings_as(&role);
    settings.user_id = "nobody".into();
    journal.publish_range(0..100).await;
    let writer = journal.write_with(settings.clone());
    eventually("it is told", async || writer.statistics.last_error().is_some()).await;
    assert_eq!(EventStore::new(&settings).events(&super::query::any(10)).await.unwrap().events.len(), 0);
    log.assert_said(&["new row violates row-level security policy for table"]);
    // A retry's session is a new one.
    run(&pool, "drop policy own on events; create policy open on events using (true)").await;
    writer.catch_up().await;
    assert_eq!(writer.statistics.dead_letters(), 0);
    writer.stop().await;
    assert_eq!(stored_numbers(&pool).await, (0..100).collect::<Vec<_>>());
    drop_all(database, pool, &role).await;
}
