//! Every route: without credentials, with wrong ones, with old ones, with too few rights, and with enough.

use std::collections::BTreeSet;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::*;

/// Each route of the description, and which scopes are enough; none where nothing is needed.
const ROUTES: &[(&str, &str, Option<&[&str]>)] = &[
    ("GET", "/api/caller", Some(&["stream:read", "events:read", "publish", "commands", "admin"])),
    ("GET", "/api/events", Some(&["events:read"])),
    ("GET", "/api/events?wait=0", Some(&["stream:read"])),
    ("GET", "/api/events/{id}", Some(&["events:read"])),
    ("GET", "/api/events/stream", Some(&["stream:read"])),
    ("POST", "/api/events/ticket", Some(&["stream:read"])),
    ("GET", "/api/events/ws", Some(&["stream:read", "publish", "commands"])),
    ("POST", "/api/publish", Some(&["publish"])),
    ("GET", "/api/devices", Some(&["events:read"])),
    ("GET", "/api/devices/{device}", Some(&["events:read"])),
    ("GET", "/api/devices/{device}/commands", Some(&["commands"])),
    ("POST", "/api/devices/{device}/commands", Some(&["commands"])),
    ("GET", "/api/devices/{device}/commands/{id}", Some(&["commands"])),
    ("GET", "/api/series", Some(&["events:read"])),
    ("GET", "/api/dead-letters", Some(&["admin"])),
    ("GET", "/api/consumers", Some(&["admin"])),
    ("GET", "/api/watchers", Some(&["admin"])),
    ("GET", "/api/sessions", Some(&["admin"])),
    ("GET", "/api/sessions/{clientId}", Some(&["admin"])),
    ("GET", "/metrics", Some(&["admin"])),
    ("GET", "/api/sign-in", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
];

const SCOPES: [&str; 5] = ["stream:read", "events:read", "publish", "commands", "admin"];

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_for_what_it_needs() {
    let bridge = guarded().await;
    let description: Value = get(&bridge, "/openapi.json", None).await.json().await.unwrap();
    let described: BTreeSet<_> = description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let known: BTreeSet<_> = ROUTES.iter().map(|(_, path, _)| without_query(path)).collect();
    assert_eq!(described, known, "each route has an entry here");

    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push((scope, key(&bridge, scope, &[scope]).await));
    }
    let old = make(&bridge, "old", &SCOPES, &["--expires-in", "1s"]).await;
    eventually("a key that is over", async || {
        let answer = get(&bridge, "/api/caller", Some(&old)).await;
        (answer.text().await.unwrap().contains("expired")).then_some(())
    })
    .await;
    let wrong = format!("sk_live_{}", "A".repeat(43));
    for (method, path, scopes) in ROUTES {
        let filled = path.replace("{id}", "00000000-0000-0000-0000-000000000001");
        let filled = filled.replace("{device}", "pump-7").replace("{clientId}", "pump-7");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let ask = async |token: Option<&str>| {
            let answer = request(&bridge, method.clone(), &filled, token).send().await.unwrap();
            let challenge =
                answer.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), challenge.unwrap_or_default())
        };
        let Some(scopes) = scopes else {
            for token in [None, Some(wrong.as_str())] {
                assert_eq!(ask(token).await.0, 200, "{path}");
            }
            continue;
        };
        assert_eq!(ask(None).await, (401, "Bearer realm=\"synap-mqtt\"".to_owned()), "{path}");
        for bad in [&wrong, &old, "eyJhbGciOiJub25lIn0.e30.", "something"] {
            assert_eq!(ask(Some(bad)).await, (401, "Bearer error=\"invalid_token\"".to_owned()), "{path} {bad}");
        }
        for (scope, key) in &keys {
            let (status, challenge) = ask(Some(key)).await;
            if scopes.contains(scope) {
                assert!(![401, 403, 429].contains(&status), "{path} with {scope}: {status}");
            } else {
                assert_eq!(status, 403, "{path} with {scope}");
                assert!(challenge.contains("insufficient_scope"), "{challenge}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_understood_in_one_form_only() {
    let bridge = guarded().await;
    let key = key(&bridge, "all", &SCOPES).await;
    for (value, status) in [
        (format!("Bearer {key}"), 200),
        (format!("bearer   {key}"), 200),
        (format!("Basic {key}"), 401),
        (format!("Bearer {key}x"), 401),
        (format!("Bearer{key}"), 401),
        ("Bearer".to_owned(), 401),
        (key.to_uppercase(), 401),
    ] {
        let request = reqwest::Client::new().get(bridge.url("/api/caller")).header(header::AUTHORIZATION, &value);
        assert_eq!(request.send().await.unwrap().status(), status, "{value}");
    }
    // A key in the URL would be in logs: it is no ticket.
    for path in ["/api/caller?ticket=", "/api/events/stream?ticket=", "/api/events/stream?token="] {
        assert_eq!(get(&bridge, &format!("{path}{key}"), None).await.status(), 401, "{path}");
    }
    assert!(!bridge.process.said().contains(&key[8..]), "no secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_one_is_is_told() {
    let bridge = guarded().await;
    let key = key(&bridge, "grafana", &["stream:read=devices/#", "events:read"]).await;
    let caller = json_of(&bridge, "/api/caller", &key).await;
    let allow = json!(["stream:read=devices/#", "events:read"]);
    assert_eq!(caller, json!({"kind": "key", "name": "grafana", "allow": allow, "expiresAt": null}));
    let listed = bridge.command(&["apikey", "list"]).success().await;
    assert!(listed[0].starts_with("grafana\tallow stream:read=devices/# events:read\t"), "{listed:?}");
    let open = Bridge::start().await;
    let caller: Value = get(&open, "/api/caller", None).await.json().await.unwrap();
    assert_eq!((&caller["kind"], caller["allow"].as_array().unwrap().len()), (&json!("anyone"), 5));
    // What is not asked for is not looked at.
    assert_eq!(get(&open, "/api/caller", Some("anything")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_why_to_those_who_may_know() {
    let setup = Setup::default().config("[http.auth]\napi_keys = true").timescale("postgres://nobody@127.0.0.1:1/none");
    let bridge = setup.listening().await;
    let key = key(&bridge, "operator", &["admin"]).await;
    let reason = async |token: Option<&str>| {
        eventually("a database that is away", async || {
            let health: Value = get(&bridge, "/readyz", token).await.json().await.unwrap();
            health["components"]["timescale"]["reason"].as_str().map(str::to_owned)
        })
        .await
    };
    assert!(reason(None).await.contains("scope `admin`"));
    assert!(!reason(Some(&key)).await.contains("scope `admin`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_key_is_refused_with_what_would_be_right() {
    let bridge = guarded().await;
    key(&bridge, "one", &["admin"]).await;
    for (arguments, part) in [
        (&["create", "one", "--allow", "admin"][..], "there is a key of the name \"one\" already"),
        (&["create", "two"], "--allow"),
        (&["create", "two", "--allow", "read"], "expected stream:read, events:read"),
        (&["create", "two", "--allow", "publish=a#"], "# must be the last character"),
        (&["create", "two", "--allow", "admin", "--expires-in", "soon"], "expected a time such as 90m"),
        (&["create", "", "--allow", "admin"], "a name has 1 to 100 characters"),
        (&["revoke", "three"], "there is no key of the name \"three\""),
    ] {
        let said = bridge.command(&[&["apikey"], arguments].concat()).failure().await;
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let file = bridge.data_dir().join("api-keys.toml");
    std::fs::write(&file, "nonsense").unwrap();
    bridge.complaint(0, "the API keys are as before").await;
    let said = bridge.command(&["check-config"]).failure().await;
    assert!(said.contains("`http.auth.api_keys`: ") && said.contains("not a file of API keys"), "{said}");
}
