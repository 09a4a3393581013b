//! The only wiring: what is made from what, and in which order it starts and ends.
//!
//! Starts consumers first and listeners last, so that nothing is accepted that no one would
//! take further. Ends in reverse: listeners, connections (what they sent is made durable and
//! acknowledged), consumers, journal. A second signal during the drain ends at once.

mod greeting;
mod metrics;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    certs::{CertificateFiles, DevelopmentCerts, server_config},
    config::{Certificate, JournalSettings, ListenerSettings, Settings, TlsSettings},
    journal::{Journal, JournalOptions, LogOptions, StateStore},
    limits,
    mqtt::{self, Broker, Dispatcher, Listener, MailboxLimits},
    telemetry::{Gate, Health, Metrics},
};

/// How often the journal's state is looked at for its health.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the bridge until SIGTERM or SIGINT.
///
/// # Errors
/// When a part cannot start.
pub async fn run(settings: Settings, metrics: Metrics) -> anyhow::Result<()> {
    let health = Health::default();
    let stop = Stop::default();
    let (journal, store) = open_journal(&settings)?;
    let broker = Broker::new(journal.clone(), broker_settings(&settings), Box::new(|_| false));
    let restoring = Arc::clone(&broker);
    let replaying = Arc::clone(&store);
    let replayed = tokio::task::spawn_blocking(move || restoring.restore(&replaying))
        .await
        .context("restore the broker's state")?
        .context("restore the broker's state")?;
    broker.expire_restored_sessions();

    let mut consumers = JoinSet::new();
    consumers.spawn(Dispatcher::new(Arc::clone(&broker), store, replayed).run(stop.consumers.clone()));
    consumers.spawn(watch_journal(
        journal.clone(),
        health.component("journal", Gate::Readiness),
        stop.consumers.clone(),
    ));
    let upkeep = tokio::spawn(metrics.clone().upkeep());

    let mut listeners = JoinSet::new();
    let mut greeting = greeting::Greeting::new(&settings);
    for listener in bind(&settings).await? {
        greeting.mqtt(listener.address()?, listener.is_tls());
        listeners.spawn(listener.run(Arc::clone(&broker), stop.listeners.clone()));
    }
    greeting.print()?;

    wait_for_signal().await?;
    tracing::info!("shutting down");
    let drained = tokio::time::timeout(settings.shutdown.grace, async {
        stop.listeners.cancel();
        while listeners.join_next().await.is_some() {}
        broker.drain().await;
        stop.consumers.cancel();
        while consumers.join_next().await.is_some() {}
    });
    tokio::select! {
        result = drained => if result.is_err() {
            tracing::warn!("the grace period is over: what is still open is cut off");
        },
        signal = wait_for_signal() => signal?,
    }
    upkeep.abort();
    tokio::task::spawn_blocking(move || journal.close()).await.context("close the journal")?;
    Ok(())
}

/// What ends first, and what after it.
#[derive(Default)]
struct Stop {
    listeners: CancellationToken,
    consumers: CancellationToken,
}

fn open_journal(settings: &Settings) -> anyhow::Result<(Journal, Arc<StateStore>)> {
    let directory = settings.data_dir.join("journal");
    let (journal, recovery) = Journal::open(&directory, journal_options(settings))
        .with_context(|| format!("open the journal in {}", directory.display()))?;
    tracing::info!(
        segments = recovery.segments,
        last = %recovery.last,
        torn_bytes = recovery.torn_bytes,
        milliseconds = recovery.duration.as_millis(),
        "opened the journal"
    );
    for damage in &recovery.damage {
        tracing::error!(%damage, "a part of the journal is lost");
    }
    let path = settings.data_dir.join("state");
    let cache = limits::scaled(settings.limits.memory, limits::share::STATE_CACHE);
    let store = StateStore::open(&path, journal.id(), cache)
        .with_context(|| format!("open the state store in {}", path.display()))?;
    Ok((journal, Arc::new(store)))
}

fn journal_options(settings: &Settings) -> JournalOptions {
    let JournalSettings { retain_age, retain_bytes, maximum_bytes, segment_bytes, sync_interval } = settings.journal;
    JournalOptions {
        log: LogOptions { segment_bytes, retain_age, retain_bytes, maximum_bytes },
        sync_interval,
        ..JournalOptions::within(settings.limits.memory)
    }
}

fn broker_settings(settings: &Settings) -> mqtt::Settings {
    let mqtt = &settings.mqtt;
    mqtt::Settings {
        maximum_packet_size: settings.limits.maximum_packet_size,
        receive_maximum: mqtt.receive_maximum,
        topic_alias_maximum: mqtt.topic_alias_maximum,
        maximum_session_expiry: u32::try_from(mqtt.maximum_session_expiry.as_secs()).unwrap_or(u32::MAX),
        maximum_subscriptions: mqtt.maximum_subscriptions,
        mailbox: MailboxLimits { messages: mqtt.maximum_queued_messages, best_effort: mqtt.maximum_queued_best_effort },
        handshake_timeout: mqtt.handshake_timeout,
    }
}

/// Binds every listener before any of them accepts, so that a wrong address stops the start.
async fn bind(settings: &Settings) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for ListenerSettings { bind, tls } in &settings.listeners {
        let tls = tls.as_ref().map(|tls| tls_config(settings, tls)).transpose()?;
        let listener = Listener::bind(*bind, tls).await.with_context(|| format!("listen on {bind} for MQTT"))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn tls_config(settings: &Settings, tls: &TlsSettings) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let files = match &tls.certificate {
        Certificate::Development => DevelopmentCerts::new(settings.certs_dir()).ensure_server()?,
        Certificate::Files { cert, key } => CertificateFiles { cert: cert.clone(), key: key.clone() },
    };
    Ok(server_config(&files, tls.client_ca.as_deref(), &[])?)
}

/// Tells whether the journal accepts records.
async fn watch_journal(journal: Journal, health: crate::types::HealthReporter, stop: CancellationToken) {
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        match journal.check() {
            Ok(()) => health.ready(),
            Err(error @ crate::journal::AppendError::Failed) => health.failed(error),
            Err(error) => health.degraded(error),
        };
        tokio::select! {
            _ = interval.tick() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
