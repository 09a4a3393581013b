//! Who may use the HTTP API, and what they see of it.

mod ends;
mod issuers;
mod pages;
mod routes;
mod sessions;
mod topics;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    eventually, within,
};

/// A bridge that takes API keys.
async fn guarded() -> Bridge {
    Setup::default().config("[http.auth]\napi_keys = true").start().await
}

/// Makes a key that may do this, and waits until the bridge takes it.
async fn key(bridge: &Bridge, name: &str, allow: &[&str]) -> String {
    let key = make(bridge, name, allow, &[]).await;
    eventually("a key that is taken", async || {
        let answer = get(bridge, "/api/caller", Some(&key)).await;
        (answer.status() == 200).then_some(())
    })
    .await;
    key
}

/// The same, which the bridge may not know yet.
async fn make(bridge: &Bridge, name: &str, allow: &[&str], more: &[&str]) -> String {
    let mut arguments = vec!["apikey", "create", name];
    arguments.extend(allow.iter().flat_map(|grant| ["--allow", grant]));
    arguments.extend(more);
    bridge.command(&arguments).success().await.pop().unwrap()
}

fn request(bridge: &Bridge, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
    let request = reqwest::Client::new().request(method, bridge.url(path));
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

async fn get(bridge: &Bridge, path: &str, token: Option<&str>) -> Response {
    within(path, request(bridge, Method::GET, path, token).send()).await.unwrap()
}

async fn json_of(bridge: &Bridge, path: &str, token: &str) -> Value {
    let answer = get(bridge, path, Some(token)).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn publish(bridge: &Bridge, token: &str, topic: &str, payload: Value) -> Response {
    let body = json!({ "topic": topic, "payload": payload });
    within("a publication", request(bridge, Method::POST, "/api/publish", Some(token)).json(&body).send())
        .await
        .unwrap()
}

async fn ticket(bridge: &Bridge, token: &str) -> String {
    let answer = request(bridge, Method::POST, "/api/events/ticket", Some(token)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned()
}
