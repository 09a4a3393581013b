//! SIGHUP: reads the configuration again and puts in effect what can change while the bridge runs: the
//! log filter, certificates and keys, what new connections are allowed, and the access rules, also of those
//! there are; and the password file, whatever the configuration says. A wrong file changes nothing; what needs a
//! restart is named.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{admissions, profile, rules, tls_config};
use crate::{
    config::{AuthSettings, Settings},
    mqtt::{Broker, Terms},
    telemetry::log::Log,
};

/// Reads the settings again, or says what is wrong with them.
pub type Load = dyn Fn() -> Result<Settings, String> + Send + Sync;

/// What a SIGHUP needs.
pub struct Reload {
    /// Where settings come from.
    pub load: Box<Load>,
    /// The log.
    pub log: Log,
}

/// The task that waits for SIGHUP.
pub struct Reloader {
    reload: Reload,
    hangup: Signal,
    /// What is in effect.
    settings: Settings,
    broker: Arc<Broker>,
    /// By listener, in the order of the settings.
    listeners: Vec<Terms>,
    http: Terms,
    /// Where there are accounts.
    passwords: Option<admissions::Reader>,
}

impl Reloader {
    /// Waits from now on; before that, a SIGHUP would end the process.
    ///
    /// # Errors
    /// As the system says.
    pub fn new(
        reload: Reload,
        settings: Settings,
        broker: Arc<Broker>,
        listeners: Vec<Terms>,
        http: Terms,
        passwords: Option<admissions::Reader>,
    ) -> std::io::Result<Self> {
        Ok(Self { reload, hangup: signal(SignalKind::hangup())?, settings, broker, listeners, http, passwords })
    }

    /// Works until `stop` fires.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(())) = stop.run_until_cancelled(self.hangup.recv()).await {
            // Files are read: a moment of this task's thread, at an operator's request.
            match (self.reload.load)() {
                Ok(settings) => self.apply(settings),
                Err(problem) => {
                    tracing::error!(%problem, "the configuration was not read again: everything stays as it was");
                }
            }
            if let Some(passwords) = &self.passwords {
                passwords.read().await;
            }
        }
    }

    fn apply(&mut self, new: Settings) {
        let mut effective = self.settings.clone();
        if let Err(error) = self.reload.log.set_filter(new.log.filter.as_str()) {
            tracing::error!(%error, "the log filter stays as it was");
        } else {
            effective.log.filter = new.log.filter.clone();
        }
        effective.limits.maximum_packet_size = new.limits.maximum_packet_size;
        let allowed = &new.mqtt;
        effective.mqtt.keep_alive = allowed.keep_alive;
        effective.mqtt.maximum_qos = allowed.maximum_qos;
        effective.mqtt.retain_available = allowed.retain_available;
        effective.mqtt.response_information.clone_from(&allowed.response_information);
        effective.mqtt.check_payload_format = allowed.check_payload_format;
        effective.mqtt.receive_maximum = allowed.receive_maximum;
        effective.mqtt.topic_alias_maximum = allowed.topic_alias_maximum;
        effective.mqtt.maximum_queued_messages = allowed.maximum_queued_messages;
        effective.mqtt.maximum_queued_bytes = allowed.maximum_queued_bytes;
        effective.mqtt.maximum_queued_best_effort = allowed.maximum_queued_best_effort;
        match rules::read(&new.auth) {
            Ok(rules) => {
                self.broker.set_rules(rules);
                let AuthSettings { password_file, failed_attempts, ban, .. } = effective.auth;
                effective.auth = AuthSettings { password_file, failed_attempts, ban, ..new.auth.clone() };
            }
            Err(error) => tracing::error!(%error, "the access rules stay as they were"),
        }
        if new.listeners.len() == effective.listeners.len() {
            for (known, new) in effective.listeners.iter_mut().zip(&new.listeners) {
                known.mqtt = new.mqtt.clone();
                if known.tls.is_some() == new.tls.is_some() {
                    known.tls.clone_from(&new.tls);
                }
            }
        }
        self.put_in_effect(&effective);
        let waiting = effective.differences(&new);
        if !waiting.is_empty() {
            tracing::warn!(changed = waiting.join(", "), "what has changed here takes a restart to be in effect");
        }
        self.settings = effective;
        tracing::info!("read the configuration again");
    }

    fn put_in_effect(&self, settings: &Settings) {
        self.http.replace(profile(settings.limits.maximum_packet_size, &settings.mqtt), None);
        for (listener, terms) in settings.listeners.iter().zip(&self.listeners) {
            let (maximum_packet_size, mqtt) = listener.mqtt.or(&settings.limits, &settings.mqtt);
            match listener.tls.as_ref().map(|tls| tls_config(settings, tls)).transpose() {
                Ok(tls) => terms.replace(profile(maximum_packet_size, &mqtt), tls),
                Err(error) => {
                    tracing::error!(listener = %listener.bind, error = format!("{error:#}"), "the listener stays as it was");
                }
            }
        }
    }
}
