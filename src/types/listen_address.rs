//! Where a listener can be reached.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// What an address of a socket file begins with.
const UNIX: &str = "unix:";

/// Bytes of a socket file's path: `sun_path` of unix(7) without its final NUL.
const MAXIMUM_PATH_BYTES: usize = 107;

/// An address and a port, or a socket file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddress {
    /// TCP; port 0 is any free one.
    Network(SocketAddr),
    /// A Unix domain socket; the path may be relative to the working directory.
    Unix(PathBuf),
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddressError {
    /// Neither an address with its port nor a socket file.
    #[error("neither an IP address and a port nor unix: and a path")]
    Unknown,
    /// `unix:` alone.
    #[error("the path behind unix: is missing")]
    NoPath,
    /// The system takes no longer ones.
    #[error("the path of a socket file has at most {MAXIMUM_PATH_BYTES} bytes")]
    LongPath,
    /// U+0000 ends a path.
    #[error("the path of a socket file must not contain U+0000")]
    Nul,
}

impl ListenAddress {
    /// Whether other machines may reach it.
    #[must_use]
    pub const fn is_exposed(&self) -> bool {
        match self {
            Self::Network(address) => !address.ip().is_loopback(),
            Self::Unix(_) => false,
        }
    }

    /// Whether it stands for any free one, so that two of the same do not collide.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Network(address) if address.port() == 0)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Network(address)
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        match text.strip_prefix(UNIX) {
            None => text.parse().map(Self::Network).map_err(|_| ListenAddressError::Unknown),
            Some("") => Err(ListenAddressError::NoPath),
            Some(path) if path.len() > MAXIMUM_PATH_BYTES => Err(ListenAddressError::LongPath),
            Some(path) if path.contains('\0') => Err(ListenAddressError::Nul),
            Some(path) => Ok(Self::Unix(path.into())),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["127.0.0.1:1883", "[::1]:0", "unix:/run/synap.sock", "unix:here.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        let long = format!("unix:{}", "a".repeat(108));
        for (text, error) in [
            ("localhost:1883", ListenAddressError::Unknown),
            ("127.0.0.1", ListenAddressError::Unknown),
            ("unix:", ListenAddressError::NoPath),
            ("unix:a\0b", ListenAddressError::Nul),
            (&long, ListenAddressError::LongPath),
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(error), "{text}");
        }
        assert!(long[..long.len() - 1].parse::<ListenAddress>().is_ok());
    }
}
