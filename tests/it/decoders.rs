//! Payloads that are not JSON, from clients that know nothing of the bridge.

use serde_json::{Value, json};

use crate::support::{bridge::Setup, clients::node, process::Process, sse::Sse};

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
