//! Accepting connections: TCP or a Unix socket, then whatever the listener asks for, in this
//! order: the PROXY protocol, TLS, the WebSocket handshake. What comes out is a stream of bytes
//! for [`Broker::serve`].
//!
//! One task accepts. Each connection is a task of its own from its first byte, under one time
//! limit for all steps up to the first byte of MQTT, and another for CONNECT. A connection is
//! closed unheard where its descriptor is among those kept for others, and where too many later
//! ones are waiting in their handshake; both are counted, and told once in a while.

mod handshakes;
mod proxy;
mod socket;
mod tcp;
mod terms;
mod unix;
mod websocket;

use std::{fmt, io, os::fd::AsRawFd, sync::Arc, time::Duration};

use rustls::{HandshakeKind, ServerConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub(super) use handshakes::Handshake;

use super::{Broker, Profile, announce::Arrival, authenticate::Shown, connection::Connection};
use crate::{
    auth::Admission,
    types::{Descriptors, ListenAddress, Origin, Peer},
    websocket::{Policy, WebSocket},
};
use handshakes::Handshakes;
use proxy::ProxyError;
use socket::Socket;
pub use terms::{Terms, TlsTerms};
use unix::SocketFile;
use websocket::UpgradeError;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two warnings about connections closed unheard.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What a listener is.
#[derive(Debug)]
pub struct ListenerOptions {
    /// Where clients connect.
    pub address: ListenAddress,
    /// Permissions of a socket file.
    pub mode: u32,
    /// What clients speak below MQTT, where they must.
    pub tls: Option<TlsTerms>,
    /// Whether the PROXY protocol comes first.
    pub proxy_protocol: bool,
    /// For MQTT over WebSocket: origins of web pages that may connect besides its own.
    pub websocket: Option<Vec<Origin>>,
    /// What clients are allowed.
    pub profile: Profile,
    /// What lets clients in.
    pub admission: Admission,
}

/// A bound address that clients connect to.
pub struct Listener {
    bound: Bound,
    proxy_protocol: bool,
    websocket: Option<Arc<Policy>>,
    descriptors: Arc<Descriptors>,
    terms: Terms,
    admission: Admission,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// As the system says.
    pub async fn bind(options: ListenerOptions, descriptors: Arc<Descriptors>) -> io::Result<Self> {
        let ListenerOptions { address, mode, tls, proxy_protocol, websocket, profile, admission } = options;
        // No page can make a browser send a PROXY protocol header, or open a socket file.
        let is_local = match &address {
            ListenAddress::Network(address) => address.ip().is_loopback() && !proxy_protocol,
            ListenAddress::Unix(_) => false,
        };
        let bound = match address {
            ListenAddress::Network(address) => Bound::Tcp(tcp::bind(address)?),
            ListenAddress::Unix(path) => {
                let (listener, file) = unix::bind(&path, mode).await?;
                Bound::Unix(listener, file)
            }
        };
        let websocket = websocket.map(|allowed_origins| Arc::new(Policy { allowed_origins, is_local }));
        let terms = Terms::new(profile, tls);
        Ok(Self { bound, proxy_protocol, websocket, descriptors, terms, admission })
    }

    /// Where it listens; the port is the real one also where 0 was asked for.
    ///
    /// # Errors
    /// As the network says.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match &self.bound {
            Bound::Tcp(listener) => listener.local_addr().map(ListenAddress::Network),
            Bound::Unix(_, file) => Ok(ListenAddress::Unix(file.path().to_owned())),
        }
    }

    /// What clients speak, as URLs name it: `mqtt`, `mqtts`, `ws` or `wss`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match (&self.websocket, &self.terms.current().tls) {
            (None, None) => "mqtt",
            (None, Some(_)) => "mqtts",
            (Some(_), None) => "ws",
            (Some(_), Some(_)) => "wss",
        }
    }

    /// What its clients meet, to be changed while it listens.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms.clone()
    }

    /// Accepts until `stop` fires.
    pub async fn run(self, broker: Arc<Broker>, stop: CancellationToken) {
        let door = Door { transport: self.scheme(), ..Door::new(broker, self.terms.clone(), self.admission.clone()) };
        let closed = Occasionally::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) if !self.admits(&socket, peer, &door.broker) => {
                    door.broker.statistics.turned_away.add(1);
                    closed.warn(|| {
                        tracing::warn!(%peer, "closed a connection unheard: the file descriptors left are kept for others");
                    });
                }
                Ok((socket, peer)) => self.spawn(door.open(peer), socket),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Whether there is a descriptor left for a connection from there. Behind a proxy, that is the proxy.
    fn admits(&self, socket: &Socket, peer: Peer, broker: &Broker) -> bool {
        let descriptor = socket.as_raw_fd();
        self.descriptors.admit_stranger(descriptor)
            || (self.descriptors.admit_known(descriptor) && broker.known.contains(peer))
    }

    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match &self.bound {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream), peer.into()))
            }
            Bound::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = unix::peer(&stream)?;
                Ok((Socket::Unix(stream), peer))
            }
        }
    }

    /// Each kind of connection is a task of its own type: one that speaks plain MQTT holds no
    /// space for what others need.
    fn spawn(&self, entrance: Entrance, socket: Socket) {
        let connections = entrance.broker.connections.clone();
        let (tls, websocket, proxy) = (self.terms.current().tls.clone(), self.websocket.clone(), self.proxy_protocol);
        match (tls, websocket) {
            (None, None) => drop(connections.spawn(serve(async move {
                let (socket, entrance) = entrance.learn_peer(socket, proxy).await?;
                entrance.open(socket).await
            }))),
            (Some(tls), None) => drop(connections.spawn(serve(async move {
                let (socket, entrance) = entrance.learn_peer(socket, proxy).await?;
                let stream = entrance.step("TLS", tls.accept(socket)).await?;
                let entrance = entrance.learn_certificate(stream.get_ref().1);
                entrance.open(stream).await
            }))),
            (None, Some(policy)) => drop(connections.spawn(serve(async move {
                let (socket, entrance) = entrance.learn_peer(socket, proxy).await?;
                let stream = entrance.step("WebSocket", websocket::accept(socket, &policy)).await?;
                entrance.open(stream).await
            }))),
            (Some(tls), Some(policy)) => drop(connections.spawn(serve(async move {
                let (socket, entrance) = entrance.learn_peer(socket, proxy).await?;
                let stream = entrance.step("TLS", tls.accept(socket)).await?;
                let entrance = entrance.learn_certificate(stream.get_ref().1);
                let stream = entrance.step("WebSocket", websocket::accept(stream, &policy)).await?;
                entrance.open(stream).await
            }))),
        }
    }
}

