//! pgbouncer in front of the database: what docs/database.md says of its modes.

use sqlx::Executor;

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    database::{Database, Row},
    eventually,
    pooler::Pooler,
    raw_mqtt::Version,
    sse::Sse,
};

/// The role of `scripts/timescaledb`.
const USER: &str = "synap";

async fn publish(bridge: &Bridge, numbers: std::ops::Range<u64>) {
    let mut device = bridge.client(Version::V5, "device").await;
    for number in numbers {
        device.publish("devices/pump-7/telemetry", format!("{{\"n\":{number}}}"), 1).await;
    }
}

fn numbers(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.data["n"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sessions_of_their_own_everything_works() {
    let database = Database::create().await;
    let mut pooler = Pooler::start(database.address(), USER, "session").await;
    let mut bridge = Setup::default().timescale(&database.url_through(pooler.address)).start().await;
    publish(&bridge, 0..100).await;
    bridge.cut(Cut::Kill).await;
    publish(&bridge, 100..200).await;
    let known = bridge.complaints().len();
    pooler.restart().await;
    bridge.complaint(known, "no events to the database").await;
    publish(&bridge, 200..300).await;
    assert_eq!(numbers(&database.rows(300).await), (0..300).collect::<Vec<_>>());
    bridge.ready().await;

    let mut stream = Sse::open(&bridge.url("/api/events/stream?type=notes.creation.completed"), None).await;
    let insert = "insert into events (type, subject_id, subject_type, data, user_id)
        values ('notes.creation.completed', 'x', 'note', '{\"n\":1}', 'owner')";
    database.pool.execute(insert).await.unwrap();
    assert_eq!(stream.event().await.1["data"]["n"], 1);
    assert_eq!(bridge.events("devices/#").await.len(), 300);
    bridge.finish(&["timescale"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_shared_sessions_events_are_written_once_and_read() {
    let database = Database::create().await;
    // What only the owner of a session of its own can do is done before.
    let direct = format!("[timescale]\nurl = \"{}\"\nimport = false", database.url());
    Setup::default().config(&direct).start().await.finish(&[]).await;
    let odd = "alter table events add constraint even check (data->>'n' <> '77')";
    database.pool.execute(odd).await.unwrap();

    let mut pooler = Pooler::start(database.address(), USER, "transaction").await;
    let shared = format!("[timescale]\nurl = \"{}\"\nimport = false", database.url_through(pooler.address));
    let mut bridge = Setup::default().config(&shared).start().await;
    publish(&bridge, 0..100).await;
    bridge.cut(Cut::Kill).await;
    publish(&bridge, 100..200).await;
    let known = bridge.complaints().len();
    pooler.restart().await;
    bridge.complaint(known, "no events to the database").await;
    publish(&bridge, 200..300).await;
    let expected: Vec<_> = (0..300).filter(|number| *number != 77).collect();
    assert_eq!(numbers(&database.rows(299).await), expected);
    eventually("the refused one is set aside", async || {
        let letters =
            sqlx::query_scalar::<_, i64>("select count(*) from mqtt.dead_letters").fetch_one(&database.pool).await;
        (letters.unwrap() == 1).then_some(())
    })
    .await;
    bridge.ready().await;
    assert_eq!(bridge.events("devices/#").await.len(), 299);
    // The upkeep had its lock in another of the sessions.
    bridge.finish(&["timescale", "you don't own a lock"]).await;
}
