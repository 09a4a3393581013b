//! `synap-mqtt export`: whatever the store, the same events in whatever form, whole or not at all.

use std::{fs, path::Path};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    bridge::{Bridge, Setup},
    clients::python,
    database::Database,
    eventually,
    process::Process,
    raw_mqtt::Version,
};

/// Devices that say plain and odd things.
async fn publish(bridge: &Bridge) {
    let mut device = bridge.client(Version::V5, "device").await;
    for n in 0..40 {
        device.publish(&format!("devices/pump-{}/telemetry", n % 4), format!("{{\"n\":{n}, \"x\":1e3}}"), 1).await;
    }
    for payload in ["21.5", "\"a, \\\"b\\\"\\r\\n\"", "é\r\n", "\u{0}"] {
        device.publish("home/light", payload, 2).await;
    }
}

async fn download(bridge: &Bridge, query: &str) -> String {
    reqwest::get(bridge.url(&format!("/api/events?order=asc&{query}"))).await.unwrap().text().await.unwrap()
}

fn lines(path: impl AsRef<Path>) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of a Parquet file, as DuckDB reads them, in the form of their JSON.
pub async fn duckdb(path: &Path) -> (Value, Vec<Value>) {
    let mut command = python("parquet.py");
    command.arg("read").arg(path);
    let mut printed = Process::start(command).success().await.into_iter();
    let types = serde_json::from_str(&printed.next().unwrap()).unwrap();
    let event = |line: String| {
        let mut event: Value = serde_json::from_str(&line).unwrap();
        for name in ["data", "metadata"] {
            event[name] = event[name].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        }
        let time = jiff::Timestamp::from_microsecond(event["timestamp"].as_i64().unwrap()).unwrap();
        event["timestamp"] = format!("{time:.6}").into();
        event
    };
    (types, printed.map(event).collect())
}

