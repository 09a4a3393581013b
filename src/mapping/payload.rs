//! A payload as an event's `data`: always a JSON object, and nothing of the payload is lost.
//!
//! | payload | data |
//! | --- | --- |
//! | a JSON object | itself, byte for byte |
//! | other JSON | `{"value": …}` |
//! | other UTF-8 text, also none at all | `{"text": "…"}` |
//! | anything else, also text with U+0000 | `{"base64": "…", "size": bytes}` |
//!
//! JSON that the table cannot hold counts as text; see [`jsonb`](super::jsonb).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::jsonb::{self, Kind};
use crate::types::write_json_string;

/// A payload that was looked at.
pub struct Data<'a> {
    /// The event's `data`.
    pub object: Cow<'a, str>,
    /// The payload, where it is JSON.
    pub json: Option<&'a str>,
}

/// Turns a payload into `data`.
pub fn data(payload: &[u8]) -> Data<'_> {
    let Ok(text) = std::str::from_utf8(payload) else { return Data { object: binary(payload), json: None } };
    match jsonb::kind(text) {
        Some(Kind::Object) => Data { object: text.into(), json: Some(text) },
        Some(Kind::Other) => Data { object: format!("{{\"value\":{text}}}").into(), json: Some(text) },
        None if text.contains('\0') => Data { object: binary(payload), json: None },
        None => Data { object: wrapped_text(text), json: None },
    }
}

fn wrapped_text(text: &str) -> Cow<'static, str> {
    let mut object = Vec::with_capacity(text.len() + 16);
    object.extend_from_slice(b"{\"text\":");
    write_json_string(text, &mut object);
    object.push(b'}');
    super::into_text(object).into()
}

fn binary(payload: &[u8]) -> Cow<'static, str> {
    let mut object = String::with_capacity(payload.len().div_ceil(3) * 4 + 40);
    object.push_str("{\"base64\":\"");
    STANDARD.encode_string(payload, &mut object);
    object.push_str("\",\"size\":");
    object.push_str(itoa::Buffer::new().format(payload.len()));
    object.push('}');
    object.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_sort_of_payload_has_its_form() {
        for (payload, expected) in [
            (&b" {\"a\": 1}\n"[..], " {\"a\": 1}\n"),
            (b"21.5", "{\"value\":21.5}"),
            (b"[1,\"x\"]", "{\"value\":[1,\"x\"]}"),
            (b"on", "{\"text\":\"on\"}"),
            (b"", "{\"text\":\"\"}"),
            (b"{\"a\":\"\\u0000\"}", "{\"text\":\"{\\\"a\\\":\\\"\\\\u0000\\\"}\"}"),
            (b"a\0b", "{\"base64\":\"YQBi\",\"size\":3}"),
            (b"\xff\x00", "{\"base64\":\"/wA=\",\"size\":2}"),
        ] {
            assert_eq!(data(payload).object, expected, "{payload:?}");
        }
    }

    fn restored(object: &str) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_str(object).unwrap();
        match (value.get("base64"), value.get("text")) {
            (Some(base64), _) => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
            (_, Some(text)) => text.as_str().unwrap().into(),
            _ => object.strip_prefix("{\"value\":").and_then(|rest| rest.strip_suffix('}')).unwrap().into(),
        }
    }

    proptest! {
        #[test]
        fn every_payload_can_be_had_back(payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            any::<String>().prop_map(String::into_bytes),
            any::<f64>().prop_map(|number| number.to_string().into_bytes()),
        ]) {
            prop_assume!(jsonb::kind(&String::from_utf8_lossy(&payload)) != Some(Kind::Object));
            prop_assert_eq!(restored(&data(&payload).object), payload);
        }
    }
}
