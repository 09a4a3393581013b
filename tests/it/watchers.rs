//! `GET /api/watchers`: who watches what, on each transport, until they are gone.

use serde_json::{Value, json};

use crate::support::{bridge::Bridge, event_socket::EventSocket, eventually, sse::Sse};

async fn watchers(bridge: &Bridge, query: &str) -> Value {
    let answer = reqwest::get(bridge.url(&format!("/api/watchers{query}"))).await.unwrap();
    assert_eq!(answer.status(), 200, "{query}");
    answer.json().await.unwrap()
}

/// Waits until there are so many.
async fn there_are(bridge: &Bridge, count: usize) -> Value {
    eventually(&format!("{count} watchers"), async || {
        let told = watchers(bridge, "").await;
        (told["counts"]["total"] == count).then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_told_of_with_what_it_watches_until_it_goes() {
    let bridge = Bridge::start().await;
    assert_eq!(watchers(&bridge, "").await["watchers"], json!([]));
    let stream = Sse::open(&bridge.url("/api/events/stream?device=pump-7&mode=latest&name=Anna%20B"), None).await;
    let mut socket = EventSocket::open(bridge.url("").trim_start_matches("http://").parse().unwrap()).await;
    // Who has not subscribed watches nothing.
    let told = there_are(&bridge, 1).await;
    let anna = &told["watchers"][0];
    assert_eq!((&anna["name"], &anna["account"], &anna["transport"]), (&json!("Anna B"), &Value::Null, &json!("sse")));
    assert_eq!((&anna["mode"], &anna["devices"], &anna["topics"]), (&json!("latest"), &json!(["pump-7"]), &json!([])));
    assert!(anna["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{anna}");

    socket.ask(json!({"op": "subscribe", "topic": ["devices/#"]})).await;
    socket.ask(json!({"op": "subscribe", "topic": ["plant/+"]})).await;
    let told = watchers(&bridge, "?topic=plant/%2B").await;
    assert_eq!(
        (&told["counts"]["total"], &told["watchers"][0]["topics"]),
        (&json!(1), &json!(["devices/#", "plant/+"]))
    );
    assert_eq!(watchers(&bridge, "?device=pump-7").await["counts"]["transports"], json!({"sse": 1}));
    let first = watchers(&bridge, "?limit=1").await;
    assert_eq!(first["counts"]["modes"], json!({"guaranteed": 1, "latest": 1}));
    let second = watchers(&bridge, &format!("?limit=1&cursor={}", first["nextCursor"].as_str().unwrap())).await;
    assert_eq!((&second["watchers"][0]["transport"], &second["nextCursor"]), (&json!("websocket"), &Value::Null));

    // Changes can be waited for: one that comes, and one that goes.
    let version = there_are(&bridge, 2).await["version"].as_str().unwrap().to_owned();
    let query = format!("?after={version}&wait=50");
    let (changed, _) = tokio::join!(watchers(&bridge, &query), async {
        let poll = reqwest::get(bridge.url("/api/events?wait=1&type=never")).await.unwrap();
        poll.json::<Value>().await.unwrap()
    });
    assert_ne!(changed["version"], json!(version));
    socket.ask(json!({"op": "unsubscribe"})).await;
    there_are(&bridge, 1).await;
    drop(stream);
    there_are(&bridge, 0).await;
    for (query, parameter) in [("?limit=0", "limit"), ("?cursor=x", "cursor"), ("?after=1&wait=51", "wait")] {
        let answer = reqwest::get(bridge.url(&format!("/api/watchers{query}"))).await.unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.json::<Value>().await.unwrap()["parameter"], parameter);
    }
    let long = format!("/api/events/stream?name={}", "x".repeat(65));
    assert_eq!(reqwest::get(bridge.url(&long)).await.unwrap().status(), 400);
    bridge.finish(&[]).await;
}
