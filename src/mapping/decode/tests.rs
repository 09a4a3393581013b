//! Tests of the formats together.

use proptest::prelude::*;

use super::*;
use crate::mapping::jsonb;

#[test]
fn content_types_and_topics_tell_the_format() {
    for (content_type, topic, expected) in [
        (Some("application/cbor"), "a", Decoder::Cbor),
        (Some("Application/Senml+CBOR; x=y"), "a", Decoder::Cbor),
        (Some("application/x-msgpack"), "a", Decoder::MsgPack),
        (Some("application/octet-stream"), "a", Decoder::Raw),
        (Some("application/json"), "a", Decoder::Auto),
        (Some("text/plain"), "spBv1.0/g/NDATA/n", Decoder::Auto),
        (None, "spBv1.0/g/NDATA/n", Decoder::SparkplugB),
        (None, "spBv1.0/g/DBIRTH/n/d", Decoder::SparkplugB),
        (None, "spBv1.0/STATE/host", Decoder::Auto),
        (None, "spBv1.0/g/DBIRTH/n", Decoder::Auto),
        (None, "spBv1.0/g/NBIRTH/n/d", Decoder::Auto),
        (None, "spBv1.0/g/DDATA/n/d/e", Decoder::Auto),
    ] {
        assert_eq!(Decoder::Auto.or_told_by(content_type, topic), expected, "{content_type:?} {topic}");
    }
    assert_eq!(Decoder::Text.or_told_by(Some("application/cbor"), "a"), Decoder::Text);
}

/// A metric with its name, and further fields as they are on the wire.
fn metric(name: &str, rest: &[u8]) -> Vec<u8> {
    let inner = [&[0x0A, name.len() as u8], name.as_bytes(), rest].concat();
    [&[0x12, inner.len() as u8], inner.as_slice()].concat()
}

fn sparkplug(payload: &[u8], birth: &Birth) -> Result<String, DecodeError> {
    sparkplug::to_json(payload, birth)
}

#[test]
fn a_birth_gives_later_messages_names_and_signs() {
    // alias 7, type Int8, and a metric without alias, type Int32
    let payload = [metric("level", &[0x10, 7, 0x20, 1, 0x50, 5]), metric("flow", &[0x20, 3, 0x50, 6])].concat();
    let birth = Birth::read(&payload).unwrap();
    let minus_one = [0x50, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    let data = [&[0x12, 8, 0x10, 7][..], &minus_one, &metric("flow", &minus_one)].concat();
    assert_eq!(
        sparkplug(&data, &birth).unwrap(),
        r#"{"metrics":[{"name":"level","alias":7,"type":"Int8","value":-1},{"name":"flow","type":"Int32","value":-1}]}"#
    );
    assert_eq!(
        sparkplug(&data, &Birth::default()).unwrap(),
        r#"{"metrics":[{"alias":7,"value":4294967295},{"name":"flow","value":4294967295}]}"#
    );
}

#[test]
fn sparkplug_that_is_broken_or_endless_is_an_error() {
    for payload in
        [&b"\x12\x05"[..], b"\x13", b"\x00", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x12\x03\x0a\x01"]
    {
        assert_eq!(sparkplug(payload, &Birth::default()), Err(DecodeError::Sparkplug), "{payload:x?}");
    }
    assert_eq!(sparkplug(b"\x12\x03\x0a\x01\xff", &Birth::default()), Err(DecodeError::Utf8));
    // A metric with a template with a metric with a template …
    let mut metric = vec![0x12, 0];
    for _ in 0..100 {
        let template = field(&[0x92, 0x01], &metric);
        metric = field(&[0x12], &template);
    }
    assert_eq!(sparkplug(&metric, &Birth::default()), Err(DecodeError::Depth));
    assert_eq!(sparkplug(&[0x12, 0].repeat(300_000), &Birth::default()), Err(DecodeError::Size));
}

/// A field with its bytes.
fn field(tag: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = tag.to_vec();
    let mut rest = bytes.len();
    while rest > 0x7F {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend(bytes);
    out
}

proptest! {
    #[test]
    fn whatever_is_decoded_is_json_that_the_table_holds(
        payload in prop::collection::vec(any::<u8>(), 0..64),
        decoder in prop::sample::select(vec![Decoder::Cbor, Decoder::MsgPack, Decoder::SparkplugB]),
    ) {
        if let Some(Ok(json)) = to_json(decoder, &payload, &Birth::default()) {
            prop_assert!(jsonb::kind(&json).is_some(), "{}", json);
        }
        let _read = Birth::read(&payload);
    }
}
