//! The order of messages (section 4.6 of both standards).

use std::collections::BTreeMap;

use crate::support::{
    VERSIONS,
    bridge::Bridge,
    persistent,
    raw_mqtt::{Publish, Version, ack, kind},
};

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_6_0_1_what_is_sent_again_keeps_its_order() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut client = persistent(&bridge, version, "client").await;
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut sent = Vec::new();
        // Identifiers come again, so their order is not that of the messages.
        for n in 0..30_u8 {
            publisher.publish("t", [n], 1 + n % 2).await;
            sent.push(client.expect(kind::PUBLISH).await.publish());
            if n % 3 == 0 {
                let first = sent.remove(0);
                if first.qos == 1 {
                    client.send(&ack(kind::PUBACK, first.id)).await;
                } else {
                    client.send(&ack(kind::PUBREC, first.id)).await;
                    client.expect(kind::PUBREL).await;
                    client.send(&ack(kind::PUBCOMP, first.id)).await;
                }
            }
        }
        drop(client);
        let mut client = persistent(&bridge, version, "client").await;
        for message in sent {
            assert_eq!(client.expect(kind::PUBLISH).await.publish(), Publish { dup: true, ..message });
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_6_0_2_acknowledgements_follow_the_order_of_publishing() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "publisher").await;
        let ids: Vec<u16> = (1..=300).map(|n| n * 7 % 301 + 1).collect();
        let qos = |id: u16| 1 + (id % 2) as u8;
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| Publish::new("t", "x", qos(id), id).encode(version)).collect();
        client.send(&bytes).await;
        let mut seen = BTreeMap::<u8, Vec<u16>>::new();
        for _ in &ids {
            let packet = client.read().await.unwrap();
            seen.entry(packet.kind()).or_default().push(packet.id());
        }
        let of = |wanted: u8| ids.iter().copied().filter(|id| qos(*id) == wanted).collect::<Vec<_>>();
        assert_eq!((&seen[&kind::PUBACK], &seen[&kind::PUBREC]), (&of(1), &of(2)));
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_6_0_4_pubrels_follow_the_order_of_their_pubrecs() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.subscribe("t", 2).await;
        let mut publisher = bridge.client(version, "publisher").await;
        let mut ids = Vec::new();
        for n in 0..20_u8 {
            publisher.publish("t", [n], 2).await;
            ids.push(client.expect(kind::PUBLISH).await.publish().id);
        }
        ids.rotate_left(7);
        let pubrecs: Vec<u8> = ids.iter().flat_map(|id| ack(kind::PUBREC, *id)).collect();
        client.send(&pubrecs).await;
        for id in ids {
            assert_eq!(client.expect(kind::PUBREL).await.id(), id);
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_6_0_5_a_publisher_s_messages_keep_their_order() {
    for version in VERSIONS {
        let bridge = Bridge::start().await;
        let mut present = bridge.client(version, "present").await;
        present.subscribe("t/#", 2).await;
        let mut away = persistent(&bridge, version, "away").await;
        away.subscribe("t/+", 2).await;
        drop(away);
        let topics = ["t/a", "t/b", "t/$x", "t/"];
        let publish = async |name: &str| {
            let mut publisher = bridge.client(version, name).await;
            for n in 0..200_usize {
                let payload = format!("{name} {n:03}");
                publisher.publish(topics[n % topics.len()], payload, (n / topics.len() % 3) as u8).await;
            }
            publisher.ping().await;
        };
        tokio::join!(publish("one"), publish("two"));
        let mut away = persistent(&bridge, version, "away").await;
        // QoS 0 does not wait for those who are away.
        for (client, count) in [(&mut present, 400), (&mut away, 264)] {
            let mut last = BTreeMap::new();
            for _ in 0..count {
                let message = client.message().await;
                let payload = String::from_utf8(message.payload).unwrap();
                let key = (message.topic, message.qos, payload[..3].to_owned());
                let before = last.insert(key, payload.clone());
                assert!(before.as_ref() < Some(&payload), "{payload} after {before:?}");
            }
        }
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_6_0_6_every_topic_is_ordered() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    client.subscribe("t", 1).await;
    client.subscribe("+", 1).await;
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    // All at once, the window far smaller than what waits.
    let bytes: Vec<u8> =
        (1..=2000_u16).flat_map(|n| Publish::new("t", n.to_string(), 1, n).encode(Version::V4)).collect();
    publisher.send(&bytes).await;
    for n in 1..=2000_u16 {
        assert_eq!(client.message().await.payload, n.to_string().into_bytes());
    }
    bridge.finish(&[]).await;
}
