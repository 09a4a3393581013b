//! Events that others put into the table come in the same stream as those of devices, over any end of the
//! bridge.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use sqlx::PgPool;
use synap_mqtt::types::subject_id;

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    database::Database,
    eventually,
    raw_mqtt::Version,
    sse::Sse,
};

/// Inserts a row as the pod's backend does.
async fn insert(pool: &PgPool, event_type: &str, number: i64) {
    sqlx::query(
        "insert into events (type, subject_id, subject_type, data, metadata, user_id)
         values ($1, $2, 'device', jsonb_build_object('n', $3), '{\"version\":1}', 'owner')",
    )
    .bind(event_type)
    .bind(subject_id("pump-7").to_string())
    .bind(number)
    .execute(pool)
    .await
    .unwrap();
}

async fn publish(bridge: &Bridge, numbers: std::ops::Range<i64>) {
    let mut device = bridge.client(Version::V5, "device").await;
    for n in numbers {
        device.publish("devices/pump-7/telemetry", format!("{{\"n\":{n}}}"), 1).await;
    }
}

fn number(event: &Value) -> i64 {
    event["data"]["n"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_other_writers_share_one_stream_that_resumes_anywhere() {
    let database = Database::create().await;
    let mut bridge = Setup::default().timescale(&database.url()).start().await;
    let url = bridge.url("/api/events/stream");
    let mut live = Sse::open(&url, None).await;
    let begin = live.position.clone();
    for n in (0..40).step_by(2) {
        insert(&database.pool, "notes.creation.completed", n).await;
        publish(&bridge, n + 1..n + 2).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.push(live.event().await);
    }
    let numbers: HashSet<_> = seen.iter().map(|(_, event)| number(event)).collect();
    assert_eq!(numbers, (0..40).collect());
    let ids: HashSet<_> = seen.iter().map(|(_, event)| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 40);

    bridge.cut(Cut::Kill).await;
    let url = bridge.url("/api/events/stream");
    for (at, start) in [(0, &begin), (10, &seen[9].0), (39, &seen[38].0)] {
        let mut replay = Sse::open(&url, Some(start)).await;
        for expected in &seen[at..] {
            assert_eq!(&replay.event().await, expected);
        }
    }

    // The filters, each with what both kinds have.
    let wanted =
        |filter: fn(i64) -> bool| seen.iter().filter(|(_, event)| filter(number(event))).cloned().collect::<Vec<_>>();
    for (query, expected) in [
        ("type=notes.creation.completed", wanted(|n| n % 2 == 0)),
        ("device=pump-7", wanted(|_| true)),
        ("topic=%23", wanted(|n| n % 2 == 1)),
    ] {
        let mut filtered = Sse::open(&format!("{url}?{query}"), Some(&begin)).await;
        for expected in &expected {
            assert_eq!(&filtered.event().await, expected, "{query}");
        }
    }
    // Live as well, for clients that are there already.
    let mut notes = Sse::open(&format!("{url}?type=notes.creation.completed"), None).await;
    let mut topics = Sse::open(&format!("{url}?topic=devices/%23"), None).await;
    let mut device = Sse::open(&format!("{url}?device=pump-7"), None).await;
    insert(&database.pool, "notes.creation.completed", 100).await;
    assert_eq!(number(&device.event().await.1), 100);
    publish(&bridge, 101..102).await;
    assert_eq!(number(&device.event().await.1), 101);
    assert_eq!(number(&topics.event().await.1), 101);
    assert_eq!(number(&notes.event().await.1), 100);

    // And the table answers with both.
    eventually("the table has both", async || (database.count().await == 42).then_some(())).await;
    let page: Value =
        reqwest::get(bridge.url("/api/events?device=pump-7&limit=2")).await.unwrap().json().await.unwrap();
    let stored: HashSet<_> = page["events"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(stored, [100, 101].into());
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_lose_and_repeat_no_event_of_another_writer() {
    const COUNT: i64 = 3_000;
    let database = Database::create().await;
    let mut bridge = Setup::default().timescale(&database.url()).start().await;
    let begin = Sse::open(&bridge.url("/api/events/stream"), None).await.position;
    let done = AtomicBool::new(false);
    let insert_all = async {
        for n in 0..COUNT {
            insert(&database.pool, "notes.creation.completed", n).await;
        }
        done.store(true, Ordering::Release);
    };
    let kill_often = async {
        let mut kills = 0;
        while !done.load(Ordering::Acquire) || kills < 3 {
            publish(&bridge, kills * 10..kills * 10 + 10).await;
            bridge.cut(Cut::Kill).await;
            kills += 1;
        }
    };
    tokio::join!(insert_all, kill_often);
    let mut stream =
        Sse::open(&format!("{}?type=notes.creation.completed", bridge.url("/api/events/stream")), Some(&begin)).await;
    let mut numbers = Vec::new();
    let mut ids = HashSet::new();
    while numbers.len() < COUNT as usize {
        let (_, event) = stream.event().await;
        assert!(ids.insert(event["id"].to_string()), "twice: {event}");
        numbers.push(number(&event));
    }
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    // Nothing comes behind the last one but what is written now.
    insert(&database.pool, "notes.creation.completed", COUNT).await;
    assert_eq!(number(&stream.event().await.1), COUNT);
    bridge.finish(&[]).await;
}
