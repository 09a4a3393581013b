//! Configuration: a TOML file and environment variables become [`Settings`], checked as a whole.
//!
//! Nothing here opens a socket, or a file other than the configuration itself; whoever loads it
//! may have the files checked that it names. Every type is
//! valid by construction or by [`Settings::check`]; whoever holds `Settings` need not ask again.
//! On failure every problem found is named with its key, its place and what would be right.

mod access;
mod address;
mod authentication;
mod broker;
mod commands;
mod egress;
mod jwt;
mod listener;
mod load;
mod measurements;
mod operation;
mod presence;
mod profile;
mod route;
mod source;
mod text;
mod timescale;
mod units;
mod web;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de};

pub use access::{Action, PublishAnswer, RulePattern, RuleSettings, SubscribeAnswer};
pub use authentication::{AuthSettings, Authentication};
pub use broker::{JournalSettings, LimitSettings, MqttSettings};
pub use commands::{CommandTopic, CommandTopicError, CommandsSettings};
pub use egress::{EgressPayload, EgressSettings};
pub use jwt::JwtSettings;
pub use listener::{
    Certificate, ClientCertificate, ClientIdentity, FileMode, HttpSettings, ListenerSettings, PageOrigin, Protocol,
    TlsSettings,
};
pub use load::{ConfigError, Problem, load};
pub use measurements::MeasurementSettings;
pub use operation::{LogFilter, LogFilterError, LogFormat, LogSettings, ShutdownSettings, StreamSettings};
pub use presence::{Patterns, PresenceSettings};
pub use profile::ProfileSettings;
pub use route::{
    Decode, Dedupe, DedupeProperty, EventType, JsonPointer, OnError, RouteError, RouteSettings, Store, SubjectTemplate,
    TimeWindow, TopicPattern,
};
pub use source::KeyPath;
pub use timescale::{DatabaseFile, DatabaseUrl, DatabaseUrlError, TableName, TableNameError, TimescaleSettings};
pub use web::{GrantSettings, IntrospectionSettings, KratosSettings, WebAuthSettings};

use crate::{limits, types::ListenAddress};

/// Everything that can be set. The default is what runs without a file: on this machine only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Settings {
    /// Where the journal, derived state and development certificates lie; relative to the
    /// working directory.
    pub data_dir: PathBuf,
    /// The pod that events belong to.
    pub pod: PodSettings,
    /// Ports and socket files for MQTT clients. Naming one replaces the default ones.
    #[serde(rename = "listener")]
    pub listeners: Vec<ListenerSettings>,
    /// Who MQTT clients can be.
    pub auth: AuthSettings,
    /// The HTTP server.
    pub http: HttpSettings,
    /// The database, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimescaleSettings>,
    /// Rules that turn messages into events; the first match wins, and a built-in last rule
    /// matches every topic.
    #[serde(rename = "route")]
    pub routes: Vec<RouteSettings>,
    /// Devices that come and go.
    pub presence: PresenceSettings,
    /// Commands to devices.
    pub commands: CommandsSettings,
    /// Events that become messages to devices.
    pub egress: Vec<EgressSettings>,
    /// What the process may use.
    pub limits: LimitSettings,
    /// What one MQTT client may use.
    pub mqtt: MqttSettings,
    /// How much the journal keeps.
    pub journal: JournalSettings,
    /// Server-Sent Events.
    pub stream: StreamSettings,
    /// The log.
    pub log: LogSettings,
    /// The end of the process.
    pub shutdown: ShutdownSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            pod: PodSettings::default(),
            listeners: listener::default_listeners(),
            auth: AuthSettings::default(),
            http: HttpSettings::default(),
            timescale: None,
            routes: Vec::new(),
            presence: PresenceSettings::default(),
            commands: CommandsSettings::default(),
            egress: Vec::new(),
            limits: LimitSettings::default(),
            mqtt: MqttSettings::default(),
            journal: JournalSettings::default(),
            stream: StreamSettings::default(),
            log: LogSettings::default(),
            shutdown: ShutdownSettings::default(),
        }
    }
}

/// The pod that events belong to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct PodSettings {
    /// `userId` of every event: the pod's owner.
    #[serde(deserialize_with = "non_empty")]
    pub user_id: String,
}

impl Default for PodSettings {
    fn default() -> Self {
        Self { user_id: "local".to_owned() }
    }
}

impl Settings {
    /// Where the development certificates lie.
    #[must_use]
    pub fn certs_dir(&self) -> PathBuf {
        self.data_dir.join("certs")
    }

