//! CONNECT (section 3.1 of both standards), but for wills and what lives on in a session.

use std::time::{Duration, Instant};

use crate::support::{
    PEER, VERSIONS, accepted, answers,
    bridge::{Bridge, Setup},
    connect_packet, expect_closed_after, expect_nothing_before, persistent,
    properties::{byte, id, string, two_bytes},
    raw_mqtt::{
        Connect, DISCONNECT, PINGREQ, Packet, Publish, RawMqtt, Version, ack, kind, packet, subscribe, subscribe_all,
        text, unsubscribe, unsubscribe_all,
    },
    reason, retained, subscribe_with,
};

/// Whether the only answer, if any, is a CONNACK that refuses.
fn assert_refused(answers: &[Packet], what: &str) {
    assert!(answers.len() <= 1, "{what}: {answers:?}");
    for answer in answers {
        assert_eq!(answer.kind(), kind::CONNACK, "{what}");
        assert!(answer.reason() > 0 && !answer.session_present(), "{what}: {answer:?}");
    }
}

/// CONNECT of this version with these flags and this payload.
fn connect(version: Version, flags: u8, payload: &[Vec<u8>]) -> Vec<u8> {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    connect_packet(&[&[version as u8, flags, 0, 0], properties, &payload.concat()].concat())
}

