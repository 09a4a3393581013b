//! Watchers that are slow, dead or too many: each costs itself, and nobody else.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    bridge::{Bridge, Setup},
    event_socket::{EventSocket, PATH},
    eventually,
    raw_mqtt::{Publish, Version, kind},
    raw_websocket::{first, frame, handshake},
    within,
};

/// Events of a flood and the size of each: 32 MB, several times what the system holds for a client that does not read
/// (4 MB on the sender's side and 6 MB on the receiver's, tcp(7)).
const EVENTS: u64 = 1_000;
const EVENT_BYTES: usize = 32_000;

/// What the process may grow by meanwhile: some dozen bodies, the memory that the configuration allows for windows and
/// caches, and the allocator's slack.
const GROWTH: f64 = (48 << 20) as f64;

/// Reads slowly, but never stops: what it has seen of each event's number, until the last one.
async fn read_slowly(mut socket: TcpStream) -> Vec<u64> {
    let (mut seen, mut text) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = within("more of the stream", socket.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "the slow client is given up after {:?}", seen.last());
        text.extend_from_slice(&buffer[..read]);
        // Numbers stand in front of the filling, of which a rest may be cut off.
        while let Some(at) = text.windows(5).position(|part| part == b"\"n\":\"") {
            let Some(number) = text.get(at + 5..at + 11) else { break };
            seen.push(std::str::from_utf8(number).unwrap().parse().unwrap());
            text.drain(..at + 11);
        }
        if seen.last() == Some(&(EVENTS - 1)) {
            return seen;
        }
        text.drain(..text.len().saturating_sub(16));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Opens the stream and reads nothing behind the first bytes of the answer.
async fn open_stream(bridge: &Bridge) -> TcpStream {
    let mut socket = TcpStream::connect(bridge.addresses.http).await.unwrap();
    socket.write_all(b"GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut beginning = [0; 12];
    within("an answer", socket.read_exact(&mut beginning)).await.unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200");
    socket
}

/// The same over WebSocket: subscribes, and never reads the answer.
async fn open_socket(bridge: &Bridge) -> TcpStream {
    let mut socket = TcpStream::connect(bridge.addresses.http).await.unwrap();
    let mut request = format!("{}\r\n", handshake(PATH, "localhost")).into_bytes();
    request.extend(frame(first::TEXT, br#"{"op":"subscribe"}"#));
    socket.write_all(&request).await.unwrap();
    socket
}

async fn clients(bridge: &Bridge) -> f64 {
    bridge.metric("synap_mqtt_stream_clients").await
}

async fn flood(bridge: &Bridge) {
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    for n in 0..EVENTS {
        let payload = format!("{{\"n\":\"{n:06}\",\"filling\":\"{}\"}}", "x".repeat(EVENT_BYTES));
        publisher.send(&Publish::new("flood", payload, 1, (n + 1) as u16).encode(Version::V4)).await;
        publisher.expect(kind::PUBACK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_nothing_is_given_up_and_whoever_is_slow_gets_everything() {
    let setup = Setup::default().config("[limits]\nmemory = \"16MiB\"");
    let bridge = setup.through(["env", "SYNAP_MQTT__HTTP__WRITE_TIMEOUT=3s"]).start().await;
    let slow = tokio::spawn(read_slowly(open_stream(&bridge).await));
    let (dead_stream, dead_socket) = (open_stream(&bridge).await, open_socket(&bridge).await);
    eventually("three clients", async || (clients(&bridge).await == 3.0).then_some(())).await;
    let before = bridge.metric("process_resident_memory_bytes").await;
    flood(&bridge).await;
    let grown = bridge.metric("process_resident_memory_bytes").await - before;
    assert!(grown < GROWTH, "grown by {grown} bytes");
    // Every one of them, once and in order.
    assert_eq!(slow.await.unwrap(), (0..EVENTS).collect::<Vec<_>>());
    eventually("the dead ones' end", async || (clients(&bridge).await == 0.0).then_some(())).await;
    drop((dead_stream, dead_socket));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_as_many_as_configured_whatever_they_have_become() {
    let bridge = Setup::default().through(["env", "SYNAP_MQTT__HTTP__MAXIMUM_CONNECTIONS=3"]).start().await;
    let stream = eventually("a place", async || {
        // Those that asked for readiness may still be there.
        let mut socket = TcpStream::connect(bridge.addresses.http).await.ok()?;
        socket.write_all(b"GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok()?;
        (socket.read(&mut [0; 12]).await.ok()? > 0).then_some(socket)
    })
    .await;
    let mut open = vec![stream];
    let mut socket = eventually("a place", async || EventSocket::try_open(bridge.addresses.http).await.ok()).await;
    socket.ask(json!({"op": "subscribe"})).await;
    // Until the places of the first questions are free again, and taken.
    let full = async || match connect(&bridge).await {
        Some(socket) => {
            open.push(socket);
            None
        }
        None => Some(()),
    };
    eventually("the last place", full).await;
    assert_eq!(open.len(), 2);
    drop(open);
    eventually("a place", async || connect(&bridge).await).await;
    socket.ask(json!({"op": "ping"})).await;
    bridge.finish(&["closed HTTP connections at once"]).await;
}

/// A connection that is served, idle behind its first answer.
async fn connect(bridge: &Bridge) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(bridge.addresses.http).await.ok()?;
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok()?;
    (socket.read(&mut [0; 1024]).await.ok()? > 0).then_some(socket)
}