    /// Where the devices are written down, if these come in.
    #[must_use]
    pub fn devices_dir(&self) -> Option<PathBuf> {
        self.auth.devices.then(|| self.known_devices_dir())
    }

    /// Where devices are written down, whether or not they come in.
    #[must_use]
    pub fn known_devices_dir(&self) -> PathBuf {
        self.data_dir.join("devices")
    }

    /// TLS of the listeners that have it, in order, each with its key.
    pub fn tls(&self) -> impl Iterator<Item = (KeyPath, &TlsSettings)> {
        let listeners = self.listeners.iter().enumerate();
        listeners.filter_map(|(index, listener)| {
            let key = KeyPath::default().key("listener").index(index).key("tls");
            Some((key, listener.tls.as_ref()?))
        })
    }

    /// The accounts, with the key that names them.
    #[must_use]
    pub fn password_file(&self) -> Option<(KeyPath, &Path)> {
        Some((KeyPath::default().key("auth").key("password_file"), self.auth.password_file.as_deref()?))
    }

    /// The access rules in mosquitto's form, with the key that names them.
    #[must_use]
    pub fn acl_file(&self) -> Option<(KeyPath, &Path)> {
        Some((KeyPath::default().key("auth").key("acl_file"), self.auth.acl_file.as_deref()?))
    }

    /// The keys of tokens, with the key that names them.
    #[must_use]
    pub fn token_keys(&self) -> Option<(KeyPath, &Path)> {
        let jwt = self.auth.jwt.as_ref()?;
        Some((KeyPath::default().key("auth").key("jwt").key("key_file"), jwt.key_file.as_deref()?))
    }

    /// The API keys, with the key that turns them on; none where they are off.
    #[must_use]
    pub fn api_key_file(&self) -> Option<(KeyPath, PathBuf)> {
        let key = KeyPath::default().key("http").key("auth").key("api_keys");
        self.http.auth.api_keys.then(|| (key, self.api_keys_path()))
    }

    /// Where API keys are.
    #[must_use]
    pub fn api_keys_path(&self) -> PathBuf {
        self.data_dir.join("api-keys.toml")
    }

    /// The schemas of routes, each with the key that names it.
    pub fn schemas(&self) -> impl Iterator<Item = (KeyPath, &Path)> {
        let key = |index| KeyPath::default().key("route").index(index).key("schema");
        self.routes.iter().enumerate().filter_map(move |(index, route)| Some((key(index), route.schema.as_deref()?)))
    }

    /// Files that the database's URL names, with its key.
    #[must_use]
    pub fn database_files(&self) -> Option<(KeyPath, Vec<DatabaseFile>)> {
        let url = &self.timescale.as_ref()?.url;
        Some((KeyPath::default().key("timescale").key("url"), url.files()))
    }

