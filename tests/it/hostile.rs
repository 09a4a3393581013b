//! Strangers: garbage, half a packet, nothing at all. Each costs its own connection and no more.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    Random,
    bridge::{Bridge, Setup},
    clients::mosquitto,
    eventually,
    process::Process,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, packet, subscribe},
    within,
};

/// Short, so that the tests need not wait for the default.
const HANDSHAKE: &str = "[mqtt]\nhandshake_timeout = \"500ms\"";

/// Whether a client that must not notice anything still gets what it publishes.
async fn expect_service(bystander: &mut RawMqtt) {
    bystander.publish("bystander", "hello", 0).await;
    assert_eq!(bystander.message().await.payload, b"hello");
}

/// Sends bytes and waits for the end of the connection.
async fn expect_refusal(bridge: &Bridge, bytes: &[u8]) {
    let mut stream = TcpStream::connect(bridge.addresses.mqtt).await.unwrap();
    // The bridge may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let what = format!("the end of a connection that sent {:02x?}", &bytes[..bytes.len().min(40)]);
    let mut rest = Vec::new();
    let _: io::Result<usize> = within(&what, stream.read_to_end(&mut rest)).await;
}

/// Only warnings that name the peer; a stranger is no reason to wake anyone.
fn expect_only_named_peers(bridge: &Bridge) {
    for line in bridge.complaints() {
        assert!(line.contains("\"WARN\"") && line.contains("peer"), "{line}");
    }
}

