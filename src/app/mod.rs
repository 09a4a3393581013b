//! The only wiring: what is made from what, and in which order it starts and ends.
//!
//! Starts consumers first and listeners last, so that nothing is accepted that no one would
//! take further. Ends in reverse: listeners, connections (what they sent is made durable and
//! acknowledged), consumers, journal. A second signal during the drain ends at once.

mod admissions;
mod commands;
mod consumers;
pub mod dead_letters;
mod descriptors;
mod devices;
mod egress;
pub mod export;
mod greeting;
mod health;
pub mod import;
mod metrics;
mod publishing;
mod reload;
mod retained;
mod routes;
mod rules;
mod sessions;
mod tls;
mod tokens;
mod watch;
mod web;

use std::sync::Arc;

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use admissions::Admissions;
use reload::Reloader;
pub use reload::{Load, Reload};

use crate::{
    config::{JournalSettings, ListenerSettings, MqttSettings, PageOrigin, Protocol, Settings},
    devices::Devices,
    http::{self, EventStore, Services},
    journal::{Journal, JournalOptions, LogOptions, StateStore},
    limits,
    mapping::Mapper,
    mqtt::{
        self, Broker, Commands, Dispatcher, Door, Listener, ListenerOptions, MailboxLimits, Profile, Publishing,
        RetainedLimits, Terms,
    },
    provisioning::Registry,
    stream::{Epochs, History, Sources, StreamOptions, Streams},
    telemetry::{Gate, Health, Metrics},
    timescale::{self, Keep, KeepMeasurements, PasswordSource},
    types::{Descriptors, EventMapper, Origin, Qos},
};