/// A connection from its first byte to its last. Coming as far as CONNACK takes much space for a moment, and
/// has it in a box that is gone when that is done.
fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    opening: impl Future<Output = Option<Box<Connection<S>>>>,
) -> impl Future<Output = ()> {
    let opening = Box::pin(opening);
    async move {
        if let Some(connection) = opening.await {
            connection.run().await;
        }
    }
}

/// The way into the broker for the connections of one port.
pub struct Door {
    broker: Arc<Broker>,
    terms: Terms,
    handshakes: Handshakes,
    pushed_out: Occasionally,
    admission: Admission,
    /// As URLs name it.
    transport: &'static str,
}

impl Door {
    /// A door without anyone in it, for MQTT over WebSocket where [`Door::enter`] is what is used.
    #[must_use]
    pub fn new(broker: Arc<Broker>, terms: Terms, admission: Admission) -> Self {
        let handshakes = Handshakes::new(broker.settings.maximum_handshakes);
        Self { broker, terms, handshakes, pushed_out: Occasionally::default(), admission, transport: "ws" }
    }

    /// Serves a connection whose WebSocket handshake someone else has done, in a task of its own.
    pub fn enter(&self, stream: WebSocket<TcpStream>, peer: Peer) {
        if let Err(error) = tcp::prepare(stream.get_ref()) {
            tracing::debug!(%peer, %error, "cannot set socket options");
        }
        let entrance = self.open(peer);
        self.broker.connections.spawn(serve(entrance.open(stream.map(Socket::Tcp))));
    }

    /// Serves a connection of any kind from its first byte of MQTT to its last: for those who bring a
    /// stream of their own, such as the fuzz targets. Not counted by [`Broker::drain`].
    pub fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: Peer) -> impl Future<Output = ()> + use<S> {
        serve(self.open(peer).open(stream))
    }

    fn open(&self, peer: Peer) -> Entrance {
        let (handshake, has_pushed) = self.handshakes.enter();
        if has_pushed {
            self.broker.statistics.pushed_out.add(1);
            self.pushed_out.warn(|| {
                tracing::warn!(
                    %peer,
                    limit = self.broker.settings.maximum_handshakes,
                    "closed the oldest connection that was not let in yet to make room for a new one"
                );
            });
        }
        self.broker.statistics.sockets.add(1);
        let broker = Arc::clone(&self.broker);
        let deadline = Instant::now() + broker.settings.handshake_timeout;
        Entrance {
            broker,
            terms: self.terms.clone(),
            profile: Arc::clone(&self.terms.current().profile),
            peer,
            transport: self.transport,
            handshake,
            admission: self.admission.clone(),
            shown: None,
            deadline,
        }
    }
}

