//! Tokens of real issuers: signed ones, whose keys are fetched, and opaque ones, which their issuer is asked about.

use super::*;
use crate::support::{clients::node, process::Process, sse::Sse};

const GRANTS: &str = "[[http.auth.grant]]\nusers = [\"guest\"]\nallow = [\"stream:read=devices/#\", \"publish\"]";

/// A script that prints where it listens.
async fn start(script: &str, arguments: &[&str]) -> (Process, String) {
    let mut command = node(script);
    command.args(arguments);
    let mut process = Process::start(command);
    let url = process.line("an address", |line| line.strip_prefix("listening ").map(|url| url.trim().to_owned())).await;
    (process, url)
}

/// An access token of a client, for the audience, in this format.
async fn token(issuer: &str, client: &str, format: &str, scope: &str) -> String {
    let resource = format!("urn:{format}");
    let form = [("grant_type", "client_credentials"), ("scope", scope), ("resource", resource.as_str())];
    let body = form.map(|(name, value)| format!("{name}={}", value.replace(':', "%3A").replace(' ', "+"))).join("&");
    let request = reqwest::Client::new().post(format!("{issuer}/token"));
    let secret = format!("secret%20of%20{client}");
    let request = request.basic_auth(client, Some(secret)).header("Content-Type", "application/x-www-form-urlencoded");
    let answer: Value = request.body(body).send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn allowed(bridge: &Bridge, token: &str) -> (u16, Value) {
    let answer = get(bridge, "/api/caller", Some(token)).await;
    (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["allow"].clone())
}

async fn with_keys(bridge: &Bridge, token: &str) {
    eventually("the issuer's keys", async || (allowed(bridge, token).await.0 == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_openid_provider_are_taken_signed_and_opaque() {
    let (_provider, issuer) = start("oidc_provider.mjs", &["pod"]).await;
    let scratch = crate::support::scratch();
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "secret of bridge\n").unwrap();
    let bridge = Setup::default()
        .config(&format!(
            "[pod]\nuser_id = \"owner\"\n[http.auth.jwt]\njwks_url = \"{issuer}/jwks\"\nissuer = {issuer:?}\n\
             audience = \"pod\"\n[http.auth.introspection]\nurl = \"{issuer}/token/introspection\"\n\
             client_id = \"bridge\"\nclient_secret_file = {secret:?}\naudience = \"pod\"\nissuer = {issuer:?}\n{GRANTS}"
        ))
        .start()
        .await;
    with_keys(&bridge, &token(&issuer, "owner", "RS256", "stream:read").await).await;
    for format in ["RS256", "ES256", "EdDSA", "opaque"] {
        let of = async |client: &str, scope: &str| allowed(&bridge, &token(&issuer, client, format, scope).await).await;
        assert_eq!(
            of("owner", "stream:read events:read").await,
            (200, json!(["stream:read", "events:read"])),
            "{format}"
        );
        assert_eq!(of("guest", "stream:read admin").await, (200, json!(["stream:read=devices/#"])), "{format}");
        assert_eq!(of("stranger", "admin").await, (200, json!([])), "{format}");
        assert_eq!(of("owner", "other").await, (200, json!([])), "{format}");
        let owner = token(&issuer, "owner", format, "stream:read").await;
        let _stream = Sse::open_as(&owner, &bridge.url("/api/events/stream"), None).await;
        for path in ["/api/events", "/metrics"] {
            assert_eq!(get(&bridge, path, Some(&owner)).await.status(), 403, "{format} {path}");
        }
    }
    assert_eq!(allowed(&bridge, "made-up").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_issuer_that_is_away_lets_nobody_in() {
    let (mut provider, issuer) = start("oidc_provider.mjs", &["pod"]).await;
    let bridge = Setup::default()
        .config(&format!(
            "[pod]\nuser_id = \"owner\"\n[http.auth.introspection]\nurl = \"{issuer}/token/introspection\"\n\
             [http.auth.jwt]\njwks_url = \"http://127.0.0.1:1/jwks\""
        ))
        .start()
        .await;
    let signed = token(&issuer, "owner", "RS256", "stream:read").await;
    assert_eq!(get(&bridge, "/api/caller", Some(&signed)).await.status(), 503, "no keys yet");
    provider.kill();
    assert_eq!(get(&bridge, "/api/caller", Some("opaque")).await.status(), 503);
    bridge.complaint(0, "cannot ask who a web client is").await;
}

/// The mock issuer signs what it is told.
struct Mock {
    process: Process,
    /// Lines that were read.
    lines: usize,
}

impl Mock {
    async fn answer(&mut self, line: &Value) -> String {
        self.process.say(&line.to_string());
        self.lines += 1;
        self.process.lines(self.lines).await.remove(self.lines - 1)
    }

    async fn key(&mut self, algorithm: &str) -> String {
        self.answer(&json!({ "rotate": algorithm })).await
    }

    async fn sign(&mut self, kid: &str, claims: Value) -> String {
        self.answer(&json!({ "kid": kid, "sign": claims })).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_odd_tokens_are_refused() {
    let (process, issuer) = start("oauth2_mock_server.mjs", &[]).await;
    let mut mock = Mock { process, lines: 1 };
    let first = mock.key("RS256").await;
    let bridge = Setup::default()
        .config(&format!(
            "[pod]\nuser_id = \"owner\"\n[http.auth.jwt]\njwks_url = \"{issuer}/jwks\"\njwks_interval = \"1s\"\n\
             issuer = {issuer:?}\naudience = \"pod\"\n{GRANTS}"
        ))
        .start()
        .await;
    let good = json!({"sub": "owner", "aud": "pod", "scope": null});
    let before = mock.sign(&first, good.clone()).await;
    with_keys(&bridge, &before).await;
    assert_eq!(
        allowed(&bridge, &before).await.1.as_array().unwrap().len(),
        5,
        "without scopes: all that the owner may"
    );
    let second = mock.key("ES256").await;
    let after = mock.sign(&second, good.clone()).await;
    with_keys(&bridge, &after).await;
    assert_eq!(allowed(&bridge, &before).await.0, 200, "the old key is still there");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (claim, value) in [
        ("aud", json!("other")),
        ("aud", json!(null)),
        ("aud", json!(["other"])),
        ("iss", json!("https://other")),
        ("iss", json!(null)),
        ("exp", json!(now - 1)),
        ("exp", json!(null)),
        ("nbf", json!(now + 3600)),
        ("sub", json!(null)),
        ("sub", json!(7)),
    ] {
        let mut claims = good.clone();
        claims[claim] = value.clone();
        let token = mock.sign(&first, claims).await;
        assert_eq!(allowed(&bridge, &token).await.0, 401, "{claim} {value}");
    }
    for (claim, value, count) in
        [("scope", json!("stream:read openid"), 1), ("scp", json!(["stream:read", "admin"]), 2), ("scope", json!(7), 0)]
    {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove("scope");
        claims[claim] = value.clone();
        let claims = if claim == "scp" { with_null_scope(claims) } else { claims };
        let token = mock.sign(&second, claims).await;
        assert_eq!(allowed(&bridge, &token).await.1.as_array().unwrap().len(), count, "{claim} {value}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let soon = mock.sign(&second, json!({"sub": "owner", "aud": "pod", "scope": null, "exp": now + 10})).await;
    let mut stream = Sse::open_as(&soon, &bridge.url("/api/events/stream"), None).await;
    let end = stream.next().await.unwrap();
    assert_eq!((end.event.as_deref(), end.json()["reason"].as_str()), (Some("end"), Some("unauthorized")));
    confused(&bridge, &before, &issuer).await;
}

fn with_null_scope(mut claims: Value) -> Value {
    claims["scope"] = Value::Null;
    claims
}

/// The claims of a good token under other signatures: none, and a hash that is keyed with what everybody knows.
async fn confused(bridge: &Bridge, good: &str, issuer: &str) {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    use hmac::{Hmac, KeyInit, Mac};
    let parts: Vec<_> = good.split('.').collect();
    let keys = reqwest::get(format!("{issuer}/jwks")).await.unwrap().text().await.unwrap();
    for algorithm in ["none", "None", "HS256"] {
        let header = BASE64URL.encode(json!({ "alg": algorithm, "typ": "JWT" }).to_string());
        let message = format!("{header}.{}", parts[1]);
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(keys.as_bytes()).unwrap();
        mac.update(message.as_bytes());
        let hashed = BASE64URL.encode(mac.finalize().into_bytes());
        for signature in ["", parts[2], &hashed] {
            let answer = get(bridge, "/api/caller", Some(&format!("{message}.{signature}"))).await;
            assert_eq!(answer.status(), 401, "{algorithm} {signature}");
        }
    }
    let tampered =
        BASE64URL.encode(BASE64URL.decode(parts[1]).unwrap().iter().copied().chain(*b" ").collect::<Vec<_>>());
    let answer = get(bridge, "/api/caller", Some(&format!("{}.{tampered}.{}", parts[0], parts[2]))).await;
    assert_eq!(answer.status(), 401);
}
