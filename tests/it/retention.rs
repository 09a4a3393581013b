//! How long events are kept, as the operator of a pod sees it.

use serde_json::Value;

use crate::support::{bridge::Setup, database::Database, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_possible_is_said_once_and_is_no_fault_for_ever() {
    let database = Database::create().await;
    let keys = "retention = \"30d\"\ncompress_after = \"7d\"";
    let bridge = Setup::default().timescale(&database.url()).config(keys).start().await;
    let state = eventually("the first run", async || {
        let health: Value = reqwest::get(bridge.url("/readyz")).await.ok()?.json().await.ok()?;
        let state = health["components"]["retention"].clone();
        (state["state"] != "starting").then_some(state)
    })
    .await;
    assert_eq!(state["state"], "ready", "{state}");
    assert_eq!(bridge.readiness().await, Some(200));
    let said = |line: &&String| line.contains("compress_after");
    assert_eq!(bridge.complaints().iter().filter(said).count(), 1);
    bridge.finish(&["compress_after"]).await;
}
