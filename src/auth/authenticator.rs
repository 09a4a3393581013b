//! Answers for the accounts of one password file.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::RwLock;

use super::{
    Accounts, AttemptLimits, Exchange, Proven, ScramError, Token, TokenError, Tokens, User, attempts::Attempts,
    derivation::Derivations, is_token, prepare,
};
use crate::types::Peer;

/// Checks who clients say they are.
#[derive(Debug, Default)]
pub struct Authenticator {
    /// Replaced as a whole; whoever is at it goes on with those that were.
    accounts: RwLock<Arc<Accounts>>,
    derivations: Derivations,
    attempts: Arc<Attempts>,
    tokens: Option<Arc<Tokens>>,
}

/// Why a password lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is not the one of that name, or nobody has the name.
    #[error("the user name or password is wrong")]
    Wrong,
    /// It was not looked at.
    #[error("too many failed attempts")]
    Banned,
}

impl Authenticator {
    /// Answers for these accounts.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts: RwLock::new(Arc::new(accounts)), ..Self::default() }
    }

    /// Takes tokens too.
    #[must_use]
    pub fn with_tokens(self, tokens: Option<Arc<Tokens>>) -> Self {
        Self { tokens, ..self }
    }

    /// Whether a password is to be looked at as a token.
    #[must_use]
    pub fn takes_token(&self, password: &[u8]) -> bool {
        self.tokens.is_some() && is_token(password)
    }

    /// What a token is good for; `name` is the user name beside it, under which failures are counted. Where the issuer
    /// has a new key, that is fetched. Cancel safe.
    ///
    /// # Errors
    /// When it is good for nothing, or the client has failed too often.
    pub async fn check_token(&self, peer: Peer, name: &str, token: &[u8]) -> Result<Token, TokenError> {
        let Some(tokens) = &self.tokens else { return Err(TokenError::UnknownKey) };
        let known_as = known_as(name);
        if self.attempts.is_banned(peer, &known_as, Instant::now()) {
            return Err(TokenError::Banned);
        }
        if tokens.misses_key(token) {
            tokens.refetch().await;
        }
        let (asked, token) = (Arc::clone(tokens), token.to_owned());
        let checked = self.derivations.run(move || asked.check(&token, now())).await;
        let checked = checked.unwrap_or(Err(TokenError::Form));
        match &checked {
            Ok(_) => self.attempts.succeeded(peer, &known_as, Instant::now()),
            Err(_) => self.failed(peer, &known_as),
        }
        checked
    }

    /// Answers for other accounts from now on. Clients that have come in stay in until somebody asks for them.
    pub fn replace(&self, accounts: Accounts) {
        *self.accounts.write() = Arc::new(accounts);
    }

    /// Whether there is still an account of this name.
    #[must_use]
    pub fn has(&self, user: &User) -> bool {
        self.accounts().has(user)
    }

    /// Changes how many failures are too many.
    pub fn limit_attempts(&self, limits: AttemptLimits) {
        self.attempts.set_limits(limits);
    }

    fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts.read())
    }

    /// Whose password this is, in the same time for names that nobody has. Cancel safe.
    ///
    /// # Errors
    /// When it is nobody's, or the client has failed too often.
    pub async fn check_password(&self, peer: Peer, name: &str, password: &[u8]) -> Result<User, PasswordError> {
        let known_as = known_as(name);
        let found = self.accounts().find(name);
        let verifier = Arc::clone(&found.verifier);
        let password = password.to_owned();
        let (attempts, asked) = (Arc::clone(&self.attempts), known_as.clone());
        if attempts.is_banned(peer, &asked, Instant::now()) {
            return Err(PasswordError::Banned);
        }
        let checked = self.derivations.run(move || {
            // Also those that have waited for their turn while others failed.
            (!attempts.is_banned(peer, &asked, Instant::now())).then(|| verifier.matches(&password))
        });
        let matches = checked.await.ok_or(PasswordError::Wrong)?.ok_or(PasswordError::Banned)?;
        match found.user.filter(|_| matches) {
            Some(user) => {
                self.attempts.succeeded(peer, &known_as, Instant::now());
                Ok(user)
            }
            None => {
                self.failed(peer, &known_as);
                Err(PasswordError::Wrong)
            }
        }
    }

    /// Begins an exchange with the client's first message; returns the server's, to be sent.
    ///
    /// # Errors
    /// When it is no such message, or asks for what is not offered, or the client has failed too often.
    pub fn begin(&self, peer: Peer, client_first: &[u8]) -> Result<(Exchange, String), ScramError> {
        let begun = Exchange::begin(&self.accounts(), client_first)?;
        self.heard(peer, &begun.0)?;
        Ok(begun)
    }

    /// Takes the client's final message.
    ///
    /// # Errors
    /// When it proves nothing, or the client has failed too often meanwhile.
    pub fn finish(&self, peer: Peer, exchange: Exchange, client_final: &[u8]) -> Result<Proven, ScramError> {
        self.heard(peer, &exchange)?;
        let name: Box<str> = exchange.name().into();
        let proven = exchange.finish(client_final);
        match &proven {
            Ok(_) => self.attempts.succeeded(peer, &name, Instant::now()),
            Err(_) => self.failed(peer, &name),
        }
        proven
    }

    fn heard(&self, peer: Peer, exchange: &Exchange) -> Result<(), ScramError> {
        let is_banned = self.attempts.is_banned(peer, exchange.name(), Instant::now());
        if is_banned { Err(ScramError::Banned) } else { Ok(()) }
    }

    fn failed(&self, peer: Peer, name: &str) {
        if let Some(time) = self.attempts.failed(peer, name, Instant::now()) {
            tracing::warn!(%peer, seconds = time.as_secs(), "too many failed attempts: the next ones are not heard for a while");
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// The form in which attempts for a name are counted.
fn known_as(name: &str) -> Box<str> {
    prepare::name(name).as_deref().unwrap_or(name).into()
}
