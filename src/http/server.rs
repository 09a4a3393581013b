//! Accepts connections and serves each in a task of its own: HTTP/1.1, or HTTP/2 for a client
//! that begins with its preface.
//!
//! Bounded by construction: so many connections, so long for the head of a request, so many
//! bytes waiting for a client, so long for it to take any of them. An error of one connection ends that connection; an error of
//! accepting is logged and passed.

use std::{
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{
    Services,
    mqtt::Arrival,
    patient::Patient,
    routes::{self, Sockets},
};
use crate::limits;

/// Pause after accepting failed: it is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests that one HTTP/2 connection may have open: browsers keep to 100.
const CONCURRENT_REQUESTS: u32 = 100;

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Server {
    /// Connections at one time; more are closed at once.
    pub connections: usize,
    /// Time for a client to send the head of a request.
    pub head_timeout: Duration,
    /// Time for which a client may take nothing of what waits for it.
    pub write_timeout: Duration,
    /// Time for answers in progress once it is to stop.
    pub drain: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            connections: limits::HTTP_CONNECTIONS,
            head_timeout: limits::HTTP_HEAD_TIMEOUT,
            write_timeout: limits::HTTP_WRITE_TIMEOUT,
            drain: limits::HTTP_DRAIN,
        }
    }
}

impl Server {
    /// Serves until `stop` fires; then streams end at once, other answers are finished as far
    /// as the time to drain allows, and it returns.
    pub async fn run(self, listener: TcpListener, services: Services, stop: CancellationToken) {
        let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let descriptors = Arc::clone(&services.descriptors);
        let sockets = Sockets::default();
        let router = routes::router(services, sockets.clone(), stop.clone(), is_local);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((_, peer)) if connections.len() >= self.connections => {
                        // Not a 503: an `EventSource` that gets one never tries again.
                        tracing::warn!(%peer, limit = self.connections, "closed an HTTP connection: there are too many");
                    }
                    Ok((socket, peer)) if !descriptors.admit_http(socket.as_raw_fd()) => {
                        tracing::warn!(%peer, "closed an HTTP connection: the file descriptors left are kept for others");
                    }
                    Ok((socket, peer)) => {
                        let serving = serve(socket, peer, router.clone(), self.clone(), stop.clone());
                        connections.spawn(serving);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept HTTP connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        sockets.tasks.close();
        let drained = timeout(self.drain, async {
            while connections.join_next().await.is_some() {}
            sockets.tasks.wait().await;
        });
        if drained.await.is_err() {
            let connections = connections.len() + sockets.tasks.len();
            tracing::warn!(connections, "HTTP connections are cut off");
        }
    }
}

async fn serve(socket: TcpStream, peer: SocketAddr, router: Router, server: Server, stop: CancellationToken) {
    // Without it a frame may wait for the acknowledgement of the one before. A socket that
    // refuses the option is closed already.
    let _ = socket.set_nodelay(true);
    let has_begun = Arc::new(AtomicBool::new(false));
    let arrival = Arrival { peer: peer.into(), descriptor: socket.as_raw_fd() };
    let service = service_fn({
        let has_begun = Arc::clone(&has_begun);
        move |mut request: hyper::Request<Incoming>| {
            has_begun.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(arrival);
            router.clone().call(request)
        }
    });
    let builder = builder(&server);
    let socket = TokioIo::new(Patient::new(socket, server.write_timeout));
    let mut connection = pin!(builder.serve_connection_with_upgrades(socket, service));
    let mut first_head = pin!(sleep(server.head_timeout));
    let (mut is_stopping, mut is_late) = (false, false);
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%peer, error, "an HTTP connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // The builder's own time limits begin only once it knows the version.
            () = first_head.as_mut(), if !is_late => {
                is_late = true;
                if !has_begun.load(Ordering::Relaxed) {
                    tracing::debug!(%peer, "closed an HTTP connection without a request");
                    return;
                }
            }
        }
    }
}

fn builder(server: &Server) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(server.head_timeout)
        .max_buf_size(limits::HTTP_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(server.head_timeout)
        .max_concurrent_streams(CONCURRENT_REQUESTS)
        .max_send_buf_size(limits::HTTP_BUFFER_BYTES);
    builder
}
