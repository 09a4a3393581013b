//! Tests of the mapper as a whole.

use proptest::prelude::*;

use super::*;
use crate::types::{Micros, PublishProperties, Qos, Reliability, Sequence};

fn publication<'a>(topic: &'a str, payload: &'a [u8], qos: Qos) -> Publication<'a> {
    Publication {
        sequence: Sequence(48_213),
        received: Micros::saturating(1_769_860_800_000_001),
        topic,
        payload,
        qos,
        retain: false,
        guaranteed: qos > Qos::AtMostOnce,
        client_id: "client",
        properties: PublishProperties::default(),
    }
}

fn mapper(routes: &[Route]) -> Mapper {
    Mapper::new(RouteTable::compile(routes).unwrap(), Uuid::from_u128(7), "owner")
}

#[test]
fn a_device_s_telemetry_becomes_an_event() {
    let mapper = mapper(&[]);
    let event = mapper.map(&publication("devices/pump-7/telemetry", b"{\"temperature\":21.5}", Qos::AtLeastOnce));
    assert_eq!(event.event_type, "devices.telemetry.received");
    assert_eq!((event.subject_type, event.device), ("device", Some("pump-7")));
    assert_eq!(event.subject_id, subject_id("pump-7"));
    assert_eq!(event.data, "{\"temperature\":21.5}");
    assert_eq!(event.timestamp.to_string(), "2026-01-31T12:00:00.000001Z");
    assert_eq!((event.user_id, event.source, event.streamed), ("owner", Source::Api, true));
    assert_eq!(event.reliability, Reliability::Guaranteed);
    assert!(event.metadata.contains("\"device\":\"pump-7\""));
}

#[test]
fn a_route_names_subject_and_time() {
    let routes = [Route {
        topic: "{site}/rooms/{room}".into(),
        event_type: "rooms.climate.measured".into(),
        subject: Some("{site}:{room}".into()),
        subject_type: "room".into(),
        timestamp: Some("/at".into()),
        decoder: Decoder::Auto,
        reliability: Reliability::Guaranteed,
        stream: false,
    }];
    let mapper = mapper(&routes);
    let event = mapper.map(&publication("hq/rooms/4", b"{\"at\":1700000000}", Qos::AtMostOnce));
    assert_eq!(event.subject_id, subject_id("hq:4"));
    assert_eq!((event.device, event.streamed), (None, false));
    assert!(event.metadata.contains("\"subject\":\"hq:4\""));
    assert_eq!(event.timestamp.to_string(), "2023-11-14T22:13:20.000000Z");
    let without_time = mapper.map(&publication("hq/rooms/4", b"21", Qos::AtMostOnce));
    assert_eq!(without_time.timestamp.get(), 1_769_860_800_000_001);
    assert_eq!(without_time.reliability, Reliability::BestEffort);
    assert!(mapper.guarantees("hq/rooms/4") && !mapper.guarantees("hq/rooms"));
}

proptest! {
    #[test]
    fn any_publication_maps_to_valid_json_and_always_the_same(
        topic in "[^\\x00+#]{1,24}|devices/[a-z\"\\\\]{0,3}/telemetry",
        payload in prop::collection::vec(any::<u8>(), 0..96),
        properties in prop::collection::vec(any::<u8>(), 0..24),
        qos in prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]),
    ) {
        let mapper = mapper(&[]);
        let mut publication = publication(&topic, &payload, qos);
        publication.properties = PublishProperties::new(&properties);
        let event = mapper.map(&publication);
        let mut json = Vec::new();
        event.write_json(&mut json);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert!(value["data"].is_object());
        prop_assert_eq!(value["metadata"]["topic"].as_str(), Some(&*topic));
        prop_assert_eq!(event, mapper.map(&publication));
    }
}
