//! Tokens: a JSON Web Token (RFC 7519) in the place of a password, signed by an issuer that is trusted.
//!
//! [`Tokens`] has the issuer's keys, from a file or from its JWKS address ([`fetch`]), and says what a token is good
//! for. What it costs to check one is bounded by whoever calls: [`Authenticator`](super::Authenticator) does it in turns, off
//! the threads of the network.
//!
//! Invariants: the key says which algorithms it is for, the token only chooses among them, so that neither `none` nor a
//! hash keyed with a public key is ever one; a claim is read only once the signature is right; without keys nobody comes in.
//!
//! Failure: an issuer that does not answer leaves the keys as they are for [`limits::TOKEN_KEYS_KEPT`], and none after that.

mod claims;
mod fetch;
mod key;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

pub(super) use claims::scopes;
pub use claims::{Rights, TokenPolicy};
pub use fetch::KeyAddress;
pub use key::{KeyFileError, Keys, read_keys};

use super::User;
use crate::limits;

/// Why a token lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JWS in compact form, or no JSON where it must be, or an extension that must be understood.
    #[error("the token is not a signed JSON Web Token")]
    Form,
    /// `none`, a keyed hash, or one that the key is not for.
    #[error("the token's algorithm is not taken")]
    Algorithm,
    /// The issuer has no such key.
    #[error("the token's key is not known")]
    UnknownKey,
    /// It was not signed with that key.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` is over, or missing.
    #[error("the token has expired, or does not say when it does")]
    Expired,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    Early,
    /// Another `iss`.
    #[error("the token is from another issuer")]
    Issuer,
    /// Another `aud`, or none.
    #[error("the token is for another audience")]
    Audience,
    /// No name where it should be.
    #[error("the token has no user name")]
    Nameless,
    /// What should say what the client may do does not.
    #[error("the token's access rules are not topic filters")]
    Rights,
    /// Too many failures before; nothing was looked at.
    #[error("too many failed attempts")]
    Banned,
}

/// What a token is good for.
#[derive(Clone, Debug)]
pub struct Token {
    /// Who its client is.
    pub user: User,
    /// Until when, in seconds since 1970.
    pub expires: i64,
    /// What its client may do beside what the rules say, where it says so.
    pub rights: Option<Rights>,
    /// The names of its scopes, where it has some.
    pub scopes: Option<Vec<Box<str>>>,
}

/// The issuer's keys, and what is asked of its tokens.
#[derive(Debug)]
pub struct Tokens {
    policy: TokenPolicy,
    keys: RwLock<Arc<Keys>>,
    /// Rung by whoever misses a key.
    wanted: Notify,
    /// Counts attempts to fetch the keys.
    fetched: watch::Sender<u64>,
    last_fetch: Mutex<Option<Instant>>,
}

impl Tokens {
    /// Takes tokens that are signed with these keys.
    #[must_use]
    pub fn new(policy: TokenPolicy, keys: Keys) -> Self {
        Self {
            policy,
            keys: RwLock::new(Arc::new(keys)),
            wanted: Notify::new(),
            fetched: watch::Sender::new(0),
            last_fetch: Mutex::new(None),
        }
    }

    /// Takes tokens that are signed with these from now on. Clients that are in stay until their token expires.
    pub fn replace(&self, keys: Keys) {
        *self.keys.write() = Arc::new(keys);
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }

    /// What a token is good for at a time, in seconds since 1970. Takes as long as a signature.
    ///
    /// # Errors
    /// When it is good for nothing.
    pub fn check(&self, token: &[u8], now: i64) -> Result<Token, TokenError> {
        let token = claims::Signed::parse(token)?;
        self.keys().verify(&token)?;
        self.policy.read(token.claims()?, now)
    }

    /// Whether the issuer's keys lack the one of this token.
    pub(in crate::auth) fn misses_key(&self, token: &[u8]) -> bool {
        claims::Signed::parse(token).is_ok_and(|token| self.keys().lack(&token))
    }

    /// Whether there are no keys at all.
    pub(in crate::auth) fn is_keyless(&self) -> bool {
        self.keys().is_empty()
    }

    /// Has the keys fetched, unless they have been just now, and waits for that. Who comes meanwhile waits for the same.
    pub(in crate::auth) async fn refetch(&self) {
        let mut fetched = self.fetched.subscribe();
        if self.last_fetch.lock().is_some_and(|last| last.elapsed() < limits::TOKEN_KEYS_PAUSE) {
            return;
        }
        self.wanted.notify_one();
        // Whoever does not come in time has no key for this token.
        drop(tokio::time::timeout(limits::TOKEN_KEYS_TIMEOUT + Duration::from_secs(1), fetched.changed()).await);
    }
}

/// Whether a password has the form of a token.
#[must_use]
pub fn is_token(password: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // What begins a JSON object, in base64.
    password.starts_with(b"eyJ") && password.split(|byte| *byte == b'.').count() == 3 && password.iter().all(is_plain)
}
