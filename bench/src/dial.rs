//! Connections to the broker under test, over TCP or TLS, up to a granted subscription.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_util::either::Either;

use crate::codec::{self, Inbox, Session, Version, kind};

/// A broker that does not answer for this long is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections from one loopback source address; the kernel's default range has 28,232 ports.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// TCP, or TLS over it.
pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Where and how to connect.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Protocol level.
    pub version: Version,
    /// Whether sessions outlive their connections.
    pub session: Session,
    /// Seconds; no pings are sent, so it must outlast the run or be 0.
    pub keep_alive: u16,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}{}", self.version, self.address, if self.tls.is_some() { " over TLS" } else { "" })
    }
}

/// A connection that the broker has accepted.
#[derive(Debug)]
pub struct Connection {
    /// Byte stream.
    pub stream: Stream,
    /// What was read from it and not used yet.
    pub inbox: Inbox,
    /// Protocol level.
    pub version: Version,
    /// Unacknowledged QoS 1 and 2 messages that the broker takes.
    pub receive_maximum: u16,
    /// Whether the session was there before.
    pub session_present: bool,
}

impl Target {
    /// A broker at `host`, which may be a name, over TLS when a file of trusted certificates is
    /// given.
    ///
    /// # Errors
    /// When the name has no address or the certificates cannot be read.
    pub async fn new(host: &str, port: u16, cafile: Option<&Path>, version: Version) -> Result<Self> {
        let address =
            tokio::net::lookup_host((host, port)).await.context("look up host")?.next().context("no address")?;
        let tls = match cafile {
            Some(path) => Some((trust(path)?, ServerName::try_from(host.to_owned())?)),
            None => None,
        };
        Ok(Self { address, tls, version, session: Session::Clean, keep_alive: 0 })
    }

    /// Connects and waits for CONNACK. `index` spreads many connections over source addresses.
    ///
    /// # Errors
    /// When the broker refuses, closes, or does not answer in time.
    pub async fn connect(&self, index: usize, client_id: &str) -> Result<Connection> {
        let connect = async {
            let stream = self.open(index).await.context("connect")?;
            let mut connection = Connection {
                stream,
                inbox: Inbox::default(),
                version: self.version,
                receive_maximum: u16::MAX,
                session_present: false,
            };
            let mut packet = Vec::new();
            codec::connect(&mut packet, self.version, client_id, self.keep_alive, self.session);
            let connack = |answer: codec::Packet<'_>| Ok((answer.session_present(), answer.connack(self.version)?));
            let (present, accepted) =
                connection.request(&packet, kind::CONNACK, connack).await.context("wait for CONNACK")?;
            connection.session_present = present;
            connection.receive_maximum =
                accepted.map_err(|code| anyhow!("the broker refused the connection with code {code}"))?;
            Ok(connection)
        };
        timeout(ANSWER_TIMEOUT, connect).await.context("the broker did not answer CONNECT")?
    }

    async fn open(&self, index: usize) -> io::Result<Stream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let (IpAddr::V4(address), source @ 1..) = (self.address.ip(), index / CONNECTIONS_PER_SOURCE)
            && address.is_loopback()
        {
            let source = Ipv4Addr::new(127, 0, 0, u8::try_from(source + 1).unwrap_or(u8::MAX));
            socket.bind((source, 0).into())?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Either::Left(stream),
            Some((connector, name)) => Either::Right(Box::new(connector.connect(name.clone(), stream).await?)),
        })
    }
}

fn trust(cafile: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(cafile).with_context(|| format!("read {}", cafile.display()))? {
        roots.add(certificate?)?;
    }
    ensure!(!roots.is_empty(), "{} holds no certificate", cafile.display());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // Every handshake is a whole one, whatever the broker remembers.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Connection {
    /// Subscribes and waits until all of it is granted. Messages that arrive before are dropped.
    ///
    /// # Errors
    /// When the broker refuses, closes, or does not answer in time.
    pub async fn subscribe(&mut self, filters: &[String], qos: u8) -> Result<()> {
        let mut packet = Vec::new();
        codec::subscribe(&mut packet, self.version, 1, filters, qos);
        let answer = self.request(&packet, kind::SUBACK, |answer| Ok(answer.granted(filters.len())));
        let granted = timeout(ANSWER_TIMEOUT, answer).await.context("the broker did not answer SUBSCRIBE")?;
        ensure!(granted.context("wait for SUBACK")?, "the broker refused a subscription to {}", filters.join(", "));
        Ok(())
    }

    async fn request<T>(
        &mut self,
        packet: &[u8],
        answer_kind: u8,
        read: impl Fn(codec::Packet<'_>) -> Result<T, codec::Malformed>,
    ) -> io::Result<T> {
        self.stream.write_all(packet).await?;
        self.stream.flush().await?;
        let mut answer = None;
        loop {
            self.inbox.fill(&mut self.stream).await?;
            self.inbox.drain(|packet| {
                if packet.kind() == answer_kind {
                    answer = Some(read(packet)?);
                }
                Ok(())
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
    }
}
