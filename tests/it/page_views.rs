//! The page's views in Chromium: events with filters in the address, sessions, commands.

use serde_json::json;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::Browser,
    raw_mqtt::Version,
};

const ROUTE: &str = "[[route]]\ntopic = \"devices/{device}/telemetry\"\ntype = \"devices.telemetry.received\"\n\
    subject = \"{device}\"";

async fn publish(bridge: &Bridge, device: &str, numbers: std::ops::Range<u32>) {
    let mut client = bridge.client(Version::V5, device).await;
    for number in numbers {
        let payload = json!({ "number": number, "of": device }).to_string();
        client.publish(&format!("devices/{device}/telemetry"), payload, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_shows_what_the_filters_in_the_address_say() {
    let bridge = Setup::default().config(ROUTE).start().await;
    publish(&bridge, "pump-7", 0..3).await;
    publish(&bridge, "fan-1", 0..3).await;
    let mut browser = Browser::open(&bridge.url("/?show=events&topic=devices/pump-7/%23")).await;
    // What was stored before, and what comes.
    browser
        .holds("feed.children.length === 3 && document.getElementById('filter-topic').value === 'devices/pump-7/#'")
        .await;
    publish(&bridge, "fan-1", 3..5).await;
    publish(&bridge, "pump-7", 3..5).await;
    browser.holds("feed.children.length === 5").await;
    assert_eq!(browser.evaluate("feed.innerText.includes('fan-1')").await, false);

    // Other filters, by keys, and back.
    browser.does(json!({ "press": "/" })).await;
    for (field, text) in
        [("#filter-topic", ""), ("#filter-device", "fan-1"), ("#filter-type", "devices.telemetry.received")]
    {
        browser.does(json!({ "fill": [field, text] })).await;
    }
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds("feed.children.length === 5 && !feed.innerText.includes('pump-7')").await;
    let address = browser.evaluate("location.search").await;
    assert_eq!(address, "?show=events&type=devices.telemetry.received&device=fan-1");
    browser.screenshot("page-events").await;
    browser.does(json!({ "back": true })).await;
    browser.holds("feed.children.length === 5 && !feed.innerText.includes('fan-1')").await;
    publish(&bridge, "pump-7", 5..6).await;
    browser.holds("feed.children.length === 6").await;

    // Nothing that matches, and a filter that is none.
    browser.does(json!({ "fill": ["#filter-topic", "nothing/here"] })).await;
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds("document.getElementById('feed-about').innerText.includes('No event matches yet')").await;
    browser.does(json!({ "fill": ["#filter-topic", "not/#/a filter"] })).await;
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds("document.getElementById('feed-about').innerText.includes('topic')").await;
    // Without filters, everything.
    browser.does(json!({ "fill": ["#filter-topic", ""] })).await;
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds("feed.children.length === 11").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_show_who_subscribes_to_what_and_what_waits() {
    let bridge = Setup::default().config(ROUTE).start().await;
    let mut away = bridge.raw(Version::V5).await;
    away.connect("archive", false).await;
    away.subscribe("devices/<b>/#", 1).await;
    away.subscribe("devices/+/telemetry", 1).await;
    drop(away);
    publish(&bridge, "pump-7", 0..3).await;
    let _here = bridge.client(Version::V5, "screen").await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    browser.does(json!({ "press": "3" })).await;
    browser.holds("sessions.innerText.includes('screen') && sessions.innerText.includes('archive')").await;
    let row = "[...sessions.children].find((row) => row.innerText.includes('archive'))";
    browser.holds(&format!("{row}.dataset.state === 'away' && /\\b3, /.test({row}.innerText)")).await;
    browser.evaluate(&format!("{row}.querySelector('summary').focus()")).await;
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds(&format!("{row}.querySelector('details').open && {row}.innerText.includes('devices/<b>/#')")).await;
    browser.screenshot("page-sessions").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_can_be_searched_and_walked_through_by_keys() {
    let bridge = Setup::default().config(ROUTE).start().await;
    for device in ["pump-1", "pump-2", "pump-10", "fan-1"] {
        publish(&bridge, device, 0..2).await;
    }
    let mut browser = Browser::open(&bridge.url("/")).await;
    let names = "[...devices.children].filter((item) => !item.hidden).map((item) => item.querySelector('.name').textContent).join()";
    browser.holds(&format!("{names} === 'fan-1,pump-1,pump-2,pump-10'")).await;
    browser.does(json!({ "press": "/" })).await;
    browser.does(json!({ "fill": ["#search", "PUMP"] })).await;
    browser.holds(&format!("{names} === 'pump-1,pump-2,pump-10' && location.search === '?find=PUMP'")).await;
    for key in ["Tab", "Tab", "ArrowRight", "Enter"] {
        browser.does(json!({ "press": key })).await;
    }
    browser.holds("location.search === '?device=pump-2' && document.activeElement.id === 'detail-title'").await;
    browser.does(json!({ "press": "Escape" })).await;
    browser.holds("location.search === '' && !document.getElementById('view-fleet').hidden").await;

    // What was chosen stays: light or dark.
    browser.does(json!({ "select": ["#theme", "dark"] })).await;
    let url = bridge.url("/");
    browser.does(json!({ "open": url })).await;
    let page = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.evaluate(page).await, "rgb(16, 20, 19)");
    browser.does(json!({ "select": ["#theme", "light"] })).await;
    assert_eq!(browser.evaluate(page).await, "rgb(244, 245, 243)");
    browser.evaluate("document.activeElement.blur()").await;
    browser.does(json!({ "press": "?" })).await;
    browser.holds("document.getElementById('keys').open").await;
    browser.does(json!({ "press": "Enter" })).await;
    browser.holds("!document.getElementById('keys').open").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_given_on_the_page_and_their_answers_shown() {
    let bridge = Setup::default().config(ROUTE).start().await;
    publish(&bridge, "pump-7", 0..2).await;
    let mut browser = Browser::open(&bridge.url("/?device=pump-7")).await;
    browser.holds("document.querySelectorAll('.plot').length === 1").await;
    browser.holds("!document.getElementById('commands-panel').hidden").await;
    let payload = "document.getElementById('command-payload')";
    browser.does(json!({ "fill": ["#command-payload", "{\"speed\": 3"] })).await;
    browser.does(json!({ "click": "#command-form button" })).await;
    browser.holds(&format!("{payload}.validationMessage.startsWith('This is no JSON')")).await;
    browser.does(json!({ "fill": ["#command-payload", "{\"speed\": 3}"] })).await;
    browser.does(json!({ "click": "#command-form button" })).await;
    let id = "document.querySelector('#commands details')?.dataset.id";
    browser.holds(id).await;
    // In the device's place: the answer has the command's id.
    let answer = format!(
        "import('/client/index.js').then(({{ MqttStream }}) => new MqttStream(location.origin).publish({{
           topic: 'devices/pump-7/responses', payload: {{ ok: true }}, properties: {{ correlationData: btoa({id}) }} }}))"
    );
    browser.evaluate(&answer).await;
    browser.holds("document.getElementById('command-about').innerText === 'Answered: {\"ok\":true}'").await;
    browser.holds("document.querySelector('#commands li').dataset.state === 'completed'").await;
    browser.does(json!({ "click": "#commands summary" })).await;
    browser.holds("document.querySelector('#commands pre')?.innerText.includes('\"ok\": true')").await;
    browser.screenshot("page-commands").await;
    assert_eq!(browser.errors(), [""; 0]);
    drop(browser);
    bridge.finish(&[]).await;
}
