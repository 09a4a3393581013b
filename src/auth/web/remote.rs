//! What services of others say of what clients show: sessions of Ory Kratos ([`Whoami`]), and tokens that only their
//! issuer can read ([`Introspection`], RFC 7662).
//!
//! An answer is remembered for a while, by the hash of what was asked about, so that a page's requests cost one question.
//! Whoever asks about the same meanwhile waits for the same answer. Services are asked a bounded number of questions at a
//! time, each within [`limits::IDENTITY_TIMEOUT`].
//!
//! Failure: a service that does not answer, or answers what nobody understands, says nothing: nobody is let in by it, and
//! nobody who is in is sent away.

use std::{sync::Arc, time::Instant};

use axum::body::Bytes;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use hyper::{
    Method, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::timeout};
use url::form_urlencoded;

use super::{
    caller::{Proof, now},
    identities::Refused,
    keys::{Hash, hash},
};
use crate::{
    auth::{
        service::{Question, Service},
        token::scopes,
    },
    limits,
    types::Micros,
};

/// Whom a service knows by what a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub id: Arc<str>,
    pub expires: Option<Micros>,
    /// Where it limits them.
    pub scopes: Option<Vec<Box<str>>>,
}

/// What it says: an identity, or why there is none.
type Verdict = Result<Identity, Refused>;

/// How a service is asked.
#[derive(Debug)]
pub enum Kind {
    /// `GET /sessions/whoami` of Ory Kratos.
    Whoami,
    /// A token's issuer, asked with this `Authorization`, where it wants one.
    Introspection {
        /// Who asks.
        authorization: Option<HeaderValue>,
        /// What `aud` must be or have, where the answer is to be for somebody.
        audience: Option<String>,
        /// What `iss` must be, where that is asked.
        issuer: Option<String>,
    },
}

/// The header that asks an introspection endpoint in the name of this client (RFC 6749 section 2.3.1).
#[must_use]
pub fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = BASE64.encode(format!("{}:{}", encoded(client_id), encoded(secret)));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A cookie of this name.
    Cookie(HeaderValue),
    /// A session's token.
    SessionToken(HeaderValue),
    /// A token.
    Token(String),
}

/// A service with its remembered answers.
#[derive(Debug)]
pub struct Remote {
    service: Service,
    kind: Kind,
    slots: Mutex<HashMap<Hash, Arc<Slot>>>,
    turns: Semaphore,
}

/// The answer to one question; locked while it is asked.
type Slot = tokio::sync::Mutex<Option<(Instant, Verdict)>>;

impl Remote {
    /// A service of this kind.
    #[must_use]
    pub fn new(service: Service, kind: Kind) -> Self {
        let turns = Semaphore::new(limits::IDENTITY_QUESTIONS);
        Self { service, kind, slots: Mutex::default(), turns }
    }

    /// What the service says, now or a moment ago.
    pub(super) async fn identity(&self, shown: &Shown) -> Verdict {
        let slot = self.slot(shown);
        let asking = async {
            let mut known = slot.lock().await;
            if let Some((asked, verdict)) = &*known
                && asked.elapsed() < life(verdict)
            {
                return verdict.clone();
            }
            let _turn = self.turns.acquire().await.map_err(|_| Refused::Unavailable)?;
            let verdict = self.ask(shown).await;
            if verdict != Err(Refused::Unavailable) {
                *known = Some((Instant::now(), verdict.clone()));
            }
            verdict
        };
        let verdict = timeout(limits::IDENTITY_TIMEOUT, asking).await.unwrap_or(Err(Refused::Unavailable))?;
        if verdict.expires.is_some_and(|expires| expires <= now()) { Err(Refused::Expired) } else { Ok(verdict) }
    }

