//! Compares what publishers know with the table, the dead letters, the measurements, and the stream.

use std::{collections::BTreeMap, fmt::Debug};

use serde_json::Value;
use sqlx::PgConnection;

use super::other_writer::OtherWriter;
use crate::{
    crash::Publisher,
    support::{bridge::Bridge, eventually, raw_mqtt::Version, sse::Sse},
};

/// Numbers that the route's schema refuses are multiples of this.
pub const REFUSED: u64 = 7;

/// A publication as the stream or the database has it.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    sequence: i64,
    /// None of a dead letter.
    id: Option<String>,
    publisher: String,
    number: u64,
}

/// What the stream has shown from a position on.
struct Shown {
    events: Vec<Entry>,
    rejected: Vec<Entry>,
    /// Rows of the other writer.
    others: Vec<u64>,
}

/// Where a generation of publishers begins.
pub struct Beginning {
    /// In the stream.
    pub position: String,
    /// In the numbers of the other writer.
    pub other: u64,
}

impl Beginning {
    /// Here and now.
    pub async fn now(bridge: &Bridge, others: &OtherWriter) -> Self {
        let stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
        Self { position: stream.position, other: others.next() }
    }
}

/// Checks everything since `beginning`; all is quiet. Returns how many publications there were.
pub async fn check(
    bridge: &Bridge,
    session: &mut PgConnection,
    publishers: &[Publisher],
    others: &OtherWriter,
    beginning: &Beginning,
) -> usize {
    eventually("the other writer's rows are taken over", async || {
        let waiting = sqlx::query_scalar::<_, i64>("select count(*) from mqtt.arrivals").fetch_one(&mut *session).await;
        waiting.is_ok_and(|waiting| waiting == 0).then_some(())
    })
    .await;
    let (shown, end) = replay(bridge, &beginning.position).await;
    eventually("the database has everything", async || {
        let cursor = sqlx::query_scalar::<_, i64>("select sequence from mqtt.writer_cursor").fetch_one(&mut *session);
        cursor.await.is_ok_and(|cursor| cursor >= end).then_some(())
    })
    .await;

    let names: Vec<_> = publishers.iter().map(|publisher| publisher.name().to_owned()).collect();
    let (events, letters) = (events(session, &names).await, letters(session, &names).await);
    assert_same("events in the stream and in the table", &shown.events, &events);
    assert_same("refused events in the stream and dead letters", &shown.rejected, &letters);
    assert!(events.iter().all(|entry| entry.number % REFUSED > 0), "a refused event is in the table");
    assert!(letters.iter().all(|entry| entry.number % REFUSED == 0), "an event is refused without need");
    assert_same("measurements", &measurements(session, &names).await, &{
        let mut expected: Vec<_> =
            events.iter().map(|entry| (entry.id.clone().unwrap(), entry.publisher.clone(), entry.number)).collect();
        expected.sort();
        expected
    });

    let mut all = [events, letters].concat();
    all.sort_by_key(|entry| entry.sequence);
    let mut numbers = BTreeMap::<&str, Vec<usize>>::new();
    for entry in &all {
        numbers.entry(&entry.publisher).or_default().push(usize::try_from(entry.number).unwrap());
    }
    for publisher in publishers {
        assert!(publisher.is_idle(), "{} waits for an answer", publisher.name());
        publisher.check(numbers.get(publisher.name()).map_or(&[], Vec::as_slice));
    }
    others.check(beginning.other, &other_rows(session, beginning.other).await, &shown.others);
    all.len()
}

