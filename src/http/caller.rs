//! Who asks, and whether they may: the one place where that is decided.
//!
//! Every route of the API says what it [`Needs`]; there is no way to add one that does not. [`admit`] finds out who sends
//! a request, refuses it where that is not enough or where they come too often, and hands it on with its [`Caller`], whose
//! topics limit what the handler shows.
//!
//! A page of another origin is refused wherever something changes, so that no page that somebody happens to visit acts
//! with what their browser sends along. A browser sends a cookie for whichever page asks: with one, changes and
//! WebSockets must say which page it is, and pages of strangers get nothing at all.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use metrics::counter;

use super::{
    mqtt::Arrival,
    parameters::{self, Parameters},
    problem::Problem,
    routes::Context,
    watchers::Who as Watcher,
};
use crate::{
    auth::web::{Caller, Credentials, Rates, Refused, Turn, Who},
    limits,
    types::{Peer, Scope, Topics},
};

/// How a program shows a session of Kratos.
const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-session-token");

/// The parameter that a ticket is in.
const TICKET: &str = "ticket";

/// What a route asks of those who call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing. Where it is known who asks, the answer may say more.
    Nothing,
    /// To be known.
    Caller,
    /// Any of these scopes.
    AnyOf(&'static [Scope]),
    /// Any of these, and a ticket is as good as other credentials.
    Stream(&'static [Scope]),
}

impl Needs {
    const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Nothing | Self::Caller => &[],
            Self::AnyOf(scopes) | Self::Stream(scopes) => scopes,
        }
    }
}

/// Who asks, where that need not be known.
#[derive(Clone, Debug)]
pub struct Known(pub Option<Caller>);

impl Known {
    /// Whether it may look at the bridge itself.
    pub fn is_admin(&self) -> bool {
        self.0.as_ref().is_some_and(|caller| caller.grants().has(Scope::Admin))
    }
}

/// How often callers come, and how often addresses show what is refused.
#[derive(Debug)]
pub struct Pace {
    callers: Rates<Who>,
    refused: Rates<IpAddr>,
}

impl Pace {
    /// So many requests a second for each caller; 0 for any number.
    pub fn new(rate: u32) -> Self {
        Self {
            callers: Rates::new(rate, limits::COUNTED_CALLERS),
            refused: Rates::new(limits::REFUSED_RATE, limits::COUNTED_CALLERS),
        }
    }
}

/// What of a request says who sends it.
struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    /// Where it comes from, where that tells one client from another.
    address: Option<IpAddr>,
}

/// Lets a request through to its route, with its caller, or answers it.
pub async fn admit(State((context, needs)): State<(Context, Needs)>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Arrival>().map(|arrival| arrival.peer);
    let address = peer.and_then(|peer| peer.source()).filter(|address| !address.is_loopback());
    let head = Head { method: request.method(), uri: request.uri(), headers: request.headers(), address };
    match caller(&context, needs, head).await {
        Ok(known) => {
            if let Some(caller) = &known.0 {
                request.extensions_mut().insert(caller.clone());
            }
            request.extensions_mut().insert(known);
            next.run(request).await
        }
        Err(problem) => {
            counter!("synap_mqtt_http_refused_total", "status" => problem.status().as_u16().to_string()).increment(1);
            problem.into_response()
        }
    }
}

async fn caller(context: &Context, needs: Needs, head: Head<'_>) -> Result<Known, Problem> {
    let Head { method, uri, headers, .. } = head;
    let is_change = !matches!(*method, Method::GET | Method::HEAD);
    if is_change {
        check_page(context, uri, headers)?;
    }
    let found = identify(context, needs, &head).await;
    if needs == Needs::Nothing {
        return Ok(Known(found.ok()));
    }
    let caller = found?;
    let scopes = needs.scopes();
    if !scopes.is_empty() && !scopes.iter().any(|scope| caller.grants().has(*scope)) {
        return Err(lacks(&caller, scopes));
    }
    // Those whom nobody knows cannot be told apart.
    if *caller.who() != Who::Anyone
        && let Turn::In(wait) = context.pace.callers.take(caller.who(), Instant::now())
    {
        return Err(too_often(wait));
    }
    Ok(Known(Some(caller)))
}

async fn identify(context: &Context, needs: Needs, head: &Head<'_>) -> Result<Caller, Problem> {
    let pace = &context.pace.refused;
    if let Some(address) = &head.address
        && let Turn::In(wait) = pace.peek(address, Instant::now())
    {
        return Err(too_often(wait));
    }
    let credentials = credentials(context, needs, head.uri, head.headers)?;
    if matches!(credentials, Credentials::Cookie(_)) {
        check_cookie_s_page(context, head)?;
    }
    let found = context.services.identities.caller(&credentials).await;
    if let (Err(refused), Some(address)) = (&found, &head.address)
        && !matches!(refused, Refused::Missing | Refused::Unavailable)
    {
        pace.take(address, Instant::now());
    }
    Ok(found?)
}

