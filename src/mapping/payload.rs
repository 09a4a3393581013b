//! A payload as an event's `data`: always a JSON object, and nothing of the payload is lost.
//!
//! | payload | data |
//! | --- | --- |
//! | a JSON object | itself, byte for byte |
//! | other JSON | `{"value": …}` |
//! | a format that [`decode`](super::decode) reads | as the JSON that it becomes |
//! | other UTF-8 text, also none at all | `{"text": "…"}` |
//! | anything else, also text with U+0000 | `{"base64": "…", "size": bytes}` |
//!
//! JSON that the table cannot hold counts as text; see [`jsonb`](super::jsonb). So does, or as
//! bytes, what cannot be decoded; but for an empty payload, which deletes a retained message in any
//! format, that is no fault.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    decode::{self, Birth, DecodeError, Decoder},
    jsonb::{self, Kind},
};
use crate::types::write_json_string;

/// What stands before a value that is no object.
const VALUE: &str = "{\"value\":";

/// A payload that was looked at.
pub struct Data<'a> {
    /// The event's `data`.
    pub object: Cow<'a, str>,
    /// Why the payload is not what it should be.
    pub error: Option<DecodeError>,
    form: Form,
}

/// How `data` holds the payload.
enum Form {
    Object,
    Value,
    Opaque,
}

impl Data<'_> {
    /// The payload, where it is JSON or has become so.
    pub fn json(&self) -> Option<&str> {
        match self.form {
            Form::Object => Some(&self.object),
            Form::Value => self.object.strip_prefix(VALUE)?.strip_suffix('}'),
            Form::Opaque => None,
        }
    }
}

/// Turns a payload into `data`.
pub fn data<'a>(payload: &'a [u8], decoder: Decoder, birth: &Birth) -> Data<'a> {
    if payload.is_empty() {
        return undecoded(payload);
    }
    match decoder {
        Decoder::Raw => opaque(binary(payload)),
        Decoder::Text => text(payload),
        Decoder::Auto => undecoded(payload),
        Decoder::Json => match undecoded(payload) {
            Data { form: Form::Opaque, object, .. } => {
                Data { object, error: Some(DecodeError::Json), form: Form::Opaque }
            }
            data => data,
        },
        Decoder::Cbor | Decoder::MsgPack | Decoder::SparkplugB => match decode::to_json(decoder, payload, birth) {
            Some(Ok(json)) if json.starts_with('{') => Data { object: json.into(), error: None, form: Form::Object },
            Some(Ok(json)) => value(&json),
            Some(Err(error)) => Data { error: Some(error), ..undecoded(payload) },
            None => undecoded(payload),
        },
    }
}

/// By its look alone.
fn undecoded(payload: &[u8]) -> Data<'_> {
    let Ok(text) = std::str::from_utf8(payload) else { return opaque(binary(payload)) };
    match jsonb::kind(text) {
        Some(Kind::Object) => Data { object: text.into(), error: None, form: Form::Object },
        Some(Kind::Other) => value(text),
        None if text.contains('\0') => opaque(binary(payload)),
        None => opaque(wrapped_text(text)),
    }
}

/// A number, which may have white space around it, or text.
fn text(payload: &[u8]) -> Data<'_> {
    let Ok(text) = std::str::from_utf8(payload) else {
        return Data { error: Some(DecodeError::Utf8), ..opaque(binary(payload)) };
    };
    let trimmed = text.trim();
    match trimmed {
        number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && jsonb::kind(number).is_some() => {
            value(number)
        }
        _ if text.contains('\0') => Data { error: Some(DecodeError::Nul), ..opaque(binary(payload)) },
        _ => opaque(wrapped_text(text)),
    }
}

fn value(json: &str) -> Data<'static> {
    Data { object: format!("{VALUE}{json}}}").into(), error: None, form: Form::Value }
}

fn opaque(object: Cow<'static, str>) -> Data<'static> {
    Data { object, error: None, form: Form::Opaque }
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

    fn data(payload: &[u8]) -> Data<'_> {
        super::data(payload, Decoder::Auto, &Birth::default())
    }

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

    fn decoded(payload: &[u8], decoder: Decoder) -> (String, Option<DecodeError>) {
        let data = super::data(payload, decoder, &Birth::default());
        (data.object.into_owned(), data.error)
    }

    #[test]
    fn a_payload_that_is_not_in_its_format_is_kept_as_it_is() {
        let malformed = DecodeError::Malformed { format: "CBOR", at: 0 };
        for (payload, decoder, object, error) in [
            (&b"\xa1\x61t\x18\x2a"[..], Decoder::Cbor, "{\"t\":42}", None),
            (b"\x18\x2a", Decoder::Cbor, "{\"value\":42}", None),
            (b"\xff", Decoder::Cbor, "{\"base64\":\"/w==\",\"size\":1}", Some(malformed)),
            (b"", Decoder::Cbor, "{\"text\":\"\"}", None),
            (b"on", Decoder::Json, "{\"text\":\"on\"}", Some(DecodeError::Json)),
            (b"[1]", Decoder::Json, "{\"value\":[1]}", None),
            (b" 21.5\n", Decoder::Text, "{\"value\":21.5}", None),
            (b"{}", Decoder::Text, "{\"text\":\"{}\"}", None),
            (b"\xff", Decoder::Text, "{\"base64\":\"/w==\",\"size\":1}", Some(DecodeError::Utf8)),
            (b"{}", Decoder::Raw, "{\"base64\":\"e30=\",\"size\":2}", None),
        ] {
            assert_eq!(decoded(payload, decoder), (object.to_owned(), error), "{payload:?} as {decoder:?}");
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
