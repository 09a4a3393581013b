//! Who may be asked for: a bridge on loopback answers only to loopback's names.
//!
//! Any web page that the machine's user visits can have its own name resolve to 127.0.0.1 and
//! then read this server as its own origin (DNS rebinding). The browser still sends that name.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// Refuses requests for any host that is not this machine.
pub async fn require_loopback(request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    match request.uri().authority().cloned().or(header) {
        Some(authority) if is_loopback(&authority) => next.run(request).await,
        _ => Problem::new(
            StatusCode::FORBIDDEN,
            "this server listens on loopback and answers only as localhost, 127.0.0.1 or [::1]",
        )
        .into_response(),
    }
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.1.2.3:80", "[::1]:8080", "synap.localhost"] {
            assert!(is_loopback(&host.parse().unwrap()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "127.0.0.1.evil.example:80"] {
            assert!(!is_loopback(&host.parse().unwrap()), "{host}");
        }
    }
}
