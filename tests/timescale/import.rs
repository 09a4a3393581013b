//! Rows of other writers join the journal: each once, whole, and in an order that follows from
//! their transactions.

use std::ops::Range;

use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use synap_mqtt::{limits, types::subject_id};
use uuid::Uuid;

use super::{
    import_support::{
        RunningImporter, assert_imported_once, imported, imported_numbers, insert, make_chunk, until_imported, waiting,
    },
    support::{Log, TestDatabase, TestJournal, eventually},
};

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_row_of_another_writer_is_an_event_with_all_that_the_row_has() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    run(
        &pool,
        r#"insert into events values
            ('00000000-0000-4000-8000-000000000001', '2026-01-31 12:00:00.000001+00', 'notes.creation.completed', 'n-1', 'note',
             '{"title":"a\nb","n":[1,2]}', '{"version":1,"topic":"notes/1"}', 'automation',
             '00000000-0000-4000-8000-000000000002', 'owner');
        insert into events (id, timestamp, type, subject_id, subject_type, data, source, user_id) values
            ('00000000-0000-4000-8000-000000000003', '1969-01-01+00', '', '', 'device', '[1]', null, 'owner')"#,
    )
    .await;
    until_imported(&journal.journal, 2).await;
    let found = imported(&journal.journal);
    assert_eq!(
        found[0].json,
        json!({
            "id": "00000000-0000-4000-8000-000000000001", "type": "notes.creation.completed",
            "timestamp": "2026-01-31T12:00:00.000001Z", "userId": "owner", "subjectId": "n-1", "subjectType": "note",
            "data": {"title": "a\nb", "n": [1, 2]}, "metadata": {"version": 1, "topic": "notes/1"},
            "correlationId": "00000000-0000-4000-8000-000000000002", "causationId": null, "source": "automation",
            "version": "v1",
        })
    );
    assert_eq!(
        found[1].json,
        json!({
            "id": "00000000-0000-4000-8000-000000000003", "type": "", "timestamp": "1969-01-01T00:00:00.000000Z",
            "userId": "owner", "subjectId": "", "subjectType": "device", "data": [1], "metadata": null,
            "correlationId": null, "causationId": null, "source": null, "version": "v1",
        })
    );
    eventually("both are counted", async || importer.statistics.imported() == 2).await;
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn what_the_bridge_writes_itself_is_not_imported() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    journal.publish_range(0..300).await;
    importer.writer.catch_up().await;
    // With care, through a temporary table, as well.
    run(&pool, "alter table events add constraint no_poison check (not data ? 'poison')").await;
    journal.publish("devices/pump-7/telemetry", &[b"{\"n\":300}", b"{\"poison\":1}", b"{\"n\":301}"]).await;
    importer.writer.catch_up().await;
    assert_eq!(importer.writer.statistics.rows(), 302);
    insert(&pool, 0..1).await;
    until_imported(&journal.journal, 1).await;
    // The number of the first entry ever: none was made for the bridge's rows.
    let noted: i64 =
        sqlx::query_scalar("select last_value from mqtt.arrivals_number_seq").fetch_one(&pool).await.unwrap();
    assert_eq!((noted, imported_numbers(&journal.journal)), (1, vec![0]));
    // And what was imported is a row already.
    importer.writer.catch_up().await;
    assert_eq!(importer.writer.statistics.rows(), 302);
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_passed_over() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    make_chunk(&pool).await;
    let mut late = pool.begin().await.unwrap();
    insert(&mut *late, 0..3).await;
    let mut given_up = pool.begin().await.unwrap();
    insert(&mut *given_up, 100..103).await;
    insert(&pool, 3..6).await;
    // Not held up by the others either, although their numbers are lower.
    until_imported(&journal.journal, 3).await;
    given_up.rollback().await.unwrap();
    insert(&pool, 6..9).await;
    until_imported(&journal.journal, 6).await;
    late.commit().await.unwrap();
    until_imported(&journal.journal, 9).await;
    assert_eq!(imported_numbers(&journal.journal), [3, 4, 5, 6, 7, 8, 0, 1, 2]);
    assert_imported_once(&pool, &journal.journal).await;
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

