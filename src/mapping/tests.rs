//! Tests of the mapper as a whole.

use proptest::prelude::*;

use super::*;
use crate::types::{Kept, Micros, PublishProperties, Qos, Reliability, Sequence};

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
        subject: Some("{site}:{room}".into()),
        subject_type: "room".into(),
        timestamp: Some("/at".into()),
        reliability: Reliability::Guaranteed,
        stream: false,
        ..Route::new("{site}/rooms/{room}", "rooms.climate.measured")
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

#[test]
fn a_clock_that_cannot_be_right_is_told_and_not_believed() {
    let mut route = table::built_in().swap_remove(0);
    route.timestamp = Some("/at".into());
    let mapper = mapper(&[route]);
    for (at, believed) in [
        ("2026-02-01T11:00:00Z", true),
        ("2026-02-01T13:00:00Z", false),
        ("1970-01-01T00:00:05Z", false),
        ("2006-02-10T00:00:00Z", true),
    ] {
        let payload = format!("{{\"at\":\"{at}\"}}");
        let event = mapper.map(&publication("devices/d/telemetry", payload.as_bytes(), Qos::AtLeastOnce));
        let metadata: serde_json::Value = serde_json::from_str(&event.metadata).unwrap();
        let own: Micros = at.parse().unwrap();
        let (time, told) =
            if believed { (own, None) } else { (Micros::saturating(1_769_860_800_000_001), Some(own.to_string())) };
        assert_eq!((event.timestamp, metadata["deviceTime"].as_str()), (time, told.as_deref()), "{at}");
    }
}

#[test]
fn an_event_is_measured_as_its_route_says() {
    let mut route = table::built_in().swap_remove(0);
    (route.kept, route.measure_booleans) = (Kept::Measurements, true);
    let mapper = mapper(&[route]);
    let measured = |topic: &str, payload: &[u8]| {
        let publication = publication(topic, payload, Qos::AtLeastOnce);
        let event = mapper.map(&publication);
        let mut out = Measurements::default();
        mapper.measure(&publication, &event, &mut out);
        let all: Vec<_> = out.iter().map(|one| (one.metric.to_owned(), one.value)).collect();
        (event.kept, out.subject().to_owned(), all)
    };
    let all = vec![("on".to_owned(), 1.0), ("t".to_owned(), 2.0)];
    let found = measured("devices/pump-7/telemetry", b"{\"t\":1,\"t\":2,\"on\":true}");
    assert_eq!(found, (Kept::Measurements, "pump-7".to_owned(), all));
    // What is no number stays an event, and so does what only looks like one.
    for payload in [&b"on"[..], b"\xff"] {
        assert_eq!(measured("devices/pump-7/telemetry", payload).0, Kept::Event);
    }
    assert_eq!(measured("devices/pump-7/state", b"1").0, Kept::Event);
}

#[test]
fn what_its_route_refuses_is_a_dead_letter() {
    let mut route = table::built_in().swap_remove(0);
    (route.decoder, route.strict) = (Decoder::Json, true);
    route.schema = Some("{\"type\":\"object\"}".into());
    let mapper = mapper(&[route]);
    for (payload, part) in [(&b"{}"[..], None), (b"on", Some("not JSON")), (b"[]", Some("type"))] {
        let event = mapper.map(&publication("devices/d/telemetry", payload, Qos::AtLeastOnce));
        let metadata: serde_json::Value = serde_json::from_str(&event.metadata).unwrap();
        assert_eq!(metadata["rejected"].as_str(), event.rejected.as_deref());
        assert_eq!(event.rejected.is_some(), part.is_some());
        assert!(part.is_none_or(|part| event.rejected.unwrap().contains(part)), "{payload:?}");
    }
}

#[test]
fn a_payload_that_is_not_in_its_format_is_refused_for_that_where_a_schema_asks_for_more() {
    let mut route = table::built_in().swap_remove(0);
    route.decoder = Decoder::Cbor;
    route.schema = Some("{\"required\":[\"t\"]}".into());
    let mapper = mapper(&[route]);
    for (payload, part) in [(&b"\xff"[..], "CBOR"), (b"\xa0", "schema: "), (b"{\"t\":1}", "CBOR")] {
        let rejected = mapper.map(&publication("devices/d/telemetry", payload, Qos::AtLeastOnce)).rejected;
        // What is JSON and satisfies the schema is kept as it is.
        let expected = payload != b"{\"t\":1}";
        assert_eq!(rejected.is_some(), expected, "{payload:?}");
        assert!(rejected.is_none_or(|reason| reason.contains(part)), "{payload:?}");
    }
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
