//! TCP: binding, and the options of a connection.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket};

use crate::limits;

/// A peer that is gone without a word is noticed after about this long, also by connections
/// without a keep alive.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(120);

/// Binds and listens.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last life's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    // What it accepts inherits them (tcp(7)), which saves every connection five calls.
    if let Err(error) = prepare(&socket) {
        tracing::warn!(%address, %error, "cannot set the options of connections");
    }
    socket.bind(address)?;
    socket.listen(limits::LISTEN_BACKLOG)
}

/// Sets what every MQTT connection needs.
pub fn prepare<'a>(socket: impl Into<SockRef<'a>>) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_PEER_TIMEOUT / 2).with_interval(DEAD_PEER_TIMEOUT / 8))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn accepted_connections_have_the_listeners_options() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), DEAD_PEER_TIMEOUT / 2);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), DEAD_PEER_TIMEOUT / 8);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(DEAD_PEER_TIMEOUT));
    }
}
