//! Properties of MQTT 5.0 (section 2.2.2) by hand: their identifiers, their bytes, and a list of
//! them as it was received.

use super::raw_mqtt::{text, variable};

/// Property identifiers (table 2-4).
pub mod id {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1a;
    pub const SERVER_REFERENCE: u8 = 0x1c;
    pub const REASON_STRING: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;
}

/// A property whose value is these bytes.
fn property(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[id], value.as_ref()].concat()
}

/// A property of one byte.
pub fn byte(id: u8, value: u8) -> Vec<u8> {
    property(id, [value])
}

/// A property of two bytes.
pub fn two_bytes(id: u8, value: u16) -> Vec<u8> {
    property(id, value.to_be_bytes())
}

/// A property of four bytes.
pub fn four_bytes(id: u8, value: u32) -> Vec<u8> {
    property(id, value.to_be_bytes())
}

/// A property that is a Variable Byte Integer.
pub fn number(id: u8, value: usize) -> Vec<u8> {
    property(id, variable(value))
}

/// A property that is a string or binary data.
pub fn string(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    property(id, text(value))
}

/// A user property.
pub fn user(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    property(id::USER_PROPERTY, [text(name), text(value)].concat())
}

/// Properties in their order, each as its identifier and the bytes of its value; strings come
/// with their length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Vec<u8>)>);

impl Properties {
    /// Takes a list apart, without its length.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut list = Vec::new();
        while let Some((&id, value)) = bytes.split_first() {
            let length = value_length(id, value);
            list.push((id, value[..length].to_vec()));
            bytes = &value[length..];
        }
        Self(list)
    }

    /// The value of a property that is there once at most.
    pub fn get(&self, id: u8) -> Option<&[u8]> {
        let mut values = self.all(id);
        let value = values.next();
        assert!(values.next().is_none(), "property 0x{id:02x} is there twice: {self:?}");
        value
    }

    /// The values of a property, in order.
    pub fn all(&self, id: u8) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(other, _)| *other == id).map(|(_, value)| value.as_slice())
    }

    /// The value as a number.
    pub fn number(&self, id: u8) -> Option<u32> {
        Some(self.get(id)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// The value as text.
    pub fn text(&self, id: u8) -> Option<&str> {
        Some(std::str::from_utf8(&self.get(id)?[2..]).unwrap())
    }

    /// The Subscription Identifiers, sorted.
    pub fn subscription_identifiers(&self) -> Vec<u32> {
        let decode = |value: &[u8]| value.iter().rev().fold(0, |number, byte| number << 7 | u32::from(byte & 0x7f));
        let mut identifiers: Vec<_> = self.all(id::SUBSCRIPTION_IDENTIFIER).map(decode).collect();
        identifiers.sort_unstable();
        identifiers
    }
}

/// Bytes of the value of property `id` at the start of `bytes` (table 2-4).
fn value_length(id: u8, bytes: &[u8]) -> usize {
    let string = |from: usize| 2 + usize::from(u16::from_be_bytes([bytes[from], bytes[from + 1]]));
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => 1,
        0x13 | 0x21..=0x23 => 2,
        0x02 | 0x11 | 0x18 | 0x27 => 4,
        0x0b => 1 + bytes.iter().position(|byte| byte & 0x80 == 0).unwrap(),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => string(0),
        0x26 => string(0) + string(string(0)),
        _ => panic!("no property has the identifier 0x{id:02x}"),
    }
}
