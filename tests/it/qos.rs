//! MQTT as clients meet it: quality of service, sessions, retained messages, wills, wildcards
//! and reason codes, 3.1.1 and 5.0 alike.

use std::{collections::BTreeMap, time::Duration};

use rumqttc::v5::{self, mqttbytes::QoS};
use serde_json::Value;

use crate::support::{
    bridge::Bridge,
    clients::{Library, Subscriber, mosquitto, python},
    eventually,
    process::Process,
    raw_mqtt::{Connect, DISCONNECT, PINGREQ, Publish, Version, ack, kind, subscribe, unsubscribe},
    within,
};

const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

#[tokio::test(flavor = "multi_thread")]
async fn every_library_hears_every_other_at_every_qos() {
    const EACH: usize = 5;
    let bridge = Bridge::start().await;
    let mut subscribers = Vec::new();
    for library in Library::ALL {
        subscribers.push((library, library.subscribe(&bridge.port(), 2, "interop/#").await));
    }
    let mut sent = BTreeMap::new();
    for library in Library::ALL {
        for qos in 0..=2_u8 {
            let topic = format!("interop/{library:?}/{qos}");
            let payloads: Vec<_> = (0..EACH).map(|n| format!("{n} é 🌡")).collect();
            library.publish(&bridge.port(), qos, payloads.iter().map(|text| (topic.clone(), text.clone()))).await;
            sent.insert((topic, u64::from(qos)), payloads);
        }
    }
    for (library, subscriber) in &mut subscribers {
        let mut received = BTreeMap::<_, Vec<_>>::new();
        for message in subscriber.messages(sent.len() * EACH).await {
            let topic = message["topic"].as_str().unwrap().to_owned();
            let payload = message["payload"].as_str().unwrap().to_owned();
            received.entry((topic, message["qos"].as_u64().unwrap())).or_default().push(payload);
        }
        assert_eq!(received, sent, "{library:?}");
    }
    drop(subscribers);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gmqtt_gets_what_came_while_it_was_away() {
    let bridge = Bridge::start().await;
    let port = bridge.port();
    let gmqtt = |what: &str| {
        let mut command = python("gmqtt_client.py");
        command.args([what, "--port", &port, "--qos", "2", "--id", "gmqtt-away", "--filter", "away/#"]);
        command
    };
    let mut first = Subscriber::start(gmqtt("subscribe")).await;
    Library::Gmqtt.publish(&port, 1, [("away/1".to_owned(), "here".to_owned())]).await;
    assert_eq!(first.messages(1).await[0]["payload"], "here");
    // It prints a message before it acknowledges it.
    eventually("nothing in flight", async || {
        let answer = reqwest::get(bridge.url("/api/sessions/gmqtt-away")).await.unwrap();
        let session: Value = answer.json().await.unwrap();
        (session["inFlight"] == 0).then_some(())
    })
    .await;
    drop(first);
    for qos in [1, 2] {
        Library::Paho.publish(&port, qos, [(format!("away/{qos}"), format!("missed {qos}"))]).await;
    }
    let mut second = Subscriber::start(gmqtt("resume")).await;
    Library::Gmqtt.publish(&port, 2, [("away/3".to_owned(), "back".to_owned())]).await;
    let payloads: Vec<_> = second.messages(3).await.into_iter().map(|message| message["payload"].clone()).collect();
    assert_eq!(payloads, ["missed 1", "missed 2", "back"]);
    drop(second);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_gets_what_is_retained_and_what_is_new() {
    let bridge = Bridge::start().await;
    let publish = async |arguments: &[&str]| {
        Process::start(mosquitto("mosquitto_pub", &bridge.port(), arguments)).success().await;
    };
    publish(&["-t", "room/1", "-m", "kept", "-q", "1", "-r"]).await;
    let arguments = ["-t", "room/#", "-q", "2", "-F", "%t %p q%q r%r"];
    let mut subscriber = Process::start(mosquitto("mosquitto_sub", &bridge.port(), &arguments));
    assert_eq!(subscriber.lines(1).await, ["room/1 kept q1 r1"]);
    publish(&["-t", "room/2", "-m", "new", "-q", "2", "-V", "mqttv5"]).await;
    assert_eq!(subscriber.lines(2).await[1], "room/2 new q2 r0");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_publishes_and_hears_itself() {
    let bridge = Bridge::start().await;
    let mut options = v5::MqttOptions::new("rumqttc", "127.0.0.1", bridge.addresses.mqtt.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = v5::AsyncClient::new(options, 10);
    client.subscribe("rumqttc/+", QoS::ExactlyOnce).await.unwrap();
    for n in 0..5_u8 {
        client.publish(format!("rumqttc/{n}"), QoS::ExactlyOnce, false, vec![n]).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 5 {
        let event = within("rumqttc's next event", events.poll()).await.unwrap();
        if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::Publish(publish)) = event {
            heard.push((publish.topic.to_vec(), publish.payload.to_vec()));
        }
    }
    let sent: Vec<_> = (0..5_u8).map(|n| (format!("rumqttc/{n}").into_bytes(), vec![n])).collect();
    assert_eq!(heard, sent);
    drop((client, events));
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_with_the_lower_qos_of_the_two() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        for granted in 0..=2 {
            let mut subscriber = bridge.client(version, "subscriber").await;
            assert_eq!(subscriber.subscribe("t", granted).await, granted);
            for sent in 0..=2 {
                publisher.publish("t", [sent], sent).await;
                let message = subscriber.message().await;
                assert_eq!((message.payload, message.qos), (vec![sent], sent.min(granted)));
            }
        }
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_follow_the_order_of_publishing() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "publisher").await;
        // 4.6.0-2 and -3: PUBACKs and PUBRECs each in the order of their PUBLISH packets.
        let bytes: Vec<u8> =
            (1..=300).flat_map(|id| Publish::new("t", "x", 1 + (id % 2) as u8, id).encode(version)).collect();
        client.send(&bytes).await;
        let mut seen = BTreeMap::<u8, Vec<u16>>::new();
        for _ in 1..=300 {
            let packet = client.read().await.unwrap();
            seen.entry(packet.kind()).or_default().push(packet.id());
        }
        assert_eq!(seen[&kind::PUBACK], (1..=300).filter(|id| id % 2 == 0).collect::<Vec<_>>());
        assert_eq!(seen[&kind::PUBREC], (1..=300).filter(|id| id % 2 == 1).collect::<Vec<_>>());
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_is_stored_once_however_often_it_is_sent() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let topic = format!("once/{version:?}");
        let mut client = bridge.raw(version).await;
        client.connect("persistent", false).await;
        let mut message = Publish::new(&topic, "1", 2, 7);
        client.send(&message.encode(version)).await;
        client.expect(kind::PUBREC).await;
        drop(client);

        let mut client = bridge.raw(version).await;
        assert!(client.connect("persistent", false).await, "the session is present");
        message.dup = true;
        for _ in 0..3 {
            client.send(&message.encode(version)).await;
            assert_eq!(client.expect(kind::PUBREC).await.id(), 7);
        }
        client.send(&ack(kind::PUBREL, 7)).await;
        client.expect(kind::PUBCOMP).await;
        // The identifier is free again: the same bytes are now another message.
        client.publish(&topic, "2", 2).await;
        let events = bridge.events(&topic).await;
        assert_eq!(events.iter().map(|event| &event["data"]["value"]).collect::<Vec<_>>(), [1, 2], "{events:?}");
        client.send(&DISCONNECT).await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_retained_message_waits_for_subscribers() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("state/#", 1).await;
        let mut retain = async |topic: &str, payload: &str| {
            let message = Publish { retain: true, ..Publish::new(topic, payload, 1, 1) };
            publisher.send(&message.encode(version)).await;
            publisher.expect(kind::PUBACK).await;
            let seen = watcher.message().await;
            assert!(!seen.retain, "to a subscription that was there before: {seen:?}");
        };
        retain("state/a", "old").await;
        retain("state/a", "new").await;
        retain("state/b", "gone").await;
        retain("state/b", "").await;

        let mut late = bridge.client(version, "late").await;
        late.subscribe("state/+", 1).await;
        let message = late.message().await;
        assert_eq!((message.topic.as_str(), message.payload, message.retain), ("state/a", b"new".to_vec(), true));
        late.ping().await;
        retain("state/a", "").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_for_those_who_left_without_a_word() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut watcher = bridge.client(version, "watcher").await;
        watcher.subscribe("wills/#", 1).await;
        for (id, goodbye) in [("polite", true), ("rude", false)] {
            let mut client = bridge.raw(version).await;
            let will = Some((format!("wills/{id}"), b"gone".to_vec(), 1, false));
            client.connect_as(&Connect { will, ..Connect::new(version, id) }).await;
            if goodbye {
                client.send(&DISCONNECT).await;
                client.expect_close().await;
            }
        }
        // The polite one left first: had it a will, it would be here before the rude one's.
        let message = watcher.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("wills/rude", &b"gone"[..]));
        let events = bridge.events("wills/#").await;
        assert!(events.iter().all(|event| event["metadata"]["topic"] == "wills/rude"), "{events:?}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcards_select_as_the_standard_says() {
    let bridge = Bridge::start().await;
    let topics = ["a", "a/b", "a/b/c", "/a", "a/", "$own/a", "é/ü"];
    for (filter, matching) in [
        ("#", &["a", "a/b", "a/b/c", "/a", "a/", "é/ü"][..]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"]),
        ("+", &["a"]),
        ("a/+", &["a/b", "a/"]),
        ("+/+", &["a/b", "/a", "a/", "é/ü"]),
        ("/+", &["/a"]),
        ("$own/#", &["$own/a"]),
        ("é/+", &["é/ü"]),
    ] {
        let mut subscriber = bridge.client(Version::V5, "subscriber").await;
        subscriber.subscribe(filter, 1).await;
        let mut publisher = bridge.client(Version::V4, "publisher").await;
        for topic in topics {
            publisher.publish(topic, topic, 1).await;
        }
        let mut seen = Vec::new();
        for _ in matching {
            seen.push(subscriber.message().await.topic);
        }
        assert_eq!(seen, matching, "{filter}");
        subscriber.ping().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_holds_no_more_than_the_client_asked_for() {
    let bridge = Bridge::start().await;
    let mut subscriber = bridge.raw(Version::V5).await;
    let connect = Connect { receive_maximum: Some(2), ..Connect::new(Version::V5, "narrow") };
    subscriber.connect_as(&connect).await;
    subscriber.subscribe("t", 1).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for n in 0..6_u8 {
        publisher.publish("t", [n], 1).await;
    }
    let mut window = Vec::new();
    for n in 0..2_u8 {
        let message = subscriber.expect(kind::PUBLISH).await.publish();
        assert_eq!(message.payload, [n]);
        window.push(message.id);
    }
    subscriber.ping().await;
    for n in 2..6_u8 {
        subscriber.send(&ack(kind::PUBACK, window.remove(0))).await;
        let message = subscriber.expect(kind::PUBLISH).await.publish();
        assert_eq!((message.payload.as_slice(), message.dup), (&[n][..], false));
        window.push(message.id);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_session_waits_for_its_client() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut publisher = bridge.client(version, "publisher").await;
        let mut sleeper = bridge.raw(version).await;
        assert!(!sleeper.connect("sleeper", false).await, "no session yet");
        sleeper.subscribe("night/#", 2).await;
        publisher.publish("night/0", "0", 1).await;
        let unacknowledged = sleeper.expect(kind::PUBLISH).await.publish();
        assert!(!unacknowledged.dup);
        drop(sleeper);
        for n in 1..=40_u8 {
            publisher.publish(&format!("night/{n}"), [n], 1 + n % 2).await;
        }

        let mut sleeper = bridge.raw(version).await;
        assert!(sleeper.connect("sleeper", false).await, "the session is present");
        let again = sleeper.message().await;
        assert_eq!(again, Publish { dup: true, ..unacknowledged });
        for n in 1..=40_u8 {
            let message = sleeper.message().await;
            assert_eq!((message.payload.as_slice(), message.qos), (&[n][..], 1 + n % 2));
        }
        sleeper.ping().await;
        drop(sleeper);

        let mut clean = bridge.raw(version).await;
        assert!(!clean.connect("sleeper", true).await, "a clean start ends the session");
        publisher.publish("night/41", "x", 1).await;
        clean.ping().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_connection_takes_the_session_over() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut older = bridge.raw(version).await;
        older.connect("twin", false).await;
        older.subscribe("t", 1).await;
        let mut newer = bridge.raw(version).await;
        assert!(newer.connect("twin", false).await);
        let reason = older.expect_close().await;
        assert_eq!(reason, (version == Version::V5).then_some(0x8e));
        newer.publish("t", "to myself", 0).await;
        assert_eq!(newer.message().await.payload, b"to myself");
        drop(newer);
        bridge.client(version, "twin").await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_beyond_the_keep_alive_ends_a_connection() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut without = bridge.client(version, "keep-alive-0").await;
        let mut talking = bridge.raw(version).await;
        talking.connect_as(&Connect { keep_alive: 1, ..Connect::new(version, "talking") }).await;
        let mut silent = bridge.raw(version).await;
        silent.connect_as(&Connect { keep_alive: 1, ..Connect::new(version, "silent") }).await;
        let reason = tokio::select! {
            reason = silent.expect_close() => reason,
            () = async {
                loop {
                    talking.ping().await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            } => unreachable!(),
        };
        assert_eq!(reason, (version == Version::V5).then_some(0x8d));
        without.ping().await;
        talking.ping().await;
    }
    bridge.finish(&["keep alive"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_standard_s_reasons() {
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "asker").await;
    client.send(&unsubscribe(Version::V5, 2, "never/asked")).await;
    assert_eq!(client.expect(kind::UNSUBACK).await.reason(), 0x11, "no subscription existed");
    client.send(&ack(kind::PUBREL, 9)).await;
    assert_eq!(client.expect(kind::PUBCOMP).await.reason(), 0x92, "packet identifier not found");

    client.send(&Publish::new("a/+", "x", 1, 3).encode(Version::V5)).await;
    assert_eq!(client.expect_close().await, Some(0x90), "topic name invalid");

    let mut client = bridge.client(Version::V5, "asker").await;
    client.send(&subscribe(Version::V5, 2, "a/#/b", 1)).await;
    let answer = client.read().await.unwrap();
    assert!(matches!(answer.kind(), kind::SUBACK | kind::DISCONNECT), "{answer:?}");
    assert_eq!(answer.reason(), 0x8f, "topic filter invalid");

    let mut small = bridge.raw(Version::V5).await;
    small.connect_as(&Connect { maximum_packet_size: Some(64), ..Connect::new(Version::V5, "small") }).await;
    small.subscribe("t", 1).await;
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    publisher.publish("t", vec![b'x'; 100], 1).await;
    publisher.publish("t", "fits", 1).await;
    assert_eq!(small.message().await.payload, b"fits");
    bridge.finish(&["asker"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_ends_delivery() {
    let bridge = Bridge::start().await;
    for version in VERSIONS {
        let mut client = bridge.client(version, "client").await;
        client.subscribe("t", 0).await;
        client.publish("t", "1", 0).await;
        assert_eq!(client.message().await.payload, b"1");
        client.send(&unsubscribe(version, 5, "t")).await;
        assert_eq!(client.expect(kind::UNSUBACK).await.id(), 5);
        client.publish("t", "2", 1).await;
        client.ping().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_flow_while_messages_wait() {
    let bridge = Bridge::start().await;
    let mut subscriber = bridge.client(Version::V4, "reader").await;
    subscriber.subscribe("t", 1).await;
    let mut publisher = bridge.client(Version::V4, "publisher").await;
    let mut bytes: Vec<u8> = (1..=100).flat_map(|id| Publish::new("t", "x", 1, id).encode(Version::V4)).collect();
    bytes.extend(PINGREQ);
    publisher.send(&bytes).await;
    let mut kinds = Vec::new();
    for _ in 0..101 {
        kinds.push(publisher.read().await.unwrap().kind());
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == kind::PUBACK).count(), 100);
    assert!(kinds.contains(&kind::PINGRESP));
    for _ in 0..100 {
        subscriber.message().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_keeps_what_was_acknowledged_and_qos_0_too() {
    let mut bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "publisher").await;
    for n in 0..100_u8 {
        client.publish("end", n.to_string(), n % 3).await;
    }
    client.ping().await;
    bridge.terminate().await;
    bridge.restart().await;
    bridge.ready().await;
    let value = |event: &Value| event["data"]["value"].as_u64().unwrap();
    eventually("all messages", async || {
        let values: Vec<_> = bridge.events("end").await.iter().map(value).collect();
        (values == (0..100).collect::<Vec<_>>()).then_some(())
    })
    .await;
    bridge.finish(&[]).await;
}