/// Runs the bridge until SIGTERM or SIGINT.
///
/// # Errors
/// When a part cannot start.
pub async fn run(settings: Settings, metrics: Metrics, reload: Reload) -> anyhow::Result<()> {
    let descriptors = Arc::new(descriptors::raise());
    let health = Health::default();
    let stop = Stop::default();
    let mut consumers = JoinSet::new();
    let registry = settings.devices_dir().map(Registry::new);
    registry.as_ref().map(Registry::ensure).transpose().context("make the files of devices")?;
    let admissions = Admissions::read(&settings)?;
    let (journal, store) = open_journal(&settings)?;
    let epochs = Epochs::begin(&journal, &store).context("begin a new life of the streams")?;
    let mapper = event_mapper(&settings, &journal)?;
    let policy = Arc::clone(&mapper);
    let broker = Broker::new(
        journal.clone(),
        broker_settings(&settings, &descriptors),
        Box::new(move |topic| policy.guarantees(topic)),
    );
    broker.set_rules(rules::read(&settings.auth, registry.as_ref())?);
    let mut dispatcher = restore(&broker, Arc::clone(&store)).await?;
    dispatcher.close_orphans().await;

    let devices = recall(&journal, &mapper, Arc::clone(&store)).await?;

    // Before any other events come: it takes all that do.
    let egress = egress::open(&settings, &journal, &mapper, &store).await?;
    let egress = egress.map(|egress| {
        let statistics = egress.statistics();
        consumers.spawn(egress.run(stop.consumers.clone()));
        statistics
    });

    let database = database(&settings)?;
    if let Some(database) = database.as_ref().filter(|_| routes::measure(&settings)) {
        consumers.spawn(timescale::keep_rollups(database.clone(), stop.consumers.clone()));
    }
    let writer = database.as_ref().map(|database| {
        let writer = timescale::Writer::new(database.clone(), journal.clone(), Arc::clone(&mapper));
        let statistics = writer.statistics();
        consumers.spawn(writer.run(stop.consumers.clone()));
        let import = settings.timescale.as_ref().is_some_and(|timescale| timescale.import);
        let imported = import.then(|| {
            let importer = timescale::Importer::new(database, journal.clone(), Arc::clone(&statistics));
            let imported = importer.statistics();
            consumers.spawn(importer.run(stop.consumers.clone()));
            let reporter = health.component("import", Gate::Readiness);
            consumers.spawn(health::watch_import(Arc::clone(&imported), reporter, stop.consumers.clone()));
            imported
        });
        if !import {
            let (database, statistics) = (database.clone(), Arc::clone(&statistics));
            consumers.spawn(timescale::report_unwanted(database, statistics, stop.consumers.clone()));
        }
        let reporter = health.component("timescale", Gate::Readiness);
        consumers.spawn(health::watch_timescale(Arc::clone(&statistics), reporter, stop.consumers.clone()));
        let keeper = timescale::Keeper::new(database.clone());
        if !database.keep.is_nothing() {
            let reporter = health.component("retention", Gate::None);
            consumers.spawn(health::watch_retention(keeper.shortfall(), reporter, stop.consumers.clone()));
        }
        consumers.spawn(keeper.run(stop.consumers.clone()));
        (statistics, imported)
    });
    let options =
        StreamOptions { heartbeat: settings.stream.heartbeat, ..StreamOptions::within(settings.limits.memory) };
    let sources = Sources {
        journal: journal.clone(),
        mapper: Arc::clone(&mapper),
        epochs,
        retained: Some(Arc::new(retained::Retained(Arc::clone(&broker)))),
    };
    let streams = Streams::new(sources, &options);
    let hub = streams.clone();
    let stop_hub = stop.consumers.clone();
    consumers.spawn(async move { hub.run(stop_hub).await });
    consumers.spawn(dispatcher.run(stop.consumers.clone()));
    consumers.spawn(devices.clone().run(stop.consumers.clone()));
    journal.start_retention();
    let journal_health = health.component("journal", Gate::Readiness);
    consumers.spawn(health::watch_journal(journal.clone(), journal_health, stop.consumers.clone()));
    let upkeep = tokio::spawn(metrics.clone().upkeep());

    let mut listeners = JoinSet::new();
    let mut greeting = greeting::Greeting::new(&settings);
    let mqtt = bind(&settings, &descriptors, &admissions).await?;
    let http = TcpListener::bind(settings.http.bind)
        .await
        .with_context(|| format!("listen on {} for HTTP", settings.http.bind))?;
    let terms = mqtt.iter().map(Listener::terms).collect();
    for listener in mqtt {
        greeting.mqtt(listener.scheme(), &listener.address()?);
        listeners.spawn(listener.run(Arc::clone(&broker), stop.listeners.clone()));
    }
    greeting.http(http.local_addr()?);
    if let Some((tokens, address)) = admissions.token_keys()? {
        consumers.spawn(tokens.follow(address, stop.consumers.clone()));
    }
    let (writer, importer) = writer.unzip();
    let importer = importer.flatten();
    let consumers_info = consumers::Consumers {
        journal: journal.clone(),
        maximum_bytes: settings.journal.maximum_bytes,
        devices: devices.clone(),
        writer: writer.clone(),
        importer: importer.clone(),
        streams: streams.clone(),
        health: health.clone(),
    };
    let sources = metrics::Sources {
        journal: journal.clone(),
        broker: Arc::clone(&broker),
        writer,
        importer,
        egress,
        streams: streams.clone(),
    };
    let profile = profile(settings.limits.maximum_packet_size, &settings.mqtt);
    let http_terms = Terms::new(profile, None);
    let accounts = admissions.reader(Arc::clone(&broker));
    let reloader = Reloader::new(reload, settings.clone(), Arc::clone(&broker), terms, http_terms.clone(), accounts)?;
    consumers.spawn(reloader.run(stop.consumers.clone()));
    let admission = admissions.of(settings.http.authentication);
    let publishing = Publishing::new(Arc::clone(&broker), Arc::clone(&mapper), store);
    let commander = Commands::new(Arc::clone(&broker), Arc::clone(&mapper), publishing.clone());
    let is_required = admission.is_required();
    let web = web::Web::read(&settings, is_required)?;
    consumers.spawn(web.follow(&stop.consumers)?);
    let door = Door::new(Arc::clone(&broker), http_terms, admission);
    let server = http_server(&settings, &descriptors);
    let services = Services {
        identities: Arc::new(web.identities),
        sign_in: web::sign_in(&settings.http.auth),
        caller_rate: settings.http.auth.requests_per_second,
        publisher: Arc::new(publishing::ByHttp(publishing)),
        commander: Arc::new(commands::ByHttp(commander)),
        mqtt: (settings.http.is_open() || is_required)
            .then(|| Arc::new(move |stream, peer| door.enter(stream, peer)) as _),
        allowed_origins: origins(&settings.http.allowed_origins),
        descriptors,
        events: event_store(database.as_ref(), &journal, &mapper),
        dead_letters: database.as_ref().map(|database| Arc::new(timescale::EventStore::new(database)) as _),
        consumers: Arc::new(consumers_info),
        devices: Arc::new(devices::Directory { devices, broker: Arc::clone(&broker), mapper: Arc::clone(&mapper) }),
        sessions: Arc::new(sessions::Sessions(broker.clone())),
        streams,
        metrics: Arc::new(move || {
            sources.collect();
            metrics.render()
        }),
        health: Arc::new(move || health.snapshot()),
    };
    listeners.spawn(server.run(http, services, stop.listeners.clone()));
    greeting.print()?;

    tokio::select! {
        signal = wait_for_signal() => signal?,
        // A bridge that takes messages in and passes none on must not look healthy.
        Some(ended) = consumers.join_next() => anyhow::bail!("a part of the bridge has ended by itself: {ended:?}"),
    }
    tracing::info!("shutting down");
    let drained = tokio::time::timeout(settings.shutdown.grace, async {
        stop.listeners.cancel();
        broker.drain().await;
        while listeners.join_next().await.is_some() {}
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

fn broker_settings(settings: &Settings, descriptors: &Descriptors) -> mqtt::Settings {
    let mqtt = &settings.mqtt;
    // The HTTP port is one more.
    let handshakes = descriptors.handshakes(settings.listeners.len() + 1);
    mqtt::Settings {
        profile: profile(settings.limits.maximum_packet_size, mqtt),
        maximum_session_expiry: u32::try_from(mqtt.maximum_session_expiry.as_secs()).unwrap_or(u32::MAX),
        maximum_subscriptions: mqtt.maximum_subscriptions,
        maximum_backlog_bytes: settings.journal.maximum_bytes / limits::SESSION_BACKLOG_DIVISOR,
        retained: RetainedLimits { messages: mqtt.maximum_retained_messages, bytes: mqtt.maximum_retained_bytes },
        sys_interval: mqtt.sys_interval,
        handshake_timeout: mqtt.handshake_timeout,
        maximum_handshakes: mqtt.maximum_handshakes.min(handshakes),
        devices: settings.presence.clients(),
        commands: commands::settings(&settings.commands),
    }
}

fn http_server(settings: &Settings, descriptors: &Descriptors) -> http::Server {
    let most = limits::HTTP_CONNECTIONS.min(descriptors.share(limits::HTTP_CONNECTIONS_DIVISOR));
    http::Server {
        connections: settings.http.maximum_connections.unwrap_or(most),
        connections_per_address: settings.http.maximum_connections_per_address,
        write_timeout: settings.http.write_timeout,
        ..http::Server::default()
    }
}

fn profile(maximum_packet_size: u32, mqtt: &MqttSettings) -> Profile {
    Profile {
        maximum_packet_size,
        receive_maximum: mqtt.receive_maximum,
        topic_alias_maximum: mqtt.topic_alias_maximum,
        maximum_qos: Qos::try_from(mqtt.maximum_qos).unwrap_or(Qos::ExactlyOnce),
        retain_available: mqtt.retain_available,
        keep_alive: (mqtt.keep_alive > 0).then_some(mqtt.keep_alive),
        response_information: mqtt.response_information.clone().map(|information| information.0),
        check_payload_format: mqtt.check_payload_format,
        mailbox: MailboxLimits {
            messages: mqtt.maximum_queued_messages,
            bytes: mqtt.maximum_queued_bytes,
            best_effort: mqtt.maximum_queued_best_effort,
        },
    }
}

/// Binds every listener before any of them accepts, so that a wrong address stops the start.
async fn bind(
    settings: &Settings,
    descriptors: &Arc<Descriptors>,
    admissions: &Admissions,
) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for listener in &settings.listeners {
        let ListenerSettings { bind, mode, protocol, allowed_origins, proxy_protocol, mqtt, authentication, .. } =
            listener;
        let tls = tls::read(settings, listener)?;
        if let Some(tls) = &tls {
            tls.report(listener);
        }
        let (maximum_packet_size, mqtt) = mqtt.or(&settings.limits, &settings.mqtt);
        let options = ListenerOptions {
            address: bind.clone(),
            mode: mode.unwrap_or_default().bits(),
            tls: tls.map(|tls| tls.terms),
            proxy_protocol: *proxy_protocol,
            websocket: (*protocol == Protocol::Websocket).then(|| origins(allowed_origins)),
            profile: profile(maximum_packet_size, &mqtt),
            admission: admissions.of(*authentication),
        };
        let listener = Listener::bind(options, Arc::clone(descriptors)).await;
        listeners.push(listener.with_context(|| format!("listen on {bind} for MQTT"))?);
    }
    Ok(listeners)
}

fn origins(pages: &[PageOrigin]) -> Vec<Origin> {
    pages.iter().map(|page| page.0.clone()).collect()
}

/// Brings back what an earlier life has left.
async fn restore(broker: &Arc<Broker>, store: Arc<StateStore>) -> anyhow::Result<Dispatcher> {
    let broker = Arc::clone(broker);
    let restored = tokio::task::spawn_blocking(move || Dispatcher::restore(&broker, store)).await?;
    restored.context("restore sessions and retained messages")
}

/// Reads what is known of devices, and what mapping must know. Nobody maps before.
async fn recall(journal: &Journal, mapper: &Arc<dyn EventMapper>, store: Arc<StateStore>) -> anyhow::Result<Devices> {
    let (journal, mapper) = (journal.clone(), Arc::clone(mapper));
    let opened = tokio::task::spawn_blocking(move || Devices::open(journal, mapper, store)).await?;
    opened.context("read what is known of devices")
}

fn event_mapper(settings: &Settings, journal: &Journal) -> anyhow::Result<Arc<dyn EventMapper>> {
    Ok(Arc::new(Mapper::new(routes::compile(settings)?, journal.id(), &settings.pod.user_id)))
}

/// The database that the settings name.
pub(crate) fn database(settings: &Settings) -> anyhow::Result<Option<timescale::Settings>> {
    let Some(database) = &settings.timescale else { return Ok(None) };
    let found = timescale::Settings::new(database.url.expose(), settings.limits.memory, settings.shutdown.grace / 2);
    let mut found = found.context("read the URL of the database")?;
    if let Some(file) = &database.password_file {
        found.password = Some(PasswordSource::File(file.clone()));
    }
    found.user_id.clone_from(&settings.pod.user_id);
    found.table = database.table.as_ref().map(|table| table.as_str().to_owned());
    let measurements = &database.measurements;
    found.keep = Keep {
        retention: database.retention,
        compress_after: database.compress_after,
        measurements: KeepMeasurements {
            retention: measurements.retention,
            retention_1m: measurements.retention_1m,
            retention_1h: measurements.retention_1h,
            compress_after: measurements.compress_after,
        },
    };
    Ok(Some(found))
}

/// Stored events come from the database where there is one, else from the journal.
fn event_store(
    database: Option<&timescale::Settings>,
    journal: &Journal,
    mapper: &Arc<dyn EventMapper>,
) -> Arc<dyn EventStore> {
    match database {
        Some(database) => Arc::new(timescale::EventStore::new(database)),
        None => Arc::new(History::new(journal.clone(), Arc::clone(mapper))),
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
