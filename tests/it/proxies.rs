//! Behind nginx and Caddy, as pods are reached: streams flow at once, over HTTP/1.1 and HTTP/2, and WebSockets pass.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    bridge::{Bridge, Setup},
    event_socket::{EventSocket, PATH},
    eventually, in_package,
    process::Process,
    raw_mqtt::{RawMqtt, Version},
    raw_websocket::{RawWebSocket, handshake},
    scratch,
    sse::Sse,
};

/// A proxy of Debian's, which scripts/test unpacks.
fn program(path: &str) -> PathBuf {
    let program = in_package(".test/proxies").join(path);
    assert!(program.exists(), "{} is missing; scripts/test fetches it", program.display());
    program
}

/// A proxy in front of a bridge: a port for HTTP/1.1, and one for HTTP/2 without TLS.
struct Proxy {
    _process: Process,
    _home: TempDir,
    plain: SocketAddr,
    http2: SocketAddr,
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Proxy {
    async fn nginx(bridge: &Bridge) -> Self {
        let (home, plain, http2) = (scratch(), free(), free());
        let here = home.path().display();
        let config = format!(
            "daemon off;\npid {here}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off;\n\
             client_body_temp_path {here}/1;\nproxy_temp_path {here}/2;\nfastcgi_temp_path {here}/3;\n\
             uwsgi_temp_path {here}/4;\nscgi_temp_path {here}/5;\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             server {{\nlisten {plain};\nlisten {http2} http2;\n\
             location / {{\nproxy_pass http://{};\nproxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $connection_upgrade;\n\
             proxy_read_timeout 1h;\n}}\n}}\n}}\n",
            bridge.addresses.http
        );
        let file = home.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program("usr/sbin/nginx"));
        command.arg("-c").arg(&file).arg("-p").arg(home.path());
        Self::start(command, home, plain, http2).await
    }

    async fn caddy(bridge: &Bridge) -> Self {
        let (home, plain, http2) = (scratch(), free(), free());
        let upstream = bridge.addresses.http;
        let site = format!("bind 127.0.0.1\nreverse_proxy {upstream} {{\nheader_up Host {{upstream_hostport}}\n}}\n");
        let (first, second) = (plain.port(), http2.port());
        let config = format!(
            "{{\nadmin off\nauto_https off\nservers {{\nprotocols h1 h2c\n}}\n}}\n\
             http://:{first} {{\n{site}}}\nhttp://:{second} {{\n{site}}}\n"
        );
        let file = home.path().join("Caddyfile");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program("usr/bin/caddy"));
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
        command.env("HOME", home.path()).env("XDG_DATA_HOME", home.path()).env("XDG_CONFIG_HOME", home.path());
        Self::start(command, home, plain, http2).await
    }

    async fn start(command: Command, home: TempDir, plain: SocketAddr, http2: SocketAddr) -> Self {
        let process = Process::start(command);
        let answers = async || {
            let answer = reqwest::get(format!("http://{plain}/readyz")).await.ok()?;
            (answer.status() == 200).then_some(())
        };
        eventually("the proxy", answers).await;
        Self { _process: process, _home: home, plain, http2 }
    }
}

async fn publish(publisher: &mut RawMqtt, n: u64) {
    publisher.publish("t", format!("{{\"n\":{n}}}"), 1).await;
}

/// Streams, resumes, polls and talks through a proxy.
async fn assert_streams_pass(bridge: &Bridge, proxy: &Proxy) {
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let url = format!("http://{}/api/events/stream?topic=t", proxy.plain);
    let mut stream = Sse::open(&url, None).await;
    let mut last = String::new();
    // Each at once: the next one is published when this one has come.
    for n in 0..5 {
        publish(&mut publisher, n).await;
        let (id, event) = stream.event().await;
        assert_eq!(event["data"]["n"], n);
        last = id;
    }
    drop(stream);
    publish(&mut publisher, 5).await;
    let (resumed, event) = Sse::open(&url, Some(&last)).await.event().await;
    assert_eq!(event["data"]["n"], 5);

    let poll = format!("http://{}/api/events?topic=t&wait=1&after={last}", proxy.plain);
    let answer: Value = reqwest::get(poll).await.unwrap().json().await.unwrap();
    assert_eq!((&answer["messages"][0]["id"], &answer["lastEventId"]), (&json!(resumed), &json!(resumed)));

    // Over HTTP/2, without TLS, as curl speaks it.
    let mut curl = Command::new("curl");
    curl.args(["-sN", "--http2-prior-knowledge", "-w", "version %{http_version}\n"]);
    curl.arg(format!("http://{}/api/events/stream?topic=t&until={resumed}", proxy.http2));
    curl.args(["-H", &format!("Last-Event-ID: {last}")]);
    let said = Process::start(curl).success().await.join("\n");
    assert!(said.contains(&format!("id: {resumed}\ndata: ")) && said.contains("version 2"), "{said}");

    let mut socket = EventSocket::open(proxy.plain).await;
    socket.ask(json!({"op": "subscribe", "topic": ["t"], "after": last})).await;
    socket.expect("connected").await;
    assert_eq!(socket.expect("event").await["id"], json!(resumed));
    let publication = json!({"topic": "t", "payload": {"n": 6}});
    let answer = socket.ask(json!({"op": "publish", "publication": publication})).await;
    let event = socket.expect("event").await;
    assert_eq!((&event["id"], &event["event"]["data"]["n"]), (&answer["lastEventId"], &json!(6)));

    let published = reqwest::Client::new().post(format!("http://{}/api/publish", proxy.plain));
    let published = published.header("Origin", "https://pod.example").json(&publication).send().await.unwrap();
    assert_eq!(published.status(), 200);
    let head = handshake(PATH, "pod.example");
    for (origin, is_taken) in [("https://pod.example", true), ("https://evil.example", false)] {
        let answer = RawWebSocket::try_open(proxy.plain, &format!("{head}Origin: {origin}\r\n")).await;
        assert_eq!(answer.is_ok(), is_taken, "{origin}: {:?}", answer.err());
    }
}

async fn bridge() -> Bridge {
    let origins = r#"SYNAP_MQTT__HTTP__ALLOWED_ORIGINS=["https://pod.example"]"#;
    Setup::default().through(["env", origins]).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_through_nginx() {
    let bridge = bridge().await;
    let proxy = Proxy::nginx(&bridge).await;
    assert_streams_pass(&bridge, &proxy).await;
    drop(proxy);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_through_caddy() {
    let bridge = bridge().await;
    let proxy = Proxy::caddy(&bridge).await;
    assert_streams_pass(&bridge, &proxy).await;
    drop(proxy);
    bridge.finish(&[]).await;
}
