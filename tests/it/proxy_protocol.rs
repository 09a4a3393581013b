//! Listeners behind a proxy: headers of both versions by hand, right and wrong.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::support::{
    bridge::{Bridge, Setup},
    raw_mqtt::{Connect, RawMqtt, Version, packet},
    raw_websocket::{MQTT, RawWebSocket, handshake},
    within,
};

const LISTENERS: &str = r#"
[[listener]]
bind = "127.0.0.1:0"
proxy_protocol = true

[[listener]]
bind = "127.0.0.1:0"
proxy_protocol = true
tls = true

[[listener]]
bind = "127.0.0.1:0"
proxy_protocol = true
protocol = "websocket"
"#;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 1883\r\n";

/// A header of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// 198.51.100.9:6000 to 10.0.0.1:1883, and TLVs that say nothing to us.
fn with_tlvs() -> Vec<u8> {
    let mut body = vec![198, 51, 100, 9, 10, 0, 0, 1, 0x17, 0x70, 0x07, 0x5b];
    body.extend(b"\x02\0\x0bexample.org");
    body.extend(b"\xe0\x03\xe8");
    body.extend([0; 1000]);
    binary(0x21, 0x11, &body)
}

fn address(bridge: &Bridge, kind: &str, nth: usize) -> SocketAddr {
    bridge.listener(kind, nth).parse().unwrap()
}

/// A connection on which a proxy has said this.
async fn behind(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// The peer in the log after a connection has sent `header` and then what is no MQTT.
async fn logged_peer(bridge: &Bridge, address: SocketAddr, header: &[u8]) -> (String, SocketAddr) {
    let before = bridge.complaints().len();
    let stream = behind(address, header).await;
    let local = stream.local_addr().unwrap();
    let mut client = RawMqtt::on(stream, Version::V5);
    client.send(&packet(0xc0, &[])).await;
    assert!(client.read().await.is_none());
    let line = bridge.complaint(before, "refused a connection").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    (line["peer"].as_str().unwrap().to_owned(), local)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_knows_the_real_client() {
    let mut bridge = Setup::default().config(LISTENERS).start().await;
    let address = address(&bridge, "mqtt", 1);
    let six = b"PROXY TCP6 2001:db8::7 ::1 5000 1883\r\n";
    for (header, peer) in [(LINE, "192.0.2.7:5000"), (six, "[2001:db8::7]:5000"), (&with_tlvs(), "198.51.100.9:6000")] {
        assert_eq!(logged_peer(&bridge, address, header).await.0, peer);
    }
    // The proxy's own connections, and those that it knows nothing of.
    for header in
        [&b"PROXY UNKNOWN\r\n"[..], &binary(0x20, 0, &[]), &binary(0x21, 0, b"\x04\0\0"), &binary(0x20, 0x11, &[1; 12])]
    {
        let (peer, local) = logged_peer(&bridge, address, header).await;
        assert_eq!(peer, local.to_string(), "{header:02x?}");
    }
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_behind_the_header() {
    let bridge = Setup::default().config(LISTENERS).start().await;
    // In one write with CONNECT, and byte by byte.
    let connect = Connect::new(Version::V5, "proxied").encode();
    for header in [LINE.to_vec(), with_tlvs()] {
        let mut client =
            RawMqtt::on(behind(address(&bridge, "mqtt", 1), &[&header[..], &connect].concat()).await, Version::V5);
        client.expect(crate::support::raw_mqtt::kind::CONNACK).await;
        client.subscribe("t", 1).await;
        client.publish("t", "x", 0).await;
        assert_eq!(client.message().await.payload, b"x");
    }
    let mut slow = behind(address(&bridge, "mqtt", 1), b"").await;
    for byte in LINE {
        slow.write_all(&[*byte]).await.unwrap();
    }
    RawMqtt::on(slow, Version::V5).connect("slow", true).await;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(bridge.data_dir().join("certs/ca.pem")).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = behind(address(&bridge, "mqtts", 1), &with_tlvs()).await;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = within("TLS", TlsConnector::from(Arc::new(tls)).connect(name, stream)).await.unwrap();
    RawMqtt::on(stream, Version::V5).connect("tls", true).await;

    // A browser's request by way of a proxy, which does not change its Host.
    let stream = behind(address(&bridge, "ws", 0), LINE).await;
    let head = handshake("/mqtt", "pod.example") + MQTT + "Origin: https://pod.example\r\n";
    let mut client = RawWebSocket::try_on(stream, &head).await.unwrap_or_else(|answer| panic!("{answer}"));
    client.connect(&connect).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_right_header_is_let_go() {
    let config = format!("[mqtt]\nhandshake_timeout = \"500ms\"\n{LISTENERS}");
    let mut bridge = Setup::default().config(&config).start().await;
    let mut bystander = bridge.client(Version::V5, "bystander").await;
    let endless = [b"PROXY UNKNOWN ", &[b'x'; 300][..]].concat();
    let long = binary(0x21, 0x11, &[0; 5000]);
    let connect = Connect::new(Version::V5, "direct").encode();
    let address = address(&bridge, "mqtt", 1);
    for (what, bytes) in [
        ("nothing", &b""[..]),
        ("no header", &connect),
        ("TLS instead", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0"),
        ("half a line", &LINE[..20]),
        ("half a binary header", &with_tlvs()[..20]),
        ("a line without end", &endless),
        ("a header that is too long", &long),
        ("a wrong address", b"PROXY TCP4 192.0.2.777 10.0.0.1 5000 1883\r\n"),
        ("an unknown command", &binary(0x22, 0x11, &[0; 12])),
        ("a body too short for its addresses", &binary(0x21, 0x21, &[0; 12])),
        ("garbage", b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c"),
    ] {
        let mut stream = behind(address, bytes).await;
        let mut answer = Vec::new();
        // Closing with bytes unread may come as a reset.
        let _: io::Result<usize> = within(what, stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "{what}");
        bystander.ping().await;
    }
    bridge.complaint(0, "there is no PROXY protocol header").await;
    let complaints = bridge.complaints();
    assert!(
        complaints.iter().all(|line| line.contains("PROXY protocol header") && line.contains("peer")),
        "{complaints:#?}"
    );
    bridge.terminate().await;
}