    /// The sections in which other settings differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let sections = [
            ("data_dir", self.data_dir == other.data_dir),
            ("[pod]", self.pod == other.pod),
            ("[[listener]]", self.listeners == other.listeners),
            ("[http]", self.http == other.http),
            ("[auth]", self.auth == other.auth),
            ("[timescale]", self.timescale == other.timescale),
            ("[[route]]", self.routes == other.routes),
            ("[presence]", self.presence == other.presence),
            ("[commands]", self.commands == other.commands),
            ("[[egress]]", self.egress == other.egress),
            ("[limits]", self.limits == other.limits),
            ("[mqtt]", self.mqtt == other.mqtt),
            ("[journal]", self.journal == other.journal),
            ("[stream]", self.stream == other.stream),
            ("[log]", self.log == other.log),
            ("[shutdown]", self.shutdown == other.shutdown),
        ];
        sections.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// What is wrong between keys, each with the key to change.
    fn check(&self) -> Vec<(KeyPath, String)> {
        let root = KeyPath::default();
        let mut problems = Vec::new();
        let mut bound = BTreeMap::from([(ListenAddress::from(self.http.bind), root.key("http").key("bind"))]);
        for (index, listener) in self.listeners.iter().enumerate() {
            let path = root.key("listener").index(index);
            let key = path.key("bind");
            if let Some(other) = bound.get(&listener.bind).filter(|_| !listener.bind.is_any()) {
                problems.push((key, format!("{} is taken by `{other}`", listener.bind)));
            } else {
                bound.insert(listener.bind.clone(), key);
            }
            problems.extend(listener.check().map(|(key, problem)| (path.key(key), problem.to_owned())));
            let tls = listener.tls.iter().flat_map(TlsSettings::check);
            problems.extend(tls.map(|(key, problem)| (path.key("tls").key(key), problem.to_owned())));
            let names = listener.tls.as_ref().is_some_and(|tls| tls.client_identity.is_some());
            let problem = self.auth.check(listener.authentication).filter(|_| !names);
            problems.extend(problem.map(|problem| (path.key("authentication"), problem)));
            let open = listener.openness(self.auth.effective(listener.authentication));
            problems.extend(open.map(|problem| (path.key("bind"), problem)));
        }
        problems.extend(self.http.openness().map(|problem| (root.key("http").key("bind"), problem)));
        let problem = self.auth.check(self.http.authentication);
        problems.extend(problem.map(|problem| (root.key("http").key("authentication"), problem)));
        for (keys, problem) in self.http.auth.check() {
            let key = keys.into_iter().fold(root.key("http").key("auth"), |path, key| path.key(key));
            problems.push((key, problem));
        }
        for (key, problem) in self.auth.jwt.iter().flat_map(JwtSettings::check) {
            problems.push((root.key("auth").key("jwt").key(key), problem.to_owned()));
        }
        for (index, rule) in self.auth.rules.iter().enumerate() {
            let path = root.key("auth").key("rule").index(index);
            problems.extend(rule.check(&self.auth.roles).map(|(key, problem)| (path.key(key), problem)));
        }
        for (index, route) in self.routes.iter().enumerate() {
            let path = root.key("route").index(index);
            problems.extend(route.check().map(|(key, problem)| (path.key(key), problem)));
        }
        problems
            .extend(self.commands.check().map(|(key, problem)| (root.key("commands").key(key), problem.to_owned())));
        problems.extend(egress::check(&self.egress, &self.mqtt, &root));
        for (key, problem) in self.timescale.iter().flat_map(TimescaleSettings::check) {
            problems.push((root.key("timescale").key(key), problem.to_owned()));
        }
        for (key, problem) in self.timescale.iter().flat_map(|timescale| timescale.measurements.check()) {
            problems.push((root.key("timescale").key("measurements").key(key), problem.to_owned()));
        }
        let pending = limits::scaled(self.limits.memory, limits::share::JOURNAL_PENDING);
        if u64::from(self.limits.maximum_packet_size) > pending {
            let problem = format!("must not exceed {pending}, the bytes of `limits.memory` that wait for the disk");
            problems.push((root.key("limits").key("maximum_packet_size"), problem));
        }
        if self.journal.maximum_bytes < 2 * self.journal.segment_bytes {
            let problem = "must hold at least two segments of `journal.segment_bytes`".to_owned();
            problems.push((root.key("journal").key("maximum_bytes"), problem));
        }
        problems
    }

    /// What depends on more than the configuration, one sentence each, for `check-config`.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.timescale.iter().flat_map(TimescaleSettings::notes).collect()
    }

    /// What is valid but deserves a second look, one sentence each, for the log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let listeners = self.listeners.iter().enumerate().filter_map(|(index, listener)| {
            let key = format!("listener[{index}].bind");
            let asked = self.auth.effective(listener.authentication);
            match &listener.tls {
                _ if listener.proxy_protocol => exposed(
                    &key,
                    &listener.bind,
                    "anyone who reaches it is believed to be a proxy, and to say true addresses",
                ),
                Some(tls) if tls.requires_certificate() => None,
                Some(_) if asked == Authentication::Required => None,
                None if asked == Authentication::Required => {
                    exposed(&key, &listener.bind, "without TLS, passwords can be read on their way to it")
                }
                _ => exposed(&key, &listener.bind, "anyone who reaches it may publish and subscribe"),
            }
        });
        let http = self.http.is_open().then(|| match self.auth.effective(self.http.authentication) {
            Authentication::Required => "anyone who reaches it may read every event",
            _ => "anyone who reaches it may read every event, publish and subscribe",
        });
        let http = http.and_then(|consequence| exposed("http.bind", &self.http.bind.into(), consequence));
        let tokens = self.auth.jwt.as_ref().and_then(JwtSettings::warning);
        listeners.chain(http).chain(tokens).chain(self.http.auth.warnings()).collect()
    }
}

/// A warning about an address that other machines may reach.
fn exposed(key: &str, bind: &ListenAddress, consequence: &str) -> Option<String> {
    bind.is_exposed().then(|| format!("`{key}` {bind} is open to other machines: {consequence}"))
}

/// Reads text that must not be empty.
fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(de::Error::invalid_value(de::Unexpected::Str(""), &"text that is not empty"));
    }
    Ok(text)
}
