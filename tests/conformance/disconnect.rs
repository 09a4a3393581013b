//! PINGREQ, DISCONNECT and the flags of AUTH (MQTT 5.0 sections 3.12 to 3.15; 3.1.1 sections 3.12
//! to 3.14).

use crate::support::{
    PEER, VERSIONS, accepted, answers,
    bridge::Bridge,
    expect_closed, expect_nothing_before,
    properties::{four_bytes, id, string},
    raw_mqtt::{Connect, DISCONNECT, PINGREQ, Publish, Version, counted, kind, packet, subscribe},
    reason,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_12_4_1_every_pingreq_has_its_pingresp() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&PINGREQ.repeat(100)).await;
        for _ in 0..100 {
            let pingresp = client.expect(kind::PINGRESP).await;
            assert_eq!((pingresp.first(), pingresp.body()), (0xd0, &[][..]));
        }
        expect_closed(&bridge, version, &packet(0xc0, &[0]), reason::MALFORMED_PACKET).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_0_1_before_a_connack_there_is_no_disconnect() {
    let bridge = Bridge::start().await;
    for first in [
        PINGREQ.to_vec(),
        Publish::new("t", "x", 1, 1).encode(Version::V5),
        packet(0x10, b"\0\x04MQTT\x05\x03\0\0\0\0\x02id"),
        packet(0x10, b"\0\x04MQTT\x09\x02\0\0\0\0\x02id"),
        packet(0x00, &[]),
        vec![0x10, 0xff, 0xff, 0xff, 0xff],
        vec![0x10, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let answers = answers(&bridge, Version::V5, &first).await;
        assert!(answers.iter().all(|answer| answer.kind() == kind::CONNACK), "{first:02x?}: {answers:?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_1_1_other_flags_of_disconnect_are_malformed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("will", 1).await;
        for flags in 1..16 {
            let will = Some(("will".to_owned(), vec![flags], 1, false));
            let mut client = accepted(&bridge, &Connect { will, ..Connect::new(version, "client") }).await;
            client.send(&[0xe0 | flags, 0]).await;
            let told = client.expect_close().await;
            assert_eq!(told, (version == Version::V5).then_some(reason::MALFORMED_PACKET));
            assert_eq!(watcher.message().await.payload, [flags], "it was no DISCONNECT");
        }
    }
    bridge.finish(PEER).await;
}

/// What each of these does that a client may do wrong.
fn violations() -> Vec<Vec<u8>> {
    vec![
        Connect::new(Version::V5, "again").encode(),
        Publish::new("a/+", "x", 1, 1).encode(Version::V5),
        Publish::new("t", "x", 1, 0).encode(Version::V5),
        packet(0x30, b"\0\0\0x"),
        packet(0x30, b"\0\x01t\x03\x23\xff\xffx"),
        packet(0x00, &[]),
        packet(0xf0, &[]),
        packet(0x20, &[0, 0, 0]),
        subscribe(Version::V5, 1, "t", 0xff),
        packet(0x82, &[0, 1, 0]),
        vec![0x30, 0xff, 0xff, 0xff, 0x7f],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_2_1_the_server_s_disconnect_has_its_reason_codes() {
    const CODES: [u8; 27] = [
        0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ];
    let bridge = Bridge::start().await;
    for bytes in violations() {
        let mut client = bridge.client(Version::V5, "client").await;
        client.send(&bytes).await;
        let disconnect = client.expect(kind::DISCONNECT).await;
        assert_eq!(disconnect.first(), 0xe0);
        assert!(CODES.contains(&disconnect.reason()), "{bytes:02x?}: {disconnect:?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_2_2_the_server_s_disconnect_has_no_session_expiry() {
    let mut bridge = Bridge::start().await;
    let mut clients = Vec::new();
    for bytes in violations() {
        let mut client = accepted(&bridge, &Connect::persistent(Version::V5, "client")).await;
        client.send(&bytes).await;
        clients.push(client);
    }
    let mut stopped = accepted(&bridge, &Connect::persistent(Version::V5, "stopped")).await;
    stopped.ping().await;
    bridge.terminate().await;
    clients.push(stopped);
    for client in &mut clients {
        let disconnect = client.expect(kind::DISCONNECT).await;
        assert_eq!(disconnect.properties().get(id::SESSION_EXPIRY_INTERVAL), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_4_1_nothing_follows_the_server_s_disconnect() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for bytes in violations() {
        let mut client = bridge.client(Version::V5, "client").await;
        client.subscribe("t", 1).await;
        // Work that would be answered, behind the violation, and messages on their way.
        let behind = [PINGREQ.to_vec(), Publish::new("t", "x", 1, 9).encode(Version::V5)].concat();
        publisher.publish("t", "x", 1).await;
        let _ = client.try_send(&[bytes.clone(), behind].concat()).await;
        let mut kinds = Vec::new();
        while let Some(packet) = client.read().await {
            kinds.push(packet.kind());
        }
        let disconnects = kinds.iter().filter(|kind| **kind == kind::DISCONNECT).count();
        assert_eq!((disconnects, kinds.last()), (1, Some(&kind::DISCONNECT)), "{bytes:02x?}");
        assert!(!kinds.contains(&kind::PINGRESP) && !kinds.contains(&kind::PUBACK), "{bytes:02x?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_4_3_a_normal_disconnect_discards_the_will() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("will/#", 1).await;
        let will = |id: &str| Connect {
            will: Some((format!("will/{id}"), b"gone".to_vec(), 1, false)),
            ..Connect::new(version, id)
        };
        let mut goodbyes = vec![DISCONNECT.to_vec()];
        if version == Version::V5 {
            let expiry = four_bytes(id::SESSION_EXPIRY_INTERVAL, 0);
            goodbyes.extend([vec![0xe0, 1, 0], packet(0xe0, &[&[0], &counted(&expiry)[..]].concat())]);
        }
        for goodbye in goodbyes {
            let mut polite = accepted(&bridge, &will("polite")).await;
            polite.send(&goodbye).await;
            assert_eq!(polite.expect_close().await, None, "closed without a word");
        }
        drop(accepted(&bridge, &will("rude")).await);
        assert_eq!(watcher.message().await.topic, "will/rude");
        // In 5.0 a client may leave with its will.
        if version == Version::V5 {
            let mut wanting = accepted(&bridge, &will("wanting")).await;
            wanting.send(&packet(0xe0, &[0x04])).await;
            assert_eq!(watcher.message().await.topic, "will/wanting");
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_14_4_2_what_a_client_sends_behind_its_disconnect_is_not_processed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("#", 1).await;
        let mut client = bridge.client(version, "client").await;
        let behind = [&DISCONNECT[..], &Publish::new("t", "x", 1, 1).encode(version), &PINGREQ].concat();
        client.send(&behind).await;
        client.expect_close().await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut watcher, "marker").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_15_1_1_other_flags_of_auth_are_malformed() {
    let bridge = Bridge::start().await;
    for flags in 1..16 {
        expect_closed(&bridge, Version::V5, &packet(0xf0 | flags, &[0x18, 0]), reason::MALFORMED_PACKET).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_1_an_unknown_authentication_method_is_refused() {
    let bridge = Bridge::start().await;
    for method in ["UNKNOWN", ""] {
        let properties = string(id::AUTHENTICATION_METHOD, method);
        let connect = Connect { properties, ..Connect::new(Version::V5, "client") };
        let answers = answers(&bridge, Version::V5, &connect.encode()).await;
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].kind(), answers[0].reason()), (kind::CONNACK, reason::BAD_AUTHENTICATION_METHOD));
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_6_without_a_method_there_is_no_authentication_exchange() {
    let bridge = Bridge::start().await;
    let mut client = bridge.raw(Version::V5).await;
    client.send(&Connect::new(Version::V5, "client").encode()).await;
    let connack = client.expect(kind::CONNACK).await;
    assert_eq!(connack.properties().get(id::AUTHENTICATION_METHOD), None);
    client.ping().await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_7_auth_without_a_method_in_connect_is_a_protocol_error() {
    let bridge = Bridge::start().await;
    let method = string(id::AUTHENTICATION_METHOD, "SCRAM-SHA-256");
    for step in [0x18, 0x19] {
        let auth = packet(0xf0, &[&[step], &counted(&method)[..]].concat());
        expect_closed(&bridge, Version::V5, &auth, reason::PROTOCOL_ERROR).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_14_2_1_a_client_that_is_still_sending_is_told_the_reason() {
    let bridge = Bridge::start().await;
    let message = Publish::new("t", [0; 16 << 10], 0, 0).encode(Version::V5);
    for violation in violations() {
        let mut client = bridge.client(Version::V5, "client").await;
        client.send(&violation).await;
        // What it sends before it reads, the bridge must take: closing over it resets the connection, and
        // with it goes what is not read yet.
        for _ in 0..32 {
            client.send(&message).await;
        }
        assert!(client.expect_close().await.is_some_and(|reason| reason >= 0x80), "{violation:02x?}");
    }
    bridge.finish(PEER).await;
}