fn connected(version: Version, then: &[u8]) -> Vec<u8> {
    let mut bytes = Connect::new(version, "hostile").encode();
    bytes.extend(then);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_the_protocol_is_let_go() {
    let mut bridge = Setup::default().config(HANDSHAKE).start().await;
    let mut bystander = bridge.client(Version::V5, "bystander").await;
    let before_connect = [
        ("nothing that MQTT knows", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS on the plain port", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("a length that never ends", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a length beyond the maximum packet", vec![0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]),
        ("a reserved packet type", packet(0x00, &[])),
        ("PUBLISH before CONNECT", Publish::new("t", "x", 0, 0).encode(Version::V4)),
        ("PINGREQ before CONNECT", packet(0xc0, &[])),
        ("another protocol's name", packet(0x10, b"\0\x04MQIT\x04\x02\0\0\0\0")),
        ("a protocol of the future", packet(0x10, b"\0\x04MQTT\x09\x02\0\0\0\0")),
        ("a reserved connect flag", packet(0x10, b"\0\x04MQTT\x04\x03\0\0\0\0")),
        ("a will of QoS 3", packet(0x10, b"\0\x04MQTT\x04\x1e\0\0\0\x01a\0\x01w\0\0")),
        ("a client identifier that is cut", packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x09a")),
        ("a client identifier with NUL", packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01\0")),
    ];
    let bad_text = packet(0x30, b"\0\x02\xc3\x28x");
    let mut after_connect = Vec::new();
    for version in [Version::V4, Version::V5] {
        for (what, bytes) in [
            ("a second CONNECT", Connect::new(version, "again").encode()),
            ("QoS 3", packet(0x36, b"\0\x01t\0\x01\0x")),
            ("DUP with QoS 0", packet(0x38, b"\0\x01t\0x")),
            ("a wildcard in a topic name", Publish::new("a/#", "x", 0, 0).encode(version)),
            ("an empty topic name", Publish::new("", "x", 0, 0).encode(version)),
            ("NUL in a topic name", Publish::new("a\0b", "x", 0, 0).encode(version)),
            ("text that is not UTF-8", bad_text.clone()),
            ("packet identifier 0", Publish::new("t", "x", 1, 0).encode(version)),
            ("a topic longer than its packet", packet(0x30, b"\xff\xfft")),
            ("SUBSCRIBE without a filter", packet(0x82, b"\0\x01\0")),
            ("SUBSCRIBE with wrong flags", packet(0x80, &subscribe(version, 1, "t", 0)[2..])),
            ("SUBSCRIBE to QoS 3", subscribe(version, 1, "t", 3)),
            ("CONNACK from a client", packet(0x20, &[0, 0, 0])),
            ("SUBACK from a client", packet(0x90, &[0, 1, 0])),
            ("PINGRESP from a client", packet(0xd0, &[])),
            ("PUBREL with wrong flags", packet(0x60, &[0, 1])),
            ("a packet beyond the maximum", vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't']),
        ] {
            after_connect.push((what, connected(version, &bytes)));
        }
    }
    for (what, bytes) in before_connect.iter().chain(&after_connect) {
        eprintln!("{what}");
        expect_refusal(&bridge, bytes).await;
        bystander.ping().await;
    }
    expect_only_named_peers(&bridge);
    let named = async || bridge.complaints().iter().any(|line| line.contains("hostile")).then_some(());
    eventually("the client identifier in the log", named).await;
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connect_is_a_protocol_error_whatever_it_says() {
    let bridge = Bridge::start().await;
    let of_another_protocol = packet(0x10, b"\0\x04MQIT\x05\x02\0\0\0\0\0");
    let of_the_future = packet(0x10, b"\0\x04MQTT\x09\x02\0\0\0\0\0");
    for again in [Connect::new(Version::V5, "twice").encode(), of_another_protocol, of_the_future] {
        let mut client = bridge.client(Version::V5, "twice").await;
        client.send(&again).await;
        assert_eq!(client.expect_close().await, Some(0x82), "{again:02x?}");
    }
    bridge.finish(&["a second CONNECT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_finish_is_let_go() {
    let mut bridge = Setup::default().config(HANDSHAKE).start().await;
    let mut bystander = bridge.client(Version::V5, "bystander").await;
    let connect = Connect::new(Version::V5, "hostile").encode();
    for bytes in [&[][..], &connect[..1], &connect[..connect.len() - 1]] {
        expect_refusal(&bridge, bytes).await;
        bystander.ping().await;
    }
    // A CONNECT that goes on and on: activity is no excuse.
    let mut endless = TcpStream::connect(bridge.addresses.mqtt).await.unwrap();
    endless.write_all(&[0x10, 0xff, 0xff, 0x3f]).await.unwrap();
    let drip = async {
        while endless.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the end of a CONNECT without end", drip).await;
    bystander.ping().await;
    expect_only_named_peers(&bridge);
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_tls_peers_block_nobody() {
    let mut bridge = Setup::default().config("[mqtt]\nhandshake_timeout = \"60s\"").start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(bridge.addresses.mqtts).await.unwrap());
    }
    let ca = bridge.data_dir().join("certs/ca.pem");
    let port = bridge.addresses.mqtts.port().to_string();
    let arguments = ["--cafile", ca.to_str().unwrap(), "-t", "t", "-m", "served", "-q", "1"];
    Process::start(mosquitto("mosquitto_pub", &port, &arguments)).success().await;
    let events = bridge.events("t").await;
    assert_eq!(events[0]["data"]["text"], "served");
    drop(silent);
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tls_peer_is_let_go() {
    let mut bridge = Setup::default().config(HANDSHAKE).start().await;
    for bytes in [&[][..], b"\x16\x03\x01\x02\x00", b"plain text"] {
        let mut peer = TcpStream::connect(bridge.addresses.mqtts).await.unwrap();
        peer.write_all(bytes).await.unwrap();
        let _: io::Result<usize> = within("the end", peer.read_to_end(&mut Vec::new())).await;
    }
    expect_only_named_peers(&bridge);
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_cost_one_connection_each() {
    let mut random = Random::new();
    let mut bridge = Setup::default().config(HANDSHAKE).start().await;
    let mut bystander = bridge.client(Version::V5, "bystander").await;
    bystander.subscribe("bystander", 0).await;
    for round in 0..300 {
        let version = if random.between(0, 1) == 0 { Version::V4 } else { Version::V5 };
        let mut bytes = if random.between(0, 3) == 0 { Vec::new() } else { Connect::new(version, "fuzz").encode() };
        let valid = Publish::new("fuzz", "x", 1, 1).encode(version);
        bytes.extend(valid);
        // Either noise after valid packets, or valid packets with a few bytes changed.
        if random.between(0, 1) == 0 {
            bytes.extend((0..random.between(1, 200)).map(|_| random.between(0, 255) as u8));
        } else {
            for _ in 0..random.between(1, 4) {
                let place = random.between(0, bytes.len() as u64 - 1) as usize;
                bytes[place] = random.between(0, 255) as u8;
            }
        }
        let mut stream = TcpStream::connect(bridge.addresses.mqtt).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _: io::Result<usize> = within("the end", stream.read_to_end(&mut Vec::new())).await;
        if round % 10 == 0 {
            expect_service(&mut bystander).await;
        }
    }
    expect_service(&mut bystander).await;
    expect_only_named_peers(&bridge);
    bridge.terminate().await;
}

/// A client that is still sending would see its connection break, and not read the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_is_told_and_not_reset() {
    let mut bridge = Setup::default().start().await;
    let refused = Connect { id: "x".repeat(60_000), ..Connect::new(Version::V5, "") }.encode();
    let behind = Publish::new("behind", "x", 0, 0).encode(Version::V5).repeat(60_000);
    let socket = TcpSocket::new_v4().unwrap();
    // Less than is sent, so that some of it is on its way when the bridge decides.
    socket.set_send_buffer_size(32 << 10).unwrap();
    let mut stream = socket.connect(bridge.addresses.mqtt).await.unwrap();
    stream.write_all(&[refused, behind].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within("the end", stream.read_to_end(&mut answer)).await.expect("no reset");
    assert_eq!((answer[0], answer[3]), (0x20, 0x85), "CONNACK, Client Identifier not valid: {answer:02x?}");
    expect_only_named_peers(&bridge);
    bridge.terminate().await;
}