/// The fields of a will: in 5.0 with a property length of 0 in front.
fn will_fields(version: Version) -> Vec<u8> {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    [properties, &text("will"), &text("gone")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_0_1_the_first_packet_is_connect() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for first in [
            Publish::new("t", "x", 0, 0).encode(version),
            Publish::new("t", "x", 1, 1).encode(version),
            ack(kind::PUBACK, 1),
            ack(kind::PUBREC, 1),
            ack(kind::PUBREL, 1),
            ack(kind::PUBCOMP, 1),
            subscribe(version, 1, "t", 0),
            unsubscribe(version, 1, "t"),
            PINGREQ.to_vec(),
            vec![0xe0, 0],
            packet(0xf0, &[0x18, 0]),
            packet(0x20, &[0, 0]),
        ] {
            let mut bytes = first.clone();
            bytes.extend(Connect::new(version, "late").encode());
            let answers = answers(&bridge, version, &bytes).await;
            assert!(answers.is_empty(), "{first:02x?}: {answers:?}");
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_0_2_a_second_connect_is_a_protocol_error() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for id in ["twice", "another"] {
            let mut client = bridge.client(version, "twice").await;
            let second = Connect::new(version, id).encode();
            expect_closed_after(&mut client, version, &second, reason::PROTOCOL_ERROR).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_1_another_protocol_s_name_is_refused() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for name in ["MQTt", "mqtt", "MQT", "MQTTT", "", "HTTP"] {
            let mut body = text(name);
            body.extend(&Connect::new(version, "name").encode()[8..]);
            let answers = answers(&bridge, version, &packet(0x10, &body)).await;
            assert_refused(&answers, name);
            assert!(answers.iter().all(|answer| answer.reason() == reason::UNSUPPORTED_PROTOCOL_VERSION), "{name}");
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_2_an_unknown_version_is_refused() {
    let bridge = Bridge::start().await;
    for level in [6, 7, 127, 255] {
        let connect = connect_packet(&[&[level, 2, 0, 0, 0][..], &text("version")].concat());
        let answers = answers(&bridge, Version::V5, &connect).await;
        assert_refused(&answers, "a level above 5");
        assert_eq!(answers[0].reason(), reason::UNSUPPORTED_PROTOCOL_VERSION);
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_2_2_an_unsupported_level_gets_return_code_1() {
    let bridge = Bridge::start().await;
    for level in 0..4 {
        let connect = connect_packet(&[&[level, 2, 0, 0][..], &text("version")].concat());
        let answers = answers(&bridge, Version::V4, &connect).await;
        assert_eq!(answers.len(), 1, "level {level}");
        assert_eq!((answers[0].first(), answers[0].body()), (0x20, &[0, 1][..]), "level {level}");
    }
    let mut old = text("MQIsdp");
    old.extend(&[3, 2, 0, 0]);
    old.extend(text("version"));
    let answers = answers(&bridge, Version::V4, &packet(0x10, &old)).await;
    assert_eq!(answers[0].body(), [0, 1], "MQTT 3.1");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_3_the_reserved_connect_flag_is_checked() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let answers = answers(&bridge, version, &connect(version, 0x03, &[text("flag")])).await;
        assert_refused(&answers, "the reserved flag");
        if version == Version::V5 {
            assert_eq!(answers[0].reason(), reason::MALFORMED_PACKET);
        } else {
            assert!(answers.is_empty(), "3.1.1 sends no CONNACK [MQTT-3.1.4-1]: {answers:?}");
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_16_a_field_that_its_flag_does_not_announce_is_refused() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for (what, flags, payload) in [
            ("a user name without its flag", 0x02, vec![text("id"), text("user")]),
            ("a password without its flag", 0x82, vec![text("id"), text("user"), text("password")]),
            ("a will without its flag", 0x02, vec![text("id"), will_fields(version)]),
        ] {
            let answers = answers(&bridge, version, &connect(version, flags, &payload)).await;
            assert_refused(&answers, what);
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_17_a_field_that_its_flag_announces_is_there() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for (what, flags, payload) in [
            ("no user name", 0x82, vec![text("id")]),
            ("no password", 0xc2, vec![text("id"), text("user")]),
            ("no will", 0x06, vec![text("id")]),
            (
                "no will payload",
                0x06,
                vec![text("id"), will_fields(version)[..will_fields(version).len() - 6].to_vec()],
            ),
        ] {
            let answers = answers(&bridge, version, &connect(version, flags, &payload)).await;
            assert_refused(&answers, what);
        }
        for (flags, payload) in [(0x82, vec![text("id"), text("")]), (0xc2, vec![text("id"), text("user"), text("")])] {
            let mut client = bridge.raw(version).await;
            client.send(&connect(version, flags, &payload)).await;
            assert_eq!(client.expect(kind::CONNACK).await.reason(), 0, "an empty field is there all the same");
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_19_a_password_needs_no_user_name_in_5_0() {
    let bridge = Bridge::start().await;
    let connect = Connect { password: Some(b"secret".to_vec()), ..Connect::new(Version::V5, "password") };
    accepted(&bridge, &connect).await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_2_22_a_password_needs_a_user_name() {
    let bridge = Bridge::start().await;
    let connect = Connect { password: Some(b"secret".to_vec()), ..Connect::new(Version::V4, "password") };
    assert!(answers(&bridge, Version::V4, &connect.encode()).await.is_empty());
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_22_silence_beyond_one_and_a_half_keep_alives_ends_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("wills/#", 1).await;
        let will = Some(("wills/silent".to_owned(), b"gone".to_vec(), 1, false));
        let silent = Connect { keep_alive: 1, will, ..Connect::new(version, "silent") };
        let mut silent = accepted(&bridge, &silent).await;
        let begun = Instant::now();
        let told = silent.expect_close().await;
        assert!(begun.elapsed() >= Duration::from_millis(1400), "not before its time: {:?}", begun.elapsed());
        assert_eq!(told, (version == Version::V5).then_some(reason::KEEP_ALIVE_TIMEOUT));
        assert_eq!(watcher.message().await.topic, "wills/silent", "as if the network had failed");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_22_every_packet_counts_against_silence() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let keeping = Connect { keep_alive: 1, ..Connect::new(version, "talking") };
        let mut talking = accepted(&bridge, &keeping).await;
        let mut silent = accepted(&bridge, &Connect { id: "silent".to_owned(), ..keeping }).await;
        // Both began at the same time, so when the silent one is gone, the other lives by what it said.
        let talk = async {
            // Nothing of it is answered, so that nothing is under way in the end.
            let packets = [Publish::new("t", "x", 0, 0).encode(version), ack(kind::PUBACK, 9)];
            for packet in packets.iter().cycle() {
                talking.send(packet).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            _ = silent.expect_close() => {}
            () = talk => unreachable!("it talks for ever"),
        }
        talking.ping().await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_28_response_information_is_for_those_who_ask() {
    let bridge = Bridge::start().await;
    for properties in [vec![], byte(id::REQUEST_RESPONSE_INFORMATION, 0)] {
        let mut client = bridge.raw(Version::V5).await;
        client.send(&Connect { properties, ..Connect::new(Version::V5, "asker") }.encode()).await;
        let connack = client.expect(kind::CONNACK).await;
        assert_eq!(connack.properties().get(id::RESPONSE_INFORMATION), None);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_28_whoever_asks_is_told_what_the_listener_says() {
    let config = "[mqtt]\nresponse_information = \"replies/%c\"\n\
        [[listener]]\nbind = \"127.0.0.1:0\"\nmqtt.response_information = \"site/%u\"";
    let bridge = Setup::default().config(config).start().await;
    let common = bridge.listener("mqtt", 0);
    let other = bridge.listener("mqtt", 1);
    for (address, client_id, asks, told) in [
        (&common, "pump-7", Some(1), Some("replies/pump-7")),
        (&common, "pump-7", Some(0), None),
        (&common, "pump-7", None, None),
        // These names would be more than a level of a topic name.
        (&common, "pump/7", Some(1), None),
        (&common, "#", Some(1), None),
        // Nobody has a user name here.
        (&other, "pump-7", Some(1), None),
    ] {
        let mut client = RawMqtt::open(address.parse().unwrap(), Version::V5).await;
        let properties = asks.map(|asks| byte(id::REQUEST_RESPONSE_INFORMATION, asks)).unwrap_or_default();
        client.send(&Connect { properties, ..Connect::new(Version::V5, client_id) }.encode()).await;
        let properties = client.expect(kind::CONNACK).await.properties();
        assert_eq!(properties.text(id::RESPONSE_INFORMATION), told, "{client_id} {asks:?}");
    }
    bridge.finish(&[]).await;
}

/// The aliases and topics of what a client with this Topic Alias Maximum is sent, three times
/// round three topics.
async fn aliases_towards(bridge: &Bridge, maximum: Option<u16>) -> Vec<(Option<u32>, String)> {
    let properties = maximum.map(|maximum| two_bytes(id::TOPIC_ALIAS_MAXIMUM, maximum)).unwrap_or_default();
    let mut subscriber = accepted(bridge, &Connect { properties, ..Connect::new(Version::V5, "aliases") }).await;
    subscriber.subscribe("alias/#", 1).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let mut seen = Vec::new();
    for round in 0..9 {
        publisher.publish(&format!("alias/{}", round % 3), "x", 1).await;
        let message = subscriber.message().await;
        seen.push((message.properties().number(id::TOPIC_ALIAS), message.topic));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_26_no_alias_is_above_the_client_s_maximum() {
    let bridge = Bridge::start().await;
    for maximum in [1, 2, 65_535] {
        let mut known = std::collections::BTreeMap::new();
        for (round, (alias, topic)) in aliases_towards(&bridge, Some(maximum)).await.into_iter().enumerate() {
            let Some(alias) = alias else { continue };
            assert!((1..=u32::from(maximum)).contains(&alias), "alias {alias} of {maximum}");
            if !topic.is_empty() {
                known.insert(alias, topic);
            }
            assert_eq!(known[&alias], format!("alias/{}", round % 3), "what the alias stands for");
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_27_without_a_maximum_there_are_no_aliases() {
    let bridge = Bridge::start().await;
    for maximum in [None, Some(0)] {
        for (alias, topic) in aliases_towards(&bridge, maximum).await {
            assert_eq!(alias, None);
            assert!(topic.starts_with("alias/"));
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_1_fields_come_in_their_order() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("order", 1).await;
        let connect = Connect {
            will: Some(("order".to_owned(), b"a will".to_vec(), 1, false)),
            will_properties: string(id::CONTENT_TYPE, "text/plain"),
            user_name: Some("user".to_owned()),
            password: Some(b"\xff\0any bytes".to_vec()),
            ..Connect::new(version, "everything")
        };
        drop(accepted(&bridge, &connect).await);
        let message = watcher.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("order", &b"a will"[..]));
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_2_the_client_identifier_names_the_session() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        for (name, filter) in [("one", "t/1"), ("two", "t/2"), ("One", "t/3")] {
            let mut client = bridge.raw(version).await;
            assert!(!client.connect(name, false).await, "{name} has a session of its own");
            client.subscribe(filter, 1).await;
        }
        let mut publisher = bridge.client(version, "publisher").await;
        for topic in ["t/1", "t/2", "t/3"] {
            publisher.publish(topic, topic, 1).await;
        }
        for (name, topic) in [("two", "t/2"), ("One", "t/3"), ("one", "t/1")] {
            let mut client = bridge.raw(version).await;
            assert!(client.connect(name, false).await, "{name}");
            assert_eq!(client.message().await.topic, topic, "{name}");
            expect_nothing_before(&mut publisher, &mut client, topic).await;
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_3_the_client_identifier_is_there_and_first() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let answers = answers(&bridge, version, &connect(version, 0x02, &[])).await;
        assert_refused(&answers, "no client identifier");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_5_short_alphanumeric_identifiers_are_allowed() {
    const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for length in 1..=23 {
            for start in (0..LETTERS.len() - length).step_by(13) {
                accepted(&bridge, &Connect::new(version, &LETTERS[start..start + length])).await;
            }
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_6_an_empty_identifier_is_given_a_new_one() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        // Two at once do not take each other over, so each has a name of its own.
        let mut first = accepted(&bridge, &Connect::new(version, "")).await;
        let mut second = accepted(&bridge, &Connect::new(version, "")).await;
        first.ping().await;
        second.ping().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_7_the_assigned_identifier_is_told_and_works() {
    let bridge = Bridge::start().await;
    for clean in [true, false] {
        let connect = Connect { clean, session_expiry: 3600, ..Connect::new(Version::V5, "") };
        let mut client = bridge.raw(Version::V5).await;
        client.send(&connect.encode()).await;
        let connack = client.expect(kind::CONNACK).await;
        assert_eq!(connack.reason(), 0);
        let assigned = connack.properties().text(id::ASSIGNED_CLIENT_IDENTIFIER).unwrap().to_owned();
        client.subscribe("assigned", 1).await;
        drop(client);
        let mut again = bridge.raw(Version::V5).await;
        assert!(again.connect(&assigned, false).await, "the session is found under {assigned}");
        again.publish("assigned", "x", 1).await;
        assert_eq!(again.message().await.payload, b"x");
    }
    // Whoever brings a name is told none.
    let mut named = bridge.raw(Version::V5).await;
    named.send(&Connect::new(Version::V5, "named").encode()).await;
    let connack = named.expect(kind::CONNACK).await;
    assert_eq!(connack.properties().get(id::ASSIGNED_CLIENT_IDENTIFIER), None);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v311_3_1_3_8_an_empty_identifier_needs_a_clean_session() {
    let bridge = Bridge::start().await;
    let connect = Connect { clean: false, ..Connect::new(Version::V4, "") };
    let answers = answers(&bridge, Version::V4, &connect.encode()).await;
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].first(), answers[0].body()), (0x20, &[0, 2][..]));
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_3_8_a_refused_identifier_is_told_and_closed() {
    let bridge = Bridge::start().await;
    let long = "x".repeat(60_000);
    for version in VERSIONS {
        let answers = answers(&bridge, version, &Connect::new(version, &long).encode()).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].kind(), kind::CONNACK);
        let expected = if version == Version::V5 { reason::CLIENT_IDENTIFIER_NOT_VALID } else { 2 };
        assert_eq!((answers[0].reason(), answers[0].session_present()), (expected, false));
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_1_a_connect_that_is_not_as_described_ends_the_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let whole = Connect::new(version, "whole").encode();
        let truncated = packet(0x10, &whole[2..whole.len() - 1]);
        let trailing = packet(0x10, &[&whole[2..], b"x"].concat());
        let mut cases = vec![("cut", truncated), ("with more behind", trailing), ("empty", packet(0x10, &[]))];
        if version == Version::V5 {
            let with = |properties: Vec<u8>| Connect { properties, ..Connect::new(Version::V5, "p") }.encode();
            cases.extend([
                ("a receive maximum of 0", with(two_bytes(id::RECEIVE_MAXIMUM, 0))),
                ("a property twice", with(two_bytes(id::TOPIC_ALIAS_MAXIMUM, 1).repeat(2))),
                ("a property of another packet", with(string(id::REASON_STRING, "why"))),
                ("a property that does not exist", with(vec![0x7f, 0])),
                ("request problem information 2", with(byte(id::REQUEST_PROBLEM_INFORMATION, 2))),
                ("authentication data without a method", with(string(id::AUTHENTICATION_DATA, "data"))),
            ]);
        }
        for (what, bytes) in cases {
            let answers = answers(&bridge, version, &bytes).await;
            assert_refused(&answers, what);
            if version == Version::V4 {
                assert!(answers.is_empty(), "{what}: without a CONNACK in 3.1.1, {answers:?}");
            }
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_2_a_connect_that_the_server_does_not_want_ends_the_connection() {
    let bridge = Bridge::start().await;
    let will = Some(("x".repeat(40_000), Vec::new(), 0, false));
    let answers = answers(&bridge, Version::V5, &Connect { will, ..Connect::new(Version::V5, "will") }.encode()).await;
    assert_refused(&answers, "a will topic beyond the server's limit");
    assert_eq!(answers[0].reason(), reason::TOPIC_NAME_INVALID);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_3_the_older_connection_of_a_client_ends() {
    let bridge = Bridge::start().await;
    for (old, new) in [(Version::V5, Version::V5), (Version::V4, Version::V4), (Version::V5, Version::V4)] {
        for clean in [true, false] {
            let connect = |version| Connect { clean, ..Connect::persistent(version, "twin") };
            let mut older = accepted(&bridge, &connect(old)).await;
            let mut newer = accepted(&bridge, &connect(new)).await;
            let told = older.expect_close().await;
            assert_eq!(told, (old == Version::V5).then_some(reason::SESSION_TAKEN_OVER));
            newer.ping().await;
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_5_a_connect_is_acknowledged_with_success() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.raw(version).await;
        client.send(&Connect::new(version, "client").encode()).await;
        let connack = client.expect(kind::CONNACK).await;
        assert_eq!((connack.body()[0], connack.reason()), (0, 0));
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_6_nothing_behind_a_refused_connect_is_processed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("#", 1).await;
        let refused = if version == Version::V5 {
            Connect { id: "x".repeat(60_000), ..Connect::new(version, "") }.encode()
        } else {
            Connect { clean: false, ..Connect::new(version, "") }.encode()
        };
        let publish = retained("behind", "x", 1).encode(version);
        assert_eq!(answers(&bridge, version, &[refused, publish].concat()).await.len(), 1, "the CONNACK alone");
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut watcher, "marker").await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_5_packets_sent_before_the_connack_are_processed() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.raw(version).await;
        let bytes = [
            Connect::new(version, "hasty").encode(),
            subscribe(version, 1, "hasty", 1),
            Publish::new("hasty", "x", 1, 2).encode(version),
        ];
        client.send(&bytes.concat()).await;
        let mut kinds = Vec::new();
        for _ in 0..4 {
            kinds.push(client.read().await.unwrap().kind());
        }
        assert_eq!(kinds[..2], [kind::CONNACK, kind::SUBACK]);
        kinds[2..].sort_unstable();
        assert_eq!(kinds[2..], [kind::PUBLISH, kind::PUBACK]);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_4_5_a_client_that_leaves_in_the_same_breath_is_answered() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        for clean in [true, false] {
            let connect = Connect { clean, ..Connect::new(version, "hurried") }.encode();
            for (behind, expected) in [(&[][..], vec![kind::CONNACK]), (&PINGREQ, vec![kind::CONNACK, kind::PINGRESP])]
            {
                let answers = answers(&bridge, version, &[&connect, behind, &DISCONNECT].concat()).await;
                assert_eq!(answers.iter().map(Packet::kind).collect::<Vec<_>>(), expected, "{version:?} {behind:?}");
                assert_eq!(answers[0].reason(), 0);
            }
        }
    }
    bridge.finish(&[]).await;
}

/// A subscriber whose packets may have `maximum` bytes.
async fn small(bridge: &Bridge, maximum: u32) -> RawMqtt {
    let connect = Connect { maximum_packet_size: Some(maximum), ..Connect::new(Version::V5, "small") };
    accepted(bridge, &connect).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_24_no_publish_is_larger_than_the_client_takes() {
    let bridge = Bridge::start().await;
    let mut client = small(&bridge, 100).await;
    client.subscribe("t", 2).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    // Header 2, topic 3, identifier 2, properties 1: what is left for a payload.
    let room = 100 - 2 - 3 - 2 - 1;
    for qos in [1, 2] {
        publisher.publish("t", vec![b'x'; room + 1], qos).await;
        publisher.publish("t", vec![b'y'; room], qos).await;
        let packet = client.expect(kind::PUBLISH).await;
        assert_eq!((packet.size(), packet.publish().payload[0]), (100, b'y'), "the one that fits, to the byte");
        let id = packet.publish().id;
        if qos == 1 {
            client.send(&ack(kind::PUBACK, id)).await;
        } else {
            client.send(&ack(kind::PUBREC, id)).await;
            client.expect(kind::PUBREL).await;
            client.send(&ack(kind::PUBCOMP, id)).await;
        }
    }
    // A retained one as well.
    publisher.send(&Publish { retain: true, ..Publish::new("kept", vec![b'x'; 200], 1, 1) }.encode(Version::V5)).await;
    publisher.expect(kind::PUBACK).await;
    client.subscribe("kept", 1).await;
    client.ping().await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_24_no_answer_is_larger_than_the_client_takes() {
    let bridge = Bridge::start().await;
    // A SUBACK and an UNSUBACK of 60 reason codes.
    let filters: Vec<String> = (0..60).map(|n| format!("filter/{n}")).collect();
    for request in [
        subscribe_all(Version::V5, 1, &[], filters.iter().map(|filter| (filter, 0))),
        unsubscribe_all(Version::V5, 1, &filters),
    ] {
        let mut client = small(&bridge, 50).await;
        client.send(&request).await;
        client.send(&PINGREQ).await;
        while let Some(packet) = client.read().await {
            assert!(packet.size() <= 50, "{} bytes: {packet:?}", packet.size());
            if packet.kind() == kind::PINGRESP {
                break;
            }
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_24_no_connack_is_larger_than_the_client_takes() {
    let bridge = Bridge::start().await;
    for (id, clean) in [("", true), ("named", true), (&*"x".repeat(60_000), true)] {
        for maximum in [5, 10, 20, 40] {
            let connect = Connect { maximum_packet_size: Some(maximum), clean, ..Connect::new(Version::V5, id) };
            let mut client = bridge.raw(Version::V5).await;
            client.send(&connect.encode()).await;
            if let Some(connack) = client.read().await {
                assert!(connack.size() <= maximum as usize, "{} of {maximum} bytes: {connack:?}", connack.size());
            }
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_25_what_is_too_large_counts_as_sent() {
    let bridge = Bridge::start().await;
    let connect = Connect {
        maximum_packet_size: Some(100),
        receive_maximum: Some(1),
        ..Connect::persistent(Version::V5, "small")
    };
    let mut client = accepted(&bridge, &connect).await;
    client.subscribe("t", 2).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for qos in [1, 2] {
        publisher.publish("t", vec![b'x'; 200], qos).await;
        publisher.publish("t", "fits", qos).await;
        // It takes no room in the window, and no retry.
        assert_eq!(client.message().await.payload, b"fits");
    }
    client.ping().await;
    drop(client);
    let mut large = persistent(&bridge, Version::V5, "small").await;
    expect_nothing_before(&mut publisher, &mut large, "t").await;
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_29_without_problem_information_no_answer_explains_itself() {
    let bridge = Bridge::start().await;
    let properties = byte(id::REQUEST_PROBLEM_INFORMATION, 0);
    let mut client = accepted(&bridge, &Connect { properties, ..Connect::new(Version::V5, "terse") }).await;
    let is_bare = |packet: &Packet| packet.properties().0.is_empty();
    client.send(&subscribe(Version::V5, 1, "a/#/b", 1)).await;
    assert!(is_bare(&client.expect(kind::SUBACK).await));
    client.send(&unsubscribe(Version::V5, 2, "never")).await;
    assert!(is_bare(&client.expect(kind::UNSUBACK).await));
    client.send(&ack(kind::PUBREL, 9)).await;
    assert!(is_bare(&client.expect(kind::PUBCOMP).await));
    client.send(&ack(kind::PUBREC, 9)).await;
    assert!(is_bare(&client.expect(kind::PUBREL).await));
    client.send(&Publish::new("t", "x", 1, 1).encode(Version::V5)).await;
    assert!(is_bare(&client.expect(kind::PUBACK).await));
    client.send(&Publish::new("t", "x", 2, 1).encode(Version::V5)).await;
    assert!(is_bare(&client.expect(kind::PUBREC).await));
    subscribe_with(&mut client, &[], &[("t", 0)]).await;
    bridge.finish(&[]).await;
}
