//! Nobody sees of a topic what they may not: not live, not replayed, not in a snapshot, not stored.

use super::*;
use crate::support::{database::Database, event_socket::EventSocket, raw_mqtt::Version, sse::Sse};

/// What one device may be seen by.
const OF_A: [&str; 4] = ["stream:read=devices/a/#", "events:read=devices/a/#", "publish=devices/a/#", "commands"];

struct World {
    bridge: Bridge,
    /// Sees and does everything.
    all: String,
    /// Knows the device `a` only.
    a: String,
}

/// Two devices, each with something retained, and one that only connects.
async fn world(setup: Setup) -> World {
    let bridge = setup.config("[http.auth]\napi_keys = true").presence("events = true").start().await;
    let all = key(&bridge, "all", &["stream:read", "events:read", "publish", "admin"]).await;
    let a = key(&bridge, "a", &OF_A).await;
    let mut device = bridge.client(Version::V5, "watcher").await;
    for name in ["a", "b", "ab"] {
        device.publish(&format!("devices/{name}/telemetry"), "{\"t\": 1}", 1).await;
    }
    World { bridge, all, a }
}

fn topics(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["metadata"]["topic"].as_str().unwrap_or("none")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_what_its_holder_may_see() {
    let World { bridge, all, a } = world(Setup::default()).await;
    let position = Sse::open_as(&all, &bridge.url("/api/events/stream"), None).await.position;
    let open = async |query: &str, id: Option<&str>| {
        Sse::open_as(&a, &bridge.url(&format!("/api/events/stream?{query}")), id).await
    };
    let mut streams = Vec::new();
    for query in
        ["", "topic=%23", "topic=devices/b/%23&topic=devices/a/%23", "mode=best-effort", "mode=latest", "named=true"]
    {
        streams.push((query, open(query, None).await));
    }
    for (topic, n) in [("devices/b/x", 1), ("other", 2), ("devices/a", 3), ("devices/ab/x", 4), ("devices/a/x", 5)] {
        assert_eq!(publish(&bridge, &all, topic, json!({ "n": n })).await.status(), 200);
    }
    streams.push(("replay", open("", Some(&position)).await));
    streams.push(("from the beginning", open("", Some("00000001-1")).await));
    for (query, stream) in &mut streams {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event: &Value| event["data"]["n"] != 5) {
            let frame = stream.next().await.unwrap();
            if frame.event.as_deref() != Some("gap") {
                seen.push(frame.json());
            }
        }
        assert!(
            seen.iter().all(|event| topics(std::slice::from_ref(event))[0].starts_with("devices/a")),
            "{query}: {seen:?}"
        );
        assert!(!topics(&seen).iter().any(|topic| topic.starts_with("devices/ab")), "{query}: {seen:?}");
    }
    let mut snapshot = open("snapshot=true", None).await;
    let mut seen = Vec::new();
    while let Some(frame) = snapshot.next().await.filter(|frame| frame.event.as_deref() != Some("snapshot")) {
        seen.push(frame.json());
    }
    assert_eq!(topics(&seen), ["devices/a/telemetry", "devices/a", "devices/a/x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_shows_and_does_what_its_holder_may() {
    let World { bridge, all, a } = world(Setup::default()).await;
    let path = format!("/api/events/ws?ticket={}", ticket(&bridge, &a).await);
    let mut socket = EventSocket::try_open_at(bridge.addresses.http, &path, "").await.unwrap();
    for message in [
        json!({"op": "subscribe", "topic": ["devices/b/#"]}),
        json!({"op": "subscribe", "topic": ["#"]}),
        json!({"op": "unsubscribe", "topic": ["devices/b/#"]}),
    ] {
        assert_eq!(socket.ask(message).await["type"], "ok");
    }
    socket.expect("connected").await;
    for topic in ["devices/b/x", "devices/a/x"] {
        assert_eq!(publish(&bridge, &all, topic, json!({})).await.status(), 200);
    }
    assert_eq!(socket.expect("event").await["event"]["metadata"]["topic"], "devices/a/x");
    for (topic, kind) in [("devices/b/x", "error"), ("devices/a/y", "published")] {
        let answer = socket.ask(json!({"op": "publish", "publication": {"topic": topic}})).await;
        assert_eq!(answer["type"], kind, "{answer}");
    }
    let path = format!("/api/events/ws?ticket={}", ticket(&bridge, &key(&bridge, "r", &["stream:read"]).await).await);
    let mut reader = EventSocket::try_open_at(bridge.addresses.http, &path, "").await.unwrap();
    let answer = reader.ask(json!({"op": "publish", "publication": {"topic": "t"}})).await;
    assert_eq!(answer["problem"]["status"], 403, "{answer}");
    let writer = key(&bridge, "w", &["publish"]).await;
    let header = format!("Authorization: Bearer {writer}\r\n");
    let mut writer = EventSocket::try_open_at(bridge.addresses.http, "/api/events/ws", &header).await.unwrap();
    assert_eq!(writer.ask(json!({"op": "subscribe"})).await["problem"]["status"], 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_events_devices_and_values_are_those_that_one_may_see() {
    let World { bridge, all, a } = world(Setup::default()).await;
    stored(&bridge, &all, &a).await;
    let database = Database::create().await;
    let World { bridge, all, a } = world(Setup::default().timescale(&database.url())).await;
    stored(&bridge, &all, &a).await;
}

/// What is asked of stored events, whichever store has them.
async fn stored(bridge: &Bridge, all: &str, a: &str) {
    let everything = eventually("all events", async || {
        let page = json_of(bridge, "/api/events?limit=1000", all).await;
        let events = page["events"].as_array().unwrap().clone();
        (topics(&events).iter().filter(|topic| topic.starts_with("devices/")).count() == 3).then_some(events)
    })
    .await;
    for path in ["/api/events", "/api/events?topic=%23", "/api/events?device=a", "/api/events?order=asc&limit=1"] {
        let page = json_of(bridge, path, a).await;
        assert_eq!(topics(page["events"].as_array().unwrap()), ["devices/a/telemetry"], "{path}");
    }
    for path in ["/api/events?topic=devices/b/%23", "/api/events?device=b", "/api/events?device=ab"] {
        assert_eq!(json_of(bridge, path, a).await["events"], json!([]), "{path}");
    }
    for format in ["ndjson", "csv"] {
        let answer = get(bridge, &format!("/api/events?format={format}"), Some(a)).await.text().await.unwrap();
        assert!(answer.contains("devices/a/telemetry") && !answer.contains("devices/b"), "{answer}");
    }
    let polled = json_of(bridge, "/api/events?after=00000001-1&wait=1", a).await;
    assert!(!polled.to_string().contains("devices/b") && polled.to_string().contains("devices/a"), "{polled}");
    for event in &everything {
        let path = format!("/api/events/{}", event["id"].as_str().unwrap());
        let expected = if event["metadata"]["topic"] == "devices/a/telemetry" { 200 } else { 404 };
        assert_eq!(get(bridge, &path, Some(a)).await.status(), expected, "{event}");
    }
    // Devices, one by one and a page at a time.
    for path in ["/api/devices", "/api/devices?limit=1"] {
        let page = json_of(bridge, path, a).await;
        assert_eq!(page["devices"].as_array().unwrap().len(), 1, "{page}");
        assert_eq!(page["devices"][0]["device"], "a");
        assert!(page["nextCursor"].as_str().is_none_or(|cursor| cursor == "a"), "{page}");
    }
    let narrow = key(bridge, "narrow", &["events:read=devices/+/telemetry"]).await;
    assert_eq!(json_of(bridge, "/api/devices", &narrow).await["devices"], json!([]));
    for (device, status) in [("a", 200), ("b", 404), ("ab", 404), ("+", 404)] {
        assert_eq!(get(bridge, &format!("/api/devices/{device}"), Some(a)).await.status(), status, "{device}");
        let path = format!("/api/series?device={device}&metric=t");
        assert_eq!(get(bridge, &path, Some(a)).await.status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_publishes_where_one_may() {
    let World { bridge, all, a } = world(Setup::default()).await;
    for (token, topic, status) in [
        (&a, "devices/a/command", 200),
        (&a, "devices/a", 200),
        (&a, "devices/b/command", 403),
        (&a, "devices/a/../b", 200),
        (&a, "devices/\u{430}/x", 403),
        (&a, "/devices/a/x", 403),
        (&a, "devices/A/x", 403),
        (&a, "devices/+/x", 400),
        (&a, "$SYS/x", 403),
        (&all, "devices/b/command", 200),
        (&all, "$SYS/x", 403),
    ] {
        assert_eq!(publish(&bridge, token, topic, json!({})).await.status(), status, "{topic}");
    }
}
