//! Sessions of Ory Kratos: who comes in with them, what they may do, and what happens when it is away.

use reqwest::header;

use super::*;
use crate::support::{
    kratos::{Kratos, Mood},
    raw_websocket::{RawWebSocket, handshake},
    sse::Sse,
};

const FRIEND: &str = "https://app.example.org";
const LATER: &str = "2100-01-01T00:00:00Z";

async fn bridge(kratos: &Kratos) -> Bridge {
    let grants = "[[http.auth.grant]]\nusers = [\"anna\"]\nallow = [\"stream:read=devices/#\", \"publish=devices/#\"]";
    Setup::default()
        .http(&format!("allowed_origins = [{FRIEND:?}]"))
        .config(&format!("[pod]\nuser_id = \"owner\"\n[http.auth.kratos]\nurl = {:?}\n{grants}", kratos.url))
        .start()
        .await
}

fn with_cookie(bridge: &Bridge, method: Method, path: &str, token: &str) -> RequestBuilder {
    // A browser sends all that it has.
    let cookies = format!("theme=dark; ory_kratos_session={token}; other=1");
    request(bridge, method, path, None).header(header::COOKIE, cookies)
}

async fn caller(bridge: &Bridge, token: &str) -> (u16, Value) {
    let answer = with_cookie(bridge, Method::GET, "/api/caller", token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_taken_in_each_of_its_forms() {
    let kratos = Kratos::start().await;
    let bridge = bridge(&kratos).await;
    let (owner, anna, stranger) =
        (kratos.sign_in("owner", LATER), kratos.sign_in("anna", LATER), kratos.sign_in("bob", LATER));
    let (status, answer) = caller(&bridge, &owner).await;
    assert_eq!((status, &answer["kind"], &answer["name"]), (200, &json!("user"), &json!("owner")), "{answer}");
    assert_eq!(answer["allow"].as_array().unwrap().len(), 5, "the owner may do everything: {answer}");
    assert_eq!(answer["expiresAt"], "2100-01-01T00:00:00.000000Z");
    assert_eq!(caller(&bridge, &anna).await.1["allow"], json!(["stream:read=devices/#", "publish=devices/#"]));
    assert_eq!(caller(&bridge, &stranger).await.1["allow"], json!([]));
    let answer = with_cookie(&bridge, Method::GET, "/api/events/stream", &stranger).send().await.unwrap();
    assert_eq!(answer.status(), 403, "known, and without any right");
    let as_program = request(&bridge, Method::GET, "/api/caller", None).header("X-Session-Token", &anna);
    assert_eq!(as_program.send().await.unwrap().json::<Value>().await.unwrap()["name"], "anna");
    assert_eq!(json_of(&bridge, "/api/caller", &anna).await["name"], "anna", "as a bearer token");
    assert_eq!(caller(&bridge, "nobody").await.0, 401);
    assert_eq!(get(&bridge, "/api/caller", None).await.status(), 401);
    let late = kratos.sign_in("owner", "2026-01-31T12:00:00Z");
    assert_eq!(caller(&bridge, &late).await.0, 401, "over, whatever Kratos says");
    let before = kratos.asked();
    for _ in 0..20 {
        assert_eq!(caller(&bridge, &owner).await.0, 200);
    }
    assert_eq!(kratos.asked(), before, "an answer is remembered for a while");
    let more = kratos.sign_in("owner", LATER);
    kratos.ask_for_more(&more);
    let (status, answer) = caller(&bridge, &more).await;
    assert_eq!(status, 403);
    assert!(answer["detail"].as_str().unwrap().contains("second factor"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_acts_for_its_own_page_only() {
    let kratos = Kratos::start().await;
    let bridge = bridge(&kratos).await;
    let anna = kratos.sign_in("anna", LATER);
    let own = format!("http://{}", bridge.addresses.http);
    let body = json!({"topic": "devices/a/x"});
    for (origin, changes, reads) in [
        (Some(own.as_str()), 200, 200),
        (Some(FRIEND), 200, 200),
        (Some("https://evil.example.org"), 403, 403),
        (Some("null"), 403, 403),
        (None, 403, 200),
    ] {
        let with_origin = |request: RequestBuilder| match origin {
            Some(origin) => request.header(header::ORIGIN, origin),
            None => request,
        };
        for path in ["/api/publish", "/api/events/ticket"] {
            let request = with_origin(with_cookie(&bridge, Method::POST, path, &anna)).json(&body);
            assert_eq!(request.send().await.unwrap().status(), changes, "{origin:?} {path}");
        }
        for path in ["/api/caller", "/api/events/stream"] {
            let request = with_origin(with_cookie(&bridge, Method::GET, path, &anna));
            assert_eq!(request.send().await.unwrap().status(), reads, "{origin:?} {path}");
        }
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        let head = handshake("/api/events/ws", &bridge.addresses.http.to_string());
        let head = format!("{head}Cookie: ory_kratos_session={anna}\r\n{origin}");
        let opened = RawWebSocket::try_open(bridge.addresses.http, &head).await;
        assert_eq!(opened.is_ok(), changes == 200, "{origin}");
    }
    // Not as a form, which needs no leave.
    let form = with_cookie(&bridge, Method::POST, "/api/publish", &anna).header(header::ORIGIN, &own);
    let form = form.header(header::CONTENT_TYPE, "text/plain").body(body.to_string());
    assert_eq!(form.send().await.unwrap().status(), 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_and_nobody_sent_away_while_kratos_does_not_answer() {
    let mut kratos = Kratos::start().await;
    let bridge = bridge(&kratos).await;
    let anna = kratos.sign_in("anna", LATER);
    let ends = "2100-01-01T00:00:00Z";
    let mut stream = Sse::open_as(&anna, &bridge.url("/api/events/stream"), None).await;
    for mood in [Mood::Broken, Mood::Slow] {
        kratos.set(mood);
        let fresh = kratos.sign_in("owner", ends);
        let (status, answer) = caller(&bridge, &fresh).await;
        assert_eq!(status, 503, "{mood:?}: {answer}");
        assert!(!answer.to_string().contains("127.0.0.1"), "nothing of the inside: {answer}");
        kratos.set(Mood::Well);
        assert_eq!(caller(&bridge, &fresh).await.0, 200, "a failure is not remembered");
    }
    let fresh = kratos.sign_in("owner", LATER);
    kratos.end();
    assert_eq!(caller(&bridge, &fresh).await.0, 503);
    assert_eq!(caller(&bridge, "nobody").await.0, 503);
    // What is open goes on.
    let mut device = bridge.client(crate::support::raw_mqtt::Version::V5, "a").await;
    device.publish("devices/a/x", "{}", 1).await;
    assert_eq!(stream.event().await.1["metadata"]["topic"], "devices/a/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session() {
    let kratos = Kratos::start().await;
    let bridge = bridge(&kratos).await;
    let (anna, short) = (kratos.sign_in("anna", LATER), {
        let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(12);
        let soon = soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        kratos.sign_in("anna", &jiff::Timestamp::from_second(soon.try_into().unwrap()).unwrap().to_string())
    });
    let url = bridge.url("/api/events/stream");
    let (mut signed_out, mut expired) = (Sse::open_as(&anna, &url, None).await, Sse::open_as(&short, &url, None).await);
    kratos.sign_out(&anna);
    // The second is seen when Kratos is asked again, a quarter of a minute later.
    for stream in [&mut expired, &mut signed_out] {
        let end = stream.next().await.unwrap();
        assert_eq!((end.event.as_deref(), end.json()["reason"].as_str()), (Some("end"), Some("unauthorized")));
    }
    assert_eq!(caller(&bridge, &anna).await.0, 401);
}
