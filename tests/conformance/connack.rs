//! CONNACK (section 3.2 of both standards).

use crate::support::{
    PEER, VERSIONS, accepted, answers,
    bridge::{Bridge, Setup},
    connect_packet, persistent,
    properties::{id, string},
    raw_mqtt::{Connect, Publish, Version, kind, text},
    reason,
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_0_1_connack_comes_before_anything_else() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut sleeper = persistent(&bridge, version, "sleeper").await;
        sleeper.subscribe("night", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        publisher.publish("night", "1", 1).await;
        sleeper.expect(kind::PUBLISH).await;
        drop(sleeper);
        publisher.publish("night", "2", 2).await;
        let mut sleeper = bridge.raw(version).await;
        sleeper.send(&Connect::persistent(version, "sleeper").encode()).await;
        let connack = sleeper.expect(kind::CONNACK).await;
        assert_eq!((connack.reason(), connack.session_present()), (0, true));
        assert_eq!(sleeper.message().await.payload, b"1");
        assert_eq!(sleeper.message().await.payload, b"2");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_0_2_there_is_one_connack() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "twice").encode();
        let answers = answers(&bridge, version, &[connect.clone(), connect].concat()).await;
        let connacks = answers.iter().filter(|answer| answer.kind() == kind::CONNACK).count();
        assert_eq!(connacks, 1, "{answers:?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_1_reserved_acknowledge_flags_are_0() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        for present in [0, 1] {
            let mut client = bridge.raw(version).await;
            client.send(&Connect::persistent(version, "flags").encode()).await;
            assert_eq!(client.expect(kind::CONNACK).await.body()[0], present);
        }
        for (version, connect) in refusals() {
            assert_eq!(answers(&bridge, version, &connect).await[0].body()[0], 0);
        }
        bridge.finish(PEER).await;
    }
}

/// Whether a session was present for `connect`, whose reason is success either way.
async fn session_present(bridge: &Bridge, connect: &Connect) -> bool {
    let mut client = bridge.raw(connect.version).await;
    client.connect_as(connect).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_2_a_clean_start_has_no_session_present() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let kept = Connect::persistent(version, "client");
        session_present(&bridge, &kept).await;
        assert!(session_present(&bridge, &kept).await, "there is one");
        assert!(!session_present(&bridge, &Connect { clean: true, ..kept }).await);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_3_session_present_says_whether_there_was_one() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let kept = Connect::persistent(version, "client");
        assert!(!session_present(&bridge, &kept).await, "none yet");
        assert!(session_present(&bridge, &kept).await, "the one from before");
        // A clean session of 3.1.1 leaves none behind, nor does one of 5.0 that does not outlive its connection.
        let mut brief = accepted(&bridge, &Connect::new(version, &kept.id)).await;
        brief.send(&[0xe0, 0]).await;
        brief.expect_close().await;
        assert!(!session_present(&bridge, &kept).await, "none any more");
        bridge.finish(&[]).await;
    }
}

