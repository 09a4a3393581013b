//! Clients that users have, as processes: mosquitto's, paho, aiomqtt, gmqtt, MQTT.js, `eventsource`
//! and Chromium.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::{eventually, in_package, process::Process};

/// An MQTT client that a test drives by lines; see tests/clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// paho-mqtt, MQTT 5.
    Paho,
    /// paho-mqtt, MQTT 3.1.1.
    Paho311,
    /// aiomqtt, MQTT 5.
    Aiomqtt,
    /// gmqtt, MQTT 5.
    Gmqtt,
    /// MQTT.js, MQTT 5.
    MqttJs,
    /// MQTT.js, MQTT 3.1.1.
    MqttJs311,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Paho, Self::Paho311, Self::Aiomqtt, Self::Gmqtt, Self::MqttJs, Self::MqttJs311];

    fn command(self, what: &str, port: &str, qos: u8) -> Command {
        let mut command = match self {
            Self::Paho | Self::Paho311 => python("paho_client.py"),
            Self::Aiomqtt => python("aiomqtt_client.py"),
            Self::Gmqtt => python("gmqtt_client.py"),
            Self::MqttJs | Self::MqttJs311 => node("mqttjs_client.mjs"),
        };
        command.args([what, "--port", port, "--qos", &qos.to_string()]);
        if matches!(self, Self::Paho311 | Self::MqttJs311) {
            command.args(["--version", "4"]);
        }
        command
    }

    /// Publishes all messages, each a topic and a payload, and waits until they are acknowledged.
    pub async fn publish(self, port: &str, qos: u8, messages: impl IntoIterator<Item = (String, String)>) {
        let mut process = Process::start(self.command("publish", port, qos));
        let mut count = 0;
        for (topic, payload) in messages {
            process.say(&json!({ "topic": topic, "payload": payload }).to_string());
            count += 1;
        }
        assert_eq!(process.success().await, [format!("acknowledged {count}")], "{self:?}");
    }

    /// Subscribes, and returns once that is acknowledged.
    pub async fn subscribe(self, port: &str, qos: u8, filter: &str) -> Subscriber {
        let mut command = self.command("subscribe", port, qos);
        command.args(["--filter", filter]);
        Subscriber::start(command).await
    }
}

/// MQTT.js at a URL, with the CA of its server where that has TLS.
pub fn mqttjs(what: &str, url: &str, ca: Option<&Path>) -> Command {
    let mut command = node("mqttjs_client.mjs");
    command.args([what, "--url", url]);
    if let Some(ca) = ca {
        command.arg("--ca").arg(ca);
    }
    command
}

/// A client that prints what it receives.
pub struct Subscriber(Process);

impl Subscriber {
    /// Starts a client that prints `subscribed` once that is acknowledged.
    pub async fn start(command: Command) -> Self {
        let mut process = Process::start(command);
        process.line("subscribed", |line| (line == "subscribed").then_some(())).await;
        Self(process)
    }

    /// Waits for this many messages and returns all so far.
    pub async fn messages(&mut self, count: usize) -> Vec<Value> {
        let lines = self.0.lines(count + 1).await;
        lines[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// One of mosquitto's clients.
pub fn mosquitto(program: &str, port: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", port]).args(arguments);
    command
}

/// A script of tests/clients with the Python that scripts/test sets up.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(in_package(".test/venv/bin/python"));
    command.arg(in_package("tests/clients").join(script));
    command
}

/// A program that a package of tests/clients/requirements.txt brings.
pub fn python_program(name: &str) -> Command {
    Command::new(in_package(".test/venv/bin").join(name))
}

/// A script of tests/clients with Node.js.
pub fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(in_package("tests/clients").join(script));
    command
}

/// A page in Chromium.
pub struct Browser {
    process: Process,
    answers: usize,
}

impl Browser {
    /// Starts Chromium and opens `url`.
    pub async fn open(url: &str) -> Self {
        let mut browser = Self { process: Process::start(node("browser.mjs")), answers: 0 };
        browser.ask(&json!({ "open": url })).await;
        browser
    }

    /// Opens an EventSource in the page, whose messages are kept in `heard`.
    pub async fn listen(&mut self, url: &str) {
        self.ask(&json!({ "listen": url })).await;
    }

    /// The value of a JavaScript expression in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        self.ask(&json!({ "evaluate": expression })).await
    }

    /// Subscribes in the page with the client library that the bridge serves, over `transport`; events are kept in `heard`,
    /// openings counted in `opened`.
    pub async fn subscribe(&mut self, transport: &str, topic: &str) {
        let subscribe = format!(
            "import('/client/index.js').then(({{ MqttStream }}) => {{
               Object.assign(window, {{ heard: [], opened: 0 }});
               window.subscription = new MqttStream(location.origin).subscribe({{
                 transport: '{transport}', topics: ['{topic}'],
                 onEvent: (event) => void heard.push(event),
                 onState: (state) => state === 'open' && (opened += 1),
               }});
             }})"
        );
        self.evaluate(&subscribe).await;
    }

    /// What axe-core finds wrong for people who cannot see, or not well.
    pub async fn faults(&mut self) -> Vec<String> {
        serde_json::from_value(self.ask(&json!({ "faults": true })).await).unwrap()
    }

    /// Bytes that the page's scripts hold.
    pub async fn heap(&mut self) -> u64 {
        self.ask(&json!({ "heap": true })).await.as_f64().unwrap() as u64
    }

    /// Waits until a JavaScript expression is true in the page.
    pub async fn holds(&mut self, expression: &str) {
        let expression = format!("Boolean({expression})");
        eventually(&expression, async || (self.evaluate(&expression).await == true).then_some(())).await;
    }

    /// Does something as a person would: `{"press": "ArrowRight"}`, `{"click": selector}`, …
    pub async fn does(&mut self, what: Value) {
        self.ask(&what).await;
    }

    /// Keeps a picture of the page as `.test/<name>.png`.
    pub async fn screenshot(&mut self, name: &str) {
        let path = in_package(".test").join(format!("{name}.png"));
        self.ask(&json!({ "screenshot": path })).await;
    }

    /// Errors that scripts of the page did not catch.
    pub fn errors(&self) -> Vec<String> {
        let mut lines = self.process.stderr.all();
        lines.retain(|line| line.starts_with("page error"));
        lines
    }

    async fn ask(&mut self, command: &Value) -> Value {
        self.process.say(&command.to_string());
        self.answers += 1;
        let lines = self.process.lines(self.answers).await;
        let mut answer: Value = serde_json::from_str(&lines[self.answers - 1]).unwrap();
        assert!(answer["error"].is_null(), "{command}: {answer}\n{}", self.process.said());
        answer["value"].take()
    }
}
