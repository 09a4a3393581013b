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
    http::header,
    response::Response,
};

use super::{
    caller,
    mqtt::{self, Arrival},
    parameters,
    problem::Problem,
    routes::Context,
};
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
    let peer = request.extensions().get::<Arrival>().map(|arrival| arrival.peer);
    let who = caller::watcher(&caller, request.uri(), peer)?;
    let response: Response = websocket::answer(&request, &context.pages, Protocol::Messages { compressed })?;
    let compressed = response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
    let arrival = request.extensions().get::<Arrival>().cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    drop(request);
    let tasks = context.sockets.clone();
    tasks.spawn(async move {
        match upgraded.await.map(mqtt::socket) {
            Ok(Some((socket, early))) => {
                // In a task of its own size, which this one is not.
                let session = Session::new(socket, context.clone(), caller, who, arrival, compressed);
                // A copy: even an empty part holds all of the buffer that it was cut from.
                context.sockets.spawn(session.run(early.to_vec()));
            }
            Ok(None) => tracing::error!("an upgraded connection is not the one that was accepted"),
            Err(error) => tracing::debug!(%error, "a connection ended before it became a WebSocket"),
        }
    });
    Ok(response)
}
