//! After a crash at any point, and after an older copy of the journal or of the database was put in
//! place: no event of another writer is lost or shown twice without a word.

use std::sync::Arc;

use sqlx::PgPool;
use synap_mqtt::{
    journal::{BatchBuilder, Outcome, Record},
    types::{Micros, PodEvent, Sequence, Signal},
};
use uuid::Uuid;

use super::{
    import_support::{
        RunningImporter, assert_imported_once, imported_numbers, insert, make_chunk, until_imported, waiting,
    },
    support::{Log, TestDatabase, TestJournal, eventually},
};

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

/// Puts the first waiting entries into the journal and leaves them in the queue: what a crash between
/// the two leaves behind.
async fn append_waiting(pool: &PgPool, journal: &TestJournal, count: i64) {
    let entries: Vec<(i64, Uuid, String)> = sqlx::query_as(
        "select number, a.id, data::text from mqtt.arrivals a join events e on e.id = a.id order by number limit $1",
    )
    .bind(count)
    .fetch_all(pool)
    .await
    .unwrap();
    let mut batch = BatchBuilder::default();
    for (arrival, id, data) in &entries {
        batch.push(&Record::Event(PodEvent {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            arrival: *arrival,
            id: *id,
            event_type: "t",
            subject_id: "s",
            subject_type: "note",
            topic: None,
            data,
            metadata: None,
            user_id: "owner",
            source: None,
            timestamp: Micros::default(),
            correlation_id: None,
        }));
    }
    let signal = Arc::new(Signal::new());
    let batch = journal.journal.append(batch, Some(&signal)).await.unwrap();
    while batch.outcome() == Outcome::Pending {
        signal.wait().await;
    }
}

