//! Addresses of services by HTTP.

use std::net::IpAddr;

use url::{Host, Url};

/// What would be right.
pub(super) const EXPECTED: &str =
    "expected an address such as \"https://issuer.example.org/path\", without a user name";

/// The address that a text is, where it is one that can be asked.
pub(super) fn parse(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()).then_some(url)
}

/// Whether what goes there can be read and changed on its way over a network.
pub(super) fn is_exposed(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_local
}
