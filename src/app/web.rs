//! Who web clients can be, as the settings say, and the files of keys, which are read again when they change.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{tokens, watch::Watch};
use crate::{
    auth::{
        Service, Tokens, read_keys,
        web::{ApiKeyError, ApiKeyFile, ApiKeys, Identities, IdentityGrants, Kind, Remote, basic},
    },
    certs::read_roots,
    config::{IntrospectionSettings, JwtSettings, PodSettings, Settings, WebAuthSettings},
    http::SignIn,
    types::{Grants, Scope},
};

/// Who callers are, and what keeps that up to date.
pub struct Web {
    /// For the HTTP server.
    pub identities: Identities,
    keys: Option<(Arc<ApiKeys>, PathBuf)>,
    tokens: Option<(Arc<Tokens>, JwtSettings)>,
}

impl Web {
    /// Reads keys and secrets. Those who show nothing may publish only where no account is asked of them:
    /// `asks_accounts`.
    pub fn read(settings: &Settings, asks_accounts: bool) -> anyhow::Result<Self> {
        let auth = &settings.http.auth;
        let others = auth.grants.iter().map(|grant| (grant.users.clone(), grant.allow.iter().collect())).collect();
        let mut identities = Identities::new(IdentityGrants { owner: owner(settings), others });
        if settings.http.is_open() {
            let speaks = |scope| matches!(scope, Scope::Publish | Scope::Commands);
            identities =
                identities.with_anyone(Grants::everything().filtered(|scope| !(asks_accounts && speaks(scope))));
        }
        let mut keys = None;
        if let Some((_, file)) = settings.api_key_file() {
            let known = Arc::new(ApiKeys::default());
            known.replace(ApiKeyFile::read(&file)?);
            identities = identities.with_keys(Arc::clone(&known));
            keys = Some((known, file));
        }
        let mut tokens = None;
        if let Some(jwt) = &auth.jwt {
            let known = tokens::read(jwt)?;
            identities = identities.with_tokens(Arc::clone(&known));
            tokens = Some((known, jwt.clone()));
        }
        if let Some(remote) = auth.introspection.as_ref().map(introspection).transpose()?.flatten() {
            identities = identities.with_introspection(remote);
        }
        if let Some(kratos) = &auth.kratos
            && let Some(url) = kratos.address()
        {
            let remote = Remote::new(service(url, kratos.ca.as_deref())?, Kind::Whoami);
            identities = identities.with_sessions(Arc::new(remote), kratos.cookie.clone());
        }
        Ok(Self { identities, keys, tokens })
    }

    /// What keeps keys up to date until `stop` fires.
    pub fn follow(&self, stop: &CancellationToken) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
        let address = self.tokens.as_ref().map(|(_, jwt)| tokens::address(jwt, "http")).transpose()?.flatten();
        let (keys, tokens, stop) = (self.keys.clone(), self.tokens.clone(), stop.clone());
        Ok(async move {
            let keys = async {
                if let Some((keys, file)) = keys {
                    follow_keys(&keys, file).await;
                }
            };
            let tokens = async {
                match (tokens, address) {
                    (Some((tokens, _)), Some(address)) => tokens.follow(address, CancellationToken::new()).await,
                    (Some((tokens, jwt)), None) => follow_token_keys(&tokens, &jwt).await,
                    (None, _) => {}
                }
            };
            let both = async { tokio::join!(keys, tokens) };
            let _ended = stop.run_until_cancelled(both).await;
            // A part of the bridge that has nothing to do has not ended.
            stop.cancelled().await;
        })
    }
}

/// The pod's owner, if the settings say who that is: an identity that happens to have the name of the default is nobody.
fn owner(settings: &Settings) -> Option<String> {
    let id = &settings.pod.user_id;
    (*id != PodSettings::default().user_id).then(|| id.clone())
}

/// What the page tells those whom nobody knows.
pub fn sign_in(settings: &WebAuthSettings) -> SignIn {
    SignIn {
        api_keys: settings.api_keys,
        tokens: settings.jwt.is_some() || settings.introspection.is_some(),
        login_url: settings.kratos.as_ref().and_then(|kratos| kratos.login_url.clone()),
    }
}

fn introspection(settings: &IntrospectionSettings) -> anyhow::Result<Option<Arc<Remote>>> {
    let Some(url) = settings.address() else { return Ok(None) };
    let authorization = match (&settings.client_id, &settings.client_secret_file) {
        (Some(id), Some(file)) => {
            let secret = fs::read_to_string(file).with_context(|| format!("read the secret in {}", file.display()))?;
            let header = basic(id, secret.trim_end_matches(['\r', '\n']));
            Some(header.with_context(|| format!("the secret in {} is none", file.display()))?)
        }
        _ => None,
    };
    let (issuer, audience) = (settings.issuer.clone(), settings.audience.clone());
    let kind = Kind::Introspection { authorization, audience, issuer };
    Ok(Some(Arc::new(Remote::new(service(url, settings.ca.as_deref())?, kind))))
}

fn service(url: Url, ca: Option<&Path>) -> anyhow::Result<Service> {
    let roots = ca.map(read_roots).transpose().with_context(|| format!("read the CAs of {url}"))?;
    Ok(Service { url, roots })
}

async fn follow_token_keys(tokens: &Tokens, jwt: &JwtSettings) {
    let Some(file) = &jwt.key_file else { return };
    let mut watch = Watch::new(vec![file.clone()]);
    loop {
        watch.changed().await;
        match read_keys(file) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "read the keys of web clients' tokens again");
                tokens.replace(keys);
            }
            Err(error) => tracing::error!(%error, "the keys of web clients' tokens are as before"),
        }
    }
}

async fn follow_keys(keys: &ApiKeys, file: PathBuf) {
    let mut watch = Watch::new(vec![file.clone()]);
    loop {
        watch.changed().await;
        let file = file.clone();
        match tokio::task::spawn_blocking(move || ApiKeyFile::read(&file)).await {
            Ok(read) => take(keys, read),
            Err(error) => tracing::error!(%error, "the API keys were not read again"),
        }
    }
}

fn take(keys: &ApiKeys, read: Result<ApiKeyFile, ApiKeyError>) {
    match read {
        Ok(file) => {
            tracing::info!(keys = file.keys().len(), "read the API keys again");
            keys.replace(file);
        }
        Err(error) => tracing::error!(%error, "the API keys are as before"),
    }
}
