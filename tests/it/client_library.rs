//! `clients/js`: its types, and its own tests against the real bridge. In Chromium it is tested with the browser itself, in
//! `browser`.

use std::process::Command;

use crate::support::{bridge::BINARY, in_package, process::Process};

/// Runs one of the package's test files.
async fn passes(file: &str) {
    let mut command = Command::new("node");
    command.args(["--test", file]).current_dir(in_package("clients/js"));
    command.env("SYNAP_MQTT", BINARY).env("SYNAP_TEST_TMP", env!("CARGO_TARGET_TMPDIR"));
    let said = Process::start(command).success().await;
    let count = said.iter().find_map(|line| line.strip_prefix("# pass ")).unwrap();
    assert!(count.parse::<usize>().unwrap() > 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_types_say_what_its_sources_do() {
    let mut command = Command::new("node");
    command.arg("node_modules/typescript/bin/tsc").current_dir(in_package("clients/js"));
    Process::start(command).success().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_server_sent_events_as_the_standard_says() {
    passes("test/parser.test.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_streams_lose_nothing_and_repeat_nothing_over_server_sent_events() {
    passes("test/sse.test.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_streams_lose_nothing_and_repeat_nothing_over_websocket() {
    passes("test/websocket.test.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_streams_change_transports_replay_and_end() {
    passes("test/modes.test.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_requests_are_done_once() {
    passes("test/requests.test.js").await;
}
