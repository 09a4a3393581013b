//! Payloads that are not JSON, from clients that know nothing of the bridge.

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    clients::node,
    database::Database,
    process::Process,
    raw_mqtt::Version,
    sse::Sse,
};

/// The metric of this name in an event.
fn metric<'a>(event: &'a Value, name: &str) -> &'a Value {
    let metrics = event["data"]["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name} in {event}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparkplug_node_is_understood_by_the_names_of_its_birth() {
    let route = r#"
        [[route]]
        topic = "spBv1.0/{group}/+/{node}/{device}"
        type = "plant.metrics.received"
        subject = "{device}"
        timestamp = "/timestamp"
    "#;
    let bridge = Setup::default().config(route).start().await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
    let mut client = node("sparkplug.mjs");
    client.args(["--port", &bridge.port()]);
    assert_eq!(Process::start(client).success().await, ["acknowledged 5"]);

    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(stream.next().await.unwrap().json());
    }
    let [node_birth, birth, data, device_death, node_death] = events.try_into().unwrap();
    assert_eq!(node_birth["data"]["metrics"][0]["name"], "bdSeq");
    assert_eq!(birth["type"], "plant.metrics.received");
    assert_eq!(
        (&birth["metadata"]["device"], &birth["metadata"]["decoder"]),
        (&json!("pump-7"), &json!("sparkplug-b"))
    );
    assert_eq!(birth["timestamp"], "2026-01-31T12:00:00.000000Z");
    for (name, kind, value) in [
        ("Temperature", "Double", json!(21.5)),
        ("Level", "Int8", json!(-7)),
        ("Total", "UInt64", json!(18_446_744_073_709_u64)),
        ("Offset", "Int64", json!(-3_000_000_000_i64)),
        ("Ratio", "Float", json!(0.1)),
        ("Open", "Boolean", json!(true)),
        ("Label", "String", json!("a \"quoted\" one")),
        ("When", "DateTime", json!(1_769_860_800_000_u64)),
        ("Raw", "Bytes", json!({ "base64": "AP8=" })),
        ("Gone", "Int32", Value::Null),
    ] {
        let metric = metric(&birth, name);
        assert_eq!((&metric["type"], &metric["value"]), (&json!(kind), &value), "{name}");
    }
    assert_eq!(metric(&birth, "Temperature")["properties"], json!({ "unit": "°C", "limits": { "high": -5 } }));
    let table = json!({ "columns": ["n", "s"], "types": ["Int32", "String"], "rows": [[-1, "x"], [2, "y"]] });
    assert_eq!(metric(&birth, "Table")["value"], table);
    let motor = &metric(&birth, "Motor")["value"];
    assert_eq!((&motor["ref"], &motor["metrics"][0]["value"]), (&json!("motor"), &json!(-3)));
    assert_eq!(motor["parameters"], json!([{ "name": "p", "type": "Int32", "value": 4 }]));

    assert_eq!((&metric(&data, "Temperature")["value"], &metric(&data, "Level")["value"]), (&json!(22.5), &json!(-8)));
    assert_eq!(data["timestamp"], "2026-01-31T12:00:01.000000Z");
    assert_eq!(device_death["data"], json!({ "timestamp": 1_769_860_802_000_u64, "seq": 3, "metrics": [] }));
    assert_eq!(node_death["data"]["metrics"][0]["value"], 0);
    bridge.finish(&[]).await;
}

/// Publishes a message of a node that names its one metric by alias 7.
async fn publish_data(bridge: &Bridge, value: u8) {
    let mut node = bridge.client(Version::V5, "node").await;
    node.publish("spBv1.0/plant/NDATA/n1", [0x12, 4, 0x10, 7, 0x50, value], 1).await;
}

fn levels(data: &Value) -> (Option<&str>, Option<u64>) {
    let metric = &data["metrics"][0];
    (metric["name"].as_str(), metric["value"].as_u64())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_a_birth_are_known_after_each_end_of_the_bridge_in_stream_and_table() {
    let database = Database::create().await;
    let mut bridge = Setup::default().timescale(&database.url()).start().await;
    // Name "level", alias 7, type Int8, value 1.
    let birth = [&[0x12, 13, 0x0A, 5][..], b"level", &[0x10, 7, 0x20, 1, 0x50, 1]].concat();
    bridge.client(Version::V5, "node").await.publish("spBv1.0/plant/NBIRTH/n1", birth, 1).await;
    let mut count = 1;
    for cut in [Cut::Kill, Cut::Terminate, Cut::Kill] {
        database.rows(count).await;
        bridge.cut(cut).await;
        let mut stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
        publish_data(&bridge, u8::try_from(count).unwrap()).await;
        let (_, event) = stream.event().await;
        assert_eq!(levels(&event["data"]), (Some("level"), Some(count as u64)), "{cut:?}");
        count += 1;
    }
    let rows = database.rows(count).await;
    assert!(rows.iter().all(|row| levels(&row.data).0 == Some("level")), "{rows:?}");
    bridge.finish(&[]).await;
}
