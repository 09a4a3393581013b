//! Shared subscriptions (MQTT 5.0 section 4.8.2), in 3.1.1 as an extension.

use crate::support::{
    VERSIONS, accepted,
    bridge::Bridge,
    eventually, expect_nothing_before, persistent,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, refusal, subscribe},
    reason, until_sessions,
};

/// A shared subscription to `t`.
const SHARED: &str = "$share/group/t";

/// What a SUBSCRIBE to this filter is answered.
async fn answer(client: &mut RawMqtt, version: Version, filter: &str) -> u8 {
    client.send(&subscribe(version, 1, filter, 1)).await;
    client.answer(kind::SUBACK).await.reasons()[0]
}

/// Whether a filter is refused as invalid: by 5.0 with a reason, by 3.1.1 with a failure or the end of the connection.
async fn expect_invalid(bridge: &Bridge, filter: &str) {
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.send(&subscribe(version, 1, filter, 1)).await;
        match client.read().await {
            None => assert_eq!(version, Version::V4, "{filter}"),
            Some(packet) => {
                let expected = if version == Version::V5 { reason::TOPIC_FILTER_INVALID } else { 0x80 };
                assert_eq!((packet.kind(), packet.reasons()), (kind::SUBACK, &[expected][..]), "{filter}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_1_a_shared_filter_names_its_group() {
    let bridge = Bridge::start().await;
    for filter in ["$share//t", "$share///", "$share/"] {
        expect_invalid(&bridge, filter).await;
    }
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        for filter in [SHARED, "$share/g/t", "$share/é 🌡/t", "$share/$share/t"] {
            assert_eq!(answer(&mut client, version, filter).await, 1, "{filter}");
        }
    }
    bridge.finish(&["peer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_2_a_group_s_name_has_no_wildcards_and_a_filter_follows() {
    let bridge = Bridge::start().await;
    for filter in [
        "$share/+/t",
        "$share/#/t",
        "$share/a+/t",
        "$share/a#b/t",
        "$share/g",
        "$share/g/",
        "$share/g/a#",
        "$share/g/#/a",
    ] {
        expect_invalid(&bridge, filter).await;
    }
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for (filter, topic, other) in [
        ("$share/g/+", "a", "a/b"),
        ("$share/g/#", "a/b", "$own"),
        ("$share/g//", "/", "a"),
        ("$share/g/a/+/c", "a/b/c", "a/b"),
        ("$share/g/$own/#", "$own/a", "a"),
    ] {
        let mut client = bridge.client(Version::V5, "client").await;
        assert_eq!(answer(&mut client, Version::V5, filter).await, 1, "{filter}");
        publisher.publish(other, "x", 1).await;
        publisher.publish(topic, "x", 1).await;
        assert_eq!(client.message().await.topic, topic, "{filter}");
        // The name of the group is no part of any topic.
        publisher.publish(&filter.replace(['+', '#'], "x"), "x", 1).await;
        expect_nothing_before(&mut publisher, &mut client, topic).await;
    }
    bridge.finish(&["peer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_3_each_member_has_its_own_granted_qos() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        for granted in 0..=2 {
            // Alone in its group, so that every message is its own.
            let mut member = bridge.client(version, "member").await;
            assert_eq!(member.subscribe(SHARED, granted).await, granted);
            for sent in 0..=2 {
                publisher.publish("t", [sent], sent).await;
                let message = member.message().await;
                assert_eq!((message.payload.as_slice(), message.qos), (&[sent][..], sent.min(granted)));
            }
        }
        // Two of different QoS share: each message comes once, at the QoS of the one that gets it.
        let mut low = bridge.client(version, "low").await;
        low.subscribe(SHARED, 0).await;
        let mut high = bridge.client(version, "high").await;
        high.subscribe(SHARED, 2).await;
        bridge.client(version, "member").await;
        for n in 0..40_u8 {
            publisher.publish("t", [n], 2).await;
        }
        low.subscribe("marker", 2).await;
        high.subscribe("marker", 2).await;
        publisher.publish("marker", "x", 2).await;
        let mut seen = Vec::new();
        for (client, qos) in [(&mut low, 0), (&mut high, 2)] {
            loop {
                let message = client.message().await;
                if message.topic == "marker" {
                    break;
                }
                assert_eq!(message.qos, qos);
                seen.push(message.payload[0]);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<_>>(), "each once");
    }
    bridge.finish(&[]).await;
}

/// Two members of a group with sessions that are kept. A message of this QoS has been sent to the
/// first that is returned, which has not answered; the other is connected.
async fn one_sent(bridge: &Bridge, version: Version, qos: u8) -> (RawMqtt, &'static str, RawMqtt, Publish) {
    let mut one = persistent(bridge, version, "one").await;
    one.subscribe(SHARED, qos).await;
    let mut two = persistent(bridge, version, "two").await;
    two.subscribe(SHARED, qos).await;
    let mut publisher = bridge.client(version, "publisher").await;
    publisher.publish("t", "x", qos).await;
    let (first, name, other) = tokio::select! {
        message = one.expect(kind::PUBLISH) => (message, "one", false),
        message = two.expect(kind::PUBLISH) => (message, "two", true),
    };
    let sent = first.publish();
    if other { (two, name, one, sent) } else { (one, name, two, sent) }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_4_qos_2_is_completed_with_the_member_that_it_was_sent_to() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let (member, name, mut other, sent) = one_sent(&bridge, version, 2).await;
        drop(member);
        other.subscribe("marker", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut other, "marker").await;
        let mut member = bridge.raw(version).await;
        assert!(member.connect(name, false).await);
        assert_eq!(member.message().await, Publish { dup: true, ..sent });
        expect_nothing_before(&mut publisher, &mut other, "marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_5_qos_2_goes_to_no_other_member_when_its_session_ends() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let (member, name, mut other, _) = one_sent(&bridge, version, 2).await;
        drop(member);
        // A clean start ends the session.
        bridge.client(version, name).await;
        until_sessions(&bridge, 1).await;
        other.subscribe("marker", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        expect_nothing_before(&mut publisher, &mut other, "marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_6_a_refused_message_goes_to_no_other_member() {
    for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let bridge = Bridge::start().await;
        let (mut member, name, mut other, sent) = one_sent(&bridge, Version::V5, qos).await;
        member.send(&refusal(kind, sent.id, reason::QUOTA_EXCEEDED)).await;
        member.ping().await;
        drop(member);
        other.subscribe("marker", 1).await;
        let mut publisher = bridge.client(Version::V5, "publisher").await;
        expect_nothing_before(&mut publisher, &mut other, "marker").await;
        let mut member = persistent(&bridge, Version::V5, name).await;
        member.subscribe("marker", 1).await;
        expect_nothing_before(&mut publisher, &mut member, "marker").await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_3_a_group_gets_each_message_once_and_others_their_own() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut members = Vec::new();
        for n in 0..4 {
            let mut member = bridge.client(version, &format!("member-{n}")).await;
            member.subscribe(SHARED, 1).await;
            member.subscribe(&format!("marker/{n}"), 1).await;
            members.push(member);
        }
        let mut outside = bridge.client(version, "outside").await;
        outside.subscribe("t", 1).await;
        let mut elsewhere = bridge.client(version, "elsewhere").await;
        elsewhere.subscribe("$share/other/t", 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for n in 0..100_u8 {
            publisher.publish("t", [n], 1).await;
        }
        for n in 0..100_u8 {
            assert_eq!(outside.message().await.payload, [n]);
            assert_eq!(elsewhere.message().await.payload, [n]);
        }
        let mut seen = Vec::new();
        for (n, member) in members.iter_mut().enumerate() {
            publisher.publish(&format!("marker/{n}"), "x", 1).await;
            let before = seen.len();
            loop {
                let message = member.message().await;
                if message.topic != "t" {
                    break;
                }
                seen.push(message.payload[0]);
            }
            assert!(seen.len() > before, "member {n} has its share");
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_8_2_3_an_absent_member_gets_nothing_while_another_is_there() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut absent = persistent(&bridge, version, "absent").await;
        absent.subscribe(SHARED, 1).await;
        drop(absent);
        let connected = async || bridge.metric("synap_mqtt_connections").await == 0.0;
        eventually("its end", async || connected().await.then_some(())).await;
        let mut present = accepted(&bridge, &Connect::new(version, "present")).await;
        present.subscribe(SHARED, 1).await;
        let mut publisher = bridge.client(version, "publisher").await;
        for n in 0..20_u8 {
            publisher.publish("t", [n], 1).await;
            let message = present.expect(kind::PUBLISH).await.publish();
            assert_eq!(message.payload, [n]);
            present.send(&ack(kind::PUBACK, message.id)).await;
        }
        let mut absent = persistent(&bridge, version, "absent").await;
        absent.subscribe("marker", 1).await;
        expect_nothing_before(&mut publisher, &mut absent, "marker").await;
        drop((absent, present, publisher));
        bridge.client(version, "absent").await;
        eventually("the end of all", async || connected().await.then_some(())).await;
    }
    bridge.finish(&[]).await;
}
