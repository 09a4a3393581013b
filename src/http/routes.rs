//! Which path answers with what, and what it takes to be answered.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Services, assets,
    caller::{self, Known, Needs, Pace},
    commands, cors, devices, events, host, identity, mqtt, parameters,
    problem::Problem,
    publish, series, socket, stream, watchers,
};
use crate::{
    types::{ConsumersInfo, DeadLetterPage, HealthSnapshot, Scope, SessionInfo, SessionPage},
    websocket::Policy,
};

/// The paths that are not read.
const PUBLISH: &str = "/api/publish";
const TICKET: &str = "/api/events/ticket";

/// The end of those that are read and written.
const COMMANDS: &str = "/commands";

/// Services, and the token that ends streams.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    /// Which web pages may connect and publish.
    pub pages: Arc<Policy>,
    pub pace: Arc<Pace>,
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
    // Where everybody must say who they are, another name for this machine is no way in.
    let is_local = is_local && services.identities.is_open();
    let pages = Arc::new(Policy { allowed_origins: services.allowed_origins.clone(), is_local });
    let pace = Arc::new(Pace::new(services.caller_rate));
    let services = Arc::new(services);
    let context = Context { services, pages, pace, sockets, watchers: Arc::default(), patience, stop };
    let guarded = |needs| middleware::from_fn_with_state((context.clone(), needs), caller::admit);
    let router = api()
        .into_iter()
        .fold(Router::new(), |router, (path, needs, method)| router.route(path, method.route_layer(guarded(needs))))
        .merge(assets::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(context.clone());
    let router = if is_local { router.layer(middleware::from_fn(host::require_loopback)) } else { router };
    router.layer(middleware::from_fn_with_state(context, cors::share)).layer(middleware::map_response(guard))
}

/// Every route of the API, and what it needs: the page's files are beside it, and need nothing.
pub fn api() -> Vec<(&'static str, Needs, MethodRouter<Context>)> {
    use Scope::{Admin, Commands, EventsRead, Publish, StreamRead};
    vec![
        ("/api/caller", Needs::Caller, get(identity::caller)),
        ("/api/events", Needs::AnyOf(&[EventsRead, StreamRead]), get(events::list)),
        ("/api/events/stream", Needs::Stream(&[StreamRead]), get(stream::events)),
        (TICKET, Needs::AnyOf(&[StreamRead]), post(identity::ticket)),
        ("/api/events/ws", Needs::Stream(&[StreamRead, Publish, Commands]), get(socket::events)),
        ("/api/events/{id}", Needs::AnyOf(&[EventsRead]), get(events::one)),
        (PUBLISH, Needs::AnyOf(&[Publish]), post(publish::publish)),
        ("/api/devices", Needs::AnyOf(&[EventsRead]), get(devices::list)),
        ("/api/devices/{device}", Needs::AnyOf(&[EventsRead]), get(devices::one)),
        ("/api/devices/{device}/commands", Needs::AnyOf(&[Commands]), get(commands::list).post(commands::give)),
        ("/api/devices/{device}/commands/{id}", Needs::AnyOf(&[Commands]), get(commands::one)),
        ("/api/series", Needs::AnyOf(&[EventsRead]), get(series::series)),
        ("/api/dead-letters", Needs::AnyOf(&[Admin]), get(dead_letters)),
        ("/api/consumers", Needs::AnyOf(&[Admin]), get(consumers)),
        ("/api/watchers", Needs::AnyOf(&[Admin]), get(watchers::list)),
        ("/api/sessions", Needs::AnyOf(&[Admin]), get(sessions)),
        ("/api/sessions/{client_id}", Needs::AnyOf(&[Admin]), get(session)),
        ("/metrics", Needs::AnyOf(&[Admin]), get(metrics)),
        ("/api/sign-in", Needs::Nothing, get(identity::sign_in)),
        // MQTT has its own way of saying who one is.
        ("/mqtt", Needs::Nothing, get(mqtt)),
        // Whoever watches over the process has no credentials.
        ("/healthz", Needs::Nothing, get(healthz)),
        ("/readyz", Needs::Nothing, get(readyz)),
    ]
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

async fn healthz(State(context): State<Context>, Extension(known): Extension<Known>) -> Response {
    let health = (context.services.health)();
    health_answer(health.live, health, &known)
}

async fn readyz(State(context): State<Context>, Extension(known): Extension<Known>) -> Response {
    let health = (context.services.health)();
    health_answer(health.ready, health, &known)
}

/// Reasons may name hosts and files: they are for those who look after the bridge.
fn health_answer(is_good: bool, health: HealthSnapshot, known: &Known) -> Response {
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = if known.is_admin() { health } else { health.without_reasons() };
    (status, Json(health)).into_response()
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let right = match uri.path() {
        PUBLISH | TICKET => "takes POST",
        path if path.ends_with(COMMANDS) => "can be read with GET and takes POST",
        _ => "can be read with GET",
    };
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} {right}, not {method}", uri.path()))
}
