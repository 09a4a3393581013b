//! What a route refuses, from the device to the operator's second try.

use serde_json::Value;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::Library,
    database::Database,
    eventually, scratch,
};

const TOPIC: &str = "devices/pump-7/telemetry";

fn route(schema: &std::path::Path) -> String {
    format!(
        "[[route]]\ntopic = \"devices/{{device}}/telemetry\"\ntype = \"devices.telemetry.received\"\n\
         subject = \"{{device}}\"\nschema = {schema:?}"
    )
}

async fn publish(bridge: &Bridge) {
    let messages = ["{\"t\":1}", "{\"t\":\"warm\"}"].map(|payload| (TOPIC.to_owned(), payload.to_owned()));
    Library::Paho.publish(&bridge.port(), 1, messages).await;
}

async fn dead_letters(bridge: &Bridge) -> (u16, Value) {
    let answer = reqwest::get(bridge.url("/api/dead-letters")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_its_schema_is_listed_and_replayed_after_the_fix() {
    let (database, files) = (Database::create().await, scratch());
    let schema = files.path().join("telemetry.json");
    std::fs::write(&schema, r#"{"properties":{"t":{"type":"number"}}}"#).unwrap();
    let bridge = Setup::default().config(&route(&schema)).timescale(&database.url()).start().await;
    publish(&bridge).await;
    let letter = eventually("a dead letter", async || {
        let (status, page) = dead_letters(&bridge).await;
        assert_eq!(status, 200, "{page}");
        page["deadLetters"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!((&letter["topic"], &letter["payload"]), (&TOPIC.into(), &"eyJ0Ijoid2FybSJ9".into()));
    assert!(letter["reason"].as_str().unwrap().starts_with("schema: /t: "), "{letter}");
    let listed = bridge.command(&["dead-letters", "list"]).success().await;
    assert!(listed.len() == 1 && listed[0].contains(TOPIC), "{listed:?}");
    let listed = bridge.command(&["dead-letters", "list", "--json", "--topic", "devices/#"]).success().await;
    assert_eq!(serde_json::from_str::<Value>(&listed[0]).unwrap(), letter);

    assert_eq!(bridge.command(&["dead-letters", "replay"]).success().await, ["stored 0, refused again 1"]);
    std::fs::write(&schema, "{}").unwrap();
    assert_eq!(bridge.command(&["dead-letters", "replay"]).success().await, ["stored 1, refused again 0"]);
    let values: Vec<_> = bridge.events(TOPIC).await.iter().map(|event| event["data"]["t"].clone()).collect();
    assert_eq!(values, [Value::from(1), Value::from("warm")]);
    assert_eq!(dead_letters(&bridge).await.1["deadLetters"], Value::Array(Vec::new()));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_is_an_event_that_says_so() {
    let files = scratch();
    let schema = files.path().join("telemetry.json");
    std::fs::write(&schema, r#"{"properties":{"t":{"type":"number"}}}"#).unwrap();
    let bridge = Setup::default().config(&route(&schema)).start().await;
    publish(&bridge).await;
    let rejected: Vec<_> =
        bridge.events(TOPIC).await.iter().map(|event| event["metadata"]["rejected"].is_string()).collect();
    assert_eq!(rejected, [false, true]);
    let (status, problem) = dead_letters(&bridge).await;
    assert_eq!(status, 404, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("metadata has `rejected`"), "{problem}");
    bridge.finish(&[]).await;
}
