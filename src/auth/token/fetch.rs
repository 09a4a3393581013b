//! Fetches an issuer's keys (RFC 7517 section 5) in a task of its own: when it starts, every so often, and when a token
//! names a key that is not known, but for that not more often than [`limits::TOKEN_KEYS_PAUSE`].
//!
//! Nobody is let in or kept waiting by a failure beyond the one attempt: keys that were fetched stay for a while, and
//! the next attempt comes soon.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use metrics::{counter, gauge};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Keys, Tokens};
use crate::{
    auth::service::{AskError, Question, Service},
    limits,
};

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
pub struct KeyAddress {
    /// Who has them.
    pub service: Service,
    /// How often they are fetched.
    pub interval: Duration,
    /// Whose tokens they are for, as metrics name it.
    pub clients: &'static str,
}

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer within {} s", limits::TOKEN_KEYS_TIMEOUT.as_secs())]
    Time,
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the answer is {0}")]
    Status(StatusCode),
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
                        tracing::info!(url = %address.service.url, keys = keys.len(), "fetched the keys of tokens");
                    }
                    counter!("synap_mqtt_token_key_fetches_total", "clients" => address.clients, "outcome" => "ok")
                        .increment(1);
                    gauge!("synap_mqtt_token_keys", "clients" => address.clients).set(keys.len() as f64);
                    self.replace(keys);
                    (failures, good) = (0, Some(Instant::now()));
                    told.clear();
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    counter!("synap_mqtt_token_key_fetches_total", "clients" => address.clients, "outcome" => "failed")
                        .increment(1);
                    let error = error.to_string();
                    if told != error {
                        tracing::warn!(url = %address.service.url, %error, "cannot fetch the keys of tokens; those there are stay for now");
                        told = error;
                    }
                    if good.is_some_and(|good: Instant| good.elapsed() > limits::TOKEN_KEYS_KEPT) {
                        tracing::warn!("the keys of tokens are too old to be trusted: no token is taken");
                        gauge!("synap_mqtt_token_keys", "clients" => address.clients).set(0.0);
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
    let question = Question { accept: "application/jwk-set+json, application/json", ..Question::default() };
    let (status, content) = address.service.ask(question).await?;
    if status != StatusCode::OK {
        return Err(FetchError::Status(status));
    }
    Keys::of_set(&content).filter(|keys| !keys.is_empty()).ok_or(FetchError::Keys)
}
