//! `GET /api/sessions` follows what sessions do, and so do the metrics of the same facts.

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    eventually,
    raw_mqtt::{Connect, Publish, Version, ack, kind, unsubscribe},
};

async fn get(bridge: &Bridge, path: &str) -> (u16, Value) {
    let answer = reqwest::get(bridge.url(path)).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The session of a client, once it has these values.
async fn session(bridge: &Bridge, client_id: &str, expected: &Value) -> Value {
    let path = format!("/api/sessions/{client_id}");
    eventually(&format!("{client_id}: {expected}"), async || {
        let (status, session) = get(bridge, &path).await;
        let is_as_expected = |(name, value): (&String, &Value)| session[name] == *value;
        (status == 200 && expected.as_object().unwrap().iter().all(is_as_expected)).then_some(session)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_shown_as_it_comes_waits_and_returns() {
    let mut bridge = Bridge::start().await;
    assert_eq!(get(&bridge, "/api/sessions").await, (200, json!({"sessions": [], "nextCursor": null})));
    let mut pump = bridge.raw(Version::V5).await;
    pump.connect_as(&Connect { keep_alive: 60, ..Connect::persistent(Version::V5, "pump/7 é") }).await;
    pump.subscribe("b/#", 1).await;
    pump.subscribe("a", 1).await;
    let escaped = "pump%2F7%20%C3%A9";
    let here =
        session(&bridge, escaped, &json!({"connected": true, "sessionExpiryInterval": 3600, "inFlight": 0})).await;
    assert_eq!(
        (&here["clientId"], &here["protocolVersion"], &here["keepAlive"], &here["subscriptions"], &here["filters"]),
        (&json!("pump/7 é"), &json!("5.0"), &json!(60), &json!(2), &json!(["a", "b/#"]))
    );
    assert!(here["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{here}");
    assert_eq!((&here["expiresAt"], &here["queuedMessages"], &here["dropped"]), (&Value::Null, &json!(0), &json!(0)));

    // One message that it does not acknowledge, then it is gone and two more wait.
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    publisher.publish("a", "first", 1).await;
    assert_eq!(pump.expect(kind::PUBLISH).await.publish().payload, b"first");
    session(&bridge, escaped, &json!({"inFlight": 1, "queuedMessages": 0})).await;
    drop(pump);
    session(&bridge, escaped, &json!({"connected": false, "peer": null, "keepAlive": null})).await;
    publisher.publish("a", "second", 1).await;
    publisher.publish("b/c", "third", 2).await;
    let waiting = json!({"connected": false, "queuedMessages": 2, "queuedBytes": 1 + 6 + 3 + 5, "inFlight": 1});
    let away = session(&bridge, escaped, &waiting).await;
    assert!(away["since"].as_str() >= here["since"].as_str(), "{away}");
    assert!(away["expiresAt"].as_str() > away["since"].as_str(), "{away}");
    assert_eq!(bridge.metric("synap_mqtt_queued_messages").await, 2.0);
    assert_eq!(bridge.metric("synap_mqtt_queued_bytes").await, 15.0);
    assert_eq!((bridge.metric("synap_mqtt_sessions").await, bridge.metric("synap_mqtt_connections").await), (2.0, 1.0));
    drop(publisher);
    eventually("a clean session's end", async || {
        (get(&bridge, "/api/sessions/publisher").await.0 == 404).then_some(())
    })
    .await;

    // A clean session's queue is not on record, but its connection knows what is in flight.
    let mut clean = bridge.client(Version::V4, "clean").await;
    clean.subscribe("clean", 1).await;
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    publisher.publish("clean", "x", 1).await;
    let id = clean.expect(kind::PUBLISH).await.publish().id;
    session(&bridge, "clean", &json!({"inFlight": 1})).await;
    clean.send(&ack(kind::PUBACK, id)).await;
    session(&bridge, "clean", &json!({"inFlight": 0})).await;
    drop((clean, publisher));

    // A crash takes the connection, not the session.
    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
    let after = session(&bridge, escaped, &json!({"connected": false, "subscriptions": 2})).await;
    assert_eq!(after["queuedMessages"].as_u64().unwrap() + after["inFlight"].as_u64().unwrap(), 3, "{after}");

    let mut pump = bridge.raw(Version::V4).await;
    assert!(pump.connect_as(&Connect::persistent(Version::V4, "pump/7 é")).await);
    for _ in 0..3 {
        let packet = pump.expect(kind::PUBLISH).await;
        let (id, qos) = (packet.publish().id, packet.publish().qos);
        assert_eq!(qos, 1, "as subscribed");
        pump.send(&ack(kind::PUBACK, id)).await;
    }
    let empty = json!({"connected": true, "protocolVersion": "3.1.1", "queuedMessages": 0, "inFlight": 0});
    session(&bridge, escaped, &empty).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_come_in_pages_and_drops_are_counted() {
    let bridge = Setup::default().config("[mqtt]\nmaximum_queued_messages = 2").start().await;
    for n in 0..7 {
        let mut client = bridge.raw(Version::V5).await;
        client.connect_as(&Connect::persistent(Version::V5, &format!("client-{n}"))).await;
        client.subscribe(&format!("to/{n}"), 1).await;
        client.subscribe("to/all", 1).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/sessions?limit=3&filters=true".to_owned());
    loop {
        let (status, page) = get(&bridge, &path).await;
        assert_eq!(status, 200);
        let sessions = page["sessions"].as_array().unwrap();
        assert!(sessions.len() <= 3);
        seen.extend(sessions.iter().map(|session| (session["clientId"].clone(), session["filters"].clone())));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/api/sessions?limit=3&filters=true&cursor={cursor}");
    }
    let expected: Vec<_> =
        (0..7).map(|n| (json!(format!("client-{n}")), json!([format!("to/{n}"), "to/all"]))).collect();
    assert_eq!(seen, expected);
    let (_, page) = get(&bridge, "/api/sessions?limit=7").await;
    assert_eq!((&page["nextCursor"], &page["sessions"][0]["filters"]), (&Value::Null, &Value::Null));

    session(&bridge, "client-3", &json!({"connected": false})).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for n in 1..=5 {
        publisher.send(&Publish::new("to/3", "x", 1, n).encode(Version::V5)).await;
        publisher.expect(kind::PUBACK).await;
    }
    let full = session(&bridge, "client-3", &json!({"queuedMessages": 2, "dropped": 3})).await;
    assert!(full["droppedSince"].as_str() < full["since"].as_str(), "{full}");
    bridge.finish(&["queue is full"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_has_ended_is_gone_and_makes_room() {
    let bridge = Setup::default().config("[mqtt]\nmaximum_subscriptions = 1").start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    for filter in ["a", "b"] {
        assert_eq!(client.subscribe(filter, 1).await, 1, "{filter}");
        for reason in [0, 0x11] {
            client.send(&unsubscribe(Version::V5, 2, filter)).await;
            assert_eq!(client.expect(kind::UNSUBACK).await.reason(), reason, "{filter}");
        }
    }
    assert_eq!(get(&bridge, "/api/sessions/client?filters=true").await.1["filters"], json!([]));
    bridge.finish(&[]).await;
}
