//! `[http.auth]`: who web clients can be, and what they may do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{address, jwt::JwtSettings, non_empty, units::number};
use crate::{limits, types::Grant};

/// Ways to say who one is. Without any, everybody is anybody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct WebAuthSettings {
    /// The keys that `synap-mqtt apikey` makes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub api_keys: bool,
    /// Requests that each caller may send in a second; 0 for any number.
    #[serde(deserialize_with = "number::<_, _, 0, 1_000_000>")]
    pub requests_per_second: u32,
    /// Tokens that an issuer signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSettings>,
    /// Tokens that their issuer is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionSettings>,
    /// Sessions of Ory Kratos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kratos: Option<KratosSettings>,
    /// What identities may do besides the pod's owner, who may do everything.
    #[serde(rename = "grant", skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantSettings>,
}

/// An endpoint of OAuth 2.0 Token Introspection (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct IntrospectionSettings {
    /// Where it is.
    pub url: String,
    /// PEM file with the CAs of that address; without it, those that browsers trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// As whom it is asked, where it wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// File with that client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// What `iss` must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` must be or have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// Ory Kratos.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct KratosSettings {
    /// Its public API.
    pub url: String,
    /// PEM file with the CAs of that address; without it, those that browsers trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The cookie that has the session.
    #[serde(default = "cookie", deserialize_with = "non_empty")]
    pub cookie: String,
    /// Where people sign in: the page leads there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
}

/// What some identities may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct GrantSettings {
    /// Their ids: `sub` of tokens, `identity.id` of sessions.
    pub users: Vec<String>,
    /// Scopes, each alone or for the topics of one filter: `publish=devices/+/command`.
    pub allow: Vec<Grant>,
}

fn cookie() -> String {
    "ory_kratos_session".to_owned()
}

impl Default for WebAuthSettings {
    fn default() -> Self {
        Self {
            api_keys: false,
            requests_per_second: limits::CALLER_RATE,
            jwt: None,
            introspection: None,
            kratos: None,
            grants: Vec::new(),
        }
    }
}

impl IntrospectionSettings {
    /// The address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<Url> {
        address::parse(&self.url)
    }
}

impl KratosSettings {
    /// Where sessions are asked about, where there is such an address.
    #[must_use]
    pub fn address(&self) -> Option<Url> {
        let mut url = address::parse(&self.url)?;
        let path = format!("{}/sessions/whoami", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Some(url)
    }
}

impl WebAuthSettings {
    /// Whether there is a way to say who one is.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.api_keys || self.jwt.is_some() || self.introspection.is_some() || self.kratos.is_some()
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong between keys, each with the keys that lead to it below `http.auth`.
    pub(super) fn check(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut problems = Vec::new();
        let mut wrong = |path: &[&'static str], problem: &str| problems.push((path.to_vec(), problem.to_owned()));
        if let Some(jwt) = &self.jwt {
            for (key, problem) in jwt.check() {
                wrong(&["jwt", key], problem);
            }
            if jwt.acl_claim.is_some() {
                wrong(&["jwt", "acl_claim"], "is for devices: web clients have the scopes of `http.auth.grant`");
            }
        }
        if let Some(introspection) = &self.introspection {
            if introspection.address().is_none() {
                wrong(&["introspection", "url"], address::EXPECTED);
            }
            if introspection.client_id.is_some() != introspection.client_secret_file.is_some() {
                wrong(&["introspection", "client_id"], "needs `client_secret_file` beside it, and that needs this");
            }
        }
        if let Some(kratos) = &self.kratos {
            if kratos.address().is_none() {
                wrong(&["kratos", "url"], address::EXPECTED);
            }
            if kratos.login_url.as_deref().is_some_and(|url| address::parse(url).is_none()) {
                wrong(&["kratos", "login_url"], address::EXPECTED);
            }
        }
        if !self.grants.is_empty() && self.jwt.is_none() && self.introspection.is_none() && self.kratos.is_none() {
            wrong(
                &["grant"],
                "is for identities, which nothing here makes known: set `jwt`, `introspection` or `kratos`",
            );
        }
        for grant in &self.grants {
            if grant.users.is_empty() || grant.allow.is_empty() {
                wrong(&["grant"], "each needs `users`, and what they may do in `allow`");
            }
        }
        problems
    }

    /// What is valid but deserves a second look.
    pub(super) fn warnings(&self) -> Vec<String> {
        let jwt = self.jwt.as_ref().and_then(|jwt| Some(("jwt.jwks_url", jwt.address()?)));
        let introspection = self.introspection.as_ref().and_then(|it| Some(("introspection.url", it.address()?)));
        let kratos = self.kratos.as_ref().and_then(|it| Some(("kratos.url", it.address()?)));
        let exposed = [jwt, introspection, kratos].into_iter().flatten().filter(|(_, url)| address::is_exposed(url));
        exposed
            .map(|(key, url)| {
                format!("`http.auth.{key}` {url} is without TLS: whoever is on the way to it can be anybody")
            })
            .collect()
    }
}
