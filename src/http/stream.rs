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

use super::{caller, mortal, parameters, problem::Problem, routes::Context};
use crate::{auth::web::Caller, types::Scope};

/// `GET /api/events/stream`
pub async fn events(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let streams = &context.services.streams;
    let mut subscription = parameters::stream(&uri, &headers, streams)?;
    subscription.filter.within = caller::topics(&caller, Scope::StreamRead)?;
    if streams.is_over(&subscription) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let body = match caller.end() {
        Some(end) => mortal::body(streams.client(subscription, context.stop), end),
        None => Body::from_stream(streams.open(subscription, context.stop).map(Ok::<_, std::convert::Infallible>)),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // A proxy that buffers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}
