//! MQTT over WebSocket: MQTT.js as browsers run it, and frames by hand.

use std::{net::SocketAddr, path::Path};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    bridge::{Bridge, Setup},
    clients::{Browser, Subscriber, mqttjs},
    process::Process,
    raw_mqtt::{Connect, PINGREQ, Publish, Version, kind, subscribe},
    raw_websocket::{MQTT, RawWebSocket, first, frame, handshake},
    within,
};

const LISTENERS: &str = r#"
[[listener]]
bind = "127.0.0.1:0"
protocol = "websocket"
allowed_origins = ["https://dashboard.example"]

[[listener]]
bind = "127.0.0.1:0"
protocol = "websocket"
tls = true
"#;

/// The address of a listener for WebSocket.
fn address(bridge: &Bridge, kind: &str) -> SocketAddr {
    bridge.listener(kind, 0).parse().unwrap()
}

fn connect(id: &str) -> Vec<u8> {
    Connect::new(Version::V5, id).encode()
}

/// What a subscriber of `t` receives after this.
fn publish(payload: impl Into<Vec<u8>>, id: u16) -> Vec<u8> {
    Publish::new("t", payload, 1, id).encode(Version::V5)
}

/// MQTT.js publishes to `url` what MQTT.js receives there, large messages and small ones.
async fn mqttjs_round_trip(url: &str, ca: Option<&Path>) {
    let mut subscribe = mqttjs("subscribe", url, ca);
    subscribe.args(["--filter", "ws/#", "--qos", "1"]);
    let mut subscriber = Subscriber::start(subscribe).await;
    let mut publisher = Process::start(mqttjs("publish", url, ca));
    let payloads: Vec<_> = (0..200).map(|n| "x".repeat(if n % 50 == 0 { 100_000 } else { n })).collect();
    for payload in &payloads {
        publisher.say(&json!({ "topic": "ws/1", "payload": payload }).to_string());
    }
    assert_eq!(publisher.success().await, ["acknowledged 200"]);
    let messages = subscriber.messages(payloads.len()).await;
    for (message, payload) in messages.iter().zip(&payloads) {
        assert_eq!((message["topic"].as_str(), message["payload"].as_str()), (Some("ws/1"), Some(&**payload)));
    }
    assert_eq!(messages.len(), payloads.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn mqttjs_is_served_on_every_port_for_it() {
    let bridge = Setup::default().config(LISTENERS).start().await;
    let ca = bridge.data_dir().join("certs/ca.pem");
    mqttjs_round_trip(&format!("ws://{}/mqtt", bridge.addresses.http), None).await;
    mqttjs_round_trip(&format!("ws://{}/", address(&bridge, "ws")), None).await;
    mqttjs_round_trip(&format!("wss://{}/mqtt", address(&bridge, "wss")), Some(&ca)).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_and_frames_need_not_agree() {
    let bridge = Setup::default().config(LISTENERS).start().await;
    for address in [bridge.addresses.http, address(&bridge, "ws")] {
        // CONNECT, SUBSCRIBE and PUBLISH in one frame.
        let packets = [connect("shared"), subscribe(Version::V5, 1, "t", 1), publish("one", 2)].concat();
        let mut client = RawWebSocket::open(address).await;
        client.send(&frame(first::BINARY, &packets)).await;
        client.packet(kind::CONNACK).await;
        client.packet(kind::SUBACK).await;
        assert!(client.echo().await.ends_with(b"one"));
        // One byte a frame; then fragments of one message, with a ping between them.
        for byte in publish("two", 3) {
            client.send(&frame(first::BINARY, &[byte])).await;
        }
        assert!(client.echo().await.ends_with(b"two"));
        let packet = publish("three", 4);
        let (head, rest) = packet.split_at(3);
        let (middle, end) = rest.split_at(2);
        client.send(&frame(first::BINARY_BEGINNING, head)).await;
        client.send(&frame(first::PING, b"still there?")).await;
        client.send(&frame(first::MIDDLE, middle)).await;
        client.send(&frame(first::MIDDLE, b"")).await;
        assert_eq!(client.frame().await, Some((first::PONG, b"still there?".to_vec())));
        client.send(&frame(first::END, end)).await;
        assert!(client.echo().await.ends_with(b"three"));
        // A message as large as packets may be, in one frame.
        let large = publish(vec![b'x'; 1_000_000], 5);
        client.send(&frame(first::BINARY, &large)).await;
        assert!(client.echo().await.len() > 1_000_000);
        client.send(&frame(first::PONG, b"nobody asked")).await;
        client.send(&frame(first::BINARY, &PINGREQ)).await;
        client.packet(kind::PINGRESP).await;
        // The client's own end is answered in kind.
        client.send(&frame(first::CLOSE, &1001_u16.to_be_bytes())).await;
        assert_eq!(client.closed().await, Some(1001));
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_the_framing_is_let_go() {
    let mut bridge = Setup::default().config(LISTENERS).start().await;
    let mut bystander = bridge.client(Version::V5, "bystander").await;
    for address in [bridge.addresses.http, address(&bridge, "ws")] {
        for (what, bytes, status) in [
            ("text", frame(first::TEXT, b"hello"), 1003),
            ("an unmasked frame", vec![first::BINARY, 2, 0xc0, 0], 1002),
            ("a compressed frame", frame(0xc2, b"x"), 1002),
            ("a reserved opcode", frame(0x83, b"x"), 1002),
            ("a ping that is too long", frame(first::PING, &[0; 126]), 1002),
            ("a continuation of nothing", frame(first::END, b"x"), 1002),
            ("a length without end", [&[first::BINARY, 0xff][..], &[0xff; 8], &[0; 4]].concat(), 1002),
        ] {
            for is_connected in [false, true] {
                let mut client = RawWebSocket::open(address).await;
                if is_connected {
                    client.connect(&connect("hostile")).await;
                }
                client.send(&bytes).await;
                assert_eq!(client.closed().await, Some(status), "{what}");
                bystander.ping().await;
            }
        }
        // Broken MQTT in right frames: a DISCONNECT says why, and a Close frame ends it.
        let mut client = RawWebSocket::open(address).await;
        client.connect(&connect("hostile")).await;
        client.send(&frame(first::BINARY, &[0xf0 | 0x0f, 0])).await;
        client.packet(kind::DISCONNECT).await;
        assert_eq!(client.closed().await, Some(1000));
    }
    assert!(bridge.complaints().iter().all(|line| line.contains("hostile")), "{:#?}", bridge.complaints());
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_are_wrong_are_refused_with_what_would_be_right() {
    let mut bridge = Setup::default().config(LISTENERS).start().await;
    let own = address(&bridge, "ws");
    for address in [bridge.addresses.http, own] {
        let right = handshake("/mqtt", &address.to_string());
        for (what, head, status, hint) in [
            ("no subprotocol", right.clone(), 400, "subprotocol `mqtt`"),
            ("another one", right.clone() + "Sec-WebSocket-Protocol: chat\r\n", 400, "subprotocol `mqtt`"),
            ("a foreign page", right.clone() + MQTT + "Origin: https://evil.example\r\n", 403, "allowed_origins"),
            ("a page of another port", right.clone() + MQTT + "Origin: http://127.0.0.1:1\r\n", 403, "allowed_origins"),
            ("a page without origin", right.clone() + MQTT + "Origin: null\r\n", 403, "allowed_origins"),
            ("another version", right.replace(": 13", ": 8") + MQTT, 426, "13"),
            ("no upgrade", format!("GET /mqtt HTTP/1.1\r\nHost: {address}\r\n"), 426, "Upgrade: websocket"),
            ("another path", handshake("/other", &address.to_string()) + MQTT, 404, "/other"),
        ] {
            let Err(answer) = RawWebSocket::try_open(address, &head).await else { panic!("{what} is taken") };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
            assert!(answer.contains("application/problem+json") && answer.contains(hint), "{what}: {answer}");
        }
        // A page that the name of another host was made to lead to, by DNS rebinding.
        let rebound = handshake("/mqtt", "evil.example:80") + MQTT + "Origin: http://evil.example:80\r\n";
        let Err(answer) = RawWebSocket::try_open(address, &rebound).await else { panic!("rebound") };
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        let page = format!("{right}{MQTT}Origin: http://{address}\r\n");
        assert!(RawWebSocket::try_open(address, &page).await.is_ok(), "the server's own page");
    }
    let listed = handshake("/", &own.to_string()) + MQTT + "Origin: https://dashboard.example\r\n";
    assert!(RawWebSocket::try_open(own, &listed).await.is_ok(), "a page of the list");
    for line in bridge.complaints() {
        assert!(line.contains("\"WARN\"") && line.contains("peer"), "{line}");
    }
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_not_finished_is_let_go() {
    let config = format!("[mqtt]\nhandshake_timeout = \"3s\"\n{LISTENERS}");
    let bridge = Setup::default().config(&config).start().await;
    let own = address(&bridge, "ws");
    let half = handshake("/mqtt", &own.to_string());
    // Before the request, in the middle of it, and after it without a CONNECT.
    let no_request = async |head: &str| {
        let mut client = TcpStream::connect(own).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end", client.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"");
    };
    let no_connect = async |address| {
        let mut client = RawWebSocket::open(address).await;
        client.send(&frame(first::BINARY, &connect("half")[..4])).await;
        assert_eq!(client.frame().await, None);
    };
    tokio::join!(no_request(""), no_request(&half), no_connect(own), no_connect(bridge.addresses.http));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_ends_them_like_the_others() {
    let mut bridge = Setup::default().config(LISTENERS).start().await;
    let mut clients = Vec::new();
    for (id, address) in [("a", bridge.addresses.http), ("b", address(&bridge, "ws"))] {
        let mut client = RawWebSocket::open(address).await;
        client.connect(&connect(id)).await;
        client.send(&frame(first::BINARY, &publish("kept", 1))).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.packet(kind::PUBACK).await;
    }
    let idle = RawWebSocket::open(address(&bridge, "ws")).await;
    bridge.terminate().await;
    for client in &mut clients {
        assert_eq!(client.packet(kind::DISCONNECT).await[2], 0x8b, "Server shutting down");
        assert_eq!(client.closed().await, Some(1000));
    }
    drop(idle);
    // Nor was anyone cut off at the end of the grace period.
    assert_eq!(bridge.complaints(), Vec::<String>::new());
}

/// JavaScript that connects, pings, and says what has come: the types of the packets, or `error`.
fn from_page(url: &str) -> String {
    let connect = connect("page");
    format!(
        "new Promise((resolve) => {{
            const socket = new WebSocket('{url}', 'mqtt');
            const types = [];
            socket.binaryType = 'arraybuffer';
            socket.onopen = () => socket.send(new Uint8Array([...{connect:?}, ...{PINGREQ:?}]));
            socket.onmessage = (message) => {{
                types.push(...new Uint8Array(message.data).filter((byte) => byte === 0x20 || byte === 0xd0));
                if (types.includes(0xd0)) resolve(types);
            }};
            socket.onerror = () => resolve('error');
        }})"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_speaks_mqtt_from_the_own_page_and_from_no_other() {
    let bridge = Setup::default().config(LISTENERS).start().await;
    let mut browser = Browser::open(&bridge.url("/")).await;
    let url = format!("ws://{}/mqtt", bridge.addresses.http);
    assert_eq!(browser.evaluate(&from_page(&url)).await, json!([0x20, 0xd0]));

    // A page of another port, without a policy of its own that would keep it in.
    let other = Bridge::start().await;
    let mut browser = Browser::open(&other.url("/healthz")).await;
    for url in [url, format!("ws://{}/mqtt", address(&bridge, "ws"))] {
        assert_eq!(browser.evaluate(&from_page(&url)).await, "error");
    }
    let complaint = bridge.complaint(0, "refused a connection").await;
    assert!(complaint.contains(&format!("pages of http://{}", other.addresses.http)), "{complaint}");
    bridge.finish(&["allowed_origins"]).await;
    other.finish(&[]).await;
}