    fn slot(&self, shown: &Shown) -> Arc<Slot> {
        let key = hash(&match shown {
            Shown::Cookie(value) => format!("cookie {}", String::from_utf8_lossy(value.as_bytes())),
            Shown::SessionToken(value) => format!("session {}", String::from_utf8_lossy(value.as_bytes())),
            Shown::Token(token) => format!("token {token}"),
        });
        let mut slots = self.slots.lock();
        if slots.len() >= limits::IDENTITIES && !slots.contains_key(&key) {
            slots.retain(|_, slot| slot.try_lock().is_ok_and(|known| is_fresh(known.as_ref())));
            if slots.len() >= limits::IDENTITIES {
                // All are asked again: that costs questions, and lets nobody in.
                slots.clear();
            }
        }
        Arc::clone(slots.entry(key).or_default())
    }

    async fn ask(&self, shown: &Shown) -> Verdict {
        let asked = match &self.kind {
            Kind::Whoami => self.service.ask(whoami(shown)).await,
            Kind::Introspection { authorization, .. } => {
                self.service.ask(introspection(shown, authorization.clone())).await
            }
        };
        let (status, content) = asked.map_err(|error| {
            tracing::warn!(url = %self.service.url, %error, "cannot ask who a web client is");
            Refused::Unavailable
        })?;
        let verdict = match (&self.kind, status) {
            (Kind::Whoami, StatusCode::OK) => session(&content),
            (Kind::Whoami, StatusCode::UNAUTHORIZED) => Some(Err(Refused::Session)),
            (Kind::Whoami, StatusCode::FORBIDDEN) => Some(Err(Refused::SecondFactor)),
            (Kind::Introspection { audience, issuer, .. }, StatusCode::OK) => {
                introspected(&content, audience.as_deref(), issuer.as_deref())
            }
            _ => None,
        };
        verdict.unwrap_or_else(|| {
            tracing::warn!(url = %self.service.url, %status, "the answer of who a web client is cannot be understood");
            Err(Refused::Unavailable)
        })
    }
}

fn life(verdict: &Verdict) -> std::time::Duration {
    if verdict.is_ok() { limits::IDENTITY_CACHE } else { limits::IDENTITY_REFUSAL_CACHE }
}

fn is_fresh(known: Option<&(Instant, Verdict)>) -> bool {
    known.is_some_and(|(asked, verdict)| asked.elapsed() < life(verdict))
}

fn whoami(shown: &Shown) -> Question {
    let header = match shown {
        Shown::Cookie(value) => (header::COOKIE, value.clone()),
        Shown::SessionToken(value) => (HeaderName::from_static("x-session-token"), value.clone()),
        // Never asked of it.
        Shown::Token(_) => (header::PRAGMA, HeaderValue::from_static("no-cache")),
    };
    Question { accept: "application/json", headers: vec![header], ..Question::default() }
}

fn introspection(shown: &Shown, authorization: Option<HeaderValue>) -> Question {
    let token = match shown {
        Shown::Token(token) => token.as_str(),
        Shown::Cookie(_) | Shown::SessionToken(_) => "",
    };
    let pairs = [("token", token), ("token_type_hint", "access_token")];
    let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let headers = [kind].into_iter().chain(authorization.map(|value| (header::AUTHORIZATION, value))).collect();
    Question { method: Method::POST, accept: "application/json", headers, body: Bytes::from(body) }
}

/// The session of Kratos' answer.
fn session(content: &[u8]) -> Option<Verdict> {
    #[derive(Deserialize)]
    struct Session {
        active: Option<bool>,
        expires_at: Option<Micros>,
        identity: Option<Owner>,
    }
    #[derive(Deserialize)]
    struct Owner {
        id: String,
    }
    let Session { active, expires_at, identity } = serde_json::from_slice(content).ok()?;
    if active != Some(true) {
        return Some(Err(Refused::Session));
    }
    let id = identity?.id;
    (!id.is_empty()).then(|| Ok(Identity { id: id.into(), expires: expires_at, scopes: None }))
}

