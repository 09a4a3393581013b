//! Two hundred plots at once in Chromium: all of them are drawn, frames go on, and memory stays where it is.

use serde_json::json;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::Browser,
    raw_mqtt::Version,
};

const ROUTE: &str = "[[route]]\ntopic = \"devices/{device}/telemetry\"\ntype = \"devices.telemetry.received\"\n\
    subject = \"{device}\"";

const PLOTS: usize = 200;

/// What the page may hold more after many more events, in bytes.
const GROWTH: u64 = 16 << 20;

/// Counts frames, and the longest time between two of them.
const WATCH_FRAMES: &str = "(() => {
    const frames = (window.frames_ = { count: 0, longest: 0, began: performance.now() });
    let last = performance.now();
    const frame = (now) => {
      frames.longest = Math.max(frames.longest, now - last);
      frames.count += 1;
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  })()";

const FRAMES: &str = "`${frames_.count} frames in ${Math.round(performance.now() - frames_.began)} ms, \
    at most ${Math.round(frames_.longest)} ms between two`";

/// One value of each of two hundred devices, `rounds` times; then a last one that says so, acknowledged.
async fn fleet(bridge: &Bridge, rounds: std::ops::Range<usize>) {
    let mut gateway = bridge.client(Version::V5, "gateway").await;
    for round in rounds.clone() {
        let is_last = round + 1 == rounds.end;
        for device in 0..PLOTS {
            let payload = json!({ "round": round, "level": (round * (device + 3)) % 17 }).to_string();
            gateway.publish(&format!("devices/tank-{device}/telemetry"), payload, u8::from(is_last)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_devices_are_drawn_and_bounded_in_memory() {
    let bridge = Setup::default().config(ROUTE).start().await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    // A window that has room for all of them.
    browser.does(json!({ "show": { "width": 2560, "height": 4800, "dark": false } })).await;
    browser.holds("state.dataset.state === 'live'").await;
    browser.evaluate(WATCH_FRAMES).await;
    fleet(&bridge, 0..30).await;
    let drawn = "[...document.querySelectorAll('.spark')].filter(({ spark }) => spark.count > 1).length === 200";
    let newest = |round| {
        format!(
            "devices.children.length === {PLOTS} && [...devices.querySelectorAll('.figures')].every(({{ textContent }}) => textContent.includes('{round}round'))"
        )
    };
    browser.holds(&format!("{drawn} && {}", newest(29))).await;
    let before = browser.heap().await;
    fleet(&bridge, 30..130).await;
    browser.holds(&newest(129)).await;
    let after = browser.heap().await;
    eprintln!("two hundred devices: {}", browser.evaluate(FRAMES).await);
    eprintln!("the page's heap: {before} bytes, and {after} after 20,000 more events");
    assert!(after < before + GROWTH, "{before} bytes have become {after}");
    browser.screenshot("plots-fleet").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_numbers_of_one_device_are_plotted() {
    let bridge = Setup::default().config(ROUTE).start().await;
    let mut device = bridge.client(Version::V5, "plant").await;
    let payload = |round: usize| {
        let numbers = (0..PLOTS).map(|at| (format!("sensor-{at:03}"), json!((round * (at + 5)) % 23)));
        serde_json::Value::Object(numbers.collect()).to_string()
    };
    let mut browser = Browser::open(&bridge.url("/?device=plant")).await;
    browser.does(json!({ "show": { "width": 2560, "height": 4800, "dark": true } })).await;
    browser.evaluate(WATCH_FRAMES).await;
    for round in 0..200 {
        device.publish("devices/plant/telemetry", payload(round), 1).await;
    }
    let plots = "[...document.querySelectorAll('.plot canvas')].map(({ plot }) => plot)";
    browser.holds(&format!("{plots}.length === 200")).await;
    // Those that are seen are drawn, to the last value.
    browser.holds(&format!("{plots}.filter(({{ isSeen }}) => isSeen).every(({{ shown }}) => shown?.count > 1)")).await;
    browser.holds(&format!("{plots}[199].field.value === {}", (199 * 204) % 23)).await;
    eprintln!("two hundred numbers: {}", browser.evaluate(FRAMES).await);
    browser.screenshot("plots-device").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}
