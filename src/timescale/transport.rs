//! A session over TCP that does not wait for delayed acknowledgements.
//!
//! `sqlx` 0.9 leaves Nagle's algorithm on and offers no way to the socket. A COPY ends with a
//! small segment behind another, which then waits for the server's delayed acknowledgement:
//! measured, 59 ms instead of 15 for one row, and as much again for every batch. So the writer's
//! session goes through a Unix socket to a task of ours that owns the TCP stream and has set
//! TCP_NODELAY. TLS, where asked for, passes through it untouched.
//!
//! The relay ends with either side. The socket's name exists for one accept only, in a directory
//! that no other user may enter. Where it cannot be made, the session is a plain one.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::PathBuf};

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, copy_buf},
    net::{TcpStream, UnixListener, UnixStream},
};
use uuid::Uuid;

/// Bytes in each direction on their way through the relay.
const RELAY_BYTES: usize = 64 << 10;

/// Opens a session.
pub async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let (host, port) = (options.get_host(), options.get_port());
    if options.get_socket().is_some() || host.starts_with('/') {
        return options.connect().await;
    }
    let server = TcpStream::connect((host, port)).await?;
    server.set_nodelay(true)?;
    let door = match Door::open(port) {
        Ok(door) => door,
        Err(error) => {
            tracing::debug!(%error, "no relay to the database");
            return options.connect().await;
        }
    };
    let through_door = options.clone().socket(&door.directory);
    let relay = tokio::spawn(async move {
        let (client, _) = door.listener.accept().await?;
        drop(door);
        relay(client, server).await
    });
    let session = through_door.connect().await;
    if session.is_err() {
        relay.abort();
    }
    session
}

async fn relay(mut client: UnixStream, mut server: TcpStream) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        ended = forward(from_client, to_server) => ended,
        ended = forward(from_server, to_client) => ended,
    }
}

async fn forward(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    copy_buf(&mut BufReader::with_capacity(RELAY_BYTES, from), &mut to).await.map(drop)
}

/// A named Unix socket that lasts as long as this value.
struct Door {
    directory: PathBuf,
    listener: UnixListener,
}

impl Door {
    /// Makes a socket under the name that PostgreSQL's clients expect in a directory.
    fn open(port: u16) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("synap-mqtt-{}", Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        match UnixListener::bind(directory.join(format!(".s.PGSQL.{port}"))) {
            Ok(listener) => Ok(Self { directory, listener }),
            Err(error) => std::fs::remove_dir(directory).and(Err(error)),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Names in a temporary directory; a leftover does no harm.
        let _leftover = std::fs::remove_dir_all(&self.directory);
    }
}
