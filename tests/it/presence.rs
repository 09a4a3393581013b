//! Devices that come and go, as events: once each, in order, the same in the stream, the history, the table and
//! `GET /api/devices`, whatever ends the connection or the bridge.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    Random,
    bridge::{Bridge, Cut, Setup},
    chaos::ChaosProxy,
    database::{Database, Row},
    eventually,
    process::Process,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, disconnect_with_expiry, kind, subscribe, subscribe_many},
    sse::Sse,
};

const OPENED: &str = "devices.connection.opened";
const CLOSED: &str = "devices.connection.closed";
const QUOTA_EXCEEDED: u8 = 0x97;

async fn get(bridge: &Bridge, path: &str) -> Value {
    let answer = reqwest::get(bridge.url(path)).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// What `GET /api/events` has of one type, oldest first.
async fn stored(bridge: &Bridge, event_type: &str) -> Vec<Value> {
    let page = get(bridge, &format!("/api/events?order=asc&limit=1000&type={event_type}")).await;
    assert_eq!(page["nextCursor"], Value::Null, "more than a page");
    page["events"].as_array().unwrap().clone()
}

/// Both types as the history has them, in the journal's order.
async fn history(bridge: &Bridge) -> Vec<Value> {
    let mut events = stored(bridge, OPENED).await;
    events.extend(stored(bridge, CLOSED).await);
    events.sort_by_key(|event| event["metadata"]["sequence"].as_u64());
    events
}

/// Waits until the last of them is the end of a connection for this reason.
async fn closed_for(bridge: &Bridge, client_id: &str, reason: &str) -> Value {
    eventually(&format!("{client_id} closed for {reason}"), async || {
        let last = stored(bridge, CLOSED).await.pop()?;
        (last["data"]["reason"] == reason && last["data"]["clientId"] == client_id).then_some(last)
    })
    .await
}

/// A stream from the journal's beginning.
async fn stream_from_the_start(bridge: &Bridge) -> Sse {
    let url = bridge.url(&format!("/api/events/stream?type={OPENED}&type={CLOSED}"));
    let now = Sse::open(&url, None).await;
    let epoch = now.position.split_once('-').unwrap().0.to_owned();
    Sse::open(&url, Some(&format!("{epoch}-0"))).await
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Each connection was opened once, and then closed once, before the same client's next one.
fn assert_paired(events: &[Value]) {
    let mut open: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for event in events {
        let (client_id, connection) =
            (event["data"]["clientId"].as_str().unwrap(), event["data"]["connectionId"].as_str().unwrap());
        if event["type"] == OPENED {
            assert_eq!(event["id"], connection);
            assert!(seen.insert(connection), "opened twice: {event}");
            assert_eq!(open.insert(client_id, connection), None, "opened before the last was closed: {event}");
        } else {
            assert_eq!(open.remove(client_id), Some(connection), "closed and not open: {event}");
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

async fn ended(mut client: RawMqtt) {
    client.expect_close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_a_connection_is_told_once_in_stream_history_and_table() {
    let database = Database::create().await;
    let mut bridge = Setup::default().presence("").timescale(&database.url()).start().await;
    let mut stream = Sse::open(&bridge.url(&format!("/api/events/stream?type={OPENED}&type={CLOSED}")), None).await;
    let mut told = Vec::new();

    let mut client = bridge.raw(Version::V5).await;
    client.connect_as(&Connect { keep_alive: 60, ..Connect::new(Version::V5, "pump-7") }).await;
    let (_, opened) = stream.event().await;
    assert_eq!(
        (&opened["type"], &opened["subjectType"], &opened["source"]),
        (&json!(OPENED), &json!("device"), &json!("system"))
    );
    assert_eq!(opened["metadata"]["device"], "pump-7");
    for (name, value) in [
        ("clientId", json!("pump-7")),
        ("device", json!("pump-7")),
        ("protocolVersion", json!("5.0")),
        ("cleanStart", json!(true)),
        ("sessionPresent", json!(false)),
        ("sessionExpiry", json!(0)),
        ("keepAlive", json!(60)),
        ("transport", json!("mqtt")),
    ] {
        assert_eq!(opened["data"][name], value, "{name}");
    }
    assert!(opened["data"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{opened}");
    // A device is the same subject whether it comes or speaks.
    client.publish("devices/pump-7/telemetry", "{\"t\":1}", 1).await;
    told.push(opened);
    client.send(&[0xE0, 0]).await;
    ended(client).await;
    closed_for(&bridge, "pump-7", "disconnect").await;

    // An end that publishes the will, with a session that stays.
    let mut client = bridge.raw(Version::V4).await;
    client.connect("keeper", false).await;
    drop(client);
    eventually("the end of a lost connection", async || {
        let last = stored(&bridge, CLOSED).await.pop()?;
        let is_lost = ["connection-closed", "connection-lost"].contains(&last["data"]["reason"].as_str()?);
        (last["data"]["clientId"] == "keeper" && is_lost).then_some(())
    })
    .await;
    let mut client = bridge.raw(Version::V5).await;
    assert!(client.connect("keeper", false).await);
    client.send(&disconnect_with_expiry(0)).await;
    ended(client).await;
    closed_for(&bridge, "keeper", "disconnect").await;

    let mut silent = bridge.raw(Version::V5).await;
    silent.connect_as(&Connect { keep_alive: 1, ..Connect::new(Version::V5, "silent") }).await;
    let closed = closed_for(&bridge, "silent", "keep-alive-timeout").await;
    assert_eq!(closed["data"]["reasonCode"], 0x8D);
    assert!(closed["data"]["seconds"].as_f64().unwrap() >= 1.5, "{closed}");

    let first = bridge.client(Version::V5, "twin").await;
    let second = bridge.client(Version::V5, "twin").await;
    ended(first).await;
    closed_for(&bridge, "twin", "taken-over").await;

    let mut wrong = bridge.client(Version::V5, "wrong").await;
    wrong.send(&Connect::new(Version::V5, "wrong").encode()).await;
    ended(wrong).await;
    closed_for(&bridge, "wrong", "protocol-error").await;

    // Without a name of its own, and with one that pages make up.
    let mut anonymous = bridge.raw(Version::V5).await;
    anonymous.connect("", true).await;
    let page = bridge.client(Version::V5, "mqttjs_12ab34cd").await;

    bridge.cut(Cut::Terminate).await;
    drop((second, anonymous, page));
    let closed = closed_for(&bridge, "twin", "shutting-down").await;
    assert_eq!(closed["data"]["reasonCode"], 0x8B);

    let killed = bridge.client(Version::V5, "killed").await;
    eventually("the opening on disk", async || (stored(&bridge, OPENED).await.len() == 8).then_some(())).await;
    bridge.cut(Cut::Kill).await;
    drop(killed);
    let closed = closed_for(&bridge, "killed", "bridge-restart").await;
    assert!(closed["data"]["lastSeen"].as_str().unwrap() <= closed["timestamp"].as_str().unwrap());

    let events = history(&bridge).await;
    assert_eq!(events.len(), 16);
    assert_paired(&events);
    assert!(events.iter().all(|event| {
        event["data"]["clientId"].as_str().is_some_and(|id| !id.starts_with("auto-") && !id.starts_with("mqttjs"))
    }));
    let rows: Vec<Row> = database.rows(17).await;
    let spoken = bridge.events("devices/pump-7/telemetry").await;
    assert_eq!(spoken[0]["subjectId"], events[0]["subjectId"]);
    let rows: Vec<_> = rows.iter().filter(|row| row.event_type.starts_with("devices.connection.")).collect();
    assert_eq!(rows.iter().map(|row| &*row.id).collect::<Vec<_>>(), ids(&events));
    let mut again = stream_from_the_start(&bridge).await;
    for expected in &events {
        let (_, event) = again.event().await;
        // Numbers of jsonb have no trailing zeros.
        assert_eq!(
            (&event["id"], &event["type"], &event["timestamp"]),
            (&expected["id"], &expected["type"], &expected["timestamp"])
        );
        assert_eq!(event["data"]["reason"], expected["data"]["reason"]);
    }
    // The first stream saw what came before the bridge ended, each once.
    while told.len() < 13 {
        told.push(stream.event().await.1);
    }
    assert_eq!(ids(&told), ids(&events[..13]));
    let one = get(&bridge, &format!("/api/events/{}", events[0]["id"].as_str().unwrap())).await;
    assert_eq!(one["data"]["clientId"], "pump-7");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_leave_each_connection_opened_once_and_closed_once() {
    let mut random = Random::new();
    let database = Database::create().await;
    let mut bridge = Setup::default().presence("").timescale(&database.url()).start().await;
    for round in 0..4 {
        let mut clients = Vec::new();
        for n in 0..random.between(5, 40) {
            let version = if n % 2 == 0 { Version::V5 } else { Version::V4 };
            let mut client = bridge.raw(version).await;
            client.connect(&format!("client-{}", n % 25), n % 3 == 0).await;
            match random.between(0, 5) {
                0 => client.send(&[0xE0, 0]).await,
                1 => drop(client),
                _ => clients.push(client),
            }
        }
        bridge.cut(if round == 3 { Cut::Terminate } else { Cut::Kill }).await;
        drop(clients);
    }
    let mut last = bridge.client(Version::V5, "last").await;
    last.send(&[0xE0, 0]).await;
    ended(last).await;
    closed_for(&bridge, "last", "disconnect").await;
    let events = history(&bridge).await;
    assert_paired(&events);
    let rows = database.rows(events.len()).await;
    assert_eq!(rows.iter().map(|row| &*row.id).collect::<Vec<_>>(), ids(&events));
    let mut stream = stream_from_the_start(&bridge).await;
    let mut streamed = Vec::new();
    while streamed.len() < events.len() {
        streamed.push(stream.event().await.1);
    }
    assert_eq!(ids(&streamed), ids(&events));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_online_as_their_events_say_over_restarts() {
    let mut bridge = Setup::default().presence("devices = [\"sensor-{device}\", \"pump-*\"]").start().await;
    let sensor = bridge.client(Version::V5, "sensor-7").await;
    let mut gateway = bridge.client(Version::V5, "gateway").await;
    gateway.publish("devices/attic/telemetry", "{\"t\":1}", 1).await;
    let opened = eventually("the sensor's opening", async || stored(&bridge, OPENED).await.pop()).await;
    assert_eq!((&opened["data"]["clientId"], &opened["data"]["device"]), (&json!("sensor-7"), &json!("7")));
    let device = get(&bridge, "/api/devices/7").await;
    assert_eq!((&device["online"], &device["since"]), (&json!(true), &opened["timestamp"]));
    assert_eq!((&device["subjectId"], &device["events"]), (&opened["subjectId"], &json!(0)));
    assert_eq!(device["connections"][0]["clientId"], "sensor-7");
    let attic = get(&bridge, "/api/devices/attic").await;
    assert_eq!(
        (&attic["online"], &attic["connections"]),
        (&json!(true), &json!([])),
        "by the client that speaks for it"
    );

    bridge.cut(Cut::Kill).await;
    drop((sensor, gateway));
    let closed = closed_for(&bridge, "sensor-7", "bridge-restart").await;
    let device = get(&bridge, "/api/devices/7").await;
    assert_eq!(
        (&device["online"], &device["since"], &device["connections"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    assert_eq!(
        device["lastClosed"],
        json!({ "clientId": "sensor-7", "timestamp": closed["timestamp"], "reason": "bridge-restart" })
    );
    assert_eq!(get(&bridge, "/api/devices/attic").await["online"], false);

    let _sensor = bridge.client(Version::V5, "sensor-7").await;
    let opened = eventually("its return", async || {
        let opened = stored(&bridge, OPENED).await;
        (opened.len() == 2).then(|| opened[1].clone())
    })
    .await;
    let device = get(&bridge, "/api/devices/7").await;
    assert_eq!((&device["online"], &device["since"]), (&json!(true), &opened["timestamp"]));
    bridge.cut(Cut::Terminate).await;
    assert_eq!(get(&bridge, "/api/devices/7").await["lastClosed"]["reason"], "shutting-down");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_clients_are_told_of_and_nobody_is_where_it_is_switched_off() {
    let mut bridge = Setup::default().presence("").start().await;
    let mut command = Command::new("mosquitto_sub");
    command.args(["-p", &bridge.port(), "-i", "watcher", "-t", "x", "-V", "5", "-k", "30"]);
    let mut subscriber = Process::start(command);
    let opened = eventually("its opening", async || stored(&bridge, OPENED).await.pop()).await;
    assert_eq!((&opened["data"]["clientId"], &opened["data"]["keepAlive"]), (&json!("watcher"), &json!(30)));
    subscriber.terminate();
    subscriber.status().await;
    let closed = eventually("its end", async || stored(&bridge, CLOSED).await.pop()).await;
    assert_eq!(closed["data"]["connectionId"], opened["id"]);
    let mut command = Command::new("mosquitto_pub");
    command.args(["-p", &bridge.port(), "-t", "devices/pump-7/telemetry", "-m", "1", "-q", "1"]);
    Process::start(command).success().await;
    assert_eq!(stored(&bridge, OPENED).await.len(), 1, "a name that the bridge made up");

    // What was open is closed also where nothing is told any more.
    let open = bridge.client(Version::V5, "open").await;
    eventually("its opening", async || (stored(&bridge, OPENED).await.len() == 2).then_some(())).await;
    bridge.kill9();
    drop(open);
    bridge.set_config(|text| text.replace("[presence]", "[presence]\nevents = false"));
    bridge.restart().await;
    closed_for(&bridge, "open", "bridge-restart").await;
    bridge.client(Version::V5, "pump-7").await.publish("t", "1", 1).await;
    assert_eq!((stored(&bridge, OPENED).await.len(), stored(&bridge, CLOSED).await.len()), (2, 2));
    bridge.finish(&[]).await;
}

/// A bridge whose journal is full as long as the proxy keeps the database away.
async fn full_bridge(database: &Database, more: &str) -> (Bridge, ChaosProxy, RawMqtt) {
    let proxy = ChaosProxy::to(database.address()).await;
    let limits = "[journal]\nsegment_bytes = \"1MiB\"\nmaximum_bytes = \"8MiB\"\nretain_bytes = 0\nretain_age = \"0s\"";
    let setup = Setup::default().presence("").config(limits).config(more);
    let bridge = setup.timescale(&database.url_through(proxy.address)).start().await;
    let filler = bridge.client(Version::V5, "filler").await;
    (bridge, proxy, filler)
}

async fn fill(filler: &mut RawMqtt) {
    let padding = "x".repeat(20_000);
    for _ in 0..100_000 {
        filler.send(&Publish::new("full", padding.clone(), 1, 1).encode(Version::V5)).await;
        if filler.expect(kind::PUBACK).await.reason() == QUOTA_EXCEEDED {
            return;
        }
    }
    panic!("there is always room");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_the_journal_is_full_is_told_once_there_is_room() {
    let database = Database::create().await;
    let (bridge, proxy, mut filler) = full_bridge(&database, "").await;
    let mut kept = bridge.raw(Version::V5).await;
    kept.connect("kept", false).await;
    let clean = bridge.client(Version::V5, "clean").await;
    let short = Connect { session_expiry: 1, ..Connect::persistent(Version::V5, "short") };
    let mut lost = bridge.raw(Version::V5).await;
    lost.connect_as(&short).await;
    eventually("four openings", async || (stored(&bridge, OPENED).await.len() == 4).then_some(())).await;
    proxy.cut();
    fill(&mut filler).await;
    drop((kept, clean, lost));
    // They want to come back before there is room. Nothing depends on the third one's being on record.
    for connect in [&Connect::persistent(Version::V5, "kept"), &short] {
        let mut refused = bridge.raw(Version::V5).await;
        refused.send(&connect.encode()).await;
        assert_eq!(refused.expect(kind::CONNACK).await.reason(), QUOTA_EXCEEDED);
    }
    let mut late = bridge.client(Version::V5, "clean").await;
    late.ping().await;
    proxy.restore();
    eventually("room", async || {
        late.send(&Publish::new("room", "", 1, 1).encode(Version::V5)).await;
        (late.expect(kind::PUBACK).await.reason() < 0x80).then_some(())
    })
    .await;
    let mut back = bridge.raw(Version::V5).await;
    assert!(back.connect("kept", false).await);
    let connections = async |client_id: &str| -> Option<BTreeMap<String, usize>> {
        let mut found = BTreeMap::new();
        for event in history(&bridge).await.iter().filter(|event| event["data"]["clientId"] == client_id) {
            *found.entry(event["data"]["connectionId"].as_str()?.to_owned()).or_default() += 1;
        }
        Some(found)
    };
    for client_id in ["kept", "clean"] {
        // The first connection has both events, the second one its opening.
        eventually(&format!("the first end of {client_id}"), async || {
            let counts: Vec<_> = connections(client_id).await?.into_values().collect();
            (counts == [2, 1]).then_some(())
        })
        .await;
    }
    // The client of this one does not come back, so its session ends.
    eventually("the end of a session", async || {
        let answer = reqwest::get(bridge.url("/api/sessions/short")).await.unwrap();
        (answer.status() == 404).then_some(())
    })
    .await;
    assert_eq!(connections("short").await.unwrap().into_values().collect::<Vec<_>>(), [2]);
    let mut bridge = bridge;
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_a_full_journal_refuses_takes_no_place() {
    let database = Database::create().await;
    let (bridge, proxy, mut filler) = full_bridge(&database, "[mqtt]\nmaximum_subscriptions = 2").await;
    let mut client = bridge.client(Version::V5, "subscriber").await;
    assert_eq!(client.subscribe("kept", 1).await, 1);
    proxy.cut();
    fill(&mut filler).await;
    client.send(&subscribe_many(Version::V5, 1, &[("kept", 1), ("refused", 1)], 0)).await;
    let suback = client.answer(kind::SUBACK).await;
    assert_eq!(suback.reasons(), [QUOTA_EXCEEDED, QUOTA_EXCEEDED]);
    let filters = async || get(&bridge, "/api/sessions/subscriber").await["filters"].clone();
    assert_eq!(filters().await, json!(["kept"]));
    proxy.restore();
    eventually("room", async || {
        client.send(&subscribe(Version::V5, 2, "other", 1)).await;
        (client.answer(kind::SUBACK).await.reason() < 0x80).then_some(())
    })
    .await;
    assert_eq!(filters().await, json!(["kept", "other"]));
    client.send(&subscribe(Version::V5, 3, "one too many", 1)).await;
    assert_eq!(client.answer(kind::SUBACK).await.reason(), QUOTA_EXCEEDED);
    let mut bridge = bridge;
    bridge.terminate().await;
}
