//! The bridge under test: the real binary with a configuration and a data directory of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually,
    process::Process,
    raw_mqtt::{RawMqtt, Version},
    scratch, within,
};

/// The program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_synap-mqtt");

/// What a bridge is started with. Every port is one that the system chose.
#[derive(Default)]
pub struct Setup {
    config: String,
    http: String,
    presence: Option<String>,
    prefix: Vec<String>,
    data_dir: Option<PathBuf>,
}

impl Setup {
    /// Adds tables to the configuration.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Adds keys to `[http]`.
    pub fn http(mut self, toml: &str) -> Self {
        self.http.push_str(toml);
        self.http.push('\n');
        self
    }

    /// Tells of devices that come and go, as the product does by itself: other tests are spared these events. Adds
    /// keys to `[presence]`.
    pub fn presence(mut self, toml: &str) -> Self {
        self.presence = Some(toml.to_owned());
        self
    }

    /// Writes rows to the database at `url`.
    pub fn timescale(self, url: &str) -> Self {
        self.config(&format!("[timescale]\nurl = \"{url}\""))
    }

    /// Starts the program through another one, as its last arguments.
    pub fn through(mut self, prefix: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps data in `path` instead of a directory that the test's end removes.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Starts it and waits until it listens.
    pub async fn listening(self) -> Bridge {
        let home = Arc::new(scratch());
        let data_dir = self.data_dir.unwrap_or_else(|| home.path().join("data"));
        let file = home.path().join("synap-mqtt.toml");
        let presence = self.presence.as_deref().unwrap_or("events = false");
        let config = format!(
            "data_dir = {data_dir:?}\n\
             [http]\nbind = \"127.0.0.1:0\"\n{}\
             [[listener]]\nbind = \"127.0.0.1:0\"\n\
             [[listener]]\nbind = \"127.0.0.1:0\"\ntls = true\n\
             [log]\nformat = \"json\"\n[presence]\n{presence}\n{}",
            self.http, self.config
        );
        std::fs::write(&file, config).unwrap();
        let launch = Launch { file, data_dir, prefix: self.prefix, home };
        let (process, addresses) = launch.start().await;
        Bridge { launch, process, addresses }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Bridge {
        let bridge = self.listening().await;
        bridge.ready().await;
        bridge
    }
}

/// How the same bridge is started again.
struct Launch {
    file: PathBuf,
    data_dir: PathBuf,
    prefix: Vec<String>,
    home: Arc<TempDir>,
}

impl Launch {
    async fn start(&self) -> (Process, Addresses) {
        let mut words = self.prefix.iter().map(String::as_str).chain([BINARY]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--config").arg(&self.file).current_dir(self.home.path());
        // Settings of the one who runs the tests are not the test's.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SYNAP_MQTT__") || name == "DATABASE_URL" || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut process = Process::start(command);
        let mut address = async |kind: &str| {
            let prefix = format!("listening {kind} ");
            process.line(&prefix, |line| line.trim().strip_prefix(&prefix)?.parse().ok()).await
        };
        let addresses =
            Addresses { mqtt: address("mqtt").await, mqtts: address("mqtts").await, http: address("http").await };
        (process, addresses)
    }
}

/// How a bridge ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As a power cut would end it.
    Kill,
    /// With SIGTERM.
    Terminate,
}

/// Where a bridge listens, as it printed it.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Plain MQTT.
    pub mqtt: SocketAddr,
    /// MQTT over TLS.
    pub mqtts: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

/// A running bridge. Going out of scope kills it; [`Bridge::finish`] is the end of a test that
/// also asks for a clean end.
pub struct Bridge {
    launch: Launch,
    /// The process, with its output so far.
    pub process: Process,
    /// Where it listens now; other ports after each start.
    pub addresses: Addresses,
}

impl Bridge {
    /// A bridge with nothing but defaults.
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// The port for plain MQTT.
    pub fn port(&self) -> String {
        self.addresses.mqtt.port().to_string()
    }

    /// The address that it has printed as the `nth` of a kind, from 0: `mqtt`, `mqtts`, `ws`, `wss`.
    pub fn listener(&self, kind: &str, nth: usize) -> String {
        let prefix = format!("listening {kind} ");
        let lines = self.process.stdout.all();
        let address = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).nth(nth);
        address.unwrap_or_else(|| panic!("no such listener: {prefix}{nth}")).to_owned()
    }

    /// A URL of its HTTP server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.http)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.launch.data_dir
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) {
        eventually("readiness", async || (self.readiness().await == Some(200)).then_some(())).await;
    }

