//! From what a request shows to who sends it.

use std::sync::Arc;

use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

use super::{
    caller::{Caller, Who, now},
    keys::{self, ApiKeys},
    remote::{Identity, Remembered, Remote, Shown},
    tickets::{Ticket, Tickets},
};
use crate::{
    auth::token::{TokenError, Tokens, is_token},
    limits,
    types::{Grants, Micros},
};

/// What a session's token of Kratos begins with.
const SESSION_TOKEN: &str = "ory_st_";

/// What a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// `Authorization: Bearer …`.
    Bearer(String),
    /// The session's cookie, `name=value`.
    Cookie(HeaderValue),
    /// `X-Session-Token`.
    SessionToken(HeaderValue),
    /// A ticket in the URL.
    Ticket(String),
}

/// Why nobody is known to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It shows nothing.
    #[error("this bridge must know who asks: sign in, or send `Authorization: Bearer` and an API key or a token")]
    Missing,
    /// Nobody has such a key, or nobody has it any more.
    #[error("the API key is not known, or was revoked")]
    Key,
    /// Its time is over.
    #[error("the credentials have expired")]
    Expired,
    /// What it shows is of a kind that is not taken.
    #[error("credentials of this kind are not taken here")]
    Kind,
    /// Used, old or made up.
    #[error("the ticket is not known, was used, or is too old: ask for another one with POST /api/events/ticket")]
    Ticket,
    /// No session of this pod's, or one that is over.
    #[error("there is no such session, or it is over: sign in again")]
    Session,
    /// A session that wants more.
    #[error("the session lacks its second factor: sign in with it")]
    SecondFactor,
    /// Its issuer does not know it, or it is for somebody else.
    #[error("the token is not active, or not for this bridge")]
    Token,
    /// What is wrong with a token that is signed.
    #[error("{0}")]
    Jwt(TokenError),
    /// Whoever knows does not answer.
    #[error("who you are cannot be found out now; try again later")]
    Unavailable,
}

/// Which identities may do what.
#[derive(Clone, Debug)]
pub struct IdentityGrants {
    /// May do everything, where it is known who it is.
    pub owner: Option<String>,
    /// What others may do.
    pub others: Vec<(Vec<String>, Grants)>,
}

