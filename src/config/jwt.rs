//! `[auth.jwt]`: tokens in the place of passwords.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    address, non_empty,
    units::{duration, write_duration},
};
use crate::limits;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// Whose tokens are taken, and what must be in them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct JwtSettings {
    /// The issuer's public keys: PEM, or a JWK set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Where the issuer has its JWK set; one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM file with the CAs that sign the certificate of that address; without it, those that browsers trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_ca: Option<PathBuf>,
    /// How often the set is fetched.
    #[serde(deserialize_with = "duration::<_, SECOND, DAY>", serialize_with = "write_duration")]
    pub jwks_interval: Duration,
    /// What `iss` must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` must be or have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The claim that is the user name.
    #[serde(deserialize_with = "non_empty")]
    pub user_claim: String,
    /// The claim with topic filters that the client may publish and subscribe to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl_claim: Option<String>,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            key_file: None,
            jwks_url: None,
            jwks_ca: None,
            jwks_interval: limits::TOKEN_KEYS_INTERVAL,
            issuer: None,
            audience: None,
            user_claim: "sub".to_owned(),
            acl_claim: None,
        }
    }
}

impl JwtSettings {
    /// The address, where there is one that can be asked.
    #[must_use]
    pub fn address(&self) -> Option<url::Url> {
        address::parse(self.jwks_url.as_ref()?)
    }

    /// What is wrong between keys, each with the key to change.
    pub(super) fn check(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let both = "either `key_file` or `jwks_url` must be given, for the issuer's keys, and not both";
        let is_address = self.jwks_url.is_none() || self.address().is_some();
        [
            (self.key_file.is_some() == self.jwks_url.is_some()).then_some(("key_file", both)),
            (!is_address)
                .then_some(("jwks_url", "expected an address such as \"https://issuer.example.org/jwks.json\"")),
            (self.jwks_ca.is_some() && self.jwks_url.is_none()).then_some(("jwks_ca", "is for `jwks_url`")),
        ]
        .into_iter()
        .flatten()
    }

    /// What is valid but deserves a second look.
    pub(super) fn warning(&self) -> Option<String> {
        let url = self.address().filter(address::is_exposed)?;
        Some(format!("`auth.jwt.jwks_url` {url} is without TLS: whoever is on the way to it can be any client"))
    }
}