#[tokio::test]
async fn what_was_appended_before_a_crash_is_not_appended_again() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    insert(&pool, 0..50).await;
    until_imported(&journal.journal, 50).await;
    importer.stop().await;

    // Between the append and the queue, with devices' messages before and behind.
    insert(&pool, 50..2_000).await;
    journal.publish_range(0..500).await;
    append_waiting(&pool, &journal, 1_300).await;
    journal.publish_range(500..900).await;
    let journal = journal.restart();
    let importer = RunningImporter::start(&journal, &database).await;
    until_imported(&journal.journal, 2_000).await;
    assert_eq!(imported_numbers(&journal.journal), (0..2_000).collect::<Vec<_>>());
    assert_imported_once(&pool, &journal.journal).await;
    eventually("the rest is counted", async || importer.statistics.imported() == 650).await;
    log.assert_said(&[]);
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_that_ends_anywhere_loses_and_repeats_nothing() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    RunningImporter::start(&journal, &database).await.stop().await;
    let pool = database.pool();
    make_chunk(&pool).await;
    let insert_all = async {
        for start in (0..8_000).step_by(50) {
            insert(&pool, start..start + 50).await;
        }
    };
    let end_often = async {
        for round in 1..=12 {
            let importer = RunningImporter::launch(&journal, &database.settings());
            until_imported(&journal.journal, (round * 300).min(8_000)).await;
            importer.abort().await;
        }
    };
    tokio::join!(insert_all, end_often);
    let importer = RunningImporter::start(&journal, &database).await;
    until_imported(&journal.journal, 8_000).await;
    assert_eq!(imported_numbers(&journal.journal), (0..8_000).collect::<Vec<_>>());
    assert_imported_once(&pool, &journal.journal).await;
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_told_of_and_repeats_nothing() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    insert(&pool, 0..10).await;
    until_imported(&journal.journal, 10).await;
    eventually("all is taken over", async || waiting(&pool).await == 0).await;
    importer.stop().await;
    insert(&pool, 10..20).await;
    run(
        &pool,
        "create table old_events as table events; create table old_arrivals as table mqtt.arrivals;
         create table old_importer as table mqtt.importer",
    )
    .await;
    // What follows the copy: the ten that wait there, and five that it does not have at all.
    let importer = RunningImporter::start(&journal, &database).await;
    insert(&pool, 20..25).await;
    until_imported(&journal.journal, 25).await;
    eventually("all is taken over", async || waiting(&pool).await == 0).await;
    importer.stop().await;
    run(
        &pool,
        "begin; set local mqtt.writer = 'bridge'; truncate events, mqtt.arrivals, mqtt.importer;
         insert into events select * from old_events; insert into mqtt.importer select * from old_importer;
         insert into mqtt.arrivals overriding system value select * from old_arrivals;
         alter sequence mqtt.arrivals_number_seq restart with 21; commit",
    )
    .await;
    log.assert_said(&[]);

    let importer = RunningImporter::start(&journal, &database).await;
    // With numbers that the lost rows have had.
    insert(&pool, 30..33).await;
    until_imported(&journal.journal, 28).await;
    assert_eq!(imported_numbers(&journal.journal), (0..25).chain(30..33).collect::<Vec<_>>());
    log.assert_said(&["events=5"]);
    assert!(log.lines()[0].contains("the stream has shown events of other writers that the database does not have"));
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn an_older_copy_of_the_journal_is_told_of() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    insert(&pool, 0..10).await;
    until_imported(&journal.journal, 10).await;
    let backup = journal.back_up();
    insert(&pool, 10..20).await;
    until_imported(&journal.journal, 20).await;
    eventually("all is taken over", async || waiting(&pool).await == 0).await;
    importer.stop().await;
    drop(journal);

    let (restored, log) = (TestJournal::restore(backup), Log::start());
    insert(&pool, 20..25).await;
    let importer = RunningImporter::start(&restored, &database).await;
    until_imported(&restored.journal, 15).await;
    assert_eq!(imported_numbers(&restored.journal), (0..10).chain(20..25).collect::<Vec<_>>());
    let told = |line: &&String| line.contains("the journal does not have the last event of another writer");
    assert_eq!(log.lines().iter().filter(told).count(), 1, "{:?}", log.lines());
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_new_journal_takes_over_what_still_waits_and_nothing_else() {
    let (database, old) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&old, &database).await;
    let pool = database.pool();
    insert(&pool, 0..10).await;
    until_imported(&old.journal, 10).await;
    eventually("all is taken over", async || waiting(&pool).await == 0).await;
    importer.stop().await;
    insert(&pool, 10..20).await;
    let new = TestJournal::open();
    let importer = RunningImporter::start(&new, &database).await;
    until_imported(&new.journal, 10).await;
    assert_eq!(imported_numbers(&new.journal), (10..20).collect::<Vec<_>>());
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn an_importer_that_cannot_work_holds_no_old_segment_and_says_what_that_may_mean() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open_forgetful());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    insert(&pool, 0..3).await;
    until_imported(&journal.journal, 3).await;
    eventually("all is taken over", async || waiting(&pool).await == 0).await;
    run(&pool, "alter table mqtt.arrivals rename to hidden").await;
    eventually("it cannot work", async || importer.statistics.last_error().is_some()).await;
    journal.journal.start_retention();
    let payload = vec![b'x'; 64 << 10];
    for _ in 0..64 {
        journal.publish("devices/pump-7/telemetry", &[&payload]).await;
    }
    importer.writer.catch_up().await;
    eventually("old segments are removed", async || journal.journal.oldest() > Sequence(32)).await;
    importer.stop().await;

    let log = Log::start();
    run(&pool, "alter table mqtt.hidden rename to arrivals").await;
    insert(&pool, 3..6).await;
    let importer = RunningImporter::start(&journal, &database).await;
    until_imported(&journal.journal, 3).await;
    assert_eq!(imported_numbers(&journal.journal), [3, 4, 5]);
    log.assert_said(&["may come to the stream twice"]);
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}
