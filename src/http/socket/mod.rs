//! The stream over WebSocket, and the way back: one connection that subscribes, changes its mind, resumes,
//! acknowledges and publishes, in messages of JSON (docs/streams.md).
//!
//! One task a connection. It reads, answers, and writes what its cursor ([`crate::stream::Client`]) gives, one
//! thing at a time: so a client that does not read holds one body and is not heard either, until it is given up.
//! An idle one holds no buffer. Its events wait in the journal. On the shutdown of the bridge it gets a Close
//! frame with the status 1001, and with [`session::UNAUTHORIZED`] when its caller is over.

mod answer;
mod request;
mod session;
mod window;

use axum::{
    Extension,
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::net::TcpStream;

use super::{mqtt::Arrival, parameters, patient::Patient, problem::Problem, routes::Context};
use crate::{
    auth::web::Caller,
    websocket::{self, Protocol},
};
use session::Session;

/// `GET /api/events/ws`
pub async fn events(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Result<Response, Problem> {
    let compressed = parameters::compressed(request.uri())?;
    let response: Response = websocket::answer(&request, &context.pages, Protocol::Messages { compressed })?;
    let compressed = response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
    let Ok(place) = std::sync::Arc::clone(&context.sockets.places).try_acquire_owned() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections; try again later"));
    };
    let peer = request.extensions().get::<Arrival>().map(|arrival| arrival.peer);
    let upgraded = hyper::upgrade::on(&mut request);
    drop(request);
    let tasks = context.sockets.tasks.clone();
    tasks.spawn(async move {
        let _place = place;
        match upgraded.await.map(downcast::<TokioIo<Patient<TcpStream>>>) {
            Ok(Ok(parts)) => {
                let socket = parts.io.into_inner().into_inner();
                Session::new(socket, context, caller, peer, compressed).run(parts.read_buf).await;
            }
            Ok(Err(_)) => tracing::error!("an upgraded connection is not the one that was accepted"),
            Err(error) => tracing::debug!(%error, "a connection ended before it became a WebSocket"),
        }
    });
    Ok(response)
}
