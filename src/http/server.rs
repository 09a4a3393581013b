//! Accepts connections and has each served in a task of its own (`connection`).
//!
//! Bounded by construction: so many connections, so many of them from one address, so long for the head of a request, so many
//! bytes waiting for a client, so long for it to take any of them. An error of one connection ends that connection; an error of
//! accepting is logged and passed.

use std::{fmt, net::SocketAddr, os::fd::AsRawFd, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Services, connection::Serving, places::Places, routes};
use crate::limits;

/// Pause after accepting failed: it is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two warnings about connections that were closed at once.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Server {
    /// Connections at one time, streams and WebSockets among them; more are closed at once.
    pub connections: usize,
    /// The same from one address, unless it is this machine's.
    pub connections_per_address: usize,
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
            connections_per_address: limits::HTTP_CONNECTIONS_PER_ADDRESS,
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
        let sockets = routes::Sockets::new();
        let places = Places::new(self.connections, self.connections_per_address);
        let router = routes::router(services, sockets.clone(), self.write_timeout, stop.clone(), is_local);
        let serving = Serving { router, server: self.clone(), sockets: sockets.clone(), stop: stop.clone() };
        let mut refusals = Refusals::default();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) if !descriptors.admit_http(socket.as_raw_fd()) => {
                        refusals.note(peer, &"the file descriptors left are kept for others");
                    }
                    // Not a 503: an `EventSource` that gets one never tries again.
                    Ok((socket, peer)) => match places.take(peer.into()) {
                        Ok(place) => drop(connections.spawn(serving.clone().serve(socket, peer, place))),
                        Err(full) => refusals.note(peer, &full),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept HTTP connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        sockets.close();
        let drained = timeout(self.drain, async {
            while connections.join_next().await.is_some() {}
            sockets.wait().await;
        });
        if drained.await.is_err() {
            let connections = connections.len() + sockets.len();
            tracing::warn!(connections, "HTTP connections are cut off");
        }
    }
}

/// Connections that were closed at once, of which the log tells now and then.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn note(&mut self, peer: SocketAddr, reason: &dyn fmt::Display) {
        self.since += 1;
        if self.told.is_some_and(|told| told.elapsed() < WARNING_INTERVAL) {
            return;
        }
        tracing::warn!(%peer, %reason, connections = self.since, "closed HTTP connections at once");
        (self.told, self.since) = (Some(Instant::now()), 0);
    }
}
