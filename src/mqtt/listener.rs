//! Accepting connections: TCP, with or without TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Broker;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A peer that is gone without a word is noticed after about this long, also by connections
/// without a keep alive.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(120);

/// A bound address that clients connect to.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// As the network says.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls: tls.map(TlsAcceptor::from) })
    }

    /// Where it listens; the port is the real one also where 0 was asked for.
    ///
    /// # Errors
    /// As the network says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether clients must speak TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Accepts until `stop` fires. Each connection is a task of its own from its first byte.
    pub async fn run(self, broker: Arc<Broker>, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.spawn(&broker, stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, broker: &Arc<Broker>, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "cannot set socket options");
        }
        broker.statistics.sockets.add(1);
        let serving = Arc::clone(broker);
        match self.tls.clone() {
            None => {
                broker.connections.spawn(serving.serve(stream, peer));
            }
            Some(tls) => {
                broker.connections.spawn(async move {
                    let handshake =
                        Box::pin(tokio::time::timeout(serving.settings.handshake_timeout, tls.accept(stream)));
                    let Some(result) = serving.background.run_until_cancelled(handshake).await else { return };
                    match result {
                        Ok(Ok(stream)) => serving.serve(stream, peer).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
                    }
                });
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_PEER_TIMEOUT / 2).with_interval(DEAD_PEER_TIMEOUT / 8))
}
