//! The tokens that are taken in the place of passwords, as the settings say.

use std::sync::Arc;

use anyhow::Context;

use crate::{
    auth::{KeyAddress, Keys, Service, TokenPolicy, Tokens, read_keys},
    certs::read_roots,
    config::JwtSettings,
};

/// Reads the keys, where they are in a file; none are taken before they are there.
pub fn read(settings: &JwtSettings) -> anyhow::Result<Arc<Tokens>> {
    let JwtSettings { key_file, issuer, audience, user_claim, acl_claim, .. } = settings.clone();
    let keys = key_file.as_deref().map(read_keys).transpose()?.unwrap_or_else(Keys::default);
    Ok(Arc::new(Tokens::new(TokenPolicy { issuer, audience, user_claim, acl_claim }, keys)))
}

/// Where the keys are fetched, where they are; `clients` says in metrics whose tokens they are for.
pub fn address(settings: &JwtSettings, clients: &'static str) -> anyhow::Result<Option<KeyAddress>> {
    let Some(url) = settings.address() else { return Ok(None) };
    let roots =
        settings.jwks_ca.as_deref().map(read_roots).transpose().context("read the CAs of the issuer of tokens")?;
    Ok(Some(KeyAddress { service: Service { url, roots }, interval: settings.jwks_interval, clients }))
}
