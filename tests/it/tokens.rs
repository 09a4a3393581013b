//! JSON Web Tokens as passwords: who comes in with them, as whom, and until when.

use serde_json::{Value, json};

use crate::support::{
    bridge::{Bridge, Setup},
    clients::mosquitto,
    eventually,
    issuer::{Issuer, Key, in_seconds, message},
    process::Process,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, kind},
};

const PEER: &[&str] = &["\"peer\""];
const WRONG: u8 = 0x86;

fn connect(version: Version, user: Option<&str>, token: &str) -> Connect {
    Connect {
        user_name: user.map(str::to_owned),
        password: Some(token.as_bytes().to_vec()),
        ..Connect::new(version, "client")
    }
}

/// A client that has sent this CONNECT, and the code of the answer.
async fn answered(bridge: &Bridge, connect: &Connect) -> (RawMqtt, u8) {
    let mut client = bridge.raw(connect.version).await;
    client.send(&connect.encode()).await;
    let code = client.expect(kind::CONNACK).await.reason();
    (client, code)
}

async fn code(bridge: &Bridge, token: &str) -> u8 {
    answered(bridge, &connect(Version::V5, Some("pump-7"), token)).await.1
}

fn setup(issuer: &Issuer, more: &str) -> Setup {
    Setup::default().config(&format!("[auth]\nfailed_attempts = 0\n[auth.jwt]\njwks_url = {:?}\n{more}", issuer.url))
}

async fn with_keys(bridge: &Bridge, count: f64) {
    eventually("keys", async || (bridge.metric("synap_mqtt_token_keys").await == count).then_some(())).await;
}

fn claims() -> Value {
    json!({ "sub": "pump-7", "exp": in_seconds(600), "iss": "https://issuer.example", "aud": ["pod", "other"] })
}

