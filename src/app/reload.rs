//! SIGHUP: reads the configuration again and puts in effect what can change while the bridge runs: the
//! log filter, certificates and keys, what new connections are allowed, and the access rules, also of those
//! there are; and the files of accounts, whatever the configuration says. A wrong configuration changes nothing; what
//! needs a restart is named.
//!
//! Certificates, keys, CAs, revocation lists, accounts and the file of access rules are read again by themselves too,
//! when they have changed, and once a day certificates are looked at for their end. Whoever is connected with a
//! certificate that is revoked now is disconnected.

use std::sync::Arc;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{admissions, profile, rules, tls, watch::Watch};
use crate::{
    config::{AuthSettings, Settings},
    limits,
    mqtt::{Broker, Terms},
    provisioning::Registry,
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
    /// Certificates and what belongs to them.
    certificates: Watch,
    /// The files of access rules.
    rules: Watch,
    /// Where devices are written down, if these come in.
    devices: Option<Registry>,
    accounts: admissions::Reader,
    /// Their files.
    account_files: Watch,
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
        accounts: admissions::Reader,
    ) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let certificates = Watch::new(tls::files(&settings));
        let devices = settings.devices_dir().map(Registry::new);
        let rules = Watch::new(rules::files(&settings.auth, devices.as_ref()));
        let account_files = Watch::new(accounts.files());
        Ok(Self {
            reload,
            hangup,
            settings,
            broker,
            listeners,
            http,
            certificates,
            rules,
            devices,
            accounts,
            account_files,
        })
    }

    /// Works until `stop` fires.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut daily = interval_at(Instant::now() + limits::CERTIFICATE_INTERVAL, limits::CERTIFICATE_INTERVAL);
        // Files are read: a moment of this task's thread, at an operator's request.
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                hangup = self.hangup.recv() => {
                    if hangup.is_none() {
                        return;
                    }
                    match (self.reload.load)() {
                        Ok(settings) => self.apply(settings),
                        Err(problem) => {
                            tracing::error!(%problem, "the configuration was not read again: everything stays as it was");
                        }
                    }
                    self.accounts.read().await;
                }
                () = self.account_files.changed() => self.accounts.read().await,
                () = self.certificates.changed() => {
                    tracing::info!("certificates, keys or revocation lists have changed");
                    self.put_in_effect(&self.settings);
                }
                () = self.rules.changed() => match rules::read(&self.settings.auth, self.devices.as_ref()) {
                    Ok(rules) => {
                        tracing::info!("the access rules have changed");
                        self.broker.set_rules(rules);
                    }
                    Err(error) => tracing::error!(%error, "the access rules stay as they were"),
                },
                _ = daily.tick() => self.put_in_effect(&self.settings),
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
        match rules::read(&new.auth, self.devices.as_ref()) {
            Ok(rules) => {
                self.broker.set_rules(rules);
                let AuthSettings { password_file, devices, failed_attempts, ban, jwt, .. } = effective.auth;
                effective.auth = AuthSettings { password_file, devices, failed_attempts, ban, jwt, ..new.auth.clone() };
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
        self.certificates.replace(tls::files(&self.settings));
        self.rules.replace(rules::files(&self.settings.auth, self.devices.as_ref()));
        tracing::info!("read the configuration again");
    }

    fn put_in_effect(&self, settings: &Settings) {
        self.http.replace(profile(settings.limits.maximum_packet_size, &settings.mqtt), None);
        for (listener, terms) in settings.listeners.iter().zip(&self.listeners) {
            let (maximum_packet_size, mqtt) = listener.mqtt.or(&settings.limits, &settings.mqtt);
            match tls::read(settings, listener) {
                Ok(tls) => {
                    if let Some(tls) = &tls {
                        tls.report(listener);
                    }
                    terms.replace(profile(maximum_packet_size, &mqtt), tls.map(|tls| tls.terms));
                }
                Err(error) => {
                    tracing::error!(listener = %listener.bind, error = format!("{error:#}"), "the listener stays as it was");
                }
            }
        }
        self.broker.review();
    }
}
