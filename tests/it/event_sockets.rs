//! The stream's WebSocket: what clients may say, and what becomes of those who say nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    clients::Browser,
    event_socket::{EventSocket, PATH},
    raw_mqtt::{RawMqtt, Version},
    raw_websocket::{RawWebSocket, first, frame, handshake},
};

async fn publish(publisher: &mut RawMqtt, topic: &str, n: u64) {
    publisher.publish(topic, format!("{{\"n\":{n}}}"), 1).await;
}

fn number(message: &Value) -> u64 {
    message["event"]["data"]["n"].as_u64().unwrap_or_else(|| panic!("{message}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_and_go_without_a_new_connection() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let mut socket = EventSocket::open(bridge.addresses.http).await;
    publish(&mut publisher, "a/1", 0).await;
    let begun = socket.ask(json!({"op": "subscribe", "topic": ["a/#"]})).await;
    assert_eq!(begun["type"], "ok");
    assert_eq!(socket.expect("connected").await["id"], begun["id"]);
    for (n, topic) in [(1, "b/1"), (2, "a/1"), (3, "b/1")] {
        publish(&mut publisher, topic, n).await;
    }
    let seen = socket.expect("event").await;
    assert_eq!(number(&seen), 2);
    // Exactly what comes behind the position of the answer.
    let more = socket.ask(json!({"op": "subscribe", "topic": ["b/#"]})).await;
    publish(&mut publisher, "b/1", 4).await;
    let mut next = socket.expect("event").await;
    if more["id"] == seen["id"] {
        assert_eq!(number(&next), 3);
        next = socket.expect("event").await;
    }
    assert_eq!(number(&next), 4);
    socket.ask(json!({"op": "unsubscribe", "topic": ["a/#"]})).await;
    publish(&mut publisher, "a/1", 5).await;
    publish(&mut publisher, "b/1", 6).await;
    assert_eq!(number(&socket.expect("event").await), 6);
    // Once more, from where it was told.
    socket.ask(json!({"op": "resume", "after": seen["id"]})).await;
    for n in [3, 4, 6] {
        assert_eq!(number(&socket.expect("event").await), n);
    }
    // Nothing is left, and so nothing comes; not everything.
    let left = socket.ask(json!({"op": "unsubscribe", "topic": ["b/#"]})).await;
    publish(&mut publisher, "b/1", 7).await;
    assert_eq!(socket.ask(json!({"op": "ping"})).await["type"], "pong");
    socket.ask(json!({"op": "subscribe", "after": left["id"]})).await;
    socket.expect("connected").await;
    assert_eq!(number(&socket.expect("event").await), 7);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_behind_acknowledges_and_gets_no_more_than_it_takes() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let mut socket = EventSocket::open(bridge.addresses.http).await;
    socket.ask(json!({"op": "subscribe", "window": 2})).await;
    socket.expect("connected").await;
    let mut ids = Vec::new();
    for n in 0..2 {
        publish(&mut publisher, "t", n).await;
        let event = socket.expect("event").await;
        assert_eq!(number(&event), n);
        ids.push(event["id"].clone());
    }
    for n in 2..5 {
        publish(&mut publisher, "t", n).await;
    }
    // What is asked for now comes behind what would have been sent.
    assert_eq!(socket.ask(json!({"op": "ping"})).await["type"], "pong");
    socket.say(&json!({"op": "acknowledge", "ref": "all", "id": ids[1]})).await;
    assert_eq!(socket.expect("ok").await["ref"], "all");
    for n in 2..5 {
        assert_eq!(number(&socket.expect("event").await), n);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_answered_and_the_connection_goes_on() {
    let bridge = Bridge::start().await;
    let mut socket = EventSocket::open(bridge.addresses.http).await;
    for (message, status, hint) in [
        (json!({"op": "shout"}), 400, "subscribe, unsubscribe"),
        (json!({"op": "subscribe", "topics": ["a"]}), 400, "unknown field `topics`"),
        (json!({"op": "subscribe", "topic": ["a#"]}), 400, "last character"),
        (json!({"op": "subscribe", "topic": vec!["a"; 33]}), 400, "at most 32"),
        (json!({"op": "subscribe", "mode": "some"}), 400, "best-effort"),
        (json!({"op": "subscribe", "rate": 3}), 400, "mode=latest"),
        (json!({"op": "subscribe", "after": "x"}), 400, "1f3a9c02-48213"),
        (json!({"op": "subscribe", "window": 0}), 400, "1 to 1000"),
        (json!({"op": "unsubscribe"}), 409, "subscribe first"),
        (json!({"op": "resume", "after": "00000000-1"}), 409, "subscribe first"),
        (json!({"op": "resume"}), 400, "missing field `after`"),
        (json!({"op": "acknowledge", "id": "00000000-1"}), 400, "was sent"),
        (json!({"op": "publish", "publication": {"topic": "a/+"}}), 400, "wildcards"),
        (json!({"op": "publish", "publication": {"topic": "a"}, "idempotencyKey": ""}), 400, "1 to 128"),
        (json!({"op": "publish", "publication": {"topic": "$SYS/a"}}), 403, "$SYS/"),
    ] {
        let answer = socket.ask(message.clone()).await;
        assert_eq!((&answer["type"], &answer["problem"]["status"]), (&json!("error"), &json!(status)), "{message}");
        assert!(answer["problem"]["detail"].as_str().unwrap().contains(hint), "{message}: {answer}");
    }
    for text in ["", "[]", "{}", "{\"op\":1}", "{\"op\":\"ping\",\"ref\":[]}", "no JSON"] {
        socket.send_frame(&frame(first::TEXT, text.as_bytes())).await;
        assert_eq!(socket.expect("error").await["problem"]["status"], 400, "{text}");
    }
    socket.ask(json!({"op": "subscribe", "topic": ["a"]})).await;
    for (message, hint) in [
        (json!({"op": "subscribe", "topic": ["b"], "mode": "latest"}), "first subscribe"),
        (json!({"op": "subscribe"}), "nothing to add"),
        (
            json!({"op": "acknowledge", "id": socket.ask(json!({"op": "unsubscribe", "type": ["x"]})).await["id"]}),
            "window",
        ),
    ] {
        let answer = socket.ask(message.clone()).await;
        assert_eq!(answer["problem"]["status"], 409, "{message}: {answer}");
        assert!(answer["problem"]["detail"].as_str().unwrap().contains(hint), "{message}: {answer}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_the_framing_or_says_nothing_is_let_go() {
    let bridge = Setup::default().config("[stream]\nheartbeat = \"1s\"").start().await;
    let address = bridge.addresses.http;
    for (what, bytes, status) in [
        ("bytes", frame(first::BINARY, b"hello"), 1003),
        ("no UTF-8", frame(first::TEXT, &[0xff]), 1007),
        ("too much", frame(first::TEXT, &vec![b' '; 300 << 10]), 1009),
        ("an unmasked frame", vec![first::TEXT, 1, b'x'], 1002),
        ("a compressed frame", frame(0xc1, b"x"), 1002),
        ("its own end", frame(first::CLOSE, &1001_u16.to_be_bytes()), 1001),
    ] {
        let mut socket = EventSocket::open(address).await;
        socket.send_frame(&bytes).await;
        assert_eq!(socket.closed().await, Some(status), "{what}");
    }
    // It is pinged, does not answer, and is given up; another one that answers is not.
    let mut living = EventSocket::open(address).await;
    let mut dead = RawWebSocket::try_open(address, &handshake(PATH, &address.to_string())).await.unwrap();
    let ended = tokio::spawn(async move {
        while let Some((first, payload)) = dead.frame().await {
            if first == first::CLOSE {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
            assert_eq!(first, first::PING);
        }
        0
    });
    let waiting = tokio::time::timeout(Duration::from_secs(60), living.next());
    let ended = tokio::select! {
        _ = waiting => panic!("the other one is given up"),
        ended = ended => ended.unwrap(),
    };
    assert_eq!(ended, 1008);
    assert_eq!(living.ask(json!({"op": "ping"})).await["type"], "pong");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_says_that_the_bridge_goes_away() {
    let mut bridge = Bridge::start().await;
    let mut idle = EventSocket::open(bridge.addresses.http).await;
    let mut watching = EventSocket::open(bridge.addresses.http).await;
    watching.ask(json!({"op": "subscribe"})).await;
    idle.ask(json!({"op": "ping"})).await;
    bridge.terminate().await;
    assert_eq!((idle.closed().await, watching.closed().await), (Some(1001), Some(1001)));
    assert_eq!(bridge.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_that_may_connect_do() {
    let bridge = Setup::default().config("").start().await;
    let address = bridge.addresses.http;
    let right = handshake(PATH, &address.to_string());
    for (origin, is_taken) in
        [(format!("http://{address}"), true), ("https://evil.example".to_owned(), false), ("null".to_owned(), false)]
    {
        let head = format!("{right}Origin: {origin}\r\n");
        let answer = RawWebSocket::try_open(address, &head).await;
        assert_eq!(answer.is_ok(), is_taken, "{origin}");
        assert!(answer.err().is_none_or(|answer| answer.contains("403") && answer.contains("allowed_origins")));
    }
    bridge.finish(&[]).await;
}

/// JavaScript that publishes a long text through the socket at `url`, and says what came back, and which extensions
/// were agreed to.
fn there_and_back(url: &str) -> String {
    format!(
        "new Promise((resolve) => {{
            const socket = new WebSocket('{url}');
            const say = (message) => socket.send(JSON.stringify(message));
            const text = 'a text that repeats itself, '.repeat(200);
            socket.onopen = () => say({{op: 'subscribe', topic: ['from/page']}});
            socket.onmessage = ({{data}}) => {{
                const message = JSON.parse(data);
                if (message.type === 'connected') say({{op: 'publish', publication: {{topic: 'from/page', text}}}});
                if (message.type === 'event') resolve([message.event.data.text === text, socket.extensions]);
            }};
            socket.onerror = () => resolve('error');
        }})"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_goes_there_and_back_also_compressed() {
    let bridge = Bridge::start().await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    let url = format!("ws://{}{PATH}", bridge.addresses.http);
    assert_eq!(browser.evaluate(&there_and_back(&url)).await, json!([true, ""]));
    let answer = browser.evaluate(&there_and_back(&format!("{url}?compress=true"))).await;
    assert_eq!(answer[0], true);
    assert!(answer[1].as_str().unwrap().starts_with("permessage-deflate"), "{answer}");
    bridge.finish(&[]).await;
}
