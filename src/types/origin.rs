//! The origin of a web page (RFC 6454), and names that are this machine's own.

use std::{fmt, net::IpAddr, str::FromStr};

/// Where a web page comes from: `https://example.org`. The scheme's own port is left out, as
/// browsers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// Text that is no origin of a page on the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin such as https://example.org or http://localhost:3000, without a path")]
pub struct OriginError;

impl Origin {
    /// Whether `authority`, the value of a `Host` header, names the same host and port.
    #[must_use]
    pub fn is_of(&self, authority: &str) -> bool {
        let own = |(host, port): (String, _)| host == self.host && self.significant(port) == self.port;
        split(authority).is_some_and(own)
    }

    /// The port, where it is not the scheme's own.
    fn significant(&self, port: Option<u16>) -> Option<u16> {
        let own = if self.scheme == "https" { 443 } else { 80 };
        port.filter(|port| *port != own)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginError)?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(&*scheme, "http" | "https") {
            return Err(OriginError);
        }
        let (host, port) = split(authority).ok_or(OriginError)?;
        let mut origin = Self { scheme, host, port: None };
        origin.port = origin.significant(port);
        Ok(origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Whether `authority`, a host with or without a port, is a name of this machine alone.
#[must_use]
pub fn is_loopback(authority: &str) -> bool {
    let Some((host, _)) = split(authority) else { return false };
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Host, in lower case, and port of `host[:port]`; none where there is anything else in it.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let is_in_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_in_brackets = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    let end = match authority.strip_prefix('[') {
        Some(rest) => 2 + rest.find(']').filter(|end| rest.chars().take(*end).all(is_in_brackets))?,
        None => authority.find(|c| !is_in_host(c)).unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at_checked(end)?;
    let port = match rest.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None if rest.is_empty() => None,
        None => return None,
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for (text, written) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.org:443", "https://example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), written);
        }
        for text in [
            "null",
            "example.org",
            "file://",
            "ws://example.org",
            "https://",
            "https://example.org/",
            "https://a b",
            "https://user@example.org",
            "http://a:",
            "http://a:99999",
            "http://[::1",
            "http://[é]",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError), "{text}");
        }
    }

    #[test]
    fn an_origin_is_of_its_host_and_port() {
        for (origin, host, same) in [
            ("http://localhost:8080", "LOCALHOST:8080", true),
            ("http://localhost:8080", "localhost:8081", false),
            ("http://localhost:3000", "localhost", false),
            ("https://example.org", "example.org", true),
            ("https://example.org", "example.org:443", true),
            ("https://example.org", "example.org:80", false),
            ("https://example.org.evil.example", "example.org", false),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://a", "", false),
        ] {
            assert_eq!(origin.parse::<Origin>().unwrap().is_of(host), same, "{origin} {host}");
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.1.2.3:80", "[::1]:8080", "synap.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "127.0.0.1.evil.example:80",
            "",
            "localhost@evil.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