/// What an introspection endpoint says (RFC 7662 section 2.2). `token_use` is Hydra's: a refresh token is none.
fn introspected(content: &[u8], audience: Option<&str>, issuer: Option<&str>) -> Option<Verdict> {
    let claims: Map<String, Value> = serde_json::from_slice(content).ok()?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if !claims.get("active")?.as_bool()? {
        return Some(Err(Refused::Token));
    }
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let is_early = seconds("nbf").is_some_and(|begins| begins > now().get() / 1_000_000 + limits::TOKEN_LEEWAY);
    let is_other = text("token_use").is_some_and(|usage| usage != "access_token");
    let is_for = |wanted: &str| match claims.get("aud") {
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
        Some(one) => one.as_str() == Some(wanted),
        None => false,
    };
    let is_foreign = audience.is_some_and(|wanted| !is_for(wanted))
        || issuer.is_some_and(|wanted| text("iss").is_none_or(|issuer| issuer != wanted));
    if is_early || is_other || is_foreign {
        return Some(Err(Refused::Token));
    }
    // A token of a program that acts for nobody may have no subject.
    let Some(id) = text("sub").or_else(|| text("client_id")) else { return Some(Err(Refused::Token)) };
    let expires = seconds("exp").map(|seconds| Micros::saturating(seconds.saturating_mul(1_000_000)));
    Some(Ok(Identity { id: id.into(), expires, scopes: scopes(&claims) }))
}

/// What a client shows, to be asked about again.
#[derive(Debug)]
pub(super) struct Remembered {
    pub remote: Arc<Remote>,
    pub shown: Shown,
    pub id: Arc<str>,
}

impl Proof for Remembered {
    fn is_good(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            match self.remote.identity(&self.shown).await {
                Ok(identity) => identity.id == self.id,
                // It lives on until it expires.
                Err(Refused::Unavailable) => true,
                Err(_) => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<Verdict> {
        introspected(json.as_bytes(), Some("pod"), Some("https://issuer"))
    }

    #[test]
    fn only_active_access_tokens_for_this_pod_count() {
        let good =
            r#"{"active":true,"sub":"a","aud":["pod"],"iss":"https://issuer","exp":9e9,"scope":"x stream:read"}"#;
        let identity = of(good).unwrap().unwrap();
        assert_eq!((&*identity.id, identity.expires.map(Micros::get)), ("a", Some(9_000_000_000_000_000)));
        assert_eq!(identity.scopes.unwrap(), ["x".into(), "stream:read".into()]);
        for (from, to) in [
            ("true", "false"),
            ("\"sub\":\"a\"", "\"sub\":\"\""),
            ("pod", "other"),
            ("https://issuer", "https://other"),
            ("{", "{\"token_use\":\"refresh_token\","),
            ("{", "{\"nbf\":8e9,"),
        ] {
            assert_eq!(of(&good.replacen(from, to, 1)), Some(Err(Refused::Token)), "{to}");
        }
        for nonsense in ["", "[]", "{}", "{\"active\":\"true\"}"] {
            assert_eq!(of(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_active_sessions_count() {
        let good = r#"{"id":"s","active":true,"expires_at":"2026-01-31T12:00:00.5Z","identity":{"id":"a"},"new":1}"#;
        assert_eq!(&*session(good.as_bytes()).unwrap().unwrap().id, "a");
        assert_eq!(session(good.replace("true", "false").as_bytes()), Some(Err(Refused::Session)));
        assert_eq!(session(br#"{"identity":{"id":"a"}}"#), Some(Err(Refused::Session)));
        for nonsense in ["", "{\"active\":true}", "{\"active\":true,\"identity\":{\"id\":\"\"}}"] {
            assert_eq!(session(nonsense.as_bytes()), None, "{nonsense}");
        }
    }

    #[test]
    fn a_client_is_named_as_oauth_says() {
        assert_eq!(basic("a:b", "c d").unwrap(), "Basic YSUzQWI6Yytk");
    }
}
