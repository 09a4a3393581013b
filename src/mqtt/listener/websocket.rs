//! The WebSocket handshake on a listener of its own: one HTTP request, then MQTT.

use std::sync::OnceLock;

use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    limits,
    websocket::{Policy, Protocol, Refusal, WebSocket, answer},
};

/// Paths at which MQTT is spoken: the customary one, and that of clients which name none.
const PATHS: [&str; 2] = ["/mqtt", "/"];

/// Why a connection does not become a WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// No HTTP, or the connection failed.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// Closed without a request.
    #[error("the connection was closed without a request")]
    Empty,
    /// The request was answered with a refusal.
    #[error(transparent)]
    Refused(Refusal),
}

/// Serves the one request of a connection. Has no time limit of its own.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(io: S, policy: &Policy) -> Result<WebSocket<S>, UpgradeError> {
    let outcome = OnceLock::new();
    let service = service_fn(async |request: Request<Incoming>| {
        let answered = match PATHS.contains(&request.uri().path()) {
            true => answer(&request, policy, Protocol::Mqtt),
            false => Err(not_found(request.uri().path())),
        };
        let response = match &answered {
            Ok(response) => response.clone(),
            Err(refusal) => problem(refusal),
        };
        // The first request decides; the connection of a refused one is closed.
        let _ = outcome.set(answered.map(drop));
        Ok::<_, std::convert::Infallible>(response)
    });
    let connection =
        http1::Builder::new().max_buf_size(limits::WEBSOCKET_HEAD_BYTES).serve_connection(TokioIo::new(io), service);
    let parts = Box::pin(connection.without_shutdown()).await?;
    let (mut io, early) = (parts.io.into_inner(), parts.read_buf);
    match outcome.into_inner() {
        Some(Ok(())) => Ok(WebSocket::new(io, early)),
        Some(Err(refusal)) => {
            // The refusal is what counts; whether it arrives changes nothing.
            let _ = io.shutdown().await;
            Err(UpgradeError::Refused(refusal))
        }
        None => Err(UpgradeError::Empty),
    }
}

fn not_found(path: &str) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        detail: format!("there is nothing at {path}; MQTT over WebSocket is at /mqtt"),
        header: None,
    }
}

/// The refusal as an RFC 9457 problem.
fn problem(refusal: &Refusal) -> Response<String> {
    let status = refusal.status;
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": refusal.detail,
    });
    let mut response = Response::new(body.to_string());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some((name, value)) = refusal.header.clone() {
        headers.insert(name, value);
    }
    response
}