/// A connection on its way to its first byte of MQTT.
struct Entrance {
    broker: Arc<Broker>,
    terms: Terms,
    profile: Arc<Profile>,
    peer: Peer,
    transport: &'static str,
    handshake: Handshake,
    admission: Admission,
    shown: Option<Box<Shown>>,
    deadline: Instant,
}

impl Entrance {
    /// Not async itself: that would hold `stream` twice.
    fn open<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) -> impl Future<Output = Option<Box<Connection<S>>>> {
        let arrival = Arrival { peer: self.peer, transport: self.transport };
        self.broker.welcome_client(stream, arrival, self.profile, self.handshake, self.admission, self.shown)
    }

    /// Looks at the certificate that the client has shown, if it has.
    fn learn_certificate(mut self, tls: &ServerConnection) -> Self {
        if let Some(chain) = tls.peer_certificates()
            && let Some(policy) = &self.terms.current().certificates
        {
            let is_resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
            self.shown = Some(Box::new(Shown {
                certificate: policy.examine(chain, is_resumed),
                binds_client_id: policy.binds_client_id(),
                terms: self.terms.clone(),
            }));
        }
        self
    }

    /// Takes a proxy's word for who the client is, where the listener asks for it.
    async fn learn_peer(mut self, mut socket: Socket, proxy: bool) -> Option<(Socket, Self)> {
        if proxy && let Some(client) = self.step("PROXY protocol", proxy::read(&mut socket)).await? {
            self.peer = client.into();
        }
        Some((socket, self))
    }

    /// Takes a step within the time for all of them; none when the connection is to be closed.
    async fn step<T, E: StepError>(
        &self,
        what: &'static str,
        step: impl Future<Output = Result<T, E>> + Send,
    ) -> Option<T> {
        let step = self.handshake.run(timeout_at(self.deadline, step));
        let peer = self.peer;
        match self.broker.background.run_until_cancelled(step).await?? {
            Ok(Ok(outcome)) => return Some(outcome),
            Ok(Err(error)) if error.is_protocol_error() => {
                self.broker.statistics.protocol_errors.add(1);
                tracing::warn!(%peer, reason = %error, "refused a connection");
            }
            Ok(Err(error)) => tracing::debug!(%peer, what, %error, "a handshake failed"),
            Err(_) => tracing::debug!(%peer, what, "no handshake in time"),
        }
        None
    }
}

/// Why a step failed.
trait StepError: fmt::Display {
    /// Whether the peer broke a rule, which an operator may want to know.
    fn is_protocol_error(&self) -> bool;
}

/// TLS: certificates that clients do not trust and ports that strangers try; but also clients that are kept out.
impl StepError for io::Error {
    fn is_protocol_error(&self) -> bool {
        let error = self.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
    }
}

impl StepError for ProxyError {
    fn is_protocol_error(&self) -> bool {
        !matches!(self, Self::Empty | Self::Io(_))
    }
}

impl StepError for UpgradeError {
    fn is_protocol_error(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Says something at the first time, and then once in a while: what floods must not flood the
/// log. The rest is in the counters.
#[derive(Debug, Default)]
struct Occasionally(parking_lot::Mutex<Option<Instant>>);

impl Occasionally {
    fn warn(&self, say: impl FnOnce()) {
        let now = Instant::now();
        let mut last = self.0.lock();
        if last.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL) {
            *last = Some(now);
            drop(last);
            say();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle connection takes beside its session is these two, and the socket's registration
    /// (docs/decisions/0009-idle-connections.md). The allocator gives 528 bytes as much as 536.
    #[test]
    fn a_connection_and_its_task_are_small() {
        async fn opening() -> Option<Box<Connection<Socket>>> {
            None
        }
        let task = size_of_val(&serve(opening()));
        let connection = size_of::<Connection<Socket>>();
        assert!(task <= 136 && connection <= 536, "{task} and {connection} bytes");
    }
}
