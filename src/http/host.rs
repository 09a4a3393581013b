//! Who may be asked for: a bridge on loopback answers only to loopback's names.
//!
//! Any web page that the machine's user visits can have its own name resolve to 127.0.0.1 and
//! then read this server as its own origin (DNS rebinding). The browser still sends that name.

use axum::{
    extract::Request,
    http::{StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;
use crate::types::is_loopback;

/// Refuses requests for any host that is not this machine.
pub async fn require_loopback(request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    match request.uri().authority().map(Authority::as_str).or(header) {
        Some(authority) if is_loopback(authority) => next.run(request).await,
        _ => Problem::new(
            StatusCode::FORBIDDEN,
            "this server listens on loopback and answers only as localhost, 127.0.0.1 or [::1]",
        )
        .into_response(),
    }
}
