//! From the embedded store to TimescaleDB: the data directory gets a database, and everything that the journal still
//! keeps becomes rows, once, while new events arrive and the bridge is killed in between.

use std::{collections::HashMap, fs, path::Path};

use serde_json::Value;

use crate::support::{
    bridge::{Bridge, Setup},
    database::Database,
    eventually,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, kind},
};

/// More than the writer stores in one batch by far, and than one segment of the journal holds.
const EVENTS: usize = 200_000;

/// Messages that are sent before their acknowledgements are waited for.
const WINDOW: usize = 1_000;

/// Times that devices say themselves, over a month.
const ROUTE: &str = r#"
    [[route]]
    topic = "devices/{device}/telemetry"
    type = "devices.telemetry.received"
    timestamp = "/at"
"#;

async fn publish(bridge: &Bridge, numbers: std::ops::Range<usize>) {
    let mut device = RawMqtt::open(bridge.addresses.mqtt, Version::V5).await;
    device.send(&Connect::new(Version::V5, "device").encode()).await;
    assert_eq!(device.read().await.unwrap().reason(), 0);
    let now = jiff::Timestamp::now().as_second();
    for start in numbers.clone().step_by(WINDOW) {
        let (mut bytes, end) = (Vec::new(), (start + WINDOW).min(numbers.end));
        for n in start..end {
            let payload = format!("{{\"n\":{n},\"at\":{}}}", now - (n % 30) as i64 * 86_400);
            let topic = format!("devices/pump-{}/telemetry", n % 50);
            bytes.extend(Publish::new(&topic, payload, 1, (n % WINDOW) as u16 + 1).encode(Version::V5));
        }
        device.send(&bytes).await;
        for _ in start..end {
            let packet = device.read().await.expect("an acknowledgement");
            assert_eq!((packet.kind(), packet.reason()), (kind::PUBACK, 0));
        }
    }
}

/// Events of a file by their id; none is there twice.
fn by_id(path: &Path) -> HashMap<String, Value> {
    let mut events = HashMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event["id"].as_str().unwrap().to_owned();
        assert!(events.insert(id.clone(), event).is_none(), "{id} is there twice");
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_still_kept_moves_to_a_database_that_is_named_later() {
    let mut bridge = Setup::default().config(ROUTE).start().await;
    publish(&bridge, 0..EVENTS).await;
    bridge.kill9();
    bridge.command(&["export", "--output", "before.ndjson"]).success().await;
    let before = by_id(&bridge.home().join("before.ndjson"));
    assert_eq!(before.len(), EVENTS);

    let database = Database::create().await;
    bridge.configure(&format!("[timescale]\nurl = \"{}\"", database.url()));
    for round in 0..3 {
        bridge.restart().await;
        let stored = database.count().await;
        // While it moves, and before it has moved all.
        publish(&bridge, EVENTS + round * WINDOW..EVENTS + (round + 1) * WINDOW).await;
        eventually("some more are stored", async || (database.count().await > stored).then_some(())).await;
        bridge.kill9();
    }
    bridge.restart().await;
    let all = EVENTS + 3 * WINDOW;
    eventually("all are stored", async || (database.count().await >= all).then_some(())).await;
    bridge.command(&["export", "--output", "after.ndjson"]).success().await;
    let mut after = by_id(&bridge.home().join("after.ndjson"));
    assert_eq!(after.len(), all);
    for (id, event) in before {
        assert_eq!(after.remove(&id), Some(event), "{id}");
    }
    let mut new: Vec<_> = after.values().map(|event| event["data"]["n"].as_u64().unwrap() as usize).collect();
    new.sort_unstable();
    assert!(new.iter().copied().eq(EVENTS..all), "new events are there once each");
    bridge.finish(&[]).await;
}
