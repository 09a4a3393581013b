//! The first five minutes: a start without configuration in an empty directory, and the commands
//! that it prints. In a network name space of its own, because these are the well-known ports.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;

use crate::support::{bridge::BINARY, eventually, process::Process, scratch};

/// Starts the program as a newcomer would.
async fn start(directory: &Path) -> Process {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\"", BINARY]).current_dir(directory);
    let mut process = Process::start(command);
    process.line("listening http", |line| line.contains("listening http 127.0.0.1:8080").then_some(())).await;
    process
}

/// A shell command beside the running program.
fn beside(process: &Process, directory: &Path, command: &str) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--net=/proc/{}/ns/net", process.id())).args(["sh", "-c", &format!("exec {command}")]);
    nsenter.current_dir(directory);
    nsenter
}

/// The command that the program prints for trying `tool`.
fn printed(process: &Process, tool: &str) -> String {
    let command = process
        .stdout
        .find(|line| line.trim().strip_prefix("$ ").unwrap_or(line.trim()).starts_with(tool).then(|| line.clone()));
    let command = command.unwrap_or_else(|| panic!("no command with {tool} is printed\n{}", process.said()));
    command.trim().trim_start_matches("$ ").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_commands_work_in_an_empty_directory() {
    let home = scratch();
    let mut bridge = start(home.path()).await;
    for line in ["listening mqtt 127.0.0.1:1883", "listening mqtts 127.0.0.1:8883"] {
        assert!(bridge.stdout.all().iter().any(|said| said.trim() == line), "{line}\n{}", bridge.said());
    }
    assert!(bridge.stdout.all().iter().any(|line| line.contains("data")), "it says where its data lies");

    let publish = printed(&bridge, "mosquitto_pub");
    assert!(publish.contains("data/certs/ca.pem") && publish.contains("8883"), "{publish}");
    let subscriber = Process::start(beside(&bridge, home.path(), &printed(&bridge, "mosquitto_sub")));
    let stream = Process::start(beside(&bridge, home.path(), &printed(&bridge, "curl")));
    let (message, event) = eventually("message and event", async || {
        Process::start(beside(&bridge, home.path(), &publish)).success().await;
        let message = subscriber.stdout.find(|line| line.contains("telemetry").then(|| line.clone()))?;
        let event = stream.stdout.find(|line| {
            let event: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
            event["data"]["temperature"].is_number().then_some(event)
        })?;
        Some((message, event))
    })
    .await;
    assert!(message.starts_with("devices/") && message.contains("temperature"), "{message}");
    assert_eq!((&event["version"], &event["source"], &event["userId"]), (&"v1".into(), &"api".into(), &"local".into()));

    let page = Process::start(beside(&bridge, home.path(), "curl -sS http://127.0.0.1:8080/")).success().await;
    assert!(page[0].to_lowercase().starts_with("<!doctype html>"), "{page:?}");
    drop((subscriber, stream));

    // Nothing beyond loopback: /proc/net/tcp shows listeners as state 0A.
    for (table, loopback) in [("tcp", "0100007F:"), ("tcp6", "00000000000000000000000001000000:")] {
        let table = fs::read_to_string(format!("/proc/{}/net/{table}", bridge.id())).unwrap();
        let listeners = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        for listener in listeners.filter(|fields| fields[3] == "0A") {
            assert!(listener[1].starts_with(loopback), "{listener:?}");
        }
    }
    let ca = fs::read(home.path().join("data/certs/ca.pem")).unwrap();
    for entry in fs::read_dir(home.path().join("data/certs")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).is_ok_and(|text| text.contains("PRIVATE KEY")) {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        }
    }

    bridge.terminate();
    assert!(bridge.status().await.success(), "{}", bridge.said());
    let mut again = start(home.path()).await;
    assert_eq!(fs::read(home.path().join("data/certs/ca.pem")).unwrap(), ca, "a second start keeps the CA");
    Process::start(beside(&again, home.path(), &publish)).success().await;
    again.terminate();
    assert!(again.status().await.success(), "{}", again.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_named_before_anything_is_opened() {
    let home = scratch();
    let file = home.path().join("wrong.toml");
    fs::write(&file, "data_dir = \"d\"\n[limits]\nmemroy = \"64MiB\"\n").unwrap();
    for arguments in [&["check-config"][..], &[]] {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(&file).args(arguments).current_dir(home.path());
        let mut process = Process::start(command);
        assert_eq!(process.status().await.code(), Some(78), "{}", process.said());
        eventually("the reason", async || (process.stderr.len() > 0).then_some(())).await;
        let said = process.stderr.all().join("\n");
        for part in ["wrong.toml:3", "memroy", "memory"] {
            assert!(said.contains(part), "{part} is missing in: {said}");
        }
        assert!(!home.path().join("d").exists(), "nothing is opened before");
    }
}