/// A CONNECT for every way to be refused that leads to a CONNACK.
fn refusals() -> Vec<(Version, Vec<u8>)> {
    let long_id = "x".repeat(60_000);
    let long_topic = Some(("x".repeat(60_000), Vec::new(), 0, false));
    let method = string(id::AUTHENTICATION_METHOD, "UNKNOWN");
    let v5 = Connect::persistent(Version::V5, "refused");
    vec![
        (Version::V4, Connect::new(Version::V4, &long_id).encode()),
        (Version::V4, Connect { clean: false, ..Connect::new(Version::V4, "") }.encode()),
        (Version::V4, connect_packet(&[&[3, 0, 0, 0][..], &text("refused")].concat())),
        (Version::V5, connect_packet(&[&[6, 0, 0, 0, 0][..], &text("refused")].concat())),
        (Version::V5, Connect { id: long_id, ..v5.clone() }.encode()),
        (Version::V5, Connect { will: long_topic, ..v5.clone() }.encode()),
        (Version::V5, Connect { properties: method, ..v5.clone() }.encode()),
        (Version::V5, Connect { receive_maximum: Some(0), ..v5.clone() }.encode()),
        (Version::V5, Connect { will: Some(("+".to_owned(), Vec::new(), 0, false)), ..v5 }.encode()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_6_a_refusal_has_no_session_present() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        persistent(&bridge, version, "refused").await;
    }
    for (version, connect) in refusals() {
        let answers = answers(&bridge, version, &connect).await;
        assert_eq!(answers.len(), 1);
        assert!(answers[0].reason() > 0);
        assert!(!answers[0].session_present(), "{answers:?}");
    }
    assert!(session_present(&bridge, &Connect::persistent(Version::V5, "refused")).await, "there is one all the same");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_7_a_refusal_ends_the_connection() {
    let bridge = Bridge::start().await;
    for (version, connect) in refusals() {
        // Reads to the end of the connection, which must come.
        let answers = answers(&bridge, version, &connect).await;
        assert_eq!(answers.len(), 1, "a CONNACK and no more: {answers:?}");
        assert_eq!(answers[0].kind(), kind::CONNACK);
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_8_refusals_have_the_reason_codes_of_connack() {
    const CODES: [u8; 21] = [
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
        0x9c, 0x9d, 0x9f,
    ];
    let bridge = Bridge::start().await;
    let mut reasons = Vec::new();
    for (version, connect) in refusals() {
        let reason = answers(&bridge, version, &connect).await[0].reason();
        match version {
            Version::V4 => assert!((1..=5).contains(&reason), "{reason}"),
            Version::V5 => assert!(CODES.contains(&reason), "0x{reason:02x}"),
        }
        reasons.push(reason);
    }
    assert_eq!(
        reasons,
        [
            2,
            2,
            1,
            reason::UNSUPPORTED_PROTOCOL_VERSION,
            reason::CLIENT_IDENTIFIER_NOT_VALID,
            reason::TOPIC_NAME_INVALID,
            reason::BAD_AUTHENTICATION_METHOD,
            reason::PROTOCOL_ERROR,
            reason::TOPIC_NAME_INVALID,
        ]
    );
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_2_2_6_what_no_return_code_says_is_said_by_none() {
    let bridge = Bridge::start().await;
    let will = Some(("x".repeat(60_000), Vec::new(), 0, false));
    let connect = Connect { will, ..Connect::new(Version::V4, "will") };
    let answers = answers(&bridge, Version::V4, &connect.encode()).await;
    assert!(answers.is_empty(), "no return code is for a will topic: {answers:?}");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_15_a_packet_beyond_the_server_s_maximum_ends_the_connection() {
    let bridge = Setup::default().config("[limits]\nmaximum_packet_size = \"1KiB\"").start().await;
    for version in VERSIONS {
        let mut client = bridge.raw(version).await;
        client.send(&Connect::new(version, "large").encode()).await;
        let connack = client.expect(kind::CONNACK).await;
        if version == Version::V5 {
            assert_eq!(connack.properties().number(id::MAXIMUM_PACKET_SIZE), Some(1024));
        }
        let publish = |size: usize| {
            let empty = Publish::new("t", "", 1, 1).encode(version).len() + 1;
            Publish::new("t", vec![b'x'; size - empty], 1, 1).encode(version)
        };
        assert_eq!(publish(1024).len(), 1024);
        client.send(&publish(1024)).await;
        assert_eq!(client.expect(kind::PUBACK).await.reason(), 0, "to the byte");
        let _ = client.try_send(&publish(1025)).await;
        let told = client.expect_close().await;
        assert_eq!(told, (version == Version::V5).then_some(reason::PACKET_TOO_LARGE));
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_16_an_assigned_identifier_is_nobody_else_s() {
    let bridge = Bridge::start().await;
    let mut assigned = std::collections::BTreeSet::new();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = bridge.raw(Version::V5).await;
        client.send(&Connect::new(Version::V5, "").encode()).await;
        let connack = client.expect(kind::CONNACK).await;
        let id = connack.properties().text(id::ASSIGNED_CLIENT_IDENTIFIER).unwrap().to_owned();
        assert!(!id.is_empty() && assigned.insert(id), "{assigned:?}");
        clients.push(client);
    }
    for client in &mut clients {
        client.ping().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_2_2_22_without_a_server_keep_alive_the_client_s_own_counts() {
    let bridge = Bridge::start().await;
    for (keep_alive, ends) in [(1, true), (0, false)] {
        let mut client = bridge.raw(Version::V5).await;
        client
            .send(&Connect { keep_alive, ..Connect::new(Version::V5, &format!("every-{keep_alive}")) }.encode())
            .await;
        let connack = client.expect(kind::CONNACK).await;
        assert_eq!(connack.properties().get(id::SERVER_KEEP_ALIVE), None);
        if ends {
            assert_eq!(client.expect_close().await, Some(reason::KEEP_ALIVE_TIMEOUT));
        } else {
            client.ping().await;
        }
    }
    bridge.finish(PEER).await;
}
