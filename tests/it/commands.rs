//! Commands to devices: what their request is answered, what devices get, and the events that tell of them, each once,
//! whatever ends the bridge.

use std::collections::BTreeMap;

use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    clients::{Subscriber, mosquitto, python},
    database::Database,
    event_socket::EventSocket,
    eventually,
    process::Process,
    properties::id,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind},
    sse::Sse,
};

const REQUESTED: &str = "devices.command.requested";
const DELIVERED: &str = "devices.command.delivered";
const COMPLETED: &str = "devices.command.completed";
const EXPIRED: &str = "devices.command.expired";

async fn give(bridge: &Bridge, device: &str, body: &Value, key: Option<&str>) -> Response {
    try_give(bridge, device, body, key).await.unwrap()
}

async fn try_give(bridge: &Bridge, device: &str, body: &Value, key: Option<&str>) -> Result<Response, reqwest::Error> {
    let mut request = reqwest::Client::new().post(bridge.url(&format!("/api/devices/{device}/commands"))).json(body);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    request.send().await
}

async fn status(answer: Response) -> (u16, Value) {
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(bridge: &Bridge, path: &str) -> Value {
    let answer = reqwest::get(bridge.url(path)).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// A command that nobody waits for; its id.
async fn give_and_go(bridge: &Bridge, device: &str, body: Value) -> String {
    let mut body = body;
    body["wait"] = json!(0);
    let (code, command) = status(give(bridge, device, &body, None).await).await;
    assert_eq!(code, 202, "{command}");
    command["id"].as_str().unwrap().to_owned()
}

async fn command(bridge: &Bridge, device: &str, id: &str) -> Value {
    get(bridge, &format!("/api/devices/{device}/commands/{id}")).await
}

/// Waits until it has come this far.
async fn reaches(bridge: &Bridge, device: &str, id: &str, state: &str) -> Value {
    eventually(&format!("{id} {state}"), async || {
        let command = command(bridge, device, id).await;
        (command["state"] == state).then_some(command)
    })
    .await
}

/// The events of one command, in the order of the journal.
async fn events(bridge: &Bridge, id: &str) -> Vec<Value> {
    let page = get(bridge, &format!("/api/events?order=asc&limit=100&correlation={id}")).await;
    page["events"].as_array().unwrap().clone()
}

async fn types(bridge: &Bridge, id: &str) -> Vec<String> {
    events(bridge, id).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// A device that is there, and has subscribed as devices do.
async fn device(bridge: &Bridge, connect: &Connect) -> RawMqtt {
    let mut device = bridge.raw(connect.version).await;
    device.connect_as(connect).await;
    device.subscribe(&format!("devices/{}/commands", connect.id), 2).await;
    device
}

/// Answers a command as MQTT 5.0 means it.
async fn answer(device: &mut RawMqtt, command: &Publish, payload: &str, qos: u8) {
    let told = command.properties();
    let data = told.text(id::CORRELATION_DATA).unwrap().to_owned();
    let topic = told.text(id::RESPONSE_TOPIC).unwrap().to_owned();
    let mut message = Publish::new(&topic, payload, qos, 77);
    message.properties = [&[id::CORRELATION_DATA, 0, data.len() as u8], data.as_bytes()].concat();
    device.send(&message.encode(Version::V5)).await;
    if qos == 1 {
        device.answer(kind::PUBACK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_answers_and_every_step_is_an_event_in_stream_history_and_table() {
    let database = Database::create().await;
    let bridge = Setup::default().timescale(&database.url()).start().await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream?device=pump-7"), None).await;
    let mut python = python("paho_responder.py");
    python.args(["--port", &bridge.port(), "--id", "pump-7"]);
    let mut device = Subscriber::start(python).await;
    let body = json!({"payload": {"speed": 3}, "expiry": 60, "properties": {"contentType": "application/json"}});
    let (code, told) = status(give(&bridge, "pump-7", &body, None).await).await;
    assert_eq!((code, &told["state"]), (200, &json!("completed")), "{told}");
    assert_eq!(told["completion"]["answer"], json!({"done": {"speed": 3}}));
    let id = told["id"].as_str().unwrap();
    let got = &device.messages(1).await[0];
    assert_eq!((&got["command"], &got["correlation"]), (&json!({"speed": 3}), &json!(id)));
    assert_eq!(got["response"], "devices/pump-7/responses");
    assert!((1..=60).contains(&got["expiry"].as_u64().unwrap()), "{got}");

    let mut seen = stream.until(|event| event["type"] == COMPLETED).await;
    seen.retain(|event| event["correlationId"] == id);
    let kinds: Vec<_> = seen.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, [REQUESTED, DELIVERED, COMPLETED]);
    assert_eq!((&seen[0]["data"]["request"], &seen[0]["subjectType"]), (&json!({"speed": 3}), &json!("device")));
    assert_eq!(seen[1]["data"]["clientId"], "pump-7");
    assert_eq!(seen[2]["data"], told["completion"]);
    // The answer itself is an event like any other, and found.
    let answered = get(&bridge, &format!("/api/events/{}", seen[2]["data"]["answerEventId"].as_str().unwrap())).await;
    assert_eq!(answered["metadata"]["topic"], "devices/pump-7/responses");
    // In the table, which answers questions here.
    eventually("the events in the table", async || (events(&bridge, id).await == seen).then_some(())).await;
    let rows: i64 = sqlx::query_scalar("select count(*) from events where correlation_id = $1::text::uuid")
        .bind(id)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(rows, 3);
    let listed = get(&bridge, "/api/devices/pump-7/commands").await;
    assert_eq!((&listed["commands"][0]["id"], &listed["hasMore"]), (&json!(id), &json!(false)));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_in_time_is_a_504_and_is_fetched_later() {
    let bridge = Bridge::start().await;
    let mut pump = device(&bridge, &Connect::new(Version::V5, "pump-7")).await;
    let answered = give(&bridge, "pump-7", &json!({"text": "slow", "wait": 1}), None).await;
    let location = answered.headers()["location"].to_str().unwrap().to_owned();
    let (code, problem) = status(answered).await;
    assert_eq!((code, &problem["status"]), (504, &json!(504)), "{problem}");
    let id = problem["commandId"].as_str().unwrap();
    assert_eq!(location, format!("/api/devices/pump-7/commands/{id}"));
    let got = pump.message().await;
    assert_eq!((&got.payload[..], got.qos), (&b"slow"[..], 1));
    assert_eq!(reaches(&bridge, "pump-7", id, "delivered").await["completion"], Value::Null);
    answer(&mut pump, &got, "42", 0).await;
    let told = reaches(&bridge, "pump-7", id, "completed").await;
    assert_eq!(told["completion"]["answer"], json!({"value": 42}));
    // Once: neither a second answer nor a stranger's changes it.
    answer(&mut pump, &got, "43", 1).await;
    assert_eq!(types(&bridge, id).await, [REQUESTED, DELIVERED, COMPLETED]);
    assert_eq!(reqwest::get(bridge.url(&format!("/api/devices/other/commands/{id}"))).await.unwrap().status(), 404);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_device_that_is_away_or_was_never_there_and_ends_with_its_time() {
    let mut bridge = Bridge::start().await;
    // No session at all: nobody gets it before the device subscribes, and then it gets it once.
    let first = give_and_go(&bridge, "pump-7", json!({"text": "first"})).await;
    assert_eq!(command(&bridge, "pump-7", &first).await["state"], "waiting");
    let short = give_and_go(&bridge, "pump-7", json!({"text": "short", "expiry": 1})).await;
    reaches(&bridge, "pump-7", &short, "expired").await;
    bridge.cut(Cut::Kill).await;
    let connect = Connect::persistent(Version::V5, "pump-7");
    let mut pump = device(&bridge, &connect).await;
    let got = pump.message().await;
    assert_eq!(got.payload, b"first");
    answer(&mut pump, &got, "1", 1).await;
    reaches(&bridge, "pump-7", &first, "completed").await;
    // A session that is kept: it waits there, over any end of the bridge, and is not sent twice by subscribing again.
    drop(pump);
    eventually("the session without its client", async || {
        (get(&bridge, "/api/sessions/pump-7").await["connected"] == false).then_some(())
    })
    .await;
    let second = give_and_go(&bridge, "pump-7", json!({"text": "second"})).await;
    reaches(&bridge, "pump-7", &second, "sent").await;
    let gone = give_and_go(&bridge, "pump-7", json!({"text": "gone", "expiry": 1})).await;
    reaches(&bridge, "pump-7", &gone, "expired").await;
    bridge.cut(Cut::Kill).await;
    let mut pump = device(&bridge, &connect).await;
    let got = pump.message().await;
    assert_eq!(got.payload, b"second", "and not the one whose time is over");
    answer(&mut pump, &got, "2", 1).await;
    reaches(&bridge, "pump-7", &second, "completed").await;
    pump.ping().await;
    assert_eq!(types(&bridge, &short).await, [REQUESTED, EXPIRED]);
    let ends = events(&bridge, &gone).await;
    assert_eq!((&ends[1]["data"]["sent"], &ends[1]["data"]["delivered"]), (&json!(true), &json!(false)));
    // A late answer is better than none.
    let late = give_and_go(&bridge, "pump-7", json!({"text": "late", "expiry": 1})).await;
    let got = pump.message().await;
    reaches(&bridge, "pump-7", &late, "expired").await;
    answer(&mut pump, &got, "3", 1).await;
    assert_eq!(reaches(&bridge, "pump-7", &late, "completed").await["completion"]["late"], true);
    assert_eq!(types(&bridge, &late).await, [REQUESTED, DELIVERED, EXPIRED, COMPLETED]);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_with_its_message_gets_it_again() {
    let bridge = Bridge::start().await;
    // Somebody who watches is not the device.
    let mut watcher = bridge.client(Version::V5, "watcher").await;
    watcher.subscribe("devices/#", 1).await;
    let id = give_and_go(&bridge, "pump-7", json!({"text": "x"})).await;
    assert_eq!(watcher.message().await.payload, b"x");
    assert_eq!(reaches(&bridge, "pump-7", &id, "sent").await["deliveredAt"], Value::Null);
    let mut pump = device(&bridge, &Connect::new(Version::V5, "pump-7")).await;
    assert_eq!(pump.expect(kind::PUBLISH).await.publish().payload, b"x");
    // It ends without an acknowledgement, and its session with it.
    drop(pump);
    let mut pump = device(&bridge, &Connect::new(Version::V5, "pump-7")).await;
    let got = pump.message().await;
    reaches(&bridge, "pump-7", &id, "delivered").await;
    answer(&mut pump, &got, "{}", 1).await;
    reaches(&bridge, "pump-7", &id, "completed").await;
    assert_eq!(types(&bridge, &id).await, [REQUESTED, DELIVERED, COMPLETED]);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_mqtt_3_1_1_answer_at_a_topic_of_their_own_or_of_the_command() {
    let templates =
        "[commands]\ntopic = \"plant/{device}/do/{command}\"\nresponse_topic = \"plant/{device}/done/{command}\"";
    let bridge = Setup::default().config(templates).start().await;
    let mut pump = bridge.client(Version::V4, "pump-7").await;
    pump.subscribe("plant/pump-7/do/+", 1).await;
    let ids = [
        give_and_go(&bridge, "pump-7", json!({"text": "a"})).await,
        give_and_go(&bridge, "pump-7", json!({"text": "b"})).await,
    ];
    for _ in 0..2 {
        let got = pump.message().await;
        let answer = got.topic.replace("/do/", "/done/");
        pump.publish(&answer, format!("\"{}\"", String::from_utf8_lossy(&got.payload)), 1).await;
    }
    for (id, said) in ids.iter().zip(["a", "b"]) {
        let told = reaches(&bridge, "pump-7", id, "completed").await;
        assert_eq!(told["completion"]["answer"], json!({"value": said}));
    }
    bridge.finish(&[]).await;

    // Without the command in the topic: whoever has one command to answer need not say which.
    let bridge = Bridge::start().await;
    let arguments = ["-V", "311", "-i", "pump-7", "-t", "devices/pump-7/commands", "-q", "1", "-C", "1"];
    let listener = Process::start(mosquitto("mosquitto_sub", &bridge.port(), &arguments));
    eventually("its subscription", async || {
        let session = reqwest::get(bridge.url("/api/sessions/pump-7")).await.unwrap();
        (session.json::<Value>().await.unwrap()["subscriptions"] == 1).then_some(())
    })
    .await;
    let id = give_and_go(&bridge, "pump-7", json!({"text": "only"})).await;
    assert_eq!(listener.success().await, ["only"]);
    let say = ["-V", "311", "-t", "devices/pump-7/responses", "-q", "1", "-m", "done"];
    Process::start(mosquitto("mosquitto_pub", &bridge.port(), &say)).success().await;
    assert_eq!(reaches(&bridge, "pump-7", &id, "completed").await["completion"]["answer"], json!({"text": "done"}));
    // With two, an answer that does not say which is none.
    let mut pump = device(&bridge, &Connect::new(Version::V4, "pump-7")).await;
    let two = [give_and_go(&bridge, "pump-7", json!({})).await, give_and_go(&bridge, "pump-7", json!({})).await];
    for _ in 0..2 {
        pump.message().await;
    }
    pump.publish("devices/pump-7/responses", "which?", 1).await;
    for id in &two {
        assert_eq!(command(&bridge, "pump-7", id).await["state"], "delivered");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_command_however_often_it_is_tried_and_whatever_comes_between() {
    let mut bridge = Bridge::start().await;
    let body = json!({"text": "x", "wait": 0});
    let (_, first) = status(give(&bridge, "pump-7", &body, Some("k1")).await).await;
    for cut in [None, Some(Cut::Kill), Some(Cut::Terminate)] {
        if let Some(how) = cut {
            bridge.cut(how).await;
        }
        let again = give(&bridge, "pump-7", &body, Some("k1")).await;
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(status(again).await.1["id"], first["id"]);
    }
    let (code, _) = status(give(&bridge, "pump-7", &json!({"text": "y", "wait": 0}), Some("k1")).await).await;
    assert_eq!(code, 422);
    // Requests that are cut off in the middle, and tried again.
    let mut ids = BTreeMap::new();
    for round in 0..8 {
        let key = format!("round-{round}");
        let (cut_off, ()) = tokio::join!(try_give(&bridge, "pump-7", &body, Some(&key)), async {
            if round % 4 == 1 {
                bridge_kill_soon().await;
            }
        });
        let _lost = cut_off;
        if round % 4 == 1 {
            bridge.cut(Cut::Kill).await;
        }
        let (code, told) = status(give(&bridge, "pump-7", &body, Some(&key)).await).await;
        assert_eq!(code, 202, "{told}");
        ids.insert(key, told["id"].as_str().unwrap().to_owned());
    }
    let listed = get(&bridge, "/api/devices/pump-7/commands?limit=200").await;
    assert_eq!(listed["commands"].as_array().unwrap().len(), 9);
    // The device gets each once.
    let mut pump = device(&bridge, &Connect::new(Version::V5, "pump-7")).await;
    let mut got = std::collections::BTreeSet::new();
    for _ in 0..9 {
        let message = pump.message().await;
        assert!(got.insert(message.properties().text(id::CORRELATION_DATA).unwrap().to_owned()), "twice: {message:?}");
    }
    pump.ping().await;
    bridge.finish(&[]).await;
}

async fn bridge_kill_soon() {
    tokio::task::yield_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_on_record_once_over_kills_at_any_moment() {
    let mut bridge = Bridge::start().await;
    let connect = Connect::persistent(Version::V5, "pump-7");
    let mut all = Vec::new();
    for round in 0..6 {
        let mut pump = device(&bridge, &connect).await;
        for _ in 0..5 {
            all.push(give_and_go(&bridge, "pump-7", json!({"payload": round, "qos": 1 + round % 2})).await);
        }
        // Some are answered, some acknowledged only, when the end comes.
        for n in 0..=round.min(4) {
            let got = pump.message().await;
            if n % 2 == 0 {
                answer(&mut pump, &got, "{}", 0).await;
            }
        }
        bridge.cut(Cut::Kill).await;
    }
    let mut pump = device(&bridge, &connect).await;
    let open = async |bridge: &Bridge| {
        let listed = get(bridge, "/api/devices/pump-7/commands?limit=200").await;
        listed["commands"].as_array().unwrap().iter().filter(|command| command["completedAt"].is_null()).count()
    };
    // Whatever has not been answered: by the topic, for its message may have been acknowledged before.
    for id in &all {
        let mut message = Publish::new("devices/pump-7/responses", "\"at last\"", 1, 9);
        message.properties = [&[id::CORRELATION_DATA, 0, id.len() as u8], id.as_bytes()].concat();
        pump.send(&message.encode(Version::V5)).await;
        loop {
            let packet = pump.read().await.unwrap();
            match packet.kind() {
                kind::PUBACK => break,
                kind::PUBLISH if packet.publish().qos == 1 => pump.send(&ack(kind::PUBACK, packet.publish().id)).await,
                kind::PUBLISH => pump.send(&ack(kind::PUBREC, packet.publish().id)).await,
                _ => pump.send(&ack(kind::PUBCOMP, packet.id())).await,
            }
        }
    }
    eventually("all answered", async || (open(&bridge).await == 0).then_some(())).await;
    for id in &all {
        assert_eq!(types(&bridge, id).await, [REQUESTED, DELIVERED, COMPLETED], "{id}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_gives_commands_over_its_stream_which_goes_on_meanwhile() {
    let bridge = Bridge::start().await;
    let mut pump = device(&bridge, &Connect::new(Version::V5, "pump-7")).await;
    let mut page = EventSocket::open(bridge.url("").trim_start_matches("http://").parse().unwrap()).await;
    page.ask(json!({"op": "subscribe", "type": [REQUESTED]})).await;
    page.expect("connected").await;
    page.say(&json!({"op": "command", "ref": 7, "device": "pump-7", "command": {"payload": [1], "wait": 30}})).await;
    let event = page.expect("event").await;
    assert_eq!(event["event"]["data"]["request"], json!({"value": [1]}));
    let got = pump.message().await;
    answer(&mut pump, &got, "{\"ok\":true}", 1).await;
    let told = page.expect("command").await;
    assert_eq!((&told["ref"], &told["command"]["completion"]["answer"]), (&json!(7), &json!({"ok": true})));
    let refused = page.ask(json!({"op": "command", "device": "a/b", "command": {}})).await;
    assert_eq!((&refused["type"], &refused["problem"]["status"]), (&json!("error"), &json!(400)));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_commanded_is_refused_with_what_would_be_right() {
    let rules = "[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\"devices/+/commands\"]\nanonymous = true";
    let bridge = Setup::default().config(rules).start().await;
    for (device, body, code, hint) in [
        ("pump-7", json!([]), 400, "no command"),
        ("pump-7", json!({"speed": 3}), 400, "unknown field `speed`"),
        ("pump-7", json!({"qos": 3}), 400, "0, 1 or 2"),
        ("pump-7", json!({"wait": 51}), 400, "from 0 to 50"),
        ("pump-7", json!({"expiry": 0}), 400, "from 1 to"),
        ("pump-7", json!({"topic": "a/#"}), 400, "wildcards"),
        ("pump-7", json!({"responseTopic": "devices/pump-7/commands"}), 400, "another topic"),
        ("pump-7", json!({"properties": {"correlationData": "AA=="}}), 400, "command's own"),
        ("pump-7", json!({"topic": "elsewhere"}), 403, "no access rule"),
        ("pump-7", json!({"text": "x".repeat(1 << 20)}), 413, "1048576"),
        ("a%2Fb", json!({}), 400, "without /"),
        ("%2B", json!({}), 400, "without /"),
    ] {
        let (found, problem) = status(give(&bridge, device, &body, None).await).await;
        let start: String = body.to_string().chars().take(80).collect();
        assert_eq!(found, code, "{start}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{start}: {problem}");
    }
    let unknown = reqwest::get(bridge.url("/api/devices/pump-7/commands/7")).await.unwrap();
    assert_eq!(status(unknown).await.0, 400);
    assert_eq!(get(&bridge, "/api/devices/nobody/commands").await, json!({"commands": [], "hasMore": false}));
    bridge.finish(&[]).await;
}

#[test]
fn a_wrong_template_is_named_before_anything_starts() {
    for (text, hint) in [
        ("topic = \"devices/commands\"", "`{device}`"),
        ("topic = \"devices/{device}/{n}\"", "`{n}`"),
        ("topic = \"devices/x{device}\"", "level of its own"),
        ("response_topic = \"devices/{device}/#\"", "wildcards"),
        ("response_topic = \"devices/{device}/commands\"", "another topic"),
        ("topic = \"$SYS/{device}\"", "bridge's own"),
        ("expiry = \"60d\"", "31d"),
        ("timeout = \"5s\"", "timeout"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("synap-mqtt.toml");
        std::fs::write(&file, format!("[commands]\n{text}\n")).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_synap-mqtt"));
        let output = command.arg("--config").arg(&file).arg("check-config").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}: {said}");
        assert!(said.contains(hint), "{text}: {said}");
    }
}
