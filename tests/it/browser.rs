//! Browsers and their like lose the connection and the server: they resume without gap or repeat.

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    chaos::ChaosProxy,
    clients::{Browser, node},
    eventually,
    process::Process,
    raw_mqtt::Version,
};

async fn publish(bridge: &Bridge, numbers: std::ops::Range<u64>) {
    let mut client = bridge.client(Version::V5, "counter").await;
    for number in numbers {
        client.publish("numbers/counter", json!({ "number": number }).to_string(), 1).await;
    }
}

fn number(event: &Value) -> Option<u64> {
    event["data"]["number"].as_u64()
}

/// Publishes while the client is connected, while the way to the bridge is cut, and after the
/// bridge itself was killed and came back; `heard` must then be every number once, in order.
async fn lose_and_resume(bridge: &mut Bridge, proxy: &ChaosProxy, mut heard: impl AsyncFnMut() -> Vec<u64>) {
    let mut hears_up_to = async |end: u64| {
        let wanted: Vec<_> = (0..end).collect();
        let mut last = Vec::new();
        eventually(&format!("{end} numbers"), async || {
            last = heard().await;
            (last.len() >= wanted.len()).then_some(())
        })
        .await;
        assert_eq!(last, wanted);
    };
    publish(bridge, 0..50).await;
    hears_up_to(50).await;

    proxy.cut();
    publish(bridge, 50..100).await;
    proxy.restore();
    hears_up_to(100).await;

    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
    publish(bridge, 100..150).await;
    proxy.retarget(bridge.addresses.http);
    hears_up_to(150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_resumes_without_gap_or_repeat() {
    let mut bridge = Bridge::start().await;
    let proxy = ChaosProxy::to(bridge.addresses.http).await;
    let mut browser = Browser::open(&format!("http://{}/", proxy.address)).await;
    browser.listen("/api/events/stream?topic=numbers/%23").await;
    eventually("the open stream", async || (browser.evaluate("window.opened").await == 1).then_some(())).await;
    lose_and_resume(&mut bridge, &proxy, async || {
        browser.evaluate("window.heard").await.as_array().unwrap().iter().filter_map(number).collect()
    })
    .await;
    assert!(browser.evaluate("window.opened").await.as_u64() >= Some(3), "the connection was never lost");
    drop(browser);
    bridge.finish(&[]).await;
}

/// The client library in the page, over one of its transports.
async fn the_library_resumes(transport: &str) {
    let mut bridge = Bridge::start().await;
    let proxy = ChaosProxy::to(bridge.addresses.http).await;
    let mut browser = Browser::open(&format!("http://{}/", proxy.address)).await;
    browser.subscribe(transport, "numbers/#").await;
    browser.holds("opened === 1").await;
    lose_and_resume(&mut bridge, &proxy, async || {
        browser.evaluate("heard").await.as_array().unwrap().iter().filter_map(number).collect()
    })
    .await;
    assert!(browser.evaluate("opened").await.as_u64() >= Some(3), "the connection was never lost");

    // A network that is gone, and a page that sleeps while its connections are cut.
    let mut up_to = 150;
    for hardship in ["offline", "frozen"] {
        browser.does(json!({ hardship: true })).await;
        proxy.cut();
        publish(&bridge, up_to..up_to + 20).await;
        proxy.restore();
        browser.does(json!({ hardship: false })).await;
        up_to += 20;
        browser.holds(&format!("heard.length >= {up_to}")).await;
    }
    let heard: Vec<_> = browser.evaluate("heard").await.as_array().unwrap().iter().filter_map(number).collect();
    assert_eq!(heard, (0..up_to).collect::<Vec<_>>());
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_library_in_chromium_resumes_over_server_sent_events() {
    the_library_resumes("sse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_library_in_chromium_resumes_over_websocket() {
    the_library_resumes("websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eventsource_package_resumes_without_gap_or_repeat() {
    let mut bridge = Bridge::start().await;
    let proxy = ChaosProxy::to(bridge.addresses.http).await;
    let mut command = node("eventsource_client.mjs");
    command.arg(format!("http://{}/api/events/stream?topic=numbers/%23", proxy.address));
    let mut client = Process::start(command);
    client.line("open", |line| (line == "open").then_some(())).await;
    lose_and_resume(&mut bridge, &proxy, async || {
        let event = |line: &String| number(&serde_json::from_str::<Value>(line).ok()?["data"]);
        client.stdout.all().iter().filter_map(event).collect()
    })
    .await;
    drop(client);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_devices_values_and_plots() {
    let route = "[[route]]\ntopic = \"devices/{device}/telemetry\"\ntype = \"devices.telemetry.received\"\nsubject = \"{device}\"";
    let mut bridge = Setup::default().config(route).start().await;
    let proxy = ChaosProxy::to(bridge.addresses.http).await;
    let mut browser = Browser::open(&format!("http://{}/", proxy.address)).await;
    let mut device = bridge.client(Version::V5, "pump-7").await;
    let mut shows = async |what: &[&str]| {
        eventually(&format!("{what:?} on the page"), async || {
            let text = browser.evaluate("document.body.innerText").await;
            let text = text.as_str().unwrap();
            what.iter().all(|part| text.contains(part)).then_some(())
        })
        .await;
    };
    for tenth in 0..100_u32 {
        let temperature = 20.0 + f64::from(tenth % 17) / 10.0;
        let payload = json!({ "temperature": temperature, "pressure": 1000 + tenth }).to_string();
        device.publish("devices/pump-7/telemetry", payload, 1).await;
    }
    // In the fleet, and by itself.
    shows(&["pump-7", "temperature", "pressure", "1,099"]).await;
    browser.does(json!({ "click": "#devices a" })).await;
    assert_eq!(browser.evaluate("location.search").await, "?device=pump-7");
    let mut shows = async |what: &[&str]| {
        eventually(&format!("{what:?} on the page"), async || {
            let text = browser.evaluate("document.getElementById('view-device').innerText").await;
            let text = text.as_str().unwrap();
            what.iter().all(|part| text.contains(part)).then_some(())
        })
        .await;
    };
    shows(&["pump-7", "temperature", "pressure", "1,099", "100 events"]).await;

    // What happened while the page was cut off is on it afterwards, after a restart too, and after it has slept.
    proxy.cut();
    device.publish("devices/pump-7/telemetry", r#"{"temperature":77.25}"#, 1).await;
    proxy.restore();
    shows(&["77.25"]).await;
    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
    let mut device = bridge.client(Version::V5, "pump-7").await;
    device.publish("devices/pump-7/telemetry", r#"{"temperature":88.75}"#, 1).await;
    proxy.retarget(bridge.addresses.http);
    shows(&["88.75"]).await;
    browser.does(json!({ "frozen": true })).await;
    proxy.cut();
    device.publish("devices/pump-7/telemetry", r#"{"temperature":99.5}"#, 1).await;
    proxy.restore();
    browser.does(json!({ "frozen": false })).await;
    browser.holds("document.getElementById('view-device').innerText.includes('99.5')").await;

    // A page opened later shows the device, that it is there, and what it said before.
    let mut later = Browser::open(&format!("http://{}/?device=pump-7", proxy.address)).await;
    eventually("the device on a new page", async || {
        let text = later.evaluate("document.body.innerText").await;
        let text = text.as_str().unwrap();
        ["pump-7", "online", "99.5", "1,099"].iter().all(|part| text.contains(part)).then_some(())
    })
    .await;
    later.does(json!({ "select": ["#span", "1d"] })).await;
    later
        .holds(
            "[...document.querySelectorAll('.plot canvas')].some(({ plot }) => plot.field.history?.times.length > 0)",
        )
        .await;
    assert_eq!(later.errors(), [""; 0]);

    assert!(browser.evaluate("document.querySelectorAll('.plot canvas').length").await.as_u64() >= Some(2), "plots");
    browser.screenshot("page").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}
