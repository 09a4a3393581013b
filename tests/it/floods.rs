//! Floods of connections: silent ones, and more clients than there are file descriptors.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    bridge::{Bridge, Setup},
    eventually,
    raw_mqtt::{Connect, DISCONNECT, RawMqtt, Version, kind},
    scram::PasswordFile,
    within,
};

/// A bridge that may have so many file descriptors, and not one more.
async fn with_descriptors(limit: u32, config: &str) -> Bridge {
    limited(Setup::default().config(config), limit).start().await
}

fn limited(setup: Setup, limit: u32) -> Setup {
    let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    setup.through(["sh", "-c", &script])
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

/// A socket to the bridge from another address of this machine.
async fn from(source: [u8; 4], address: SocketAddr) -> RawMqtt {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    RawMqtt::on(socket.connect(address).await.unwrap(), Version::V5)
}

/// Connects from there; none where the bridge closes unheard.
async fn try_from(source: [u8; 4], address: SocketAddr, connect: &Connect) -> Option<RawMqtt> {
    let mut client = from(source, address).await;
    client.try_send(&connect.encode()).await.ok()?;
    let connack = client.read().await?;
    assert_eq!((connack.kind(), connack.reason()), (kind::CONNACK, 0));
    Some(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_strangers_have_taken_the_descriptors_known_clients_still_come_in() {
    const STRANGERS: [u8; 4] = [127, 0, 0, 2];
    const WITH_SESSION: [u8; 4] = [127, 0, 0, 3];
    const WITH_PASSWORD: [u8; 4] = [127, 0, 0, 4];
    const UNKNOWN: [u8; 4] = [127, 0, 0, 5];
    let accounts = PasswordFile::new(&[("user", "pencil")]).await;
    let open = "[[listener]]\nbind = \"127.0.0.1:0\"\nauthentication = \"none\"";
    let mut bridge = limited(accounts.setup().config(open), 200).start().await;
    let (asking, open) = (bridge.addresses.mqtt, bridge.listener("mqtt", 1).parse().unwrap());
    let kept = Connect::persistent(Version::V5, "kept");
    let user = Connect {
        user_name: Some("user".to_owned()),
        password: Some(b"pencil".to_vec()),
        ..Connect::new(Version::V5, "user")
    };
    for _ in 0..2 {
        let mut client = try_from(WITH_SESSION, open, &kept).await.unwrap();
        client.send(&DISCONNECT).await;
        client.expect_close().await;
    }
    drop(try_from(WITH_PASSWORD, asking, &user).await.unwrap());

    let mut strangers = Vec::new();
    while let Some(client) = try_from(STRANGERS, open, &Connect::new(Version::V5, "")).await {
        strangers.push(client);
        assert!(strangers.len() < 170, "nobody is turned away");
    }
    assert!(strangers.len() > 80, "{}", strangers.len());
    assert!(try_from(UNKNOWN, open, &Connect::new(Version::V5, "")).await.is_none());
    let mut back = try_from(WITH_SESSION, open, &kept).await.expect("a session that was kept is taken up again");
    let mut proven = try_from(WITH_PASSWORD, asking, &user).await.expect("a client that has proven itself comes in");
    back.subscribe("t", 1).await;
    proven.publish("t", "x", 1).await;
    assert_eq!(back.message().await.payload, b"x");

    // Theirs are not without end either: the last are HTTP's.
    let mut more = Vec::new();
    while let Some(client) = try_from(WITH_PASSWORD, open, &Connect::new(Version::V5, "")).await {
        more.push(client);
        assert!(more.len() < 30, "nobody is turned away");
    }
    assert!(more.len() > 5, "{}", more.len());
    assert!(bridge.metric("synap_mqtt_connections_shed_total").await >= 3.0);
    bridge.terminate().await;
}
