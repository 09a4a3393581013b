//! A payload that is said to be UTF-8 and is not (MQTT 5.0 sections 3.3.2.3.2 and 3.1.3.2.3): taken, or
//! refused where the listener says so.

use crate::support::{
    bridge::Setup,
    properties::{byte, id},
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind},
};

const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

fn publish(payload: &[u8], indicator: Option<u8>, qos: u8) -> Vec<u8> {
    let properties = indicator.map(|value| byte(id::PAYLOAD_FORMAT_INDICATOR, value)).unwrap_or_default();
    Publish { properties, ..Publish::new("t", payload, qos, u16::from(qos)) }.encode(Version::V5)
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_none_is_refused_where_the_listener_looks() {
    let bridge = Setup::default().config("[mqtt]\ncheck_payload_format = true").start().await;
    let mut watcher = bridge.client(Version::V5, "watcher").await;
    watcher.subscribe("t", 2).await;
    let mut client = bridge.client(Version::V5, "client").await;
    let cases: [(&[u8], Option<u8>, bool); 7] = [
        (b"\xc3\xa9 and \0", Some(1), true),
        (b"", Some(1), true),
        (b"\xff", Some(0), true),
        (b"\xff", None, true),
        (b"\xff", Some(1), false),
        (b"cut off \xc3", Some(1), false),
        (b"a surrogate \xed\xa0\x80", Some(1), false),
    ];
    for (payload, indicator, taken) in cases {
        let reason = if taken { 0 } else { PAYLOAD_FORMAT_INVALID };
        client.send(&publish(payload, indicator, 0)).await;
        client.send(&publish(payload, indicator, 1)).await;
        assert_eq!(client.expect(kind::PUBACK).await.reason(), reason, "{payload:02x?}");
        client.send(&publish(payload, indicator, 2)).await;
        assert_eq!(client.expect(kind::PUBREC).await.reason(), reason, "{payload:02x?}");
        if taken {
            client.send(&ack(kind::PUBREL, 2)).await;
            client.expect(kind::PUBCOMP).await;
            for qos in 0..=2 {
                let message = watcher.message().await;
                assert_eq!((message.payload.as_slice(), message.qos), (payload, qos));
            }
        }
    }
    // The identifiers are free, and nothing but what was taken has come.
    client.publish("t", "last", 2).await;
    assert_eq!(watcher.message().await.payload, b"last");
    assert_eq!(bridge.metric("synap_mqtt_messages_dropped_total{reason=\"payload-format\"}").await, 9.0);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_is_no_text_is_refused_where_the_listener_looks() {
    let bridge = Setup::default().config("[mqtt]\ncheck_payload_format = true").start().await;
    for (payload, indicator, reason) in
        [(&b"\xff"[..], 1, PAYLOAD_FORMAT_INVALID), (b"\xff", 0, 0), (b"\xc3\xa9", 1, 0)]
    {
        let mut client = bridge.raw(Version::V5).await;
        let will = Some(("will".to_owned(), payload.to_vec(), 1, false));
        let will_properties = byte(id::PAYLOAD_FORMAT_INDICATOR, indicator);
        client.send(&Connect { will, will_properties, ..Connect::new(Version::V5, "client") }.encode()).await;
        assert_eq!(client.expect(kind::CONNACK).await.reason(), reason);
    }
    bridge.finish(&["refused a connection"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_looks_at_payloads_where_nothing_says_so() {
    let config = "[mqtt]\ncheck_payload_format = true\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
        mqtt.check_payload_format = false";
    for (config, listener) in [("", 0), (config, 1)] {
        let bridge = Setup::default().config(config).start().await;
        let mut client = RawMqtt::open(bridge.listener("mqtt", listener).parse().unwrap(), Version::V5).await;
        client.connect("client", true).await;
        client.subscribe("t", 1).await;
        client.send(&publish(b"\xff", Some(1), 1)).await;
        client.answer(kind::PUBACK).await;
        let message = client.message().await;
        assert_eq!(message.payload, b"\xff");
        assert_eq!(message.properties().number(id::PAYLOAD_FORMAT_INDICATOR), Some(1));
        bridge.finish(&[]).await;
    }
}
