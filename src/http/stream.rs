//! The stream as Server-Sent Events.
//!
//! Where the connection can be had, it leaves the HTTP server (`handover`).
//!
//! 204 is how a client is told to stop (WHATWG HTML, section 9.2.3): the one that has got all it asked for.

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    caller, handover::Prepared, mqtt::Arrival, parameters, problem::Problem, routes::Context, watchers::Transport,
};
use crate::{auth::web::Caller, types::Scope};

/// `GET /api/events/stream`
pub async fn events(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    arrival: Option<Extension<Arrival>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let streams = &context.services.streams;
    let mut subscription = parameters::stream(&uri, &headers, streams)?;
    subscription.filter.within = caller::topics(&caller, Scope::StreamRead)?;
    if streams.is_over(&subscription) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let who = caller::watcher(&caller, &uri, arrival.map(|Extension(arrival)| arrival.peer))?;
    let watching = context.watchers.enter(&who, Transport::Sse, subscription.mode, &subscription.filter);
    let client = streams.client(subscription, context.stop);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // A proxy that buffers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let mut response = headers.into_response();
    response.extensions_mut().insert(Prepared::new(client, watching, caller.end()));
    Ok(response)
}
