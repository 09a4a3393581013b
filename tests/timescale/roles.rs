//! What the bridge's role must be allowed to do, and what it need not be.

use sqlx::{AssertSqlSafe, PgPool};

use super::{
    import_support::{RunningImporter, imported_numbers, insert, until_imported},
    support::{Log, TestDatabase, TestJournal, eventually, fresh_name, stored_numbers},
};

/// Statements that the documentation gives, for a role and a database of the test: the block
/// that begins with `first`.
pub fn documented(first: &str, role: &str, database: &TestDatabase) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/database.md")).unwrap();
    let block = text.split("\n\n").find(|block| block.trim_start().starts_with(first)).expect("it is documented");
    block.replace("bridge;", &format!("{role};")).replace("database pod", &format!("database {}", database.name))
}

pub async fn run(pool: &PgPool, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(pool).await.unwrap();
}

pub async fn make_role(database: &TestDatabase) -> String {
    let role = fresh_name("role");
    database.on_server(format!("create role {role} login")).await;
    role
}

pub async fn drop_all(database: TestDatabase, pool: PgPool, role: &str) {
    // A session that has been closed is still taking its temporary tables away, which are the role's.
    let sessions = "select count(*) from pg_stat_activity where usename = $1";
    let is_alone = async || {
        let left: i64 = sqlx::query_scalar(sessions).bind(role).fetch_one(&pool).await.unwrap();
        left == 0
    };
    eventually("the end of the role's sessions", is_alone).await;
    run(&pool, format!("reassign owned by {role} to current_user; drop owned by {role}; drop role {role}")).await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn the_documented_grants_suffice_once_the_owner_has_started() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    let role = make_role(&database).await;
    let owner = journal.write_to(&database);
    owner.catch_up().await;
    owner.stop().await;
    // A hypertable that is none of the bridge's business.
    run(
        &pool,
        "create schema hidden; create table hidden.other (time timestamptz not null);
        select create_hypertable('hidden.other', 'time')",
    )
    .await;
    run(&pool, documented("grant connect", &role, &database)).await;
    run(&pool, "alter table events add constraint no_poison check (not data ? 'poison')").await;

    let log = Log::start();
    for (start, end) in [(0, 300), (300, 600)] {
        let writer = journal.write_with(database.settings_as(&role));
        journal.publish_range(start..end).await;
        // With care: a temporary table, a dead letter.
        journal.publish("devices/pump-7/telemetry", &[b"{\"poison\":1}"]).await;
        writer.catch_up().await;
        assert_eq!(writer.statistics.dead_letters(), 1);
        writer.stop().await;
    }
    assert_eq!(stored_numbers(&pool).await, (0..600).collect::<Vec<_>>());
    let store = synap_mqtt::timescale::EventStore::new(&database.settings_as(&role));
    assert_eq!(store.events(&super::query::any(10)).await.unwrap().events.len(), 10);
    drop(store);
    log.assert_said(&["the table refused an event", "the table refused an event"]);
    for refused in ["create schema own", "create table own (a int)", "delete from events"] {
        let as_role = PgPool::connect_lazy_with(database.settings_as(&role).database);
        let error = sqlx::query(refused).execute(&as_role).await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{refused}: {error}");
    }
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn a_role_that_may_not_prepare_the_tables_says_so_once_and_waits_for_the_owner() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    let role = make_role(&database).await;
    let log = Log::start();
    journal.publish_numbers(300).await;
    let writer = journal.write_with(database.settings_as(&role));
    eventually("the failure is told", async || writer.statistics.last_error().is_some()).await;
    let owner = TestJournal::open();
    let migrating = owner.write_to(&database);
    migrating.catch_up().await;
    migrating.stop().await;
    run(&pool, documented("grant connect", &role, &database)).await;
    writer.catch_up().await;
    assert_eq!(stored_numbers(&pool).await, (0..300).collect::<Vec<_>>());
    writer.stop().await;
    let lines = log.lines();
    // Between the owner's start and the grants, the reason is another. The last line is about the
    // owner's journal.
    let told = |line: &String| line.contains("cannot prepare the tables") && line.contains("permission denied");
    let refusals = lines.iter().filter(|line| told(line)).count();
    assert!((1..=2).contains(&refusals) && lines.len() == refusals + 1, "{lines:?}");
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn a_role_that_may_not_create_the_extension_gets_a_plain_table() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    let role = make_role(&database).await;
    run(&pool, documented("create schema", &role, &database)).await;
    let log = Log::start();
    journal.publish_numbers(60_000).await;
    let writer = journal.write_with(database.settings_as(&role));
    writer.catch_up_in_spite_of_cuts(&pool).await;
    writer.stop().await;
    assert_eq!(stored_numbers(&pool).await, (0..60_000).collect::<Vec<_>>());
    super::plain::assert_is_plain(&pool).await;
    assert!(log.lines()[0].contains("events go to a plain table"), "{:?}", log.lines());
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn the_documented_grants_suffice_to_import_once_the_owner_has_started() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    let (role, backend) = (make_role(&database).await, make_role(&database).await);
    RunningImporter::start(&journal, &database).await.stop().await;
    run(&pool, documented("grant connect", &role, &database)).await;
    // Another writer has no right on the schema `mqtt`.
    run(&pool, format!("grant insert on events to {backend}")).await;
    let as_backend = PgPool::connect_lazy_with(database.settings_as(&backend).database);
    insert(&as_backend, 0..300).await;
    let importer = RunningImporter::launch(&journal, &database.settings_as(&role));
    until_imported(&journal.journal, 300).await;
    insert(&as_backend, 300..310).await;
    until_imported(&journal.journal, 310).await;
    assert_eq!(imported_numbers(&journal.journal), (0..310).collect::<Vec<_>>());
    importer.stop().await;
    as_backend.close().await;
    run(&pool, format!("drop owned by {backend}; drop role {backend}")).await;
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn a_role_that_may_not_make_the_trigger_says_what_the_owner_can_do() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    let role = make_role(&database).await;
    let owner = journal.write_to(&database);
    owner.catch_up().await;
    owner.stop().await;
    run(&pool, documented("grant connect", &role, &database)).await;
    let log = Log::start();
    let importer = RunningImporter::launch(&journal, &database.settings_as(&role));
    eventually("the failure is told", async || importer.statistics.last_error().is_some()).await;
    let error = importer.statistics.last_error().unwrap();
    assert!(error.contains("select mqtt.watch_events()") && error.contains("events"), "{error}");
    run(&pool, "select mqtt.watch_events()").await;
    importer.works().await;
    insert(&pool, 0..3).await;
    until_imported(&journal.journal, 3).await;
    log.assert_said(&["no events of other writers in the stream"]);
    importer.stop().await;
    drop_all(database, pool, &role).await;
}
