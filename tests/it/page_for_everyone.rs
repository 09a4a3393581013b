//! The page for people who cannot see, or not well, and on a telephone: each view, light and dark. Pictures of all of
//! them are kept.

use serde_json::json;

use crate::support::{bridge::Setup, clients::Browser, raw_mqtt::Version};

const VIEWS: [(&str, &str); 6] = [
    ("fleet", "/"),
    ("device", "/?device=pump-7"),
    ("events", "/?show=events"),
    ("sessions", "/?show=sessions"),
    ("health", "/?show=health"),
    ("refused", "/?show=refused"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_view_can_be_read_by_everyone_and_fits_a_telephone() {
    let route = "[[route]]\ntopic = \"devices/{device}/telemetry\"\ntype = \"devices.telemetry.received\"\nsubject = \"{device}\"";
    let bridge = Setup::default().config(route).presence("").start().await;
    let mut devices = Vec::new();
    for name in ["pump-7", "pump-8", "a-device-with-a-name-that-is-longer-than-any-telephone-is-wide", "fan-1"] {
        let mut device = bridge.client(Version::V5, name).await;
        device.subscribe(&format!("devices/{name}/commands"), 1).await;
        for at in 0..30 {
            let wave = (f64::from(at) / 5.0).sin();
            let payload = json!({ "temperature": 20.0 + wave, "state": "running", "serial": "x".repeat(120), "motor": { "rpm": 900 + at } });
            device.publish(&format!("devices/{name}/telemetry"), payload.to_string(), 1).await;
        }
        devices.push(device);
    }
    let mut browser = Browser::open(&bridge.url("/")).await;
    for (view, path) in VIEWS {
        for dark in [false, true] {
            for (size, width, height) in [("desk", 1280, 900), ("phone", 360, 780)] {
                let name = format!("view-{view}-{size}-{}", if dark { "dark" } else { "light" });
                browser.does(json!({ "show": { "width": width, "height": height, "dark": dark } })).await;
                let url = bridge.url(path);
                browser.does(json!({ "open": url })).await;
                browser.holds(&format!("state.dataset.state === 'live' && {}", shown(view))).await;
                let overflow = browser.evaluate("document.documentElement.scrollWidth - innerWidth").await;
                assert!(overflow.as_i64() <= Some(0), "{name} is {overflow} too wide");
                assert_eq!(browser.faults().await, [""; 0], "{name}");
                browser.screenshot(&name).await;
            }
        }
    }
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

/// When a view has what it shows.
fn shown(view: &str) -> &'static str {
    match view {
        "fleet" => "devices.children.length === 4 && document.querySelector('.spark')",
        "device" => {
            "document.querySelectorAll('.plot').length === 2 && document.getElementById('device-events').children.length > 9"
        }
        "events" => "feed.children.length > 9",
        "sessions" => "sessions.children.length === 4",
        "health" => "readers.children.length > 1 && traffic.children.length > 5",
        _ => "document.getElementById('refused-about').textContent",
    }
}