impl IdentityGrants {
    /// What an identity may do, less what its token's scopes leave out.
    fn of(&self, id: &str, scopes: Option<&[Box<str>]>) -> Grants {
        let own = if self.owner.as_deref() == Some(id) { Grants::everything() } else { Grants::none() };
        let given = self.others.iter().filter(|(ids, _)| ids.iter().any(|other| other == id));
        let grants = given.fold(own, |sum, (_, grants)| sum.with(grants));
        match scopes {
            Some(names) => grants.filtered(|scope| names.iter().any(|name| **name == *scope.as_str())),
            None => grants,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Identities {
    /// What those may do who show nothing, where they may do anything.
    anyone: Option<Caller>,
    keys: Option<Arc<ApiKeys>>,
    tokens: Option<Arc<Tokens>>,
    checks: Arc<Semaphore>,
    sessions: Option<Sessions>,
    introspection: Option<Arc<Remote>>,
    grants: IdentityGrants,
    tickets: Tickets,
}

#[derive(Debug)]
struct Sessions {
    remote: Arc<Remote>,
    cookie: String,
}

impl Identities {
    /// Knows nobody. Whoever a session or a token names may do what `grants` says.
    #[must_use]
    pub fn new(grants: IdentityGrants) -> Self {
        Self {
            anyone: None,
            keys: None,
            tokens: None,
            checks: Arc::new(Semaphore::new(limits::WEB_TOKEN_CHECKS)),
            sessions: None,
            introspection: None,
            grants,
            tickets: Tickets::default(),
        }
    }

    /// Lets those who show nothing do this.
    #[must_use]
    pub fn with_anyone(self, grants: Grants) -> Self {
        Self { anyone: Some(Caller::anyone(grants)), ..self }
    }

    /// Takes these keys.
    #[must_use]
    pub fn with_keys(self, keys: Arc<ApiKeys>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Takes tokens that are signed with an issuer's keys.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<Tokens>) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Takes sessions that Ory Kratos knows, by the cookie of this name or by their tokens.
    #[must_use]
    pub fn with_sessions(self, remote: Arc<Remote>, cookie: String) -> Self {
        Self { sessions: Some(Sessions { remote, cookie }), ..self }
    }

    /// Takes tokens that their issuer knows.
    #[must_use]
    pub fn with_introspection(self, remote: Arc<Remote>) -> Self {
        Self { introspection: Some(remote), ..self }
    }

    /// Whether who shows nothing may do anything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.anyone.is_some()
    }

    /// The name of the cookie that a session is in, where sessions are taken.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        self.sessions.as_ref().map(|sessions| sessions.cookie.as_str())
    }

    /// Who sends a request that shows these.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn caller(&self, credentials: &Credentials) -> Result<Caller, Refused> {
        let caller = match credentials {
            Credentials::None => self.anyone.clone().ok_or(Refused::Missing)?,
            Credentials::Bearer(token) => self.bearer(token).await?,
            Credentials::Cookie(value) => self.session(Shown::Cookie(value.clone())).await?,
            Credentials::SessionToken(value) => self.session(Shown::SessionToken(value.clone())).await?,
            Credentials::Ticket(ticket) => self.tickets.take(ticket).ok_or(Refused::Ticket)?,
        };
        if caller.is_over() { Err(Refused::Expired) } else { Ok(caller) }
    }

    async fn bearer(&self, token: &str) -> Result<Caller, Refused> {
        if let Some(keys) = self.keys.as_ref().filter(|_| keys::is_key(token)) {
            return keys.caller(token).ok_or(Refused::Key);
        }
        if self.sessions.is_some() && token.starts_with(SESSION_TOKEN) {
            let value = HeaderValue::try_from(token).map_err(|_| Refused::Session)?;
            return self.session(Shown::SessionToken(value)).await;
        }
        if let Some(tokens) = self.tokens.as_ref().filter(|_| is_token(token.as_bytes())) {
            return self.signed(tokens, token).await;
        }
        if let Some(remote) = &self.introspection {
            return self.remote(remote, Shown::Token(token.to_owned())).await;
        }
        // Where nobody can say who they are, what they say does not matter.
        let takes_any = self.keys.is_some() || self.tokens.is_some() || self.sessions.is_some();
        self.anyone.clone().filter(|_| !takes_any).ok_or(Refused::Kind)
    }

    async fn signed(&self, tokens: &Arc<Tokens>, token: &str) -> Result<Caller, Refused> {
        if tokens.misses_key(token.as_bytes()) {
            tokens.refetch().await;
        }
        if tokens.is_keyless() {
            // Its issuer has not answered yet, or not for long.
            return Err(Refused::Unavailable);
        }
        let permit = Arc::clone(&self.checks).acquire_owned().await.map_err(|_| Refused::Unavailable)?;
        let (tokens, token) = (Arc::clone(tokens), token.to_owned());
        let check = move || {
            let _permit = permit;
            tokens.check(token.as_bytes(), now().get() / 1_000_000)
        };
        let checked = tokio::task::spawn_blocking(check).await.map_err(|_| Refused::Unavailable)?;
        let token = checked.map_err(Refused::Jwt)?;
        let id = token.user;
        let expires = Micros::saturating(token.expires.saturating_mul(1_000_000));
        let grants = self.grants.of(&id, token.scopes.as_deref());
        Ok(Caller::new(Who::User(id), grants, Some(expires), None))
    }

    async fn session(&self, shown: Shown) -> Result<Caller, Refused> {
        let sessions = self.sessions.as_ref().ok_or(Refused::Kind)?;
        self.remote(&sessions.remote, shown).await
    }

    async fn remote(&self, remote: &Arc<Remote>, shown: Shown) -> Result<Caller, Refused> {
        let Identity { id, expires, scopes } = remote.identity(&shown).await?;
        let grants = self.grants.of(&id, scopes.as_deref());
        let proof = Remembered { remote: Arc::clone(remote), shown, id: Arc::clone(&id) };
        Ok(Caller::proven(Who::User(id), grants, expires, Box::new(proof)))
    }

    /// A ticket for a caller.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn ticket(&self, caller: &Caller) -> Result<Ticket, getrandom::Error> {
        self.tickets.give(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Grant, Scope};

    #[test]
    fn scopes_of_a_token_leave_out_and_never_add() {
        let allow: Vec<Grant> = vec!["stream:read=a/#".parse().unwrap(), "publish".parse().unwrap()];
        let others = vec![(vec!["anna".to_owned()], allow.iter().collect())];
        let grants = IdentityGrants { owner: Some("owner".to_owned()), others };
        assert!(grants.of("owner", None).has(Scope::Admin));
        assert_eq!(grants.of("stranger", None), Grants::none());
        assert_eq!(grants.of("stranger", Some(&["admin".into()])), Grants::none());
        let anna = grants.of("anna", Some(&["stream:read".into(), "admin".into(), "openid".into()]));
        assert_eq!(anna.list(), allow[..1]);
        assert_eq!(grants.of("owner", Some(&["openid".into()])), Grants::none());
    }
}
