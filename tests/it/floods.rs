//! Floods of connections: silent ones, and more clients than there are file descriptors.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::support::{
    bridge::{Bridge, Setup},
    eventually,
    raw_mqtt::{Connect, RawMqtt, Version, kind},
    within,
};

/// A bridge that may have so many file descriptors, and not one more.
async fn with_descriptors(limit: u32, config: &str) -> Bridge {
    let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    Setup::default().through(["sh", "-c", &script]).config(config).start().await
}

/// A connection that was closed without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let _: io::Result<usize> = within("the end of a connection", stream.read_to_end(&mut rest)).await;
    rest.is_empty()
}

/// A client that comes in, as any client that tries again until it does.
async fn insist(address: SocketAddr, id: &str) -> RawMqtt {
    let connect = Connect::new(Version::V5, id).encode();
    eventually("a client to come in", async || {
        let mut client = RawMqtt::open(address, Version::V5).await;
        client.try_send(&connect).await.ok()?;
        let connack = client.read().await?;
        assert_eq!((connack.kind(), connack.reason()), (kind::CONNACK, 0));
        Some(client)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_flood_makes_room_for_those_who_speak() {
    let config = "[mqtt]\nhandshake_timeout = \"600s\"\nmaximum_handshakes = 50";
    let mut bridge = with_descriptors(1024, config).await;
    let mut bystander = bridge.client(Version::V5, "bystander").await;
    bystander.subscribe("bystander", 0).await;
    let mut silent = Vec::new();
    for round in 0..200 {
        for address in [bridge.addresses.mqtt, bridge.addresses.mqtts] {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        if round % 20 == 0 {
            insist(bridge.addresses.mqtt, "newcomer").await.ping().await;
            bystander.publish("bystander", "hello", 0).await;
            assert_eq!(bystander.message().await.payload, b"hello");
        }
    }
    // The oldest are gone, the newest are not.
    for stream in &mut silent[..200] {
        assert!(is_closed(stream).await);
    }
    let shed = eventually("the count of those that made room", async || {
        let shed = bridge.metric("synap_mqtt_connections_shed_total").await;
        (shed >= 300.0).then_some(shed)
    })
    .await;
    assert!(shed <= 320.0, "{shed}");
    let few = async || (bridge.metric("process_open_fds").await < 170.0).then_some(());
    eventually("the descriptors of those that are gone to be free", few).await;
    let as_many = async || (bridge.metric("synap_mqtt_handshakes").await == 100.0).then_some(());
    eventually("as many handshakes as two listeners allow", as_many).await;
    let told = async || (bridge.complaints().len() >= 2).then(|| bridge.complaints());
    let complaints = eventually("a warning of each listener", told).await;
    assert!(complaints.iter().all(|line| line.contains("to make room for a new one")), "{complaints:#?}");
    assert_eq!(complaints.len(), 2, "and no more of them");
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_leave_the_last_descriptors_to_others() {
    let mut bridge = with_descriptors(200, "").await;
    let mut clients = Vec::new();
    // 200, less 32 that are kept, less those that the bridge itself has open.
    let turned_away = loop {
        assert!(clients.len() < 170, "nobody is turned away");
        let mut client = RawMqtt::open(bridge.addresses.mqtt, Version::V5).await;
        let id = format!("client-{}", clients.len());
        let sent = client.try_send(&Connect::new(Version::V5, &id).encode()).await;
        match client.read().await {
            Some(connack) => assert_eq!(connack.reason(), 0),
            None => break sent,
        }
        clients.push(client);
    };
    drop(turned_away);
    assert!(clients.len() > 100, "{}", clients.len());
    // HTTP goes on, as often as it likes; and so do those who are in.
    for _ in 0..20 {
        let shed = bridge.metric("synap_mqtt_connections_shed_total").await;
        assert!(shed >= 1.0);
    }
    clients[0].subscribe("t", 1).await;
    clients[1].publish("t", "x", 1).await;
    assert_eq!(clients[0].message().await.payload, b"x");
    assert_eq!(bridge.events("t").await.len(), 1);
    for told in ["closed a connection unheard", "nearly all file descriptors are in use"] {
        bridge.complaint(0, told).await;
        let complaints = bridge.complaints();
        let times = complaints.iter().filter(|line| line.contains(told)).count();
        assert_eq!(times, 1, "{told}\n{complaints:#?}");
    }
    // Whoever leaves makes room.
    clients.truncate(10);
    insist(bridge.addresses.mqtt, "later").await.ping().await;
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_is_raised() {
    let script = "ulimit -S -n 100; ulimit -H -n 300; exec \"$0\" \"$@\"";
    let bridge = Setup::default().through(["sh", "-c", script]).start().await;
    let limit = bridge.process.stderr.all().iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "file descriptors").then(|| (line["before"].as_u64(), line["limit"].as_u64()))
    });
    assert_eq!(limit, Some((Some(100), Some(300))));
    // More clients than the soft limit has room for.
    let mut clients = Vec::new();
    for n in 0..120 {
        clients.push(bridge.client(Version::V5, &n.to_string()).await);
    }
    bridge.finish(&[]).await;
}
