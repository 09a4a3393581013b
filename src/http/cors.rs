//! Which pages of other origins may read answers: those that the configuration names (CORS, WHATWG Fetch section 3.2).
//!
//! Their browsers may send cookies along, so the answer names the very origin, and caches are told that it depends on it.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{problem::Problem, routes::Context};
use crate::types::Origin;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id, x-session-token");
const EXPOSED: HeaderValue = HeaderValue::from_static("www-authenticate, retry-after");
/// Seconds for which a browser need not ask again.
const MAXIMUM_AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers what browsers ask before a request, and adds what they ask of an answer.
pub async fn share(State(context): State<Context>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    let is_allowed = is_named(&context, &origin);
    let is_question =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (is_question, is_allowed) {
        (true, true) => {
            let mut answer = StatusCode::NO_CONTENT.into_response();
            answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            answer.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, MAXIMUM_AGE);
            answer
        }
        (true, false) => Problem::new(
            StatusCode::FORBIDDEN,
            "pages of this origin may not read answers: name it in `allowed_origins` of the configuration if they should",
        )
        .into_response(),
        (false, _) => next.run(request).await,
    };
    let headers: &mut HeaderMap = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if is_allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

fn is_named(context: &Context, origin: &HeaderValue) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok());
    origin.is_some_and(|origin| context.services.allowed_origins.contains(&origin))
}
