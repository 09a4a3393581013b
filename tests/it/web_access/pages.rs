//! Pages: whose may read answers, and whose may change anything.

use reqwest::header;

use super::*;
use crate::support::clients::Browser;

const FRIEND: &str = "https://app.example.org";
const STRANGER: &str = "https://evil.example.org";

async fn with_friend() -> Bridge {
    Setup::default()
        .http(&format!("allowed_origins = [{FRIEND:?}]"))
        .config("[http.auth]\napi_keys = true")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_named_may_read_with_what_browsers_send_along() {
    let bridge = with_friend().await;
    let key = key(&bridge, "page", &["stream:read", "publish"]).await;
    let preflight = async |origin: &str| {
        let request = request(&bridge, Method::OPTIONS, "/api/publish", None).header(header::ORIGIN, origin);
        request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST").send().await.unwrap()
    };
    let answer = preflight(FRIEND).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], FRIEND);
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert!(answer.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("authorization"));
    for stranger in [STRANGER, "null", "https://app.example.org.evil.example.org", "http://app.example.org"] {
        let answer = preflight(stranger).await;
        assert_eq!(answer.status(), 403, "{stranger}");
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{stranger}");
    }
    // An answer to a stranger's page is there, and its browser keeps it from the page. A refusal can be read.
    for (origin, token, status, shared) in
        [(FRIEND, Some(key.as_str()), 200, true), (FRIEND, None, 401, true), (STRANGER, Some(key.as_str()), 200, false)]
    {
        let answer =
            request(&bridge, Method::GET, "/api/caller", token).header(header::ORIGIN, origin).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), shared);
        assert_eq!(answer.headers()[header::VARY], "origin");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_strangers_change_nothing() {
    let bridge = with_friend().await;
    let key = key(&bridge, "page", &["stream:read", "publish"]).await;
    let own = format!("http://{}", bridge.addresses.http);
    for (origin, status) in [(FRIEND, 200), (own.as_str(), 200), (STRANGER, 403), ("null", 403)] {
        for path in ["/api/publish", "/api/events/ticket"] {
            let request = request(&bridge, Method::POST, path, Some(&key)).header(header::ORIGIN, origin);
            let answer = request.json(&json!({"topic": "t"})).send().await.unwrap();
            assert_eq!(answer.status(), status, "{origin} {path}");
        }
    }
}

/// Waits until the expression is true in the page.
async fn holds(browser: &mut Browser, expression: &str) {
    eventually(expression, async || (browser.evaluate(&format!("Boolean({expression})")).await == true).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_how_to_sign_in_and_works_with_a_key() {
    let login = "https://pod.example.org/login";
    let kratos = format!(
        "[http.auth]\napi_keys = true\n[http.auth.kratos]\nurl = \"http://127.0.0.1:1\"\nlogin_url = {login:?}"
    );
    let bridge = Setup::default().config(&kratos).start().await;
    let allow = ["stream:read", "events:read", "publish", "admin"];
    let key = key(&bridge, "page", &allow).await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    holds(&mut browser, "document.querySelector('dialog.sign-in[open]')").await;
    let link = "document.querySelector('dialog.sign-in a').href";
    let link = browser.evaluate(link).await;
    assert!(link.as_str().unwrap().starts_with(&format!("{login}?return_to=http%3A%2F%2F127.0.0.1")), "{link}");
    let said = browser.evaluate("document.querySelector('dialog.sign-in').textContent").await;
    assert!(said.as_str().unwrap().contains("synap-mqtt apikey create"), "{said}");

    browser.does(json!({ "fill": ["dialog.sign-in input", "sk_live_wrong"] })).await;
    browser.does(json!({ "click": "dialog.sign-in form button" })).await;
    holds(&mut browser, "document.querySelector('dialog.sign-in [role=alert]').textContent.includes('not known')")
        .await;
    browser.does(json!({ "fill": ["dialog.sign-in input", key] })).await;
    browser.does(json!({ "click": "dialog.sign-in form button" })).await;
    holds(&mut browser, "document.getElementById('state').dataset.state === 'live'").await;
    assert_eq!(publish(&bridge, &key, "devices/pump-7/telemetry", json!({"t": 21.5})).await.status(), 200);
    holds(&mut browser, "document.getElementById('devices').textContent.includes('pump-7')").await;
    holds(&mut browser, "document.getElementById('caller').textContent.startsWith('page')").await;
    assert_eq!(browser.evaluate("localStorage.length + document.cookie.length").await, 0, "it is kept for the tab");

    // When the key is gone, the page asks again, and goes on with another where it was.
    bridge.command(&["apikey", "revoke", "page"]).success().await;
    holds(&mut browser, "document.querySelector('dialog.sign-in[open]')").await;
    let other = super::key(&bridge, "other", &allow).await;
    assert_eq!(publish(&bridge, &other, "devices/pump-7/telemetry", json!({"t": 47.25})).await.status(), 200);
    browser.does(json!({ "fill": ["dialog.sign-in input", other] })).await;
    browser.does(json!({ "click": "dialog.sign-in form button" })).await;
    holds(&mut browser, "document.getElementById('devices').textContent.includes('47.25')").await;
    assert_eq!(browser.errors(), Vec::<String>::new());
}
