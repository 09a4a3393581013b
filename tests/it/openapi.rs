//! `/openapi.json` says what the answers are: schemathesis asks whatever it allows, and compares.

use serde_json::Value;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::python_program,
    database::Database,
    process::Process,
    raw_mqtt::{Connect, Version},
};

/// What the description promises. Values that it does not allow may still be taken, for unknown
/// parameters are ignored.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// The description, but that nobody waits for events and answers that do not come.
async fn without_waiting(bridge: &Bridge) -> String {
    let mut description: Value = reqwest::get(bridge.url("/openapi.json")).await.unwrap().json().await.unwrap();
    let parameters = description["paths"]["/api/events"]["get"]["parameters"].as_array_mut().unwrap();
    let wait = parameters.iter_mut().find(|parameter| parameter["name"] == "wait").unwrap();
    wait["schema"]["maximum"] = 0.into();
    let order = &mut description["components"]["schemas"]["CommandOrder"];
    order["properties"]["wait"]["maximum"] = 0.into();
    order["required"] = serde_json::json!(["wait"]);
    description.to_string()
}

async fn assert_answers_are_as_described(bridge: &Bridge) {
    let mut devices = bridge.client(Version::V5, "pump-1").await;
    for topic in ["devices/pump-1/telemetry", "devices/pump 2/state", "home/light"] {
        devices.publish(topic, r#"{"temperature":21.5,"at":{"x":[1,"é",null]}}"#, 1).await;
    }
    let mut session = bridge.raw(Version::V5).await;
    session.connect_as(&Connect::persistent(Version::V5, "keeper")).await;
    session.subscribe("home/#", 1).await;

    // It leaves what it has found where it runs.
    let scratch = tempfile::tempdir().unwrap();
    let description = scratch.path().join("openapi.json");
    std::fs::write(&description, without_waiting(bridge).await).unwrap();
    let mut command = python_program("st");
    command.current_dir(scratch.path()).arg("run").arg(&description).args(["--url", &bridge.url(""), "--seed", "7"]);
    // A stream never ends, and a handshake is no question.
    command.args(["--exclude-path", "/api/events/stream", "--exclude-path", "/api/events/ws"]);
    command.args(["--checks", CHECKS, "--max-examples", "25", "--request-timeout", "60", "--no-color"]);
    Process::start(command).success().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_from_the_journal_are_as_described() {
    let bridge = Bridge::start().await;
    assert_answers_are_as_described(&bridge).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_from_the_database_are_as_described() {
    let database = Database::create().await;
    let bridge = Setup::default().timescale(&database.url()).start().await;
    assert_answers_are_as_described(&bridge).await;
    bridge.finish(&[]).await;
}
