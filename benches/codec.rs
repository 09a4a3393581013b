//! A QoS 1 PUBLISH of 100 bytes on and off the wire: the codec of this crate against
//! `rmqtt-codec`. Figures and what follows from them: docs/decisions/0002-own-codec.md.

#![expect(clippy::unwrap_used, reason = "a bench has no one to report to but its reader")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rmqtt_codec::{types::QoS, v3, v5};
use synap_mqtt::{
    mqtt::codec::{MAXIMUM_PACKET_SIZE, OutgoingPublish, Packet, ProtocolVersion, Sender, split},
    types::{PublishProperties, PublishProperty, Qos},
};
use tokio_util::codec::{Decoder, Encoder};

const TOPIC: &str = "devices/pump-7/telemetry";
const PAYLOAD: [u8; 100] = [b'x'; 100];
const USER_PROPERTIES: [(&str, &str); 2] = [("site", "north"), ("firmware", "2.4.1")];

/// Packets in one buffer, as a busy socket gives them.
const BATCH: u16 = 64;

fn properties() -> Vec<u8> {
    let mut wire = Vec::new();
    for (name, value) in USER_PROPERTIES {
        PublishProperty::UserProperty(name, value).write(&mut wire);
    }
    wire
}

fn ours(packet_id: u16, properties: &[u8]) -> OutgoingPublish<'_> {
    OutgoingPublish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: TOPIC,
        packet_id,
        properties: PublishProperties::new(properties),
        message_expiry: None,
        topic_alias: None,
        subscription_identifiers: &[],
        payload: &PAYLOAD,
    }
}

fn theirs(packet_id: u16, user_properties: Option<v5::UserProperties>) -> rmqtt_codec::types::Publish {
    rmqtt_codec::types::Publish {
        dup: false,
        retain: false,
        qos: QoS::AtLeastOnce,
        topic: TOPIC.into(),
        packet_id: packet_id.try_into().ok(),
        payload: Bytes::from_static(&PAYLOAD),
        properties: user_properties.map(Into::into),
    }
}

fn encode_ours(version: ProtocolVersion, properties: &[u8], out: &mut Vec<u8>) {
    for packet_id in 1..=BATCH {
        ours(packet_id, properties).encode(version, MAXIMUM_PACKET_SIZE, out).unwrap();
    }
}

fn decode_ours(version: ProtocolVersion, mut bytes: &[u8]) -> usize {
    let mut payload = 0;
    while let Some(frame) = split(bytes, MAXIMUM_PACKET_SIZE).unwrap() {
        let Packet::Publish(publish) = Packet::decode(&frame, version, Sender::Client).unwrap() else { continue };
        payload += black_box(publish).payload.len();
        bytes = &bytes[frame.length()..];
    }
    payload
}

fn decode_theirs<T>(mut codec: impl Decoder<Item = (T, u32), Error: std::fmt::Debug>, bytes: &mut BytesMut) {
    while let Some((packet, _)) = codec.decode(bytes).unwrap() {
        black_box(packet);
    }
}

fn publish(criterion: &mut Criterion) {
    for (name, version) in [("v3.1.1", ProtocolVersion::V311), ("v5, two user properties", ProtocolVersion::V5)] {
        let properties = if version == ProtocolVersion::V5 { properties() } else { Vec::new() };
        let mut wire = Vec::new();
        encode_ours(version, &properties, &mut wire);

        let mut decode = criterion.benchmark_group(format!("decode {BATCH} PUBLISH, {name}"));
        decode.throughput(Throughput::Elements(BATCH.into()));
        decode.bench_function("ours", |bencher| bencher.iter(|| decode_ours(version, black_box(&wire))));
        decode.bench_function("rmqtt-codec", |bencher| {
            let read = || BytesMut::from(&*wire);
            match version {
                ProtocolVersion::V311 => bencher.iter_batched_ref(
                    read,
                    |bytes| decode_theirs(v3::Codec::default(), bytes),
                    BatchSize::SmallInput,
                ),
                ProtocolVersion::V5 => bencher.iter_batched_ref(
                    read,
                    |bytes| decode_theirs(v5::Codec::default(), bytes),
                    BatchSize::SmallInput,
                ),
            }
        });
        decode.finish();

        let mut encode = criterion.benchmark_group(format!("encode {BATCH} PUBLISH, {name}"));
        encode.throughput(Throughput::Elements(BATCH.into()));
        encode.bench_function("ours", |bencher| {
            let mut out = Vec::with_capacity(wire.len());
            bencher.iter(|| {
                out.clear();
                encode_ours(version, black_box(&properties), &mut out);
                black_box(&out);
            });
        });
        encode.bench_function("rmqtt-codec", |bencher| {
            let pairs = || USER_PROPERTIES.map(|(name, value)| (name.into(), value.into())).to_vec();
            let packets = |version| {
                (1..=BATCH).map(|id| theirs(id, (version == ProtocolVersion::V5).then(pairs))).collect::<Vec<_>>()
            };
            let mut out = BytesMut::with_capacity(wire.len());
            bencher.iter_batched(
                || packets(version),
                |packets| {
                    out.clear();
                    for packet in packets {
                        match version {
                            ProtocolVersion::V311 => {
                                v3::Codec::default().encode(v3::Packet::Publish(Box::new(packet)), &mut out).unwrap()
                            }
                            ProtocolVersion::V5 => {
                                v5::Codec::default().encode(v5::Packet::Publish(Box::new(packet)), &mut out).unwrap()
                            }
                        }
                    }
                    black_box(&out);
                },
                BatchSize::SmallInput,
            );
        });
        encode.finish();
    }
}

criterion_group!(benches, publish);
criterion_main!(benches);