    /// The status of `/readyz`, if it answers.
    pub async fn readiness(&self) -> Option<u16> {
        Some(reqwest::get(self.url("/readyz")).await.ok()?.status().as_u16())
    }

    /// A raw MQTT connection, CONNECT not yet sent.
    pub async fn raw(&self, version: Version) -> RawMqtt {
        RawMqtt::open(self.addresses.mqtt, version).await
    }

    /// A raw MQTT connection of a clean session, already accepted.
    pub async fn client(&self, version: Version, id: &str) -> RawMqtt {
        let mut client = self.raw(version).await;
        client.connect(id, true).await;
        client
    }

    /// All events whose topic matches, by the query interface, oldest first.
    pub async fn events(&self, topic: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let mut request =
                reqwest::Client::new().get(self.url("/api/events")).query(&[("topic", topic), ("limit", "1000")]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let answer = within("a page of events", request.send()).await.unwrap();
            assert_eq!(answer.status(), 200, "GET /api/events");
            let page: Value = answer.json().await.unwrap();
            events.extend(page["events"].as_array().expect("events is an array").iter().cloned());
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                events.reverse();
                return events;
            }
        }
    }

    /// A command of the program with this bridge's configuration.
    pub fn command(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(&self.launch.file).args(arguments).current_dir(self.launch.home.path());
        Process::start(command)
    }

    /// A counter or gauge of `/metrics`: the sum over its labels, 0 while it has none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(self.url("/metrics")).await.unwrap().text().await.unwrap();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    /// The log lines at WARN and ERROR.
    pub fn complaints(&self) -> Vec<String> {
        let complains = |line: &String| {
            let level =
                serde_json::from_str::<Value>(line).ok().and_then(|line| Some(line["level"].as_str()?.to_owned()));
            // What is not a log line, a panic for instance, is a complaint too.
            level.is_none_or(|level| level == "WARN" || level == "ERROR")
        };
        self.process.stderr.all().into_iter().filter(complains).collect()
    }

    /// Waits for the first complaint behind the first `after` of them that contains `part`.
    pub async fn complaint(&self, after: usize, part: &str) -> String {
        let look = async || self.complaints().into_iter().skip(after).find(|line| line.contains(part));
        eventually(&format!("a complaint of {part:?}"), look).await
    }

    /// Ends it without warning, as a power cut would end the process.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same data, on other ports.
    pub async fn restart(&mut self) {
        self.process.kill();
        (self.process, self.addresses) = self.launch.start().await;
    }

    /// Changes its configuration file, for the next start.
    pub fn set_config(&self, change: impl Fn(&str) -> String) {
        let text = std::fs::read_to_string(&self.launch.file).unwrap();
        std::fs::write(&self.launch.file, change(&text)).unwrap();
    }

    /// Changes its configuration file and tells it with SIGHUP.
    pub fn reconfigure(&self, change: impl Fn(&str) -> String) {
        self.set_config(change);
        self.process.signal("HUP");
    }

    /// Adds tables to its configuration, for its next start and for commands.
    pub fn configure(&self, toml: &str) {
        let text = std::fs::read_to_string(&self.launch.file).unwrap();
        std::fs::write(&self.launch.file, format!("{text}\n{toml}\n")).unwrap();
    }

    /// Where its commands run, and relative paths begin.
    pub fn home(&self) -> &Path {
        self.launch.home.path()
    }

    /// The certificate that it shows over TLS, in PEM form.
    pub async fn server_certificate(&self) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.addresses.mqtts.to_string(), "-showcerts"]);
        let said = Process::start(command).success().await.join("\n");
        let start = said.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
        let end = said.find("-----END CERTIFICATE-----").expect("a whole one");
        said[start..end].to_owned()
    }

    /// Ends it with SIGTERM and expects exit 0.
    pub async fn terminate(&mut self) {
        self.process.terminate();
        let status = self.process.status().await;
        assert!(status.success(), "after SIGTERM: {status}\n{}", self.process.said());
    }

    /// Ends it in one of the two ways, and starts it again on the same data.
    pub async fn cut(&mut self, how: Cut) {
        match how {
            Cut::Kill => self.kill9(),
            Cut::Terminate => self.terminate().await,
        }
        self.restart().await;
        self.ready().await;
    }

    /// The end of a test: SIGTERM, exit 0, and no warning or error in the log but those that
    /// contain one of `expected`.
    pub async fn finish(mut self, expected: &[&str]) {
        self.terminate().await;
        let mut unexpected = self.complaints();
        unexpected.retain(|line| !expected.iter().any(|part| line.contains(part)));
        assert!(unexpected.is_empty(), "unlisted warnings or errors:\n{}", unexpected.join("\n"));
    }
}
