//! The page in Chromium, as a person uses it who asks about the past, and about what went wrong.

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    clients::Browser,
    database::Database,
    eventually,
    raw_mqtt::Version,
    scratch,
};

const ROUTE: &str = "[[route]]\ntopic = \"devices/{device}/telemetry\"\ntype = \"devices.telemetry.received\"\n\
    subject = \"{device}\"\nstore = \"both\"\ntimestamp = \"/at\"\nmetrics = [\"/temperature\", \"/pressure\"]";

async fn address(browser: &mut Browser) -> String {
    browser.evaluate("location.search").await.as_str().unwrap().to_owned()
}

/// Six hours of two metrics, a value each minute, but for the fourth hour; ends an hour ago.
async fn six_hours(bridge: &Bridge) {
    let mut device = bridge.client(Version::V5, "pump-7").await;
    let end = jiff::Timestamp::now().as_second() - 3_600;
    for minute in (0..360).filter(|minute| minute / 60 != 3) {
        let wave = (f64::from(minute) / 40.0).sin();
        let spike = if minute == 100 { 60.0 } else { 0.0 };
        let (temperature, pressure) = (20.0 + 4.0 * wave + spike, 1000.0 + 12.0 * (wave * 2.0).cos());
        let at = end - i64::from(360 - minute) * 60;
        let payload = json!({ "at": at, "temperature": temperature, "pressure": pressure, "state": "running" });
        device.publish("devices/pump-7/telemetry", payload.to_string(), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_metric_is_plotted_over_a_chosen_period_that_the_address_names() {
    let database = Database::create().await;
    let bridge = Setup::default().config(ROUTE).timescale(&database.url()).start().await;
    six_hours(&bridge).await;
    eventually("all is stored", async || {
        (bridge.metric("synap_mqtt_timescale_lag_records").await == 0.0).then_some(())
    })
    .await;

    let mut browser = Browser::open(&bridge.url("/?device=pump-7&metric=temperature&period=1d")).await;
    let plots = "[...document.querySelectorAll('.plot:not([hidden]) canvas')]";
    // Six hours in buckets of five minutes, with one gap: the hour without a value.
    let gaps = format!("{plots}[0].plot.points?.values.filter((value) => value === null).length");
    browser.holds(&format!("{plots}.length === 1 && {gaps} === 1")).await;
    let shown = browser.evaluate(&format!("{plots}[0].plot.shown.high")).await.as_f64().unwrap();
    assert!(shown > 80.0, "the spike of a minute is in the plot of a day: {shown}");
    let label = browser.evaluate(&format!("{plots}[0].getAttribute('aria-label')")).await;
    assert!(label.as_str().unwrap().starts_with("Plot of temperature: now "), "{label}");
    assert!(
        browser
            .evaluate("document.getElementById('view-device').innerText")
            .await
            .as_str()
            .unwrap()
            .contains("300 events")
    );
    browser.screenshot("page-metric").await;

    browser.does(json!({ "select": ["#metric", "pressure"] })).await;
    assert_eq!(address(&mut browser).await, "?device=pump-7&metric=pressure&period=1d");
    browser.does(json!({ "back": true })).await;
    browser.holds("metric.value === 'temperature'").await;
    browser.does(json!({ "select": ["#metric", ""] })).await;
    browser.holds(&format!("{plots}.length === 3")).await;
    browser.screenshot("page-all").await;

    // A time with nothing in it, and one that ends before it begins.
    browser.does(json!({ "select": ["#span", "custom"] })).await;
    for (field, time) in [("#from", "2026-01-31T12:00"), ("#to", "2026-01-31T11:00")] {
        browser.does(json!({ "fill": [field, time] })).await;
    }
    browser.does(json!({ "press": "Enter" })).await;
    assert_eq!(browser.evaluate("to.validity.customError").await, true);
    browser.does(json!({ "fill": ["#to", "2026-01-31T13:00"] })).await;
    browser.does(json!({ "press": "Enter" })).await;
    let nothing =
        "[...document.querySelectorAll('.plot canvas')].some(({ plot }) => plot.isSeen && plot.shown?.count === 0)";
    browser.holds(nothing).await;
    let address = address(&mut browser).await;
    assert!(
        address.contains("from=2026-01-31T") && address.contains("to=2026-01-31T") && !address.contains("period"),
        "{address}"
    );
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_and_how_the_bridge_is_doing_is_on_the_page() {
    let (database, files) = (Database::create().await, scratch());
    let schema = files.path().join("telemetry.json");
    std::fs::write(&schema, r#"{"properties":{"temperature":{"type":"number"}}}"#).unwrap();
    let bridge =
        Setup::default().config(&format!("{ROUTE}\nschema = {schema:?}")).timescale(&database.url()).start().await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    browser.holds("store.innerText.includes('Stored')").await;
    let mut device = bridge.client(Version::V5, "pump-7").await;
    device.publish("devices/pump-7/telemetry", r#"{"temperature":21.5}"#, 1).await;
    for payload in [&br#"{"temperature":"<b>warm</b>"}"#[..], b"\xff\x00"] {
        device.publish("devices/pump-7's/telemetry", payload, 1).await;
    }
    browser.holds("document.getElementById('refused-count').textContent === '2'").await;

    // By keys alone.
    browser.does(json!({ "press": "5" })).await;
    browser.holds("document.activeElement.id === 'refused-title' && refused.children.length === 2").await;
    assert!(address(&mut browser).await.contains("show=refused"));
    browser.evaluate("refused.lastElementChild.querySelector('summary').focus()").await;
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds("refused.innerText.includes('replay')").await;
    let text = browser.evaluate("refused.innerText").await;
    let quoted = r"synap-mqtt dead-letters replay --topic 'devices/pump-7'\''s/telemetry'";
    for part in ["devices/pump-7's/telemetry", "schema: /temperature", "<b>warm</b>", "From pump-7,", quoted] {
        assert!(text.as_str().unwrap().contains(part), "{part} in {text}");
    }
    browser.screenshot("page-refused").await;

    browser.does(json!({ "press": "4" })).await;
    let parts = "['timescale', 'Into the database', 'Newest record', 'Messages received'].every((part) => document.getElementById('view-health').innerText.includes(part))";
    browser.holds(parts).await;
    browser.screenshot("page-health").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_shows_on_the_page_and_in_the_readers_lag() {
    let database = Database::create().await;
    let proxy = crate::support::chaos::ChaosProxy::to(database.address()).await;
    let bridge = Setup::default().timescale(&database.url_through(proxy.address)).start().await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    browser.holds("store.innerText.includes('Stored')").await;
    proxy.cut();
    let mut device = bridge.client(Version::V5, "pump-7").await;
    device.publish("devices/pump-7/telemetry", "1", 1).await;
    browser.holds("store.innerText.includes('Database away')").await;
    let consumers: Value = reqwest::get(bridge.url("/api/consumers")).await.unwrap().json().await.unwrap();
    let writer = consumers["consumers"].as_array().unwrap().iter().find(|one| one["name"] == "timescale").unwrap();
    assert!(writer["lagRecords"].as_u64() >= Some(1) && writer["waitingSince"].is_string(), "{consumers}");
    assert_eq!((&consumers["database"]["connected"], &consumers["health"]["ready"]), (&json!(false), &json!(false)));
    proxy.restore();
    browser.holds("store.innerText.includes('Stored')").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&["the database", "cannot", "connect"]).await;
}
