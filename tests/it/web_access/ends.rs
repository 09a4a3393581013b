//! What is open ends with the credentials that it was opened with, and is resumed with others.

use super::*;
use crate::support::{event_socket::EventSocket, sse::Sse};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_when_the_key_is_revoked_and_goes_on_with_another() {
    let bridge = guarded().await;
    let all = key(&bridge, "all", &["stream:read", "publish"]).await;
    let gone = key(&bridge, "gone", &["stream:read"]).await;
    let url = bridge.url("/api/events/stream");
    let (mut stays, mut ends) = (Sse::open_as(&all, &url, None).await, Sse::open_as(&gone, &url, None).await);
    let path = format!("/api/events/ws?ticket={}", ticket(&bridge, &gone).await);
    let mut socket = EventSocket::try_open_at(bridge.addresses.http, &path, "").await.unwrap();
    assert_eq!(socket.ask(json!({"op": "subscribe"})).await["type"], "ok");
    let late = ticket(&bridge, &gone).await;
    assert_eq!(publish(&bridge, &all, "t", json!({"n": 1})).await.status(), 200);
    let (id, _) = ends.event().await;
    let mut poll = request(&bridge, Method::GET, "/api/events?wait=50", Some(&gone)).send().await.unwrap();

    bridge.command(&["apikey", "revoke", "gone"]).success().await;
    let end = ends.next().await.unwrap();
    assert_eq!((end.event.as_deref(), end.json()["reason"].as_str()), (Some("end"), Some("unauthorized")));
    assert_eq!((end.id, ends.next().await), (Some(id.clone()), None));
    assert_eq!(socket.closed().await, Some(4401));
    within("the end of a poll", async { while poll.chunk().await.unwrap().is_some() {} }).await;
    assert_eq!(get(&bridge, "/api/caller", Some(&gone)).await.status(), 401);
    assert_eq!(get(&bridge, &format!("/api/events/stream?ticket={late}"), None).await.status(), 401, "a ticket of it");

    assert_eq!(publish(&bridge, &all, "t", json!({"n": 2})).await.status(), 200);
    let new = key(&bridge, "new", &["stream:read"]).await;
    let mut resumed = Sse::open_as(&new, &url, Some(&id)).await;
    assert_eq!(resumed.event().await.1["data"]["n"], 2);
    // Others were not touched.
    for n in [1, 2] {
        assert_eq!(stays.event().await.1["data"]["n"], n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_time_of_its_key() {
    let bridge = guarded().await;
    let short = make(&bridge, "short", &["stream:read"], &["--expires-in", "15s"]).await;
    eventually("a key that is taken", async || {
        (get(&bridge, "/api/caller", Some(&short)).await.status() == 200).then_some(())
    })
    .await;
    let mut stream = Sse::open_as(&short, &bridge.url("/api/events/stream"), None).await;
    let end = stream.next().await.unwrap();
    assert_eq!((end.event.as_deref(), end.json()["reason"].as_str()), (Some("end"), Some("unauthorized")));
    assert_eq!(get(&bridge, "/api/caller", Some(&short)).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_and_for_streams_only() {
    let bridge = guarded().await;
    let key = key(&bridge, "page", &["stream:read", "events:read"]).await;
    let ticket = ticket(&bridge, &key).await;
    for path in ["/api/events", "/api/caller", "/api/publish", "/metrics"] {
        assert_eq!(get(&bridge, &format!("{path}?ticket={ticket}"), None).await.status().as_u16() / 100, 4, "{path}");
    }
    let path = format!("/api/events/stream?ticket={ticket}");
    assert_eq!(get(&bridge, &path, None).await.status(), 200);
    assert_eq!(get(&bridge, &path, None).await.status(), 401);
    assert!(!bridge.process.said().contains(&ticket), "it is in no log");
}
