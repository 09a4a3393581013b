//! After an older copy of the journal or of the database was put in place, or either is new:
//! nothing is lost or doubled, and nothing is silent.

use sqlx::PgPool;
use synap_mqtt::types::Sequence;

use super::support::{Log, TestDatabase, TestJournal, eventually, stored_numbers};

/// The pod's table without a key that would refuse an event twice.
const KEYLESS: &str = "create table events (id uuid, timestamp timestamptz, type text, subject_id text,
    subject_type text, data jsonb, metadata jsonb, source text, correlation_id uuid, user_id text)";

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

/// Every number in the table, in order of size.
async fn sorted_numbers(pool: &PgPool) -> Vec<i32> {
    let mut numbers = stored_numbers(pool).await;
    numbers.sort_unstable();
    numbers
}

/// Writes until the database has everything; returns how many rows were new and how many known.
async fn write_all(journal: &TestJournal, database: &TestDatabase) -> (u64, u64) {
    let writer = journal.write_to(database);
    writer.catch_up().await;
    let counts = (writer.statistics.rows(), writer.statistics.known_rows());
    writer.stop().await;
    counts
}

#[tokio::test]
async fn a_new_journal_begins_anew_beside_the_old_ones_rows_and_says_so() {
    let log = Log::start();
    let database = TestDatabase::create().await;
    let old = TestJournal::open();
    old.publish_range(0..300).await;
    assert_eq!(write_all(&old, &database).await, (300, 0));
    log.assert_said(&[]);
    // The data directory is gone; what takes its place has sequences from 1 again.
    let new = TestJournal::open();
    new.publish_range(300..700).await;
    assert_eq!(write_all(&new, &database).await, (400, 0));
    log.assert_said(&["the database knows other journals, but not this one"]);
    let pool = database.pool();
    assert_eq!(sorted_numbers(&pool).await, (0..700).collect::<Vec<_>>());
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_cursor_beyond_the_journal_s_end_repeats_no_row() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    journal.publish_numbers(300).await;
    write_all(&journal, &database).await;
    let pool = database.pool();
    run(&pool, "update mqtt.writer_cursor set sequence = 1000000000; delete from events where data->>'n' = '250'")
        .await;
    assert_eq!(write_all(&journal, &database).await, (1, 299));
    assert_eq!(stored_numbers(&pool).await, (0..300).collect::<Vec<_>>());
    log.assert_said(&["the database has events beyond the journal's end", "the table has events already"]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_restored_journal_that_went_on_is_told_from_the_one_that_was_written() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    journal.publish_range(0..100).await;
    let backup = journal.back_up();
    // The life that is lost later: one start further, where the other will go on as well.
    journal.publish_range(100..300).await;
    let journal = journal.restart();
    journal.publish_range(300..350).await;
    write_all(&journal, &database).await;
    drop(journal);

    let log = Log::start();
    let restored = TestJournal::restore(backup);
    // Before the database is asked, the new life is already beyond its cursor.
    restored.publish_range(350..430).await;
    assert_eq!(write_all(&restored, &database).await, (80, 100));
    let pool = database.pool();
    assert_eq!(sorted_numbers(&pool).await, (0..430).collect::<Vec<_>>());
    log.assert_said(&["the journal does not have the last event", "the table has events already"]);
    // From now on the database knows this one.
    restored.publish_range(430..440).await;
    assert_eq!(write_all(&restored, &database).await, (10, 0));
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn an_older_copy_of_the_database_gets_what_it_misses() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    journal.publish_range(0..200).await;
    write_all(&journal, &database).await;
    let pool = database.pool();
    run(&pool, "create table old_cursor as table mqtt.writer_cursor; create table old_events as table events").await;
    journal.publish_range(200..500).await;
    write_all(&journal, &database).await;
    let put_back = "truncate events, mqtt.writer_cursor; insert into events select * from old_events;
        insert into mqtt.writer_cursor select * from old_cursor";
    run(&pool, put_back).await;
    assert_eq!(write_all(&journal, &database).await, (300, 0));
    assert_eq!(stored_numbers(&pool).await, (0..500).collect::<Vec<_>>());
    log.assert_said(&[]);

    // Where the bridge has seen more, it says so.
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    run(&pool, put_back).await;
    journal.publish_range(500..510).await;
    writer.catch_up().await;
    eventually("all is there again", async || stored_numbers(&pool).await.len() == 510).await;
    assert_eq!(stored_numbers(&pool).await, (0..510).collect::<Vec<_>>());
    assert!(log.lines().iter().any(|line| line.contains("the database has gone back")), "{:?}", log.lines());
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn what_the_journal_no_longer_has_is_named_and_the_rest_is_written() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open_forgetful(), Log::start());
    journal.publish_range(0..100).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    let pool = database.pool();
    run(&pool, "create table old_cursor as table mqtt.writer_cursor").await;
    journal.publish_range(100..30_000).await;
    writer.catch_up().await;
    let _held = journal.journal.register_cursor("test", Sequence(15_000));
    journal.journal.start_retention();
    eventually("old segments are removed", async || journal.journal.oldest().0 > 100).await;
    writer.stop().await;

    run(
        &pool,
        "truncate events; update mqtt.writer_cursor set sequence = old.sequence, last_event = old.last_event
        from old_cursor old",
    )
    .await;
    log.assert_said(&[]);
    write_all(&journal, &database).await;
    log.assert_said(&["no longer holds records that the database does not have"]);
    let numbers = stored_numbers(&pool).await;
    assert!(numbers.len() >= 15_000, "only {} rows", numbers.len());
    assert_eq!(numbers, (30_000 - i32::try_from(numbers.len()).unwrap()..30_000).collect::<Vec<_>>());

    // A database that never knew the journal cannot miss what it never had; it is told, too.
    run(&pool, "truncate events, mqtt.writer_cursor").await;
    write_all(&journal, &database).await;
    assert_eq!(stored_numbers(&pool).await, numbers);
    assert!(log.lines().last().unwrap().contains("first records have been removed already"), "{:?}", log.lines());
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_lost_cursor_repeats_no_row_with_a_key_or_without() {
    for table in [None, Some(KEYLESS)] {
        let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
        let pool = database.pool();
        if let Some(table) = table {
            run(&pool, table).await;
        }
        journal.publish_numbers(300).await;
        write_all(&journal, &database).await;
        run(&pool, "delete from mqtt.writer_cursor; delete from events where data->>'n' = '250'").await;
        assert_eq!(write_all(&journal, &database).await, (1, 299));
        assert_eq!(stored_numbers(&pool).await, (0..300).collect::<Vec<_>>());
        let lines = log.lines();
        assert!(lines.last().unwrap().contains("the table has events already"), "{lines:?}");
        let no_key = lines.iter().filter(|line| line.contains("has no unique key")).count();
        assert_eq!(no_key, if table.is_some() { 2 } else { 0 }, "{lines:?}");
        pool.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn going_over_what_may_be_there_can_be_interrupted() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    run(&pool, KEYLESS).await;
    journal.publish_numbers(12_000).await;
    write_all(&journal, &database).await;
    // The last batch of the second time fails, for no reason of its rows, when others are stored.
    run(
        &pool,
        "delete from mqtt.writer_cursor; delete from events where data->>'n' = '11999';
        create function refuse() returns trigger language plpgsql as $$ begin
            raise exception 'no room' using errcode = '53100';
        end $$;
        create trigger refuse before insert on events for each row execute function refuse()",
    )
    .await;
    let writer = journal.write_to(&database);
    let interrupted = async || writer.statistics.last_error().is_some() && writer.statistics.cursor() > Sequence::ZERO;
    eventually("a session ends in the middle", interrupted).await;
    run(&pool, "drop trigger refuse on events").await;
    writer.catch_up().await;
    assert_eq!(stored_numbers(&pool).await, (0..12_000).collect::<Vec<_>>());
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_row_that_another_key_refuses_is_set_aside_and_not_taken_for_a_known_one() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    journal.publish_numbers(1).await;
    write_all(&journal, &database).await;
    let pool = database.pool();
    run(&pool, "alter table events add constraint one_a_time unique (timestamp, subject_id)").await;
    // One batch of the journal has one time.
    journal.publish("devices/pump-7/telemetry", &[b"{\"n\":1}", b"{\"n\":2}", b"{\"n\":3}"]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    assert_eq!((writer.statistics.known_rows(), writer.statistics.dead_letters()), (0, 2));
    assert_eq!(stored_numbers(&pool).await, (0..2).collect::<Vec<_>>());
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn what_is_too_much_for_one_transaction_becomes_several() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    let pool = database.pool();
    run(&pool, KEYLESS).await;
    // As a server does that has no locks left for so many chunks.
    run(
        &pool,
        "create unique index on events (id);
        create function refuse() returns trigger language plpgsql as $$ begin
            if (select count(*) from fresh) > 100 then
                raise exception 'out of shared memory' using errcode = '53200';
            end if;
            return null;
        end $$;
        create trigger refuse after insert on events referencing new table as fresh
            for each statement execute function refuse()",
    )
    .await;
    journal.publish_numbers(1_000).await;
    assert_eq!(write_all(&journal, &database).await, (1_000, 0));
    assert_eq!(stored_numbers(&pool).await, (0..1_000).collect::<Vec<_>>());
    log.assert_said(&["events go to a plain table", "too much for one transaction"]);
    pool.close().await;
    database.drop().await;
}
