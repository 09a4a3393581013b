//! What each message says about itself: publisher, counter and send time.
//!
//! Forms of the same size for all messages of a publisher, so that a message is its
//! template with its fields overwritten: 20 binary bytes at the start, or a JSON object that
//! looks like telemetry and begins with `{"stamp":[publisher,counter,sent_ns]`, where it is dated
//! followed by `,"time":` and microseconds since 1970.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Buf, BufMut};

/// Bytes of the binary form; no payload is shorter.
pub const BINARY_BYTES: usize = 4 + 8 + 8;

const JSON_KEY: &[u8] = b"\"stamp\":[";
/// Numbers are right-aligned with spaces, which JSON allows before a value.
const JSON_HEAD_BYTES: usize = 1 + JSON_KEY.len() + 10 + 1 + 20 + 1 + 20 + 1;
/// Microseconds have 16 digits from 2001 to 2286.
const DATED_HEAD_BYTES: usize = JSON_HEAD_BYTES + 8 + 16;
const MICROS_PER_DAY: u64 = 24 * 3600 * 1_000_000;
const JSON_TELEMETRY: &str =
    r#","temperature":21.5,"humidity":40.25,"pressure":1013.25,"battery":3.71,"status":"nominal""#;

/// Form of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Binary stamp, then zero bytes.
    Binary,
    /// A JSON object.
    Json,
    /// A JSON object with a time, by chance within so many days before now; 0 for now.
    Dated {
        /// How many.
        days: u32,
    },
}

/// Where a message comes from and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the publisher.
    pub publisher: u32,
    /// 0, 1, 2, … per publisher.
    pub counter: u64,
    /// Nanoseconds since the load generator's start.
    pub sent_ns: u64,
}

impl Stamp {
    /// Overwrites the stamp's fields in a payload made by [`Form::payload`].
    pub fn write(&self, form: Form, mut payload: &mut [u8]) {
        match form {
            Form::Binary if payload.len() >= BINARY_BYTES => {
                payload.put_u32(self.publisher);
                payload.put_u64(self.counter);
                payload.put_u64(self.sent_ns);
            }
            Form::Json if payload.len() >= JSON_HEAD_BYTES => {
                let result =
                    write!(payload, "{{\"stamp\":[{:10},{:20},{:20}]", self.publisher, self.counter, self.sent_ns);
                debug_assert!(result.is_ok());
            }
            Form::Dated { days } if payload.len() >= DATED_HEAD_BYTES => {
                let (head, rest) = payload.split_at_mut(JSON_HEAD_BYTES);
                self.write(Form::Json, head);
                payload = rest;
                let result = write!(payload, ",\"time\":{:016}", self.time_within(days));
                debug_assert!(result.is_ok());
            }
            _ => {}
        }
    }

    /// Microseconds since 1970.
    fn time_within(&self, days: u32) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64);
        let chance = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.publisher, self.counter));
        now.saturating_sub(chance.checked_rem(u64::from(days) * MICROS_PER_DAY).unwrap_or_default())
    }

    /// The stamp of a payload.
    #[must_use]
    pub fn read(form: Form, mut payload: &[u8]) -> Option<Self> {
        match form {
            Form::Binary => Some(Self {
                publisher: payload.try_get_u32().ok()?,
                counter: payload.try_get_u64().ok()?,
                sent_ns: payload.try_get_u64().ok()?,
            }),
            Form::Json | Form::Dated { .. } => Self::find(payload),
        }
    }

    /// The stamp anywhere inside of JSON text, whatever envelope is around it and however the
    /// text was re-serialised.
    #[must_use]
    pub fn find(json: &[u8]) -> Option<Self> {
        let at = json.windows(JSON_KEY.len()).position(|window| window == JSON_KEY)?;
        let mut numbers = json.get(at + JSON_KEY.len()..)?.split(|byte| matches!(byte, b',' | b']'));
        let mut number = || std::str::from_utf8(numbers.next()?.trim_ascii()).ok()?.parse::<u64>().ok();
        Some(Self { publisher: u32::try_from(number()?).ok()?, counter: number()?, sent_ns: number()? })
    }
}

impl Form {
    /// A payload of `bytes`, or of the least that the form needs.
    #[must_use]
    pub fn payload(self, bytes: usize) -> Vec<u8> {
        if self == Self::Binary {
            return vec![0; bytes.max(BINARY_BYTES)];
        }
        let head = if self == Self::Json { JSON_HEAD_BYTES } else { DATED_HEAD_BYTES };
        let mut payload = vec![b' '; head];
        Stamp { publisher: 0, counter: 0, sent_ns: 0 }.write(self, &mut payload);
        if bytes > payload.len() + JSON_TELEMETRY.len() {
            payload.extend_from_slice(JSON_TELEMETRY.as_bytes());
        }
        const PADDING: &str = r#","note":"""#;
        if let Some(dots) = bytes.checked_sub(payload.len() + PADDING.len() + 1) {
            payload.extend_from_slice(PADDING.strip_suffix('"').unwrap_or(PADDING).as_bytes());
            payload.put_bytes(b'.', dots);
            payload.push(b'"');
        }
        payload.push(b'}');
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { publisher: u32::MAX, counter: u64::MAX, sent_ns: u64::MAX - 1 };

    #[test]
    fn both_forms_come_back() {
        for form in [Form::Binary, Form::Json, Form::Dated { days: 60 }] {
            let mut payload = form.payload(200);
            assert_eq!(payload.len(), 200);
            STAMP.write(form, &mut payload);
            assert_eq!(Stamp::read(form, &payload), Some(STAMP));
        }
    }

    #[test]
    fn the_json_form_is_json_at_any_size() {
        for bytes in [0, 70, 100, 175, 200, 1000] {
            let mut payload = Form::Json.payload(bytes);
            STAMP.write(Form::Json, &mut payload);
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            let reserialised = format!("{{\"data\":{value}}}");
            assert_eq!(Stamp::find(reserialised.as_bytes()), Some(STAMP), "{reserialised}");
        }
    }

    #[test]
    fn dates_spread_over_their_days() {
        let day = |days, counter| {
            let mut payload = Form::Dated { days }.payload(200);
            Stamp { counter, ..STAMP }.write(Form::Dated { days }, &mut payload);
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            value["time"].as_u64().unwrap() / MICROS_PER_DAY
        };
        let days: std::collections::BTreeSet<_> = (0..2000).map(|counter| day(60, counter)).collect();
        assert!((60..=61).contains(&days.len()), "{} days", days.len());
        assert!(days.last().unwrap().abs_diff(day(0, 7)) <= 1);
    }

    #[test]
    fn foreign_payloads_have_no_stamp() {
        assert_eq!(Stamp::read(Form::Binary, &[0; 19]), None);
        assert_eq!(Stamp::find(br#"{"type":"connected","clientId":"x"}"#), None);
    }
}
