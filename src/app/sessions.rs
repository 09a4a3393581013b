//! Lets the HTTP server ask the broker about its sessions.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    http::{SessionDirectory, SessionsUnavailable},
    mqtt::Broker,
    types::{SessionInfo, SessionPage, SessionQuery},
};

/// The broker's sessions.
pub struct Sessions(pub Arc<Broker>);

impl SessionDirectory for Sessions {
    fn page(&self, query: SessionQuery) -> BoxFuture<'_, Result<SessionPage, SessionsUnavailable>> {
        Box::pin(async move { self.0.session_page(&query).await.map_err(|error| SessionsUnavailable(error.into())) })
    }

    fn session<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Option<SessionInfo>, SessionsUnavailable>> {
        Box::pin(async move { self.0.session(client_id).await.map_err(|error| SessionsUnavailable(error.into())) })
    }
}
