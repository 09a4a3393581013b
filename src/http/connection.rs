//! One connection: HTTP/1.1, or HTTP/2 for a client that begins with its preface, until it ends or leaves HTTP as an
//! event stream (`handover`) or a WebSocket.
//!
//! Between its requests it has so long for the head of the next one. An error ends this connection and no other.

use std::{
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use axum::{Router, body::Body, extract::Request};
use bytes::Bytes;
use hyper::{
    Method, Response, Version,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{
    direct::Direct,
    handover::{self, Handover, Left, Prepared},
    mqtt::Arrival,
    patient::Patient,
    places::Place,
    routes::Sockets,
    server::Server,
};
use crate::limits;

/// What an HTTP/2 client begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that one HTTP/2 connection may have open: browsers keep to 100.
const CONCURRENT_REQUESTS: u32 = 100;

/// What connections are served with.
#[derive(Clone)]
pub struct Serving {
    pub router: Router,
    pub server: Server,
    pub sockets: Sockets,
    pub stop: CancellationToken,
}

/// How HTTP came to its end on a connection.
enum Ending {
    Over(hyper::Result<()>),
    Left(Box<Left>),
    /// Nothing was asked for in time.
    Silent,
}

impl Serving {
    /// Serves a connection that was accepted, as long as it is HTTP.
    pub async fn serve(self, socket: TcpStream, peer: SocketAddr, place: Place) {
        // Without it a frame may wait for the acknowledgement of the one before. A socket that
        // refuses an option is closed already.
        let _ = socket.set_nodelay(true);
        // A client whose network is gone acknowledges nothing of what the system has taken for it.
        let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(self.server.write_timeout));
        let (handover, place) = (Arc::new(Handover::default()), Arc::new(place));
        let arrival = Arrival { peer: peer.into(), descriptor: socket.as_raw_fd(), place, handover };
        let beginning = timeout(self.server.head_timeout, read_beginning(&socket)).await;
        let Ok(Ok(early)) = beginning else {
            tracing::debug!(%peer, "an HTTP connection ended without a request");
            return;
        };
        let is_http2 = early == PREFACE[..];
        let socket = Patient::new(socket, early, Arc::clone(&arrival.handover), self.server.write_timeout);
        let ended = if is_http2 {
            Box::pin(self.serve_http2(TokioIo::new(socket), arrival)).await
        } else {
            Box::pin(self.serve_http1(TokioIo::new(socket), arrival)).await
        };
        match ended {
            Some(error) => tracing::debug!(%peer, %error, "an HTTP connection ended"),
            None => tracing::trace!(%peer, "an HTTP connection ended"),
        }
    }

    async fn serve_http2(self, socket: TokioIo<Patient<TcpStream>>, arrival: Arrival) -> Option<hyper::Error> {
        let Self { router, server, stop, .. } = self;
        let handover = Arc::clone(&arrival.handover);
        let service = service_fn(move |request| answer(router.clone(), request, arrival.clone()));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(server.head_timeout)
            .max_concurrent_streams(CONCURRENT_REQUESTS)
            .max_send_buf_size(limits::HTTP_BUFFER_BYTES)
            .serve_connection(socket, service);
        let mut connection = pin!(connection);
        let mut stopping = pin!(stop.cancelled());
        let mut first_head = pin!(sleep(server.head_timeout));
        let mut is_stopping = false;
        poll_fn(|cx| {
            if !is_stopping && stopping.as_mut().poll(cx).is_ready() {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(over) = connection.as_mut().poll(cx) {
                return Poll::Ready(over.err());
            }
            is_late(&handover, first_head.as_mut(), cx).map(|()| None)
        })
        .await
    }

    async fn serve_http1(self, socket: TokioIo<Patient<TcpStream>>, arrival: Arrival) -> Option<hyper::Error> {
        let Self { router, server, sockets, stop } = self;
        let (handover, place) = (Arc::clone(&arrival.handover), Arc::clone(&arrival.place));
        let service = service_fn(move |request| answer(router.clone(), request, arrival.clone()));
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(server.head_timeout)
            .max_buf_size(limits::HTTP_BUFFER_BYTES)
            .serve_connection(socket, service)
            .with_upgrades();
        let mut stopping = pin!(stop.cancelled());
        let mut first_head = pin!(sleep(server.head_timeout));
        let mut is_stopping = false;
        let ending = poll_fn(|cx| {
            if !is_stopping && stopping.as_mut().poll(cx).is_ready() {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(over) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Ending::Over(over));
            }
            if let Some(left) = handover.take() {
                return Poll::Ready(Ending::Left(left));
            }
            is_late(&handover, first_head.as_mut(), cx).map(|()| Ending::Silent)
        })
        .await;
        match ending {
            Ending::Over(over) => over.err(),
            Ending::Left(left) => {
                let Left { head, watched } = *left;
                if let Some(parts) = connection.into_parts() {
                    let socket = parts.io.into_inner().into_inner();
                    let stream = Direct::new(socket, watched, place, server.write_timeout, stop.clone());
                    sockets.spawn(stream.run(head));
                }
                None
            }
            Ending::Silent => None,
        }
    }
}

/// Ready when no request has come in time.
fn is_late(handover: &Handover, first_head: Pin<&mut Sleep>, cx: &mut std::task::Context<'_>) -> Poll<()> {
    if handover.has_begun() || first_head.poll(cx).is_pending() { Poll::Pending } else { Poll::Ready(()) }
}

/// Reads until it is clear whether the preface of HTTP/2 comes.
async fn read_beginning(socket: &TcpStream) -> io::Result<Bytes> {
    let mut beginning = [0; PREFACE.len()];
    let mut filled = 0;
    loop {
        socket.readable().await?;
        match socket.try_read(beginning.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let read = beginning.get(..filled).unwrap_or_default();
        if read.len() == PREFACE.len() || !PREFACE.starts_with(read) {
            return Ok(Bytes::copy_from_slice(read));
        }
    }
}

/// Asks the router. An event stream leaves, and is never answered here, where its socket can be had.
async fn answer(
    mut router: Router,
    request: hyper::Request<Incoming>,
    arrival: Arrival,
) -> Result<Response<Body>, std::convert::Infallible> {
    let handover = Arc::clone(&arrival.handover);
    handover.begin();
    let may_leave = request.version() <= Version::HTTP_11;
    let is_get = request.method() == Method::GET;
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(arrival);
    let mut response = router.call(request).await?;
    let Some(watched) = Prepared::take(&mut response).filter(|_| is_get) else { return Ok(response) };
    if !may_leave {
        return Ok(handover::as_body(watched, response));
    }
    let (head, body) = response.into_parts();
    match handover.leave(Box::new(Left { head, watched })) {
        Ok(()) => std::future::pending().await,
        Err(left) => Ok(handover::as_body(left.watched, Response::from_parts(left.head, body))),
    }
}
