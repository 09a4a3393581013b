//! `/mqtt`: a request that becomes a WebSocket, and is the broker's from then on.

use std::os::fd::RawFd;

use axum::{extract::Request, http::StatusCode, response::Response};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::net::TcpStream;

use super::{Services, patient::Patient, problem::Problem};
use crate::{
    types::Peer,
    websocket::{self, Policy, Protocol, WebSocket},
};

/// The connection that a request came on; an extension of each request.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub peer: Peer,
    pub descriptor: RawFd,
}

/// Answers the handshake, and hands the connection over once the answer is sent.
pub fn upgrade(mut request: Request, pages: &Policy, services: &Services) -> Result<Response, Problem> {
    let door = services.mqtt.clone().ok_or_else(|| {
        let detail = "MQTT clients of this port are asked for no account: set `http.authentication = \"required\"` in \
                      the configuration, and make accounts";
        Problem::new(StatusCode::FORBIDDEN, detail)
    })?;
    let response = websocket::answer(&request, pages, Protocol::Mqtt)?;
    let arrival = request.extensions().get::<Arrival>().copied();
    // From here on it is an MQTT connection like any other.
    let Some(Arrival { peer, .. }) = arrival.filter(|arrival| services.descriptors.admit_stranger(arrival.descriptor))
    else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections; try again later"));
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await.map(downcast::<TokioIo<Patient<TcpStream>>>) {
            Ok(Ok(parts)) => door(WebSocket::new(parts.io.into_inner().into_inner(), parts.read_buf), peer),
            Ok(Err(_)) => tracing::error!(%peer, "an upgraded connection is not the one that was accepted"),
            Err(error) => tracing::debug!(%peer, %error, "a connection ended before it became a WebSocket"),
        }
    });
    Ok(response)
}
