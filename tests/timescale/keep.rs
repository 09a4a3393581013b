//! Old events go where no policy of TimescaleDB can take them away: the Apache-licensed edition,
//! and plain tables.

use std::time::Duration;

use sqlx::PgPool;
use synap_mqtt::timescale::{Administration, Keep, Keeper, Settings, Shortfall};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    roles::{documented, drop_all, make_role, run},
    support::{Log, TestDatabase, TestJournal, eventually},
};

const DAY: u64 = 24 * 3600;

/// The pod's plain table.
const PLAIN: &str =
    "create table events (id uuid primary key default gen_random_uuid(), timestamp timestamptz not null,
    type text not null, subject_id text not null, subject_type text not null, data jsonb not null, metadata jsonb,
    source text default 'api', correlation_id uuid, user_id text not null)";

/// An event for every ten minutes of forty days, and one that is expected tomorrow.
const FORTY_DAYS: &str = "insert into events (timestamp, type, subject_id, subject_type, data, user_id)
    select now() - n * interval '10 minutes', 'a.b.c', 'x', 'note', '{}', 'owner' from generate_series(-144, 40 * 144) n";

struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
    shortfall: Shortfall,
}

impl Running {
    fn start(settings: Settings) -> Self {
        let (keeper, stop) = (Keeper::new(settings), CancellationToken::new());
        let shortfall = keeper.shortfall();
        Self { task: tokio::spawn(keeper.run(stop.clone())), stop, shortfall }
    }

    async fn known(&self) -> Option<String> {
        eventually("a run has ended", async || self.shortfall.known().is_some()).await;
        self.shortfall.known().unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn ten_days(mut settings: Settings) -> Settings {
    settings.keep = Keep { retention: Some(Duration::from_secs(10 * DAY)), ..Keep::default() };
    settings
}

/// Lets the owner's start make the tables.
async fn prepare(database: &TestDatabase) {
    Administration::open(&database.settings()).await.unwrap().migrate().await.unwrap();
}

/// Days back of the oldest event, and how many are kept.
async fn oldest(pool: &PgPool) -> (i32, i64) {
    let sql = "select floor(extract(epoch from now() - min(timestamp)) / 86400)::int, count(*) from events";
    sqlx::query_as(sql).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn the_bridge_drops_old_chunks_where_the_licence_has_no_policy_and_says_what_it_cannot_do() {
    let (database, log) = (TestDatabase::create().await, Log::start());
    prepare(&database).await;
    let pool = database.pool();
    run(&pool, FORTY_DAYS).await;
    let mut settings = ten_days(database.settings());
    settings.keep.compress_after = Some(Duration::from_secs(7 * DAY));
    let keeper = Running::start(settings);
    assert_eq!(keeper.known().await, None, "what is not possible is no failure");
    // Chunks are of one day: what shares one with a younger event stays.
    let (days, rows) = oldest(&pool).await;
    assert!((10..=11).contains(&days) && rows >= 10 * 144, "{days} days, {rows} rows");
    keeper.stop().await;
    log.assert_said(&[
        "`timescale.compress_after` has no effect on `events`: TimescaleDB here is the Apache-licensed edition",
    ]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn old_rows_of_a_plain_table_are_deleted_in_batches_and_no_younger_one() {
    let (database, log) = (TestDatabase::create().await, Log::start());
    let pool = database.pool();
    run(&pool, PLAIN).await;
    for _ in 0..6 {
        run(&pool, FORTY_DAYS).await;
    }
    prepare(&database).await;
    let younger = "select count(*) from events where timestamp >= now() - interval '10 days'";
    let kept: i64 = sqlx::query_scalar(younger).fetch_one(&pool).await.unwrap();
    let keeper = Running::start(ten_days(database.settings()));
    assert_eq!(keeper.known().await, None);
    keeper.stop().await;
    let (days, rows) = oldest(&pool).await;
    // A moment passes between the two.
    assert!(days <= 10 && (kept - 6..=kept).contains(&rows), "{days} days, {rows} of {kept} rows");
    log.assert_said(&[]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn of_several_bridges_one_at_a_time_looks_after_the_events() {
    let database = TestDatabase::create().await;
    prepare(&database).await;
    let pool = database.pool();
    run(&pool, FORTY_DAYS).await;
    let before = oldest(&pool).await;
    // As another bridge holds it during a run.
    let mut other = pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock(8320803151320805748)").execute(&mut *other).await.unwrap();
    let settings = ten_days(database.settings());
    let mut administration = Administration::open(&settings).await.unwrap();
    assert_eq!(administration.keep().await.unwrap(), None);
    assert_eq!(oldest(&pool).await, before);
    sqlx::query("select pg_advisory_unlock_all()").execute(&mut *other).await.unwrap();
    assert_eq!(administration.keep().await.unwrap(), Some(Vec::new()));
    assert!(oldest(&pool).await.0 <= 11);
    drop((administration, other));
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_role_that_may_not_drop_chunks_says_so_once_and_the_writer_goes_on() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    prepare(&database).await;
    let pool = database.pool();
    let role = make_role(&database).await;
    run(&pool, documented("grant connect", &role, &database)).await;
    run(&pool, FORTY_DAYS).await;
    let log = Log::start();
    let keeper = Running::start(ten_days(database.settings_as(&role)));
    let shortfall = keeper.known().await.unwrap();
    let expected = "cannot keep events as the configuration says: must be owner of hypertable \"events\"";
    assert!(shortfall.starts_with(expected), "{shortfall}");
    let writer = journal.write_with(database.settings_as(&role));
    journal.publish_numbers(300).await;
    writer.catch_up().await;
    writer.stop().await;
    // The owner helps out, and the next attempt does it.
    run(&pool, format!("alter table events owner to {role}; grant {role} to current_user")).await;
    eventually("old events go", async || oldest(&pool).await.0 <= 11).await;
    eventually("health says so", async || keeper.shortfall.known() == Some(None)).await;
    keeper.stop().await;
    log.assert_said(&[expected]);
    drop_all(database, pool, &role).await;
}
