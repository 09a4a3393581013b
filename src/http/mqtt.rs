//! `/mqtt`: a request that becomes a WebSocket, and is the broker's from then on.

use std::{os::fd::RawFd, sync::Arc};

use axum::{extract::Request, http::StatusCode, response::Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{Services, handover::Handover, patient::Patient, places::Place, problem::Problem};
use crate::{
    types::Peer,
    websocket::{self, Policy, Protocol, WebSocket},
};

/// The connection that a request came on; an extension of each request.
#[derive(Clone)]
pub struct Arrival {
    pub peer: Peer,
    pub descriptor: RawFd,
    /// Taken by whoever keeps the connection.
    pub place: Arc<Place>,
    pub handover: Arc<Handover>,
}

/// The socket of a connection that is not HTTP any more, with what came behind the handshake.
pub fn socket(upgraded: Upgraded) -> Option<(TcpStream, axum::body::Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Patient<TcpStream>>>().ok()?;
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}

/// Answers the handshake, and hands the connection over once the answer is sent.
pub fn upgrade(mut request: Request, pages: &Policy, services: &Services) -> Result<Response, Problem> {
    let door = services.mqtt.clone().ok_or_else(|| {
        let detail = "MQTT clients of this port are asked for no account: set `http.authentication = \"required\"` in \
                      the configuration, and make accounts";
        Problem::new(StatusCode::FORBIDDEN, detail)
    })?;
    let response = websocket::answer(&request, pages, Protocol::Mqtt)?;
    let arrival = request.extensions().get::<Arrival>().cloned();
    // From here on it is an MQTT connection like any other.
    let Some(Arrival { peer, .. }) = arrival.filter(|arrival| services.descriptors.admit_stranger(arrival.descriptor))
    else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections; try again later"));
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await.map(socket) {
            Ok(Some((socket, early))) => {
                // MQTT has its keep alive, and clients that may be silent. A socket that refuses is closed already.
                let _ = SockRef::from(&socket).set_tcp_user_timeout(None);
                door(WebSocket::new(socket, early), peer);
            }
            Ok(None) => tracing::error!(%peer, "an upgraded connection is not the one that was accepted"),
            Err(error) => tracing::debug!(%peer, %error, "a connection ended before it became a WebSocket"),
        }
    });
    Ok(response)
}
