//! The opening handshake (RFC 6455 section 4.2): which requests become a WebSocket.
//!
//! A browser sends any page's request to any address it is given, this machine's included, and
//! says from where the page comes. So a request with an origin must come from a page of this
//! very server, or from one that the configuration names; programs send no origin.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{
        self, CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};

use super::deflate;
use crate::types::{Origin, is_loopback};

/// What is spoken over a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT, which clients ask for by name [MQTT-6.0.0-3].
    Mqtt,
    /// Messages of text, which need no name.
    Messages {
        /// Whether they may be compressed, if the client offers it. All browsers do.
        compressed: bool,
    },
}

/// MQTT's name.
const MQTT: &str = "mqtt";

/// The version of RFC 6455.
const VERSION: &str = "13";

/// What the server appends to the client's key (RFC 6455 section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of the client's key (RFC 6455 section 4.1).
const KEY_BYTES: usize = 16;

/// Which web pages may connect.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Origins of pages that may, besides those of this server itself.
    pub allowed_origins: Vec<Origin>,
    /// Whether the server can be reached from this machine alone. Then only loopback's names
    /// are its own: any page's name can be made to resolve to loopback (DNS rebinding).
    pub is_local: bool,
}

/// Why a request does not become a WebSocket.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The status to answer with.
    pub status: StatusCode,
    /// What would be right.
    pub detail: String,
    /// A header that the status asks for.
    pub header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, HeaderValue::from_static(value))), ..self }
    }
}

/// The answer that turns the connection of `request` into a WebSocket once it is sent.
///
/// # Errors
/// [`Refusal`], to be answered instead.
pub fn answer<R, B: Default>(
    request: &Request<R>,
    policy: &Policy,
    protocol: Protocol,
) -> Result<Response<B>, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
        return Err(refusal.with(header::ALLOW, "GET"));
    }
    check_upgrade(request.version(), headers)?;
    let accept = accept(headers)?;
    policy.check(headers, headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default())?;
    let is_mqtt = protocol == Protocol::Mqtt;
    if is_mqtt && !lists(headers, SEC_WEBSOCKET_PROTOCOL, |protocol| protocol == MQTT) {
        let detail = "MQTT over WebSocket needs the subprotocol `mqtt`: offer it in Sec-WebSocket-Protocol";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, detail));
    }
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if is_mqtt {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(MQTT));
    }
    if protocol == (Protocol::Messages { compressed: true })
        && let Some(agreed) = deflate::agree(request.headers())
    {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed);
    }
    Ok(response)
}

fn check_upgrade(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let asks = lists(headers, UPGRADE, |protocol| protocol.eq_ignore_ascii_case("websocket"))
        && lists(headers, CONNECTION, |option| option.eq_ignore_ascii_case("upgrade"));
    if !asks || version != Version::HTTP_11 {
        let detail = "WebSocket is spoken here: ask with HTTP/1.1 and Upgrade: websocket";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, detail).with(UPGRADE, "websocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let detail = "the version of WebSocket must be 13, that of RFC 6455";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, detail).with(SEC_WEBSOCKET_VERSION, VERSION));
    }
    Ok(())
}

/// The value of `Sec-WebSocket-Accept`: proof that the server has read the key.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == KEY_BYTES));
    let wrong = || Refusal::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in Base64");
    let mut digest = sha1_smol::Sha1::from(key.ok_or_else(wrong)?.as_bytes());
    digest.update(KEY_SUFFIX);
    HeaderValue::try_from(STANDARD.encode(digest.digest().bytes())).map_err(|_| wrong())
}

impl Policy {
    /// Whether a request to `host` may come in for the sake of the page that sends it, where one does.
    ///
    /// # Errors
    /// [`Refusal`], to be answered instead.
    pub fn check(&self, headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
        let Some(value) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = value.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok());
        let is_own = |origin: &Origin| origin.is_of(host) && (!self.is_local || is_loopback(host));
        if origin.is_some_and(|origin| self.allowed_origins.contains(&origin) || is_own(&origin)) {
            return Ok(());
        }
        let detail = format!(
            "pages of {} may not connect to {host}: name the origin in `allowed_origins` of the configuration if they should",
            String::from_utf8_lossy(value.as_bytes())
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, detail))
    }
}

