//! Who is at the other end of a connection.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// The other end of a connection, as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A machine on the network. Behind a proxy that tells it, the real one.
    Network(SocketAddr),
    /// A process of this machine, through a socket file.
    Unix {
        /// Its number when it connected, where the system tells it.
        pid: Option<i32>,
        /// The user it runs as.
        uid: u32,
    },
}

impl Peer {
    /// Who is told apart by address: an IPv4 address, or the network of an IPv6 one, of which a host has all
    /// addresses; none for a process of this machine.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        let Self::Network(address) = self else { return None };
        Some(match address.ip().to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                // The machine's own is no network.
                if address.is_loopback() { address.into() } else { Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into() }
            }
        })
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Network(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix { pid: Some(pid), uid } => write!(f, "unix:pid={pid},uid={uid}"),
            Self::Unix { pid: None, uid } => write!(f, "unix:uid={uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named() {
        let network = Peer::from(SocketAddr::from(([192, 0, 2, 7], 1883)));
        assert_eq!(network.to_string(), "192.0.2.7:1883");
        assert_eq!(Peer::Unix { pid: Some(42), uid: 1000 }.to_string(), "unix:pid=42,uid=1000");
        assert_eq!(Peer::Unix { pid: None, uid: 0 }.to_string(), "unix:uid=0");
    }
}
