//! Who asks, and whether they may: the one place where that is decided.
//!
//! The server does not know its callers yet. It can be reached from this machine alone, unless the configuration
//! opens it to anyone with `allow_anonymous`; so everyone who comes in may read. To publish is more than that:
//! a page must be one that may connect at all, so that no page that the machine's user happens to visit acts on
//! devices; where clients of this port need an account, nobody may, because nobody can show one; and beyond
//! that, the access rules for clients without an account hold, which the publisher asks.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, Uri, header, uri::Authority};

use super::{Commander, Publisher, parameters, problem::Problem, routes::Context, watchers::Who};
use crate::types::Peer;

/// Who publishes for a caller whose page, where there is one, has been looked at.
///
/// # Errors
/// 403, where no caller may.
pub fn publisher(context: &Context) -> Result<Arc<dyn Publisher>, Problem> {
    context.services.publisher.clone().ok_or_else(|| {
        let detail = "clients of this port need an account (`http.authentication`), and accounts are for MQTT only";
        Problem::new(StatusCode::FORBIDDEN, detail)
    })
}

/// Who gives commands for such a caller: as publishing, for a command is published.
///
/// # Errors
/// 403, where no caller may.
pub fn commander(context: &Context) -> Result<Arc<dyn Commander>, Problem> {
    publisher(context).map(|_| Arc::clone(&context.services.commander))
}

/// Who watches by this request. The port knows no accounts yet.
///
/// # Errors
/// 400, where its `name` is none.
pub fn watcher(uri: &Uri, peer: Option<Peer>) -> Result<Who, Problem> {
    Ok(Who { name: parameters::name(uri)?, account: None, peer })
}

/// Whether a request may come in for the sake of the page that sends it, where one does.
///
/// # Errors
/// 403, for pages of others.
pub fn check_page(context: &Context, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let header = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or(header).unwrap_or_default();
    Ok(context.pages.check(headers, host)?)
}