/// Transactions of some rows each, of which every fifth is rolled back, and every fourth stays open until
/// two more have ended. Returns the numbers of each that was committed.
async fn write_many(database: &TestDatabase, writer: i64) -> Vec<Range<i64>> {
    let pool = database.pool();
    let mut committed = Vec::new();
    let mut open = Vec::new();
    for turn in 0..40 {
        let start = (writer * 40 + turn) * 100;
        let numbers = start..start + 1 + (turn * 7 + writer) % 20;
        let mut transaction = pool.begin().await.unwrap();
        insert(&mut *transaction, numbers.clone()).await;
        match turn % 20 {
            4 | 9 | 14 | 19 => transaction.rollback().await.unwrap(),
            3 | 7 | 11 | 15 => open.push((turn, transaction, numbers)),
            _ => {
                transaction.commit().await.unwrap();
                committed.push(numbers);
            }
        }
        if open.first().is_some_and(|(since, ..)| turn >= since + 2) {
            let (_, transaction, numbers) = open.remove(0);
            transaction.commit().await.unwrap();
            committed.push(numbers);
        }
    }
    for (_, transaction, numbers) in open {
        transaction.commit().await.unwrap();
        committed.push(numbers);
    }
    pool.close().await;
    committed
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_lose_and_repeat_nothing_and_keep_their_order() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    make_chunk(&pool).await;
    let (one, two, three, four, _) = tokio::join!(
        write_many(&database, 0),
        write_many(&database, 1),
        write_many(&database, 2),
        write_many(&database, 3),
        journal.publish_range(0..3_000),
    );
    let committed: Vec<_> = [one, two, three, four].into_iter().flatten().collect();
    let expected: usize = committed.iter().map(|numbers| numbers.clone().count()).sum();
    until_imported(&journal.journal, expected).await;
    assert_imported_once(&pool, &journal.journal).await;
    let found = imported_numbers(&journal.journal);
    assert_eq!(found.len(), expected);
    for numbers in committed {
        let of_one: Vec<_> = found.iter().copied().filter(|n| numbers.contains(n)).collect();
        assert_eq!(of_one, numbers.collect::<Vec<_>>(), "a transaction's rows keep their order");
    }
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn an_event_never_comes_before_one_that_its_writer_had_seen() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    make_chunk(&pool).await;
    for round in 0..50 {
        // The answer's transaction has begun, and has a row, before the question is asked.
        let mut answering = pool.begin().await.unwrap();
        insert(&mut *answering, round * 10..round * 10 + 1).await;
        insert(&pool, round * 10 + 1..round * 10 + 2).await;
        insert(&mut *answering, round * 10 + 2..round * 10 + 3).await;
        answering.commit().await.unwrap();
    }
    until_imported(&journal.journal, 150).await;
    let found = imported_numbers(&journal.journal);
    let place = |n: i64| found.iter().position(|found| *found == n).unwrap();
    for round in 0..50 {
        assert!(place(round * 10 + 1) < place(round * 10 + 2), "{found:?}");
        assert!(place(round * 10) < place(round * 10 + 2), "{found:?}");
    }
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn thousands_of_rows_in_one_transaction_come_in_their_order() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    insert(&pool, 0..7_001).await;
    until_imported(&journal.journal, 7_001).await;
    assert_eq!(imported_numbers(&journal.journal), (0..7_001).collect::<Vec<_>>());
    assert_imported_once(&pool, &journal.journal).await;
    eventually("no lag is told", async || importer.statistics.lag().is_zero()).await;
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn rows_without_a_signal_are_found_by_looking() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    run(
        &pool,
        "create or replace function mqtt.note_arrival() returns trigger language plpgsql security definer as $$
         begin insert into mqtt.arrivals (id, timestamp) values (new.id, new.timestamp); return null; end $$",
    )
    .await;
    insert(&pool, 0..10).await;
    until_imported(&journal.journal, 10).await;
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_terminated_lose_and_repeat_nothing() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    let insert_all = async {
        for start in (0..6_000).step_by(40) {
            insert(&pool, start..start + 40).await;
        }
    };
    let cut = async {
        let mut cuts = 0;
        eventually("the importer's sessions are cut", async || {
            cuts += sqlx::query_scalar::<_, i64>(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where application_name = 'synap-mqtt import' and datname = current_database()",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            cuts >= 12
        })
        .await;
    };
    tokio::join!(insert_all, cut);
    until_imported(&journal.journal, 6_000).await;
    assert_imported_once(&pool, &journal.journal).await;
    importer.works().await;
    assert!(importer.statistics.last_error().is_none());
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_row_that_is_too_large_is_shown_without_its_data_and_told_of() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    let size = limits::MAXIMUM_IMPORTED_BYTES;
    sqlx::query(
        "insert into events (type, subject_id, subject_type, data, metadata, user_id) values
         ('files.upload.completed', 'f', 'file', jsonb_build_object('x', repeat('x', $1)), '{\"version\":1}', 'owner'),
         ('t', 'f', 'file', '{}', null, repeat('u', $1)),
         ('files.upload.completed', 'g', 'file', jsonb_build_object('x', repeat('x', $1 - 1000)), null, 'owner')",
    )
    .bind(i32::try_from(size).unwrap())
    .execute(&pool)
    .await
    .unwrap();
    until_imported(&journal.journal, 3).await;
    let found = imported(&journal.journal);
    assert_eq!(found[0].json["data"]["omitted"]["maximum"], size);
    assert!(found[0].json["data"]["omitted"]["bytes"].as_i64().unwrap() > size);
    assert_eq!((&found[0].json["type"], &found[0].json["metadata"]), (&json!("files.upload.completed"), &json!(null)));
    assert_eq!(found[1].json["userId"].as_str().unwrap().len(), 256);
    assert_eq!(found[2].json["data"]["x"].as_str().unwrap().len() as i64, size - 1000);
    eventually("both are counted", async || importer.statistics.omitted() == 2).await;
    // In one batch or two.
    let told = |line: &String| line.contains("events of other writers are too large for streams");
    assert!(!log.lines().is_empty() && log.lines().iter().all(told), "{:?}", log.lines());
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn no_row_of_a_pod_s_own_table_can_stop_those_behind_it() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    // A plain table without a key, with other types than ours.
    run(
        &pool,
        "create table events (id uuid, timestamp timestamptz, type varchar(200), subject_id uuid, subject_type text,
         data json, metadata json, source varchar(9), correlation_id text, user_id uuid)",
    )
    .await;
    let importer = RunningImporter::start(&journal, &database).await;
    run(
        &pool,
        "insert into events (id, timestamp, type, data, metadata, correlation_id) values
            (null, now(), 'a.b.c', null, null, null), (gen_random_uuid(), null, 'a.b.c', null, null, null),
            (gen_random_uuid(), 'infinity', 'a.b.c', null, null, null),
            (gen_random_uuid(), '-infinity', null, null, null, null),
            (gen_random_uuid(), '200000-01-01', 'a.b.c', 'null', 'null', 'none');
        insert into events select * from events where timestamp = 'infinity';
        insert into events (id, timestamp, data) values (gen_random_uuid(), now(), '{\"n\":1}')",
    )
    .await;
    until_imported(&journal.journal, 5).await;
    eventually("all is taken over", async || waiting(&pool).await == 0).await;
    let found = imported(&journal.journal);
    let times: Vec<_> = found[..4].iter().map(|event| event.json["timestamp"].as_str().unwrap()).collect();
    assert_eq!(times[0], "9999-12-30T21:59:59.999999Z");
    assert_eq!((times[1], times[2]), ("0001-01-01T00:00:00.000000Z", times[0]));
    assert_eq!(found[4].data, "{\"n\":1}");
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_row_that_is_gone_before_it_is_read_holds_nothing_up() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    RunningImporter::start(&journal, &database).await.stop().await;
    let pool = database.pool();
    insert(&pool, 0..4).await;
    run(&pool, "delete from events where data->>'n' in ('0', '2')").await;
    let importer = RunningImporter::start(&journal, &database).await;
    until_imported(&journal.journal, 2).await;
    assert_imported_once(&pool, &journal.journal).await;
    assert_eq!(imported_numbers(&journal.journal), [1, 3]);
    eventually("both are counted", async || importer.statistics.vanished() == 2).await;
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_second_bridge_stands_by_and_takes_over() {
    let database = TestDatabase::create().await;
    let (first, second) = (TestJournal::open(), TestJournal::open());
    let importer = RunningImporter::start(&first, &database).await;
    let pool = database.pool();
    let standby = RunningImporter::launch(&second, &database.settings());
    eventually("the second stands by", async || standby.statistics.standby()).await;
    insert(&pool, 0..5).await;
    until_imported(&first.journal, 5).await;
    assert!(!standby.statistics.connected() && standby.statistics.last_error().is_none());
    importer.stop().await;
    standby.works().await;
    insert(&pool, 5..9).await;
    until_imported(&second.journal, 4).await;
    assert_eq!((imported(&first.journal).len(), imported_numbers(&second.journal)), (5, vec![5, 6, 7, 8]));
    standby.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_hypertable_in_many_chunks_is_read_row_by_row() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    run(
        &pool,
        "insert into events (timestamp, type, subject_id, subject_type, data, user_id)
         select now() - n * interval '1 day', 't', 's', 'device', jsonb_build_object('n', n), 'owner'
         from generate_series(0, 59) n order by n",
    )
    .await;
    until_imported(&journal.journal, 60).await;
    assert_eq!(imported_numbers(&journal.journal), (0..60).collect::<Vec<_>>());
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn importing_that_was_turned_off_says_what_is_still_noted() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    RunningImporter::start(&journal, &database).await.stop().await;
    let (pool, log) = (database.pool(), Log::start());
    let writer = journal.write_to(&database);
    let stop = tokio_util::sync::CancellationToken::new();
    let statistics = std::sync::Arc::clone(&writer.statistics);
    let report = tokio::spawn(synap_mqtt::timescale::report_unwanted(database.settings(), statistics, stop.clone()));
    eventually("it is told", async || !log.lines().is_empty()).await;
    log.assert_said(&["select mqtt.unwatch_events()"]);
    run(&pool, "select mqtt.unwatch_events()").await;
    insert(&pool, 0..5).await;
    assert_eq!(waiting(&pool).await, 0);
    stop.cancel();
    report.await.unwrap();
    writer.stop().await;
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn histories_without_a_database_have_them_too() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    journal.publish("devices/pump-7/telemetry", &[b"{\"n\":1}"]).await;
    let device = subject_id("pump-7");
    sqlx::query(
        "insert into events (type, subject_id, subject_type, data, metadata, user_id) values
         ('t.one', $1, 'device', '{\"n\":2}', null, 'owner'), ('t.one', 'x', 'note', '{\"n\":3}', '{\"topic\":\"a/b\"}', 'owner')",
    )
    .bind(device.to_string())
    .execute(&pool)
    .await
    .unwrap();
    until_imported(&journal.journal, 2).await;
    importer.stop().await;
    let history = synap_mqtt::stream::History::new(journal.journal.clone(), journal.mapper());
    let numbers = async |query| -> Vec<i64> {
        let page = history.query(query).await.unwrap();
        let number = |event: &String| serde_json::from_str::<serde_json::Value>(event).unwrap()["data"]["n"].as_i64();
        page.events.iter().map(|event| number(event).unwrap()).collect()
    };
    let any = || super::query::any(10);
    assert_eq!(numbers(any()).await, [3, 2, 1]);
    assert_eq!(numbers(synap_mqtt::types::EventQuery { device: Some("pump-7".into()), ..any() }).await, [2, 1]);
    assert_eq!(numbers(synap_mqtt::types::EventQuery { topic: Some("a/+".parse().unwrap()), ..any() }).await, [3]);
    assert_eq!(numbers(synap_mqtt::types::EventQuery { topic: Some("#".parse().unwrap()), ..any() }).await, [3, 1]);
    assert_eq!(numbers(synap_mqtt::types::EventQuery { event_type: Some("t.one".into()), ..any() }).await, [3, 2]);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_copy_by_another_writer_counts_as_any_row() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let importer = RunningImporter::start(&journal, &database).await;
    let pool = database.pool();
    let mut connection: PgConnection = pool.acquire().await.unwrap().detach();
    let mut copy = connection
        .copy_in_raw("copy events (id, type, subject_id, subject_type, data, user_id) from stdin")
        .await
        .unwrap();
    let mut rows = String::new();
    for n in 0..100 {
        rows.push_str(&format!("{}\tt\ts\tnote\t{{\"n\":{n}}}\towner\n", Uuid::new_v4()));
    }
    copy.send(rows.as_bytes()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 100);
    connection.close().await.unwrap();
    until_imported(&journal.journal, 100).await;
    assert_eq!(imported_numbers(&journal.journal), (0..100).collect::<Vec<_>>());
    importer.stop().await;
    pool.close().await;
    database.drop().await;
}