/// What a request shows.
fn credentials(context: &Context, needs: Needs, uri: &Uri, headers: &HeaderMap) -> Result<Credentials, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || !(1..=limits::CREDENTIAL_BYTES).contains(&token.len()) {
            let detail = "expected `Authorization: Bearer` and an API key or a token";
            return Err(unauthorized(detail, "Bearer error=\"invalid_request\""));
        }
        return Ok(Credentials::Bearer(token.to_owned()));
    }
    if matches!(needs, Needs::Stream(_))
        && let Some(ticket) = Parameters::of(uri).one(TICKET)?
    {
        return Ok(Credentials::Ticket(ticket.to_owned()));
    }
    if let Some(name) = context.services.identities.cookie() {
        if let Some(token) = headers.get(SESSION_TOKEN).filter(|token| token.len() <= limits::CREDENTIAL_BYTES) {
            return Ok(Credentials::SessionToken(token.clone()));
        }
        if let Some(cookie) = cookie(headers, name) {
            return Ok(Credentials::Cookie(cookie));
        }
    }
    Ok(Credentials::None)
}

/// The cookie of this name, as it stands in a header: the others are nobody else's business.
fn cookie(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).map(str::trim);
    let pair =
        pairs.find(|pair| pair.split_once('=').is_some_and(|(other, value)| other == name && !value.is_empty()))?;
    HeaderValue::try_from(pair).ok().filter(|pair| pair.len() <= limits::CREDENTIAL_BYTES)
}

/// Whether a request with a cookie may come in for the sake of its page.
fn check_cookie_s_page(context: &Context, head: &Head<'_>) -> Result<(), Problem> {
    let Head { method, uri, headers, .. } = head;
    let is_change = !matches!(**method, Method::GET | Method::HEAD) || headers.contains_key(header::UPGRADE);
    if is_change && !headers.contains_key(header::ORIGIN) {
        let detail = "with a cookie, this must say which page it comes from (`Origin`), as browsers do";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    check_page(context, uri, headers)
}

/// The topics for which a caller has a scope.
///
/// # Errors
/// 403, where it has none; 401, where it is over since it was let in.
pub fn topics(caller: &Caller, scope: Scope) -> Result<Topics, Problem> {
    if caller.is_over() {
        return Err(Refused::Expired.into());
    }
    if !caller.grants().has(scope) {
        return Err(lacks(caller, &[scope]));
    }
    Ok(caller.topics(scope).clone())
}

/// Who watches by this request.
///
/// # Errors
/// 400, where its `name` is none.
pub fn watcher(caller: &Caller, uri: &Uri, peer: Option<Peer>) -> Result<Watcher, Problem> {
    let account = match caller.who() {
        Who::Anyone => None,
        Who::Key(name) | Who::User(name) => Some(name.to_string()),
    };
    Ok(Watcher { name: parameters::name(uri)?, account, peer })
}

/// Where a caller may have commands published whatever the access rules say; none for those whom nobody knows, for whom
/// the rules hold that are for clients without an account.
///
/// # Errors
/// As [`topics`].
pub fn commands(caller: &Caller) -> Result<Option<Topics>, Problem> {
    let topics = topics(caller, Scope::Commands)?;
    Ok((*caller.who() != Who::Anyone).then_some(topics))
}

/// Whether a caller may publish to a topic.
///
/// # Errors
/// 403, where it may not.
pub fn check_publish(caller: &Caller, topic: &str) -> Result<(), Problem> {
    if topics(caller, Scope::Publish)?.have(Some(topic)) {
        return Ok(());
    }
    Err(forbidden(format!("{} may not publish to {topic:?}", name(caller)), &[Scope::Publish]))
}

/// Whether a request may come in for the sake of the page that sends it, where one does.
///
/// # Errors
/// 403, for pages of others.
fn check_page(context: &Context, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let header = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or(header).unwrap_or_default();
    Ok(context.pages.check(headers, host)?)
}

/// As it is named to whoever asks.
fn name(caller: &Caller) -> impl fmt::Display {
    match caller.who() {
        Who::Anyone => "who shows no credentials".to_owned(),
        Who::Key(name) => format!("the API key {name:?}"),
        Who::User(id) => format!("the identity {id:?}"),
    }
}

fn lacks(caller: &Caller, scopes: &[Scope]) -> Problem {
    let names: Vec<_> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
    forbidden(format!("this takes the scope {}, which {} does not have", names.join(" or "), name(caller)), scopes)
}

/// 403 (RFC 6750 section 3.1).
fn forbidden(detail: String, scopes: &[Scope]) -> Problem {
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", names.join(" "));
    Problem::new(StatusCode::FORBIDDEN, detail).with(header::WWW_AUTHENTICATE, challenge)
}

fn too_often(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + 1;
    Problem::new(StatusCode::TOO_MANY_REQUESTS, format!("too many requests; try again in {seconds} s"))
        .with(header::RETRY_AFTER, HeaderValue::from(seconds))
}

fn unauthorized(detail: impl Into<String>, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail).with(header::WWW_AUTHENTICATE, challenge)
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            // Who shows nothing is not told that it was wrong (RFC 6750 section 3.1).
            Refused::Missing => unauthorized(refused.to_string(), "Bearer realm=\"synap-mqtt\""),
            Refused::Key
            | Refused::Expired
            | Refused::Kind
            | Refused::Ticket
            | Refused::Session
            | Refused::Token
            | Refused::Jwt(_) => unauthorized(refused.to_string(), "Bearer error=\"invalid_token\""),
            Refused::SecondFactor => Self::new(StatusCode::FORBIDDEN, refused.to_string()),
            Refused::Unavailable => Self::new(StatusCode::SERVICE_UNAVAILABLE, refused.to_string())
                .with(header::RETRY_AFTER, HeaderValue::from(limits::IDENTITY_TIMEOUT.as_secs())),
        }
    }
}