/// The claims with another value of one; null takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn only_good_tokens_come_in() {
    let (p256, ed25519, rsa, stranger) = (Key::p256(), Key::ed25519(), Key::rsa().await, Key::p256());
    let secret = json!({ "kty": "oct", "kid": "secret", "k": "c2VjcmV0" });
    let issuer = Issuer::new(&[p256.jwk("p256"), ed25519.jwk("ed25519"), rsa.jwk("rsa"), secret]).await;
    let bridge = setup(&issuer, "issuer = \"https://issuer.example\"\naudience = \"pod\"").start().await;
    with_keys(&bridge, 3.0).await;
    for (kid, key) in [("p256", &p256), ("ed25519", &ed25519), ("rsa", &rsa)] {
        assert_eq!(code(&bridge, &key.sign(kid, &claims())).await, 0, "{kid}");
        for version in [Version::V4, Version::V5] {
            for (user, good) in [(Some("pump-7"), true), (Some(""), true), (Some("pump-8"), false)] {
                let (_, code) = answered(&bridge, &connect(version, user, &key.sign(kid, &claims()))).await;
                assert_eq!(code == 0, good, "{version:?} {user:?}");
            }
        }
    }
    let good = p256.sign("p256", &claims());
    let [head, body, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let hash = |key: &[u8], message: &str| {
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), message.as_bytes());
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, tag);
        format!("{message}.{encoded}")
    };
    let public = p256.jwk("p256").to_string();
    for (what, token) in [
        ("expired", p256.sign("p256", &with("exp", json!(in_seconds(-1))))),
        ("without an end", p256.sign("p256", &with("exp", Value::Null))),
        ("an end that is no number", p256.sign("p256", &with("exp", json!("never")))),
        ("not yet valid", p256.sign("p256", &with("nbf", json!(in_seconds(300))))),
        ("another issuer", p256.sign("p256", &with("iss", json!("https://evil.example")))),
        ("another audience", p256.sign("p256", &with("aud", json!("other")))),
        ("no audience", p256.sign("p256", &with("aud", Value::Null))),
        ("no name", p256.sign("p256", &with("sub", Value::Null))),
        ("a stranger's key", stranger.sign("p256", &claims())),
        ("another key's name", p256.sign("rsa", &claims())),
        ("none", format!("{}.", message(&json!({ "alg": "none" }), &claims()))),
        (
            "none with a signature",
            format!("{}.{signature}", message(&json!({ "alg": "none", "kid": "p256" }), &claims())),
        ),
        (
            "hashed with the public key",
            hash(public.as_bytes(), &message(&json!({ "alg": "HS256", "kid": "p256" }), &claims())),
        ),
        (
            "hashed with a published secret",
            hash(b"secret", &message(&json!({ "alg": "HS256", "kid": "secret" }), &claims())),
        ),
        (
            "another algorithm of the key",
            format!("{}.{signature}", message(&json!({ "alg": "RS256", "kid": "p256" }), &claims())),
        ),
        (
            "critical extensions",
            format!("{}.{signature}", message(&json!({ "alg": "ES256", "kid": "p256", "crit": ["b64"] }), &claims())),
        ),
        (
            "other claims",
            format!(
                "{head}.{}.{signature}",
                message(&json!({}), &with("sub", json!("anna"))).split_once('.').unwrap().1
            ),
        ),
        ("no signature", format!("{head}.{body}.")),
        ("a short signature", format!("{head}.{body}.AAAA")),
    ] {
        assert_eq!(code(&bridge, &token).await, WRONG, "{what}");
    }
    let said = bridge.process.said();
    assert!(!said.contains(signature) && !said.contains(body), "{said}");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_ends_with_its_token() {
    let key = Key::p256();
    let issuer = Issuer::new(&[key.jwk("a")]).await;
    let bridge = setup(&issuer, "").start().await;
    with_keys(&bridge, 1.0).await;
    let token = key.sign("a", &with("exp", json!(in_seconds(3))));
    let (mut client, code) = answered(&bridge, &connect(Version::V5, None, &token)).await;
    assert_eq!(code, 0);
    client.publish("t", "x", 1).await;
    // 0xA0: maximum connect time.
    assert_eq!(client.expect_close().await, Some(0xa0));
    let told = async || bridge.process.stderr.find(|line| line.contains("token has expired").then_some(()));
    eventually("a line in the log", told).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_say_what_the_client_may_do() {
    let key = Key::ed25519();
    let issuer = Issuer::new(&[key.jwk("a")]).await;
    let setup = setup(&issuer, "acl_claim = \"mqtt\"\nuser_claim = \"device\"");
    let bridge = setup.start().await;
    with_keys(&bridge, 1.0).await;
    let token = |acl: Value| {
        let claims = json!({ "device": "pump-7", "exp": in_seconds(600), "mqtt": acl });
        key.sign("a", &claims)
    };
    let acl = json!({ "publish": ["devices/%u/#"], "subscribe": ["devices/%u/command"] });
    let (mut client, code) = answered(&bridge, &connect(Version::V5, None, &token(acl))).await;
    assert_eq!(code, 0);
    for (topic, allowed) in [("devices/pump-7/telemetry", 0), ("devices/pump-8/telemetry", 0x87)] {
        client.send(&Publish::new(topic, "x", 1, 1).encode(Version::V5)).await;
        let reason = client.expect(kind::PUBACK).await.reason();
        assert_eq!(if reason == 0x10 { 0 } else { reason }, allowed, "{topic}");
    }
    for acl in [json!({ "publish": ["a/#/b"] }), json!(["a"]), json!({ "publsh": [] })] {
        assert_eq!(answered(&bridge, &connect(Version::V5, None, &token(acl))).await.1, WRONG);
    }
    // mosquitto's client, which has no more than a user name and a password.
    let good = token(json!({ "publish": ["#"] }));
    let arguments = ["-V", "5", "-u", "pump-7", "-P", &good, "-q", "1", "-t", "devices/pump-7/telemetry", "-m", "1"];
    Process::start(mosquitto("mosquitto_pub", &bridge.port(), &arguments)).success().await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_unknown_ones_flood_nobody() {
    let (old, new) = (Key::p256(), Key::p256());
    let issuer = Issuer::new(&[old.jwk("old")]).await;
    let bridge = setup(&issuer, "jwks_interval = \"1s\"").start().await;
    with_keys(&bridge, 1.0).await;
    issuer.publish(&[old.jwk("old"), new.jwk("new")]);
    with_keys(&bridge, 2.0).await;
    assert_eq!(code(&bridge, &new.sign("new", &claims())).await, 0);
    issuer.publish(&[new.jwk("new")]);
    with_keys(&bridge, 1.0).await;
    assert_eq!(code(&bridge, &old.sign("old", &claims())).await, WRONG, "a key that was taken back");
    // An issuer that is down opens nothing and closes nothing.
    issuer.go_down();
    bridge.complaint(0, "cannot fetch the keys of tokens").await;
    assert_eq!(code(&bridge, &new.sign("new", &claims())).await, 0);
    assert_eq!(code(&bridge, &old.sign("old", &claims())).await, WRONG);
    bridge.finish(&[PEER, &["cannot fetch the keys of tokens"]].concat()).await;

    let bridge = setup(&issuer, "").start().await;
    assert_eq!(code(&bridge, &new.sign("new", &claims())).await, WRONG, "without keys nobody comes in");
    bridge.finish(&[PEER, &["cannot fetch the keys of tokens"]].concat()).await;

    issuer.publish(&[new.jwk("new")]);
    let bridge = setup(&issuer, "").start().await;
    with_keys(&bridge, 1.0).await;
    let before = issuer.asked();
    for n in 0..50 {
        assert_eq!(code(&bridge, &old.sign(&format!("unknown-{n}"), &claims())).await, WRONG);
    }
    assert!(issuer.asked() <= before + 1, "{} questions", issuer.asked() - before);
    bridge.finish(PEER).await;
}
