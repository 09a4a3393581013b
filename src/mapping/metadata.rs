//! What is known of a publication beside its payload, as the event's `metadata`.
//!
//! `{"version":"v1","topic":…,"qos":0,"retain":false,"clientId":…,"sequence":…,
//! "receivedAt":…,"reliability":…}`, then where there is one: `"device"`, the device's name;
//! `"subject"`, the name of a subject that neither topic nor device give; `"contentType"`;
//! `"decoder"`, the binary format that `data` was made from; `"decodeError"`, why it could not be;
//! `"deviceTime"`, the device's own time where that is too far from the time of receipt;
//! `"rejected"`, why the route refuses the payload, which the table then does not have;
//! `"userProperties":[["name","value"],…]`, pairs because MQTT 5.0 section 3.3.2.3.7 keeps
//! their order and lets names repeat.

use crate::types::{Publication, Qos, Reliability, write_json_string};

/// How sure a publication's way was.
pub const fn reliability(publication: &Publication<'_>) -> Reliability {
    match publication.qos {
        Qos::ExactlyOnce => Reliability::ExactlyOnce,
        _ if publication.guaranteed => Reliability::Guaranteed,
        _ => Reliability::BestEffort,
    }
}

/// What mapping has found out beside the publication itself.
#[derive(Clone, Copy, Default)]
pub struct Details<'a> {
    /// The device's name.
    pub device: Option<&'a str>,
    /// The name of a subject that neither topic nor device give.
    pub subject: Option<&'a str>,
    /// The binary format that `data` was made from.
    pub decoder: Option<&'a str>,
    /// Why the payload is not what its format asks for.
    pub decode_error: Option<&'a str>,
    /// The device's own time, where it is not believed.
    pub device_time: Option<&'a str>,
    /// Why the route refuses the payload.
    pub rejected: Option<&'a str>,
}

/// Writes the metadata. Topic, client id and properties hold no U+0000 by the standard, so
/// `jsonb` takes them all.
pub fn metadata(publication: &Publication<'_>, details: Details<'_>) -> String {
    let properties = &publication.properties;
    let text_bytes = publication.topic.len() + publication.client_id.len() + properties.as_bytes().len();
    let mut out = Vec::with_capacity(text_bytes + 224);
    out.extend_from_slice(b"{\"version\":\"v1\",\"topic\":");
    write_json_string(publication.topic, &mut out);
    out.extend_from_slice(b",\"qos\":");
    out.push(b'0' + u8::from(publication.qos));
    out.extend_from_slice(if publication.retain { b",\"retain\":true" } else { b",\"retain\":false" });
    out.extend_from_slice(b",\"clientId\":");
    write_json_string(publication.client_id, &mut out);
    out.extend_from_slice(b",\"sequence\":");
    out.extend_from_slice(itoa::Buffer::new().format(publication.sequence.0).as_bytes());
    out.extend_from_slice(b",\"receivedAt\":\"");
    publication.received.write(&mut out);
    out.extend_from_slice(b"\",\"reliability\":\"");
    out.extend_from_slice(reliability(publication).as_str().as_bytes());
    out.push(b'"');
    let content_type = if properties.is_empty() { None } else { properties.content_type() };
    for (name, value) in [
        ("device", details.device),
        ("subject", details.subject),
        ("contentType", content_type),
        ("decoder", details.decoder),
        ("decodeError", details.decode_error),
        ("deviceTime", details.device_time),
        ("rejected", details.rejected),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_json_string(value, &mut out);
        }
    }
    let mut before = &b",\"userProperties\":[["[..];
    for (name, value) in properties.user_properties() {
        out.extend_from_slice(before);
        write_json_string(name, &mut out);
        out.push(b',');
        write_json_string(value, &mut out);
        before = b"],[";
    }
    if before == b"],[" {
        out.extend_from_slice(b"]]");
    }
    out.push(b'}');
    super::into_text(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::{Micros, PublishProperties, Sequence};

    #[test]
    fn metadata_says_all_and_keeps_the_order_of_user_properties() {
        let wire =
            [0x03, 0, 1, b't', 0x26, 0, 1, b'b', 0, 1, b'"', 0x26, 0, 1, b'a', 0, 0, 0x26, 0, 1, b'b', 0, 1, b'2'];
        let publication = Publication {
            sequence: Sequence(9),
            received: Micros::saturating(1_769_860_800_000_001),
            topic: "a/\"b\"",
            payload: b"",
            qos: Qos::AtLeastOnce,
            retain: true,
            guaranteed: true,
            client_id: "c",
            properties: PublishProperties::new(&wire),
        };
        let text = metadata(&publication, Details { device: Some("d"), ..Details::default() });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            json!({
                "version": "v1", "topic": "a/\"b\"", "qos": 1, "retain": true, "clientId": "c", "sequence": 9,
                "receivedAt": "2026-01-31T12:00:00.000001Z", "reliability": "guaranteed", "device": "d",
                "contentType": "t", "userProperties": [["b", "\""], ["a", ""], ["b", "2"]],
            })
        );
        let bare = Publication { properties: PublishProperties::default(), ..publication };
        let value: serde_json::Value =
            serde_json::from_str(&metadata(&bare, Details { subject: Some("s"), ..Details::default() })).unwrap();
        assert_eq!((value.get("userProperties"), &value["subject"]), (None, &json!("s")));
    }
}
