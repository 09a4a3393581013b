//! A device that is not sure sends its message again; the table has it once.

use crate::support::{
    bridge::Setup,
    database::Database,
    properties::user,
    raw_mqtt::{Publish, Version},
};

const ROUTE: &str = r#"
    [[route]]
    topic = "devices/{device}/telemetry"
    type = "devices.telemetry.received"
    subject = "{device}"
    dedupe = { property = "message-id" }
"#;

fn message(name: &str, id: u16, dup: bool) -> Vec<u8> {
    let properties = user("message-id", name);
    let publish = Publish::new("devices/pump-7/telemetry", format!("{{\"name\":\"{name}\"}}"), 1, id);
    Publish { dup, properties, ..publish }.encode(Version::V5)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_sends_again_because_it_saw_no_answer_is_one_row() {
    let database = Database::create().await;
    let mut bridge = Setup::default().config(ROUTE).timescale(&database.url()).start().await;
    let mut device = bridge.client(Version::V5, "pump-7").await;
    for name in ["a", "b"] {
        device.send(&message(name, 1, false)).await;
        // The answer is on its way when the connection breaks, and the device does not get it.
        device.expect(4).await;
        drop(device);
        bridge.kill9();
        bridge.restart().await;
        device = bridge.client(Version::V5, "pump-7").await;
        device.send(&message(name, 1, true)).await;
        device.expect(4).await;
    }
    device.send(&message("c", 2, false)).await;
    device.expect(4).await;
    let rows = database.rows(3).await;
    let names: Vec<_> = rows.iter().map(|row| row.data["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let repeats = bridge.metric("synap_mqtt_timescale_repeats_total").await;
    assert!((1.0..=2.0).contains(&repeats), "counted since the last start: {repeats}");
    bridge.finish(&[]).await;
}
