//! The stream as Server-Sent Events.
//!
//! 204 is how a client is told to stop (WHATWG HTML, section 9.2.3): the one that has got all it asked for.

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;

use super::{caller, mqtt::Arrival, parameters, problem::Problem, routes::Context, watchers::Transport};

/// `GET /api/events/stream`
pub async fn events(
    State(context): State<Context>,
    arrival: Option<Extension<Arrival>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let streams = &context.services.streams;
    let subscription = parameters::stream(&uri, &headers, streams)?;
    if streams.is_over(&subscription) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let who = caller::watcher(&uri, arrival.map(|Extension(arrival)| arrival.peer))?;
    let watching = context.watchers.enter(&who, Transport::Sse, subscription.mode, &subscription.filter);
    let bodies = streams.open(subscription, context.stop);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // A proxy that buffers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((
        headers,
        Body::from_stream(bodies.map(move |body| {
            let _held = &watching;
            Ok::<_, std::convert::Infallible>(body)
        })),
    )
        .into_response())
}