/// No file of this directory but those that were asked for.
fn assert_only(directory: &Path, expected: &[&str]) {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "data" && name != "synap-mqtt.toml");
    names.sort();
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_runs_and_its_journal_give_the_same_file() {
    let mut bridge = Bridge::start().await;
    publish(&bridge).await;
    let (ndjson, csv) = (download(&bridge, "format=ndjson").await, download(&bridge, "format=csv").await);
    assert_eq!(ndjson.lines().count(), 44);

    let held = bridge.command(&["export", "--output", "held.ndjson"]).failure().await;
    assert!(held.contains("holds the journal") && held.contains("--url http://"), "{held}");
    let url = bridge.url("");
    bridge.command(&["export", "--url", &url, "--output", "asked.ndjson"]).success().await;
    bridge.command(&["export", "--url", &url, "--output", "asked.csv"]).success().await;
    bridge.terminate().await;
    for name in ["from.ndjson", "from.csv", "from.parquet"] {
        let mut export = bridge.command(&["export", "--output", name]);
        assert!(export.status().await.success(), "{}", export.said());
        let said = eventually("the last line", async || export.stderr.all().pop()).await;
        assert!(said.starts_with(&format!("exported 44 events to {name}, ")) && said.ends_with(" s"), "{said}");
    }
    let home = bridge.home();
    assert_only(home, &["asked.csv", "asked.ndjson", "from.csv", "from.ndjson", "from.parquet"]);
    for name in ["asked.ndjson", "from.ndjson"] {
        assert_eq!(fs::read_to_string(home.join(name)).unwrap(), ndjson, "{name}");
    }
    for name in ["asked.csv", "from.csv"] {
        assert_eq!(fs::read_to_string(home.join(name)).unwrap(), csv, "{name}");
    }
    let (types, events) = duckdb(&home.join("from.parquet")).await;
    assert_eq!(events, lines(home.join("from.ndjson")));
    for (name, kind) in
        [("id", "UUID"), ("timestamp", "TIMESTAMP WITH TIME ZONE"), ("data", "JSON"), ("metadata", "JSON")]
    {
        assert_eq!(types[name], kind, "{types}");
    }

    let printed = bridge.command(&["export", "--device", "pump-3"]).success().await;
    assert_eq!(printed.len(), 10);
    let from = lines(home.join("from.ndjson"))[38]["timestamp"].as_str().unwrap().to_owned();
    for (arguments, count) in [
        (&["--type", "mqtt.message.received"][..], 4),
        (&["--topic", "devices/+/telemetry"], 40),
        (&["--topic", "devices/+/telemetry", "--from", &from], 2),
        (&["--to", &from], 38),
        (&["--subject", "nobody"], 0),
    ] {
        let arguments = [&["export"], arguments].concat();
        assert_eq!(bridge.command(&arguments).success().await.len(), count, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_gives_its_rows_whether_or_not_a_bridge_runs() {
    let database = Database::create().await;
    let mut bridge = Setup::default().timescale(&database.url()).start().await;
    publish(&bridge).await;
    database.rows(44).await;
    let sql = "insert into events (type, subject_id, subject_type, data, metadata, user_id, correlation_id, timestamp)
         values ('notes.creation.completed', 'x', 'note', '{}', null, 'owner', $1, '2001-01-01')";
    let correlation = uuid::Uuid::new_v4();
    sqlx::query(sql).bind(correlation).execute(&database.pool).await.unwrap();
    let ndjson = download(&bridge, "format=ndjson").await;
    bridge.command(&["export", "--output", "one.ndjson"]).success().await;
    bridge.terminate().await;
    bridge.command(&["export", "--output", "two.parquet"]).success().await;
    assert_eq!(fs::read_to_string(bridge.home().join("one.ndjson")).unwrap(), ndjson);
    let events = lines(bridge.home().join("one.ndjson"));
    assert_eq!((events.len(), events[0]["timestamp"].as_str()), (45, Some("2001-01-01T00:00:00.000000Z")));
    let (_, foreign) = duckdb(&bridge.home().join("two.parquet")).await;
    assert_eq!(foreign, events);
    let chain = bridge.command(&["export", "--correlation", &correlation.to_string()]).success().await;
    assert_eq!(chain.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_leaves_no_file() {
    let mut bridge = Bridge::start().await;
    bridge.terminate().await;
    let out = ["--output", "out.ndjson"];
    for (arguments, says) in [
        (&["--from", "yesterday"][..], "RFC 3339"),
        (&["--topic", "a#"], "last character"),
        (&["--format", "xml"], "parquet"),
        (&["--url", "https://127.0.0.1:1"], "plain HTTP"),
        (&["--url", "http://127.0.0.1:1"], "connect to 127.0.0.1, port 1"),
    ] {
        let said = bridge.command(&[&["export"], &out[..], arguments].concat()).failure().await;
        assert!(said.contains(says), "{said}");
    }
    let said = bridge.command(&["export", "--output", "nowhere/out.csv"]).failure().await;
    assert!(said.contains("write nowhere/out.csv") && said.contains("No such file"), "{said}");
    assert_only(bridge.home(), &[]);
    fs::remove_dir_all(bridge.data_dir()).unwrap();
    let said = bridge.command(&["export"]).failure().await;
    assert!(said.contains("there is no journal in") && !bridge.data_dir().exists(), "{said}");
    let database = Database::create().await;
    bridge.configure(&format!("[timescale]\nurl = \"{}\"", database.url()));
    let said = bridge.command(&["export", "--output", "out.csv"]).failure().await;
    assert!(said.contains("the tables are not prepared yet"), "{said}");
    assert_only(bridge.home(), &[]);
}

/// An HTTP server that begins an answer and, told so, breaks it off.
async fn half_an_answer() -> (String, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        let event = "{\"id\":\"00000000-0000-0000-0000-000000000001\"}\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = format!("{head}{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let _ = is_cut.await;
    });
    (url, cut)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_never_looks_whole() {
    let mut bridge = Bridge::start().await;
    bridge.terminate().await;
    let file = bridge.home().join("out.ndjson");
    fs::write(&file, "older\n").unwrap();
    let part =
        || fs::read_dir(bridge.home()).unwrap().any(|entry| entry.unwrap().path().extension() == Some("part".as_ref()));

    for signal in ["INT", "TERM"] {
        let (url, _open) = half_an_answer().await;
        let export = bridge.command(&["export", "--url", &url, "--output", "out.ndjson"]);
        eventually("it is under way", async || part().then_some(())).await;
        export.signal(signal);
        let said = export.failure().await;
        assert!(said.contains("interrupted") && said.contains("nothing was written"), "{said}");
        assert_only(bridge.home(), &["out.ndjson"]);
    }
    let (url, cut) = half_an_answer().await;
    let export = bridge.command(&["export", "--url", &url, "--output", "out.ndjson"]);
    eventually("it is under way", async || part().then_some(())).await;
    cut.send(()).unwrap();
    let said = export.failure().await;
    assert!(said.contains("broke off"), "{said}");
    assert_only(bridge.home(), &["out.ndjson"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "older\n");
}
