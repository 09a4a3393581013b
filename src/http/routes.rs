//! Which path answers with what.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Services, assets, commands, events, host, mqtt, parameters, problem::Problem, publish, series, socket, stream,
    watchers,
};
use crate::{
    types::{ConsumersInfo, DeadLetterPage, DeviceInfo, DevicePage, HealthSnapshot, SessionInfo, SessionPage},
    websocket::Policy,
};

/// The one path that is not read.
const PUBLISH: &str = "/api/publish";

/// The end of those that are read and written.
const COMMANDS: &str = "/commands";

/// Services, and the token that ends streams.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    /// Which web pages may connect and publish.
    pub pages: Arc<Policy>,
    pub sockets: Sockets,
    pub watchers: Arc<watchers::Watchers>,
    /// Time for which a client may take nothing of what waits for it.
    pub patience: Duration,
    pub stop: CancellationToken,
}

/// Connections that are no requests any more: streams and WebSockets.
pub type Sockets = TaskTracker;

/// All routes. With `is_local`, only requests for this machine by name are answered.
pub fn router(
    services: Services,
    sockets: Sockets,
    patience: Duration,
    stop: CancellationToken,
    is_local: bool,
) -> Router {
    let pages = Arc::new(Policy { allowed_origins: services.allowed_origins.clone(), is_local });
    let router = Router::new()
        .route("/api/events/stream", get(stream::events))
        .route("/api/events/ws", get(socket::events))
        .route("/api/events", get(events::list))
        .route("/api/events/{id}", get(events::one))
        .route(PUBLISH, post(publish::publish))
        .route("/api/dead-letters", get(dead_letters))
        .route("/mqtt", get(mqtt))
        .route("/api/devices", get(devices))
        .route("/api/devices/{device}", get(device))
        .route("/api/devices/{device}/commands", get(commands::list).post(commands::give))
        .route("/api/devices/{device}/commands/{id}", get(commands::one))
        .route("/api/series", get(series::series))
        .route("/api/consumers", get(consumers))
        .route("/api/watchers", get(watchers::list))
        .route("/api/sessions", get(sessions))
        .route("/api/sessions/{client_id}", get(session))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(assets::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Context { services: Arc::new(services), pages, sockets, watchers: Arc::default(), patience, stop });
    let router = if is_local { router.layer(middleware::from_fn(host::require_loopback)) } else { router };
    router.layer(middleware::map_response(guard))
}

/// What every answer says: do not guess its type, and keep it from other origins.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn dead_letters(State(context): State<Context>, uri: Uri) -> Result<Json<DeadLetterPage>, Problem> {
    let query = parameters::dead_letters(&uri)?;
    let store = context.services.dead_letters.as_ref().ok_or_else(|| {
        let detail = "dead letters are kept in the database, and there is none: what a route refuses is an event whose \
                      metadata has `rejected`";
        Problem::new(StatusCode::NOT_FOUND, detail)
    })?;
    Ok(Json(store.page(query).await?))
}

async fn mqtt(State(context): State<Context>, request: Request) -> Result<Response, Problem> {
    mqtt::upgrade(request, &context.pages, &context.services)
}

async fn devices(State(context): State<Context>, uri: Uri) -> Result<Json<DevicePage>, Problem> {
    Ok(Json(context.services.devices.page(parameters::devices(&uri)?).await?))
}

async fn device(
    State(context): State<Context>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<DeviceInfo>, Problem> {
    let Path(name) = name?;
    let found = context.services.devices.device(&name).await?;
    found.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("nothing is known of a device {name:?}")))
}

async fn consumers(State(context): State<Context>) -> Result<Json<ConsumersInfo>, Problem> {
    Ok(Json(context.services.consumers.consumers().await?))
}

async fn sessions(State(context): State<Context>, uri: Uri) -> Result<Json<SessionPage>, Problem> {
    Ok(Json(context.services.sessions.page(parameters::sessions(&uri)?).await?))
}

async fn session(
    State(context): State<Context>,
    client_id: Result<Path<String>, PathRejection>,
) -> Result<Json<SessionInfo>, Problem> {
    let Path(client_id) = client_id?;
    let found = context.services.sessions.session(&client_id).await?;
    found
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("the client {client_id:?} has no session")))
}

async fn metrics(State(context): State<Context>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, (context.services.metrics)()).into_response()
}

async fn healthz(State(context): State<Context>) -> Response {
    let health = (context.services.health)();
    health_answer(health.live, &health)
}

async fn readyz(State(context): State<Context>) -> Response {
    let health = (context.services.health)();
    health_answer(health.ready, &health)
}

fn health_answer(is_good: bool, health: &HealthSnapshot) -> Response {
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let right = match uri.path() {
        PUBLISH => "takes POST",
        path if path.ends_with(COMMANDS) => "can be read with GET and takes POST",
        _ => "can be read with GET",
    };
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} {right}, not {method}", uri.path()))
}
