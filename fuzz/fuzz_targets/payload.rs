//! Payloads: whatever bytes a device sends in whatever format, they become one event, the same each time, that streams
//! can show and tables can hold, and numbers that are numbers.
//!
//! The first byte says by which route: bits 0–2 the format that is asked for, bits 3–4 the content type. The second
//! says where the rest is divided into a Sparkplug birth and the message behind it.

#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use synap_mqtt::{
    limits,
    mapping::{Decoder, Dedupe, DedupeBy, Mapper, Route, RouteTable},
    types::{
        EventMapper, Kept, Measurements, Micros, Publication, PublishProperties, PublishProperty, Qos, Sequence,
        SynapEvent, TopicName, subject_id,
    },
};

const TOPICS: [&str; 8] =
    ["auto/d", "json/d", "text/d", "raw/d", "cbor/d", "msgpack/d", "spBv1.0/g/DDATA/n/d", "schema/d"];
const BIRTH: &str = "spBv1.0/g/DBIRTH/n/d";
const CONTENT_TYPES: [Option<&str>; 4] =
    [None, Some("application/json"), Some("application/cbor"), Some("application/msgpack")];

/// JSON that an object becomes in its escapes, and what stands around it.
const MOST_BYTES: usize = 6 * limits::MAXIMUM_DECODED_BYTES + 1024;

static ROUTES: LazyLock<Arc<RouteTable>> = LazyLock::new(|| {
    let route = |name: &str, decoder| Route {
        decoder,
        timestamp: Some("/time".to_owned()),
        dedupe: Some(Dedupe { by: DedupeBy::Pointer("/id".to_owned()), window: limits::DEDUPE_WINDOW }),
        kept: Kept::Both,
        measure_booleans: true,
        ..Route::new(&format!("{name}/{{device}}"), "a.b.c")
    };
    let routes = [
        route("auto", Decoder::Auto),
        route("json", Decoder::Json),
        route("text", Decoder::Text),
        route("raw", Decoder::Raw),
        Route { strict: true, ..route("cbor", Decoder::Cbor) },
        Route { metrics: vec!["/*/x".to_owned()], ..route("msgpack", Decoder::MsgPack) },
        Route { topic: "spBv1.0/+/+/+/{device}".to_owned(), ..route("spBv1.0", Decoder::SparkplugB) },
        Route {
            schema: Some(r#"{"type":"object","properties":{"n":{"type":"number","maximum":9}}}"#.to_owned()),
            ..route("schema", Decoder::Auto)
        },
    ];
    Arc::new(RouteTable::compile(&routes).expect("routes that are right"))
});

fuzz_target!(|data: &[u8]| {
    let Some((&[how, place], bytes)) = data.split_first_chunk() else { return };
    let topic = TOPICS[usize::from(how & 7)];
    assert!(topic.parse::<TopicName>().is_ok());
    let mut properties = Vec::new();
    if let Some(content_type) = CONTENT_TYPES[usize::from(how >> 3 & 3)] {
        PublishProperty::ContentType(content_type).write(&mut properties);
    }
    let mapper = Mapper::new(Arc::clone(&ROUTES), subject_id("journal"), "owner");
    let mut payload = bytes;
    if topic.starts_with("spBv1.0") {
        let (birth, rest) = bytes.split_at(usize::from(place) * bytes.len() / 256);
        look_at(&mapper, &publication(1, BIRTH, birth, &[]));
        payload = rest;
    }
    look_at(&mapper, &publication(2, topic, payload, &properties));
});

fn publication<'a>(sequence: u64, topic: &'a str, payload: &'a [u8], properties: &'a [u8]) -> Publication<'a> {
    Publication {
        sequence: Sequence(sequence),
        received: Micros::saturating(1_700_000_000_000_000),
        topic,
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        guaranteed: true,
        client_id: "client",
        properties: PublishProperties::new(properties),
    }
}

fn look_at(mapper: &Mapper, publication: &Publication<'_>) {
    let event = mapper.map(publication);
    assert_eq!(mapper.map(publication), event, "mapped twice");
    for object in [&*event.data, &*event.metadata] {
        assert!(is_object(object), "no object: {object}");
        assert!(object.len() <= MOST_BYTES, "{} bytes", object.len());
        assert!(!has_nul(object), "the table cannot hold it: {object}");
    }
    let mut json = Vec::new();
    event.write_json(&mut json);
    let json = String::from_utf8(json).expect("an event in UTF-8");
    assert!(is_object(&json), "{json}");
    measure(mapper, publication, &event);
}

/// Its values stay text: a number beyond `f64` is JSON.
fn is_object(json: &str) -> bool {
    serde_json::from_str::<BTreeMap<String, &RawValue>>(json).is_ok()
}

/// Whether a string in it has U+0000, escaped or not.
fn has_nul(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        if rest[at..].starts_with("\\u0000") {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    json.contains('\0')
}

fn measure(mapper: &Mapper, publication: &Publication<'_>, event: &SynapEvent<'_>) {
    let mut found = Measurements::default();
    mapper.measure(publication, event, &mut found);
    assert!(found.len() <= limits::MAXIMUM_MEASUREMENTS);
    for measurement in found.iter() {
        assert!(measurement.value.is_finite(), "{measurement:?}");
        assert!(measurement.metric.len() <= limits::MAXIMUM_METRIC_BYTES, "{measurement:?}");
        assert!(!measurement.metric.contains('\0'), "{measurement:?}");
    }
}