/// Reads the stream up to a marker that is published now; also returns the marker's sequence.
async fn replay(bridge: &Bridge, from: &str) -> (Shown, i64) {
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), Some(from)).await;
    bridge.client(Version::V5, "marker").await.publish("marker", r#"{"marker":true}"#, 1).await;
    let mut shown = Shown { events: Vec::new(), rejected: Vec::new(), others: Vec::new() };
    loop {
        let (_, event) = stream.event().await;
        let (data, metadata) = (&event["data"], &event["metadata"]);
        let sequence = metadata["sequence"].as_i64();
        if data["marker"] == true {
            return (shown, sequence.unwrap());
        }
        if let Some(number) = data["n"].as_u64() {
            shown.others.push(number);
        }
        let (Some(publisher), Some(number)) = (data["publisher"].as_str(), data["number"].as_u64()) else { continue };
        let mut entry = Entry { sequence: sequence.unwrap(), id: None, publisher: publisher.to_owned(), number };
        if metadata["rejected"].is_string() {
            shown.rejected.push(entry);
        } else {
            entry.id = Some(event["id"].as_str().unwrap().to_owned());
            shown.events.push(entry);
        }
    }
}

async fn events(session: &mut PgConnection, names: &[String]) -> Vec<Entry> {
    let sql = "select (metadata->>'sequence')::bigint, id::text, data->>'publisher', (data->>'number')::bigint
        from events where metadata->>'clientId' = any($1) order by 1";
    let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(sql).bind(names).fetch_all(session).await.unwrap();
    let entry = |(sequence, id, publisher, number): (i64, String, String, i64)| Entry {
        sequence,
        id: Some(id),
        publisher,
        number: number.cast_unsigned(),
    };
    rows.into_iter().map(entry).collect()
}

async fn letters(session: &mut PgConnection, names: &[String]) -> Vec<Entry> {
    let sql = "select sequence, payload from mqtt.dead_letters where client_id = any($1) order by 1";
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(sql).bind(names).fetch_all(session).await.unwrap();
    let entry = |(sequence, payload): (i64, Vec<u8>)| {
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let publisher = payload["publisher"].as_str().unwrap().to_owned();
        Entry { sequence, id: None, publisher, number: payload["number"].as_u64().unwrap() }
    };
    rows.into_iter().map(entry).collect()
}

async fn measurements(session: &mut PgConnection, names: &[String]) -> Vec<(String, String, u64)> {
    let sql = "select event::text, device, value from mqtt.measurements where device = any($1) and metric = 'number'";
    let rows: Vec<(String, String, f64)> = sqlx::query_as(sql).bind(names).fetch_all(session).await.unwrap();
    let mut rows: Vec<_> = rows.into_iter().map(|(event, device, value)| (event, device, value as u64)).collect();
    rows.sort();
    rows
}

async fn other_rows(session: &mut PgConnection, first: u64) -> Vec<u64> {
    let sql =
        "select (data->>'n')::bigint from events where subject_type = 'note' and (data->>'n')::bigint >= $1 order by 1";
    let rows: Vec<i64> = sqlx::query_scalar(sql).bind(first.cast_signed()).fetch_all(session).await.unwrap();
    rows.into_iter().map(i64::cast_unsigned).collect()
}

/// Says where two long lists part.
fn assert_same<T: PartialEq + Debug>(what: &str, one: &[T], other: &[T]) {
    let place = one.iter().zip(other).position(|(one, other)| one != other).unwrap_or(one.len().min(other.len()));
    let [one, other] = [one, other].map(|list| (list.len(), list.iter().skip(place).take(3).collect::<Vec<_>>()));
    assert_eq!(one, other, "{what} part at {place}");
}

/// Everything that the database has of publishers, as a text to compare.
pub async fn fingerprint(session: &mut PgConnection, names: &[String]) -> String {
    let sql = "select concat_ws(' ',
        (select concat(count(*), ' ', md5(string_agg(id::text, ',' order by id)))
            from events where metadata->>'clientId' = any($1)),
        (select concat(count(*), ' ', md5(string_agg(sequence::text, ',' order by sequence)))
            from mqtt.dead_letters where client_id = any($1)),
        (select concat(count(*), ' ', md5(string_agg(event::text, ',' order by event)))
            from mqtt.measurements where device = any($1)))";
    sqlx::query_scalar(sql).bind(names).fetch_one(session).await.unwrap()
}
