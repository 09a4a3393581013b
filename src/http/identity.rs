//! `GET /api/caller`: who one is here; `GET /api/sign-in`: how one may say so; and `POST /api/events/ticket`: what a page
//! puts into the URL of its stream.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{problem::Problem, routes::Context};
use crate::{
    auth::web::{Caller, Who},
    limits,
    types::{Grant, Micros},
};

/// Who one is here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallerInfo {
    /// `anyone`, `key` or `user`.
    kind: &'static str,
    /// The key's name, or the identity's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What one may do.
    allow: Vec<Grant>,
    expires_at: Option<Micros>,
}

/// How one may say who one is.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignIn {
    /// With an API key.
    pub api_keys: bool,
    /// With an access token.
    pub tokens: bool,
    /// With a session, which is begun there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
}

/// A ticket.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketInfo {
    ticket: String,
    expires_in: u64,
}

/// `GET /api/caller`
pub async fn caller(Extension(caller): Extension<Caller>) -> Json<CallerInfo> {
    let (kind, name) = match caller.who() {
        Who::Anyone => ("anyone", None),
        Who::Key(name) => ("key", Some(name.to_string())),
        Who::User(id) => ("user", Some(id.to_string())),
    };
    Json(CallerInfo { kind, name, allow: caller.grants().list(), expires_at: caller.expires() })
}

/// `GET /api/sign-in`
pub async fn sign_in(State(context): State<Context>) -> Json<SignIn> {
    Json(context.services.sign_in.clone())
}

/// `POST /api/events/ticket`
pub async fn ticket(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<TicketInfo>, Problem> {
    let ticket = context.services.identities.ticket(&caller).map_err(|error| {
        tracing::warn!(%error, "no ticket can be made");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no ticket can be made now; try again later")
    })?;
    Ok(Json(TicketInfo { ticket: ticket.expose().to_owned(), expires_in: limits::TICKET_LIFE.as_secs() }))
}
