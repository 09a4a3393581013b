//! Fetches an issuer's keys (RFC 7517 section 5) in a task of its own: when it starts, every so often, and when a token
//! names a key that is not known, but for that not more often than [`limits::TOKEN_KEYS_PAUSE`].
//!
//! Nobody is let in or kept waiting by a failure beyond the one attempt: keys that were fetched stay for a while, and
//! the next attempt comes soon.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::{self, Body};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use metrics::{counter, gauge};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Keys, Tokens};
use crate::limits;

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
pub struct KeyAddress {
    /// `https:` or `http:`.
    pub url: Url,
    /// Who vouches for the server; none for the CAs that browsers trust.
    pub roots: Option<RootCertStore>,
    /// How often they are fetched.
    pub interval: Duration,
}

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer within {} s", limits::TOKEN_KEYS_TIMEOUT.as_secs())]
    Time,
    #[error("the address has no host that can be asked")]
    Host,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer is too large, or was cut off")]
    Body,
    #[error("the answer is no JWK set with a key that is taken")]
    Keys,
}

impl Tokens {
    /// Keeps the keys up to date until `stop` fires.
    pub async fn follow(self: Arc<Self>, address: KeyAddress, stop: CancellationToken) {
        let mut failures = 0u32;
        let mut told = String::new();
        let mut good = None;
        while !stop.is_cancelled() {
            let fetching = timeout(limits::TOKEN_KEYS_TIMEOUT, fetch(&address));
            let Some(fetched) = stop.run_until_cancelled(fetching).await else { return };
            match fetched.unwrap_or(Err(FetchError::Time)) {
                Ok(keys) => {
                    if good.is_none() || !told.is_empty() {
                        tracing::info!(url = %address.url, keys = keys.len(), "fetched the keys of tokens");
                    }
                    counter!("synap_mqtt_token_key_fetches_total", "outcome" => "ok").increment(1);
                    gauge!("synap_mqtt_token_keys").set(keys.len() as f64);
                    self.replace(keys);
                    (failures, good) = (0, Some(Instant::now()));
                    told.clear();
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    counter!("synap_mqtt_token_key_fetches_total", "outcome" => "failed").increment(1);
                    let error = error.to_string();
                    if told != error {
                        tracing::warn!(url = %address.url, %error, "cannot fetch the keys of tokens; those there are stay for now");
                        told = error;
                    }
                    if good.is_some_and(|good: Instant| good.elapsed() > limits::TOKEN_KEYS_KEPT) {
                        tracing::warn!("the keys of tokens are too old to be trusted: no token is taken");
                        gauge!("synap_mqtt_token_keys").set(0.0);
                        self.replace(Keys::default());
                        good = None;
                    }
                }
            }
            *self.last_fetch.lock() = Some(Instant::now());
            self.fetched.send_modify(|count| *count += 1);
            let pause = match failures {
                0 => address.interval,
                1..6 => limits::TOKEN_KEYS_RETRY * 2u32.pow(failures - 1),
                _ => limits::TOKEN_KEYS_PAUSE,
            };
            let wait = async {
                // Whoever rang before this attempt has been served by it.
                let wanted = async {
                    sleep(limits::TOKEN_KEYS_PAUSE).await;
                    self.wanted.notified().await;
                };
                tokio::select! {
                    () = sleep(pause.min(address.interval)) => {}
                    () = wanted => {}
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }
}

async fn fetch(address: &KeyAddress) -> Result<Keys, FetchError> {
    let url = &address.url;
    let host = url.host_str().ok_or(FetchError::Host)?;
    let port = url.port_or_known_default().ok_or(FetchError::Host)?;
    // An IPv6 address has brackets in a URL, and none for the resolver.
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((name.as_str(), port)).await?;
    if url.scheme() == "http" {
        return ask(stream, url).await;
    }
    let provider = Arc::new(ring::default_provider());
    let roots = address.roots.clone().unwrap_or_else(|| webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).map_err(|_| FetchError::Host)?;
    ask(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, url).await
}

/// One request, one answer. A redirection is an answer that has no keys.
async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Url) -> Result<Keys, FetchError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Body::empty())
        .map_err(|_| FetchError::Host)?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let content = body::to_bytes(Body::new(answer.into_body()), limits::TOKEN_KEYS_BYTES).await;
        let content = content.map_err(|_| FetchError::Body)?;
        Keys::of_set(&content).filter(|keys| !keys.is_empty()).ok_or(FetchError::Keys)
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The answer may still lie in a buffer.
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}