/// Whether a header that is a list has an element like this.
fn lists(headers: &HeaderMap, name: HeaderName, is_it: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| is_it(element.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that is accepted, after `change`.
    fn try_with(policy: &Policy, change: impl FnOnce(&mut Request<()>)) -> Result<Response<()>, Refusal> {
        let mut request = Request::new(());
        for (name, value) in [
            (HOST, "localhost:8080"),
            (UPGRADE, "websocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (SEC_WEBSOCKET_PROTOCOL, "mqttv3.1, mqtt"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        change(&mut request);
        answer(&request, policy, Protocol::Mqtt)
    }

    fn policy(allowed: &[&str], is_local: bool) -> Policy {
        Policy { allowed_origins: allowed.iter().map(|origin| origin.parse().unwrap()).collect(), is_local }
    }

    fn set(name: HeaderName, value: &'static str) -> impl FnOnce(&mut Request<()>) {
        move |request| {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }

    #[test]
    fn the_answer_is_the_one_of_the_standard() {
        let response = try_with(&policy(&[], true), |_| {}).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        // The example of RFC 6455 section 1.3.
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "mqtt");
        assert!(!response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS));
    }

    #[test]
    fn messages_need_no_name() {
        let mut request = Request::new(());
        for (name, value) in [
            (HOST, "localhost:8080"),
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        set(header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate; client_max_window_bits")(&mut request);
        for compressed in [false, true] {
            let response: Response<()> =
                answer(&request, &policy(&[], true), Protocol::Messages { compressed }).unwrap();
            assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
            assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
            assert_eq!(response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS), compressed);
        }
        set(ORIGIN, "https://evil.example")(&mut request);
        let refused: Result<Response<()>, _> =
            answer(&request, &policy(&[], true), Protocol::Messages { compressed: false });
        assert_eq!(refused.unwrap_err().status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_status() {
        let policy = policy(&[], true);
        let remove = |name: HeaderName| move |request: &mut Request<()>| drop(request.headers_mut().remove(name));
        for (result, status, detail) in [
            (try_with(&policy, |request| *request.method_mut() = Method::POST), 405, "GET"),
            (try_with(&policy, |request| *request.version_mut() = Version::HTTP_10), 426, "HTTP/1.1"),
            (try_with(&policy, remove(UPGRADE)), 426, "Upgrade: websocket"),
            (try_with(&policy, set(CONNECTION, "close")), 426, "Upgrade: websocket"),
            (try_with(&policy, set(SEC_WEBSOCKET_VERSION, "8")), 426, "13"),
            (try_with(&policy, remove(SEC_WEBSOCKET_KEY)), 400, "Sec-WebSocket-Key"),
            (try_with(&policy, set(SEC_WEBSOCKET_KEY, "c2hvcnQ=")), 400, "Sec-WebSocket-Key"),
            (try_with(&policy, remove(SEC_WEBSOCKET_PROTOCOL)), 400, "subprotocol `mqtt`"),
            (try_with(&policy, set(SEC_WEBSOCKET_PROTOCOL, "mqttv3.1, MQTT")), 400, "subprotocol `mqtt`"),
        ] {
            let refusal = result.unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{refusal}");
            assert!(refusal.detail.contains(detail), "{refusal}");
        }
    }

    #[test]
    fn only_pages_of_this_server_or_of_the_list_come_in() {
        for (origin, host, allowed, is_local, comes_in) in [
            ("http://localhost:8080", "localhost:8080", &[][..], true, true),
            ("http://localhost:3000", "localhost:8080", &[], true, false),
            ("http://localhost:3000", "localhost:8080", &["http://localhost:3000"], true, true),
            ("https://evil.example", "localhost:8080", &["https://example.org"], true, false),
            ("http://evil.example:8080", "evil.example:8080", &[], true, false),
            ("http://evil.example:8080", "evil.example:8080", &["http://evil.example:8080"], true, true),
            ("https://example.org", "example.org", &[], false, true),
            ("https://evil.example", "example.org", &[], false, false),
            ("null", "localhost:8080", &[], true, false),
            ("", "localhost:8080", &[], true, false),
        ] {
            let result = try_with(&policy(allowed, is_local), |request| {
                set(ORIGIN, origin)(request);
                set(HOST, host)(request);
            });
            assert_eq!(result.is_ok(), comes_in, "{origin} at {host}: {result:?}");
            if let Err(refusal) = result {
                assert_eq!(refusal.status, StatusCode::FORBIDDEN);
                assert!(refusal.detail.contains("allowed_origins"), "{refusal}");
            }
        }
    }
}
