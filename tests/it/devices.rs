//! `GET /api/devices` and `GET /api/series` tell what devices said, over restarts.

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    database::Database,
    eventually,
    raw_mqtt::Version,
};

async fn get(bridge: &Bridge, path: &str) -> Value {
    reqwest::get(bridge.url(path)).await.unwrap().json().await.unwrap()
}

async fn is_online(bridge: &Bridge, device: &str, online: bool) {
    eventually(&format!("{device} is online: {online}"), async || {
        (get(bridge, &format!("/api/devices/{device}")).await["online"] == online).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_known_once_its_message_is_acknowledged_and_after_kill_9() {
    let mut bridge = Bridge::start().await;
    let mut pump = bridge.client(Version::V5, "client-of-pump-7").await;
    pump.publish("devices/pump-7/telemetry", r#"{"temperature":21.5,"at":{"x":[1,2]}}"#, 1).await;
    let device = get(&bridge, "/api/devices/pump-7").await;
    assert_eq!((&device["clientId"], &device["events"]), (&json!("client-of-pump-7"), &json!(1)));
    assert_eq!((&device["online"], device["since"].is_string()), (&json!(true), true));
    assert_eq!(device["metrics"]["at.x.1"]["value"], 2);
    drop(pump);
    is_online(&bridge, "pump-7", false).await;

    bridge.kill9();
    bridge.restart().await;
    let page = get(&bridge, "/api/devices").await;
    assert_eq!((page["devices"].as_array().unwrap().len(), &page["nextCursor"]), (1, &Value::Null));
    assert_eq!((&page["devices"][0]["events"], &page["devices"][0]["online"]), (&json!(1), &json!(false)));
    let mut pump = bridge.client(Version::V5, "client-of-pump-7").await;
    pump.publish("devices/pump-7/telemetry", r#"{"temperature":22}"#, 1).await;
    let device = get(&bridge, "/api/devices/pump-7").await;
    let values = (&device["metrics"]["temperature"]["value"], &device["metrics"]["at.x.0"]["value"]);
    assert_eq!((values, &device["events"]), ((&json!(22), &json!(1)), &json!(2)));
    is_online(&bridge, "pump-7", true).await;
    bridge.finish(&[]).await;
}

async fn assert_the_series_is_told(bridge: &Bridge) {
    let mut pump = bridge.client(Version::V5, "pump-7").await;
    for value in 1..=4 {
        pump.publish("devices/pump-7/telemetry", format!("{{\"t\":{value}}}"), 1).await;
    }
    let path = "/api/series?device=pump-7&metric=t&fn=avg,min,max,last,count&bucket=1d&from=2020-01-01T00:00:00Z";
    let points = eventually("all values", async || {
        let series = get(bridge, path).await;
        let count: u64 = series["points"].as_array()?.iter().filter_map(|point| point["count"].as_u64()).sum();
        (count == 4).then(|| series["points"].clone())
    })
    .await;
    // Midnight may lie between.
    let last = points.as_array().unwrap().last().unwrap();
    assert_eq!((&last["last"], &last["max"]), (&json!(4.0), &json!(4.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_told_from_the_journal() {
    let bridge = Bridge::start().await;
    assert_the_series_is_told(&bridge).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_told_from_the_database() {
    let database = Database::create().await;
    let bridge = Setup::default().timescale(&database.url()).start().await;
    assert_the_series_is_told(&bridge).await;
    bridge.finish(&[]).await;
}
