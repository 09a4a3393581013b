//! `POST /api/publish`: messages to devices, and what is promised of them.

use reqwest::{Response, header};
use serde_json::{Value, json};

use crate::support::{
    Random,
    bridge::{Bridge, Setup},
    eventually,
    raw_mqtt::{Version, kind},
    scram::PasswordFile,
    sse::Sse,
};

async fn post(bridge: &Bridge, body: &Value, key: Option<&str>) -> Result<Response, reqwest::Error> {
    let mut request = reqwest::Client::new().post(bridge.url("/api/publish")).json(body);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    request.send().await
}

async fn status(answer: Response) -> (u16, Value) {
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_http_reaches_devices_streams_and_what_is_stored() {
    let bridge = Bridge::start().await;
    let mut device = bridge.client(Version::V5, "pump-7").await;
    device.publish("devices/pump-7/telemetry", "{}", 1).await;
    device.subscribe("devices/pump-7/#", 2).await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
    let properties = json!({
        "payloadFormatIndicator": 1, "messageExpiryInterval": 60, "contentType": "application/json",
        "responseTopic": "answers", "correlationData": "AQI=", "userProperties": [["a", "1"], ["a", "2"]],
    });
    let body = json!({
        "topic": "devices/pump-7/commands", "payload": {"speed": 3}, "qos": 2, "retain": true, "properties": properties,
    });
    let (code, answer) = status(post(&bridge, &body, None).await.unwrap()).await;
    assert_eq!((code, &answer["duplicate"]), (200, &json!(false)), "{answer}");
    let message = device.expect(kind::PUBLISH).await.publish();
    assert_eq!(
        (&*message.topic, message.qos, &*message.payload),
        ("devices/pump-7/commands", 2, &b"{\"speed\":3}"[..])
    );
    let (id, event) = stream.event().await;
    assert_eq!((&json!(id), &event["id"]), (&answer["lastEventId"], &answer["eventId"]));
    assert_eq!((&event["data"], &event["metadata"]["clientId"]), (&json!({"speed": 3}), &json!("")));
    assert_eq!(event["metadata"]["userProperties"], json!([["a", "1"], ["a", "2"]]));
    let stored = reqwest::get(bridge.url(&format!("/api/events/{}", event["id"].as_str().unwrap()))).await.unwrap();
    assert_eq!(stored.json::<Value>().await.unwrap(), event);
    // The device is still its own.
    let known: Value = reqwest::get(bridge.url("/api/devices/pump-7")).await.unwrap().json().await.unwrap();
    assert_eq!((&known["clientId"], &known["online"]), (&json!("pump-7"), &json!(true)));
    for (body, payload) in [
        (json!({"topic": "t", "text": "é"}), "é".as_bytes()),
        (json!({"topic": "t", "base64": "AP8="}), &[0, 0xff]),
        (json!({"topic": "t", "payload": "text"}), b"\"text\""),
        (json!({"topic": "t", "qos": 0}), b""),
    ] {
        let mut subscriber = bridge.client(Version::V4, "subscriber").await;
        subscriber.subscribe("t", 1).await;
        assert_eq!(post(&bridge, &body, None).await.unwrap().status(), 200);
        assert_eq!(subscriber.message().await.payload, payload, "{body}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_is_refused_with_what_would_be_right() {
    let bridge = Bridge::start().await;
    for (body, code, hint) in [
        (json!({}), 400, "missing field `topic`"),
        (json!([]), 400, "no publication"),
        (json!({"topic": ""}), 400, "at least one character"),
        (json!({"topic": "a/#"}), 400, "wildcards"),
        (json!({"topic": "a", "qos": 3}), 400, "0, 1 or 2"),
        (json!({"topic": "a", "text": "x", "base64": ""}), 400, "one of"),
        (json!({"topic": "a", "base64": "?"}), 400, "Base64"),
        (json!({"topic": "a", "body": "x"}), 400, "unknown field `body`"),
        (json!({"topic": "a", "properties": {"contentType": "a\u{0}"}}), 400, "U+0000"),
        (json!({"topic": "a", "properties": {"responseTopic": "a/+"}}), 400, "responseTopic"),
        (json!({"topic": "a", "properties": {"payloadFormatIndicator": 2}}), 400, "UTF-8"),
        (json!({"topic": "a/".repeat(200)}), 400, "128 levels"),
        (json!({"topic": "$SYS/broker/uptime"}), 403, "$SYS/"),
        (json!({"topic": "a", "text": "x".repeat(1 << 20)}), 413, "1048576"),
        (json!({"topic": "a", "text": "x".repeat((2 << 20) + 1)}), 413, "2097152"),
    ] {
        let (found, problem) = status(post(&bridge, &body, None).await.unwrap()).await;
        let start: String = body.to_string().chars().take(80).collect();
        assert_eq!(found, code, "{start}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{start}: {problem}");
    }
    let (code, problem) = status(post(&bridge, &json!({"topic": "a"}), Some("two words")).await.unwrap()).await;
    assert_eq!((code, &problem["parameter"]), (400, &json!("Idempotency-Key")));
    let client = reqwest::Client::new();
    for (kind, origin, code) in [
        ("text/plain", None, 415),
        ("application/x-www-form-urlencoded", None, 415),
        ("application/json", Some("https://evil.example"), 403),
        ("application/json", Some("null"), 403),
        ("application/json; charset=utf-8", None, 200),
    ] {
        let mut request =
            client.post(bridge.url("/api/publish")).header(header::CONTENT_TYPE, kind).body(r#"{"topic":"a"}"#);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        assert_eq!(request.send().await.unwrap().status(), code, "{kind} {origin:?}");
    }
    let (code, problem) = status(client.get(bridge.url("/api/publish")).send().await.unwrap()).await;
    assert_eq!(code, 405);
    assert!(problem["detail"].as_str().unwrap().contains("POST"), "{problem}");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_accounts_hold_for_http_as_well() {
    let rules = r#"
        [[auth.rule]]
        allow = ["publish"]
        topics = ["open/#"]
        anonymous = true
    "#;
    let bridge = Setup::default().config(rules).start().await;
    for (topic, code) in [("open/a", 200), ("closed/a", 403)] {
        let (found, problem) = status(post(&bridge, &json!({"topic": topic}), None).await.unwrap()).await;
        assert_eq!(found, code, "{topic}: {problem}");
    }
    bridge.finish(&[]).await;

    let accounts = PasswordFile::new(&[("anna", "secret")]).await;
    for (authentication, code) in [("required", 403), ("optional", 200)] {
        let setting = format!("SYNAP_MQTT__HTTP__AUTHENTICATION={authentication}");
        let bridge = accounts.setup().through(["env", &setting]).start().await;
        let (found, problem) = status(post(&bridge, &json!({"topic": "a"}), None).await.unwrap()).await;
        assert_eq!(found, code, "{authentication}: {problem}");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_publishes_once() {
    let mut bridge = Bridge::start().await;
    let body = json!({"topic": "t", "payload": 1});
    let (_, first) = status(post(&bridge, &body, Some("one")).await.unwrap()).await;
    for _ in 0..2 {
        // With the quotes of a structured field, too.
        let (code, again) = status(post(&bridge, &body, Some("\"one\"")).await.unwrap()).await;
        assert_eq!((code, &again["duplicate"], &again["eventId"]), (200, &json!(true), &first["eventId"]));
        let other = json!({"topic": "t", "payload": 2});
        assert_eq!(post(&bridge, &other, Some("one")).await.unwrap().status(), 422);
        bridge.kill9();
        bridge.restart().await;
        bridge.ready().await;
    }
    assert_eq!(bridge.events("t").await.len(), 1);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_publishes_once_over_kill_9_at_any_moment() {
    let mut random = Random::new();
    let mut bridge = Bridge::start().await;
    let mut number = 0;
    for _ in 0..8 {
        let url = bridge.url("/api/publish");
        let posting = tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut n = number;
            loop {
                let body = json!({"topic": "t", "payload": n});
                let answer = client.post(&url).header("Idempotency-Key", format!("key-{n}")).json(&body).send().await;
                match answer {
                    Ok(answer) => assert_eq!(answer.status(), 200),
                    Err(_) => return n,
                }
                n += 1;
            }
        });
        let enough = bridge.metric("synap_mqtt_messages_received_total").await + random.between(1, 30) as f64;
        let received = async || bridge.metric("synap_mqtt_messages_received_total").await;
        eventually("some publications", async || (received().await >= enough).then_some(())).await;
        bridge.kill9();
        number = posting.await.unwrap();
        bridge.restart().await;
        bridge.ready().await;
        // The one that was cut off, again, and again.
        let body = json!({"topic": "t", "payload": number});
        let key = format!("key-{number}");
        let (code, answer) = status(post(&bridge, &body, Some(&key)).await.unwrap()).await;
        assert_eq!(code, 200, "{answer}");
        let (_, again) = status(post(&bridge, &body, Some(&key)).await.unwrap()).await;
        assert_eq!((&again["duplicate"], &again["eventId"]), (&json!(true), &answer["eventId"]));
        number += 1;
    }
    let events = bridge.events("t").await;
    let numbers: Vec<_> = events.iter().map(|event| event["data"]["value"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..number).collect::<Vec<_>>());
    bridge.finish(&[]).await;
}
