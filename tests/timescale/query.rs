//! `GET /api/events` from the table.

use serde_json::Value;
use synap_mqtt::{
    timescale::{EventStore, QueryError},
    types::{Bucket, EventQuery, Order, SeriesQuery},
};

use uuid::Uuid;

use super::support::{TestDatabase, TestJournal};

/// A query for anything.
pub fn any(limit: u16) -> EventQuery {
    EventQuery::everything(limit)
}

async fn values(store: &EventStore, query: &EventQuery) -> Vec<Value> {
    let page = store.events(query).await.unwrap();
    page.events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["data"]["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_are_found_by_each_filter() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    for (topic, payload) in [
        ("devices/a/telemetry", "1"),
        ("devices/b/telemetry", "2"),
        ("devices/a/log/x.y", "3"),
        ("home", "4"),
        ("home/a_b/100%", "5"),
        ("$SYS/x", "6"),
    ] {
        journal.publish(topic, &[format!("_{payload}").as_bytes()]).await;
    }
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;

    let store = EventStore::new(&database.settings());
    let all = values(&store, &any(1000)).await;
    assert_eq!(texts(&all), ["_6", "_5", "_4", "_3", "_2", "_1"]);
    for filter in ["#", "+", "+/#", "home/#", "home/+/100%", "devices/+/telemetry", "devices/a/log/x.y", "$SYS/#", "h"]
    {
        let query = EventQuery { topic: Some(filter.parse().unwrap()), ..any(1000) };
        let matching = |event: &&Value| {
            filter
                .parse::<synap_mqtt::types::TopicFilter>()
                .unwrap()
                .matches(event["metadata"]["topic"].as_str().unwrap())
        };
        let expected: Vec<_> = all.iter().filter(matching).cloned().collect();
        assert_eq!(values(&store, &query).await, expected, "{filter}");
        let within = [filter.parse().unwrap()].into_iter().collect();
        assert_eq!(values(&store, &EventQuery { within, ..any(1000) }).await, expected, "within {filter}");
    }
    let nothing = EventQuery { within: synap_mqtt::types::Topics::none(), ..any(1000) };
    assert_eq!(values(&store, &nothing).await, Vec::<Value>::new());
    let device = EventQuery { device: Some("a".into()), ..any(1000) };
    assert_eq!(texts(&values(&store, &device).await), ["_3", "_1"]);
    let by_type = EventQuery { event_type: Some("devices.telemetry.received".into()), ..any(1000) };
    assert_eq!(texts(&values(&store, &by_type).await), ["_2", "_1"]);
    let time = |index: usize| Some(all[index]["timestamp"].as_str().unwrap().parse().unwrap());
    let between = EventQuery { from: time(4), to: time(1), ..any(1000) };
    assert_eq!(texts(&values(&store, &between).await), ["_4", "_3", "_2"]);
    let oldest_first = EventQuery { order: Order::OldestFirst, ..between };
    assert_eq!(texts(&values(&store, &oldest_first).await), ["_2", "_3", "_4"]);
    let subject = EventQuery { subject: Some(all[4]["subjectId"].as_str().unwrap().into()), ..any(1000) };
    assert_eq!(texts(&values(&store, &subject).await), ["_2"]);

    let one = store.event(all[2]["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), all[2]);
    let correlation = Uuid::from_u128(7);
    assert_eq!(store.event(correlation).await.unwrap(), None);
    let pool = database.pool();
    let sql = "update events set correlation_id = $1 where data->>'text' = '_3'";
    sqlx::query(sql).bind(correlation).execute(&pool).await.unwrap();
    let correlated = EventQuery { correlation: Some(correlation), ..any(1000) };
    assert_eq!(texts(&values(&store, &correlated).await), ["_3"]);
    drop(pool);
    drop(store);
    database.drop().await;
}

#[tokio::test]
async fn pages_hold_every_event_once_also_at_one_instant() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    journal.publish_numbers(250).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;

    let store = EventStore::new(&database.settings());
    for (order, expected) in
        [(Order::NewestFirst, (0..250).rev().collect::<Vec<_>>()), (Order::OldestFirst, (0..250).collect())]
    {
        assert_every_event_once(&store, order, &expected).await;
    }
    let query = EventQuery { cursor: Some("x".into()), ..any(60) };
    assert!(matches!(store.events(&query).await, Err(QueryError::Cursor)));
    drop(store);
    database.drop().await;
}

async fn assert_every_event_once(store: &EventStore, order: Order, expected: &[i64]) {
    let mut query = EventQuery { order, ..any(60) };
    let (mut numbers, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = store.events(&query).await.unwrap();
        sizes.push(page.events.len());
        for event in &page.events {
            numbers.push(serde_json::from_str::<Value>(event).unwrap()["data"]["n"].as_i64().unwrap());
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(numbers, expected);
    assert_eq!(sizes, [60, 60, 60, 60, 10]);
}

/// A table of the pod whose columns may be null, and rows as no device sends them: 0 to 6 by time.
const ODD_ROWS: &str = "drop table events;
    create table events (id uuid primary key, timestamp timestamptz, type text, subject_id text, subject_type text,
        data jsonb, metadata jsonb, source text, correlation_id uuid, user_id text);
    insert into events (id, timestamp, data) select gen_random_uuid(), time::timestamptz, jsonb_build_object('n', n)
        from (values (0, '-infinity'), (1, '0044-03-15 BC'), (2, '1969-12-31 23:59:59.999999+00'),
            (3, '9999-12-31 23:59:59.999999+00'), (4, '250000-01-01'), (5, 'infinity'), (6, 'infinity')) as odd (n, time);
    update events set id = '00000000-0000-4000-8000-000000000000' where data->>'n' = '5';
    insert into events (id, data) values (gen_random_uuid(), null)";

#[tokio::test]
async fn odd_rows_of_other_writers_are_shown_once_and_leave_the_other_events_readable() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;
    let pool = database.pool();
    sqlx::raw_sql(ODD_ROWS).execute(&pool).await.unwrap();

    let store = EventStore::new(&database.settings());
    for (order, expected) in [(Order::OldestFirst, [0, 1, 2, 3, 4, 5, 6]), (Order::NewestFirst, [6, 5, 4, 3, 2, 1, 0])]
    {
        let (mut query, mut found) = (EventQuery { order, ..any(1) }, Vec::new());
        for _ in expected {
            let page = values(&store, &query).await;
            found.extend(page.iter().map(|event| event["data"]["n"].clone()));
            assert_eq!(
                (&page[0]["userId"], &page[0]["subjectId"], &page[0]["type"]),
                (&"".into(), &"".into(), &"".into())
            );
            query.cursor = store.events(&query).await.unwrap().next_cursor;
        }
        assert_eq!((found, query.cursor), (expected.map(Value::from).to_vec(), None));
    }
    drop(store);
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_series_is_made_of_whatever_numbers_events_hold() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let payloads =
        [r#"{"t":1,"at":[{"x":5}]}"#, r#"{"t":"warm"}"#, "{}", r#"{"t":4}"#, r#"{"t":1e400}"#, r#"{"t":null}"#];
    for payload in payloads {
        journal.publish("devices/a/telemetry", &[payload.as_bytes()]).await;
    }
    journal.publish("devices/b/telemetry", &[br#"{"t":100}"#]).await;
    let writer = journal.write_to(&database);
    writer.catch_up().await;
    writer.stop().await;

    let pool = database.pool();
    // A row of a hypertable does not move to another chunk by an update.
    let sql = "with old as (delete from events where id = (select id from events order by id offset $2 limit 1) returning *)
        insert into events (id, timestamp, type, subject_id, subject_type, data, user_id)
        select id, '2026-01-31T12:00:00Z'::timestamptz + make_interval(secs => $1), type, subject_id, subject_type, data, user_id from old";
    for (number, seconds) in (0..7).zip([0, 1, 2, 59, 60, 61, 62]) {
        sqlx::query(sql).bind(f64::from(seconds)).bind(i64::from(number)).execute(&pool).await.unwrap();
    }
    let store = EventStore::new(&database.settings());
    let query = SeriesQuery {
        device: "a".into(),
        path: vec!["t".into()],
        from: "2026-01-31T12:00:00Z".parse().unwrap(),
        to: "2026-01-31T13:00:00Z".parse().unwrap(),
        width: 60_000_000,
    };
    let buckets = store.series(&query).await.unwrap();
    let expected = Bucket { start: query.from, count: 2, average: 2.5, minimum: 1.0, maximum: 4.0, last: 4.0 };
    assert_eq!(buckets, [expected]);
    let nested = SeriesQuery { path: vec!["at".into(), "0".into(), "x".into()], width: 1_000_000, ..query.clone() };
    let buckets = store.series(&nested).await.unwrap();
    assert_eq!((buckets.len(), buckets[0].last), (1, 5.0));
    let later = SeriesQuery { from: "2026-01-31T12:00:01Z".parse().unwrap(), ..query };
    assert_eq!(store.series(&later).await.unwrap()[0].count, 1);

    // Where measurements begin, they take over.
    let sql = "insert into mqtt.measurements (time, device, metric, value, event)
        values ('2026-01-31T12:00:59Z', 'a', 't', 7, gen_random_uuid()), ('2026-01-31T12:01:30Z', 'a', 't', 9, gen_random_uuid())";
    sqlx::query(sql).execute(&pool).await.unwrap();
    let seconds = SeriesQuery { from: "2026-01-31T12:00:00Z".parse().unwrap(), width: 1_000_000, ..later };
    let lasts: Vec<_> = store.series(&seconds).await.unwrap().iter().map(|bucket| bucket.last).collect();
    assert_eq!(lasts, [1.0, 7.0, 9.0]);
    drop((store, pool));
    database.drop().await;
}
