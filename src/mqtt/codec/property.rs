//! Properties (MQTT 5.0 section 2.2.2), all but their place: which packet may have which is
//! said where that packet is decoded.

use std::fmt;

use super::{DecodeError, PacketType, frame::write_with_length};
use crate::types::{
    PublishProperty, Qos, TopicName,
    wire::{Reader, WireError, write_binary, write_text},
};

/// One property, its value within the range that the standard allows wherever it occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property<'a> {
    /// One of those that describe a message; user properties are among them.
    Message(PublishProperty<'a>),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    MaximumQos(Qos),
    RetainAvailable(bool),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifiersAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// A property of a packet, as [`Properties`] yields it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) property: Property<'a>,
    /// The bytes it takes, identifier included.
    pub(super) wire: &'a [u8],
    id: u8,
    packet: PacketType,
}

impl Entry<'_> {
    /// The error that it is one of those that `packet` cannot have.
    pub(super) const fn not_allowed(&self) -> DecodeError {
        DecodeError::PropertyNotAllowed { id: self.id, packet: self.packet }
    }
}

/// The properties of a packet in order, checked that what may occur once does so.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    reader: Reader<'a>,
    packet: PacketType,
    /// A bit for each identifier met; all are below 64.
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Reads a property list with its length from a packet.
    pub(super) fn read(from: &mut Reader<'a>, packet: PacketType) -> Result<Self, DecodeError> {
        Ok(Self { reader: Reader::new(read_list(from)?), packet, seen: 0 })
    }

    /// The user properties among them, which an iteration to the end has found well formed.
    pub(super) const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties(self.reader.rest())
    }

    fn entry(&mut self) -> Result<Entry<'a>, DecodeError> {
        let packet = self.packet;
        let start = self.reader.rest();
        let id = self.reader.byte()?;
        let property = Property::read(id, &mut self.reader)?.ok_or(DecodeError::PropertyNotAllowed { id, packet })?;
        let wire = &start[..start.len() - self.reader.rest().len()];
        self.seen = note(self.seen, id)?;
        Ok(Entry { property, wire, id, packet })
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() { None } else { Some(self.entry()) }
    }
}

/// The bytes of a property list, without its length.
pub(super) fn read_list<'a>(from: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = from.variable_byte_integer()?;
    from.take(length as usize)
}

/// Adds a property to those `seen`: only the user property, and in a PUBLISH the subscription
/// identifier, may come twice.
pub(super) const fn note(seen: u64, id: u8) -> Result<u64, DecodeError> {
    const REPEATABLE: u64 = 1 << 0x26 | 1 << 0x0B;
    let bit = 1 << (id & 63);
    if seen & bit & !REPEATABLE == 0 { Ok(seen | bit) } else { Err(DecodeError::DuplicateProperty(id)) }
}

/// Checks the value of a property that describes a message.
pub(super) fn check_message_property(property: PublishProperty<'_>) -> Result<(), DecodeError> {
    match property {
        PublishProperty::PayloadFormatIndicator(2..) => Err(DecodeError::PropertyValue(0x01)),
        PublishProperty::ResponseTopic(topic) => TopicName::check(topic).map_err(DecodeError::ResponseTopic),
        PublishProperty::SubscriptionIdentifier(0) => Err(DecodeError::PropertyValue(0x0B)),
        PublishProperty::TopicAlias(0) => Err(DecodeError::TopicAlias),
        _ => Ok(()),
    }
}

impl<'a> Property<'a> {
    /// Reads the value of the property `id`; nothing when there is no such property.
    fn read(id: u8, from: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let flag = |from: &mut Reader<'_>| match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue(id)),
        };
        Ok(Some(match id {
            0x11 => Self::SessionExpiryInterval(from.four_bytes()?),
            0x12 => Self::AssignedClientIdentifier(from.text()?),
            0x13 => Self::ServerKeepAlive(from.two_bytes()?),
            0x15 => Self::AuthenticationMethod(from.text()?),
            0x16 => Self::AuthenticationData(from.binary()?),
            0x17 => Self::RequestProblemInformation(flag(from)?),
            0x18 => Self::WillDelayInterval(from.four_bytes()?),
            0x19 => Self::RequestResponseInformation(flag(from)?),
            0x1A => Self::ResponseInformation(from.text()?),
            0x1C => Self::ServerReference(from.text()?),
            0x1F => Self::ReasonString(from.text()?),
            0x21 => match from.two_bytes()? {
                0 => return Err(DecodeError::PropertyValue(id)),
                maximum => Self::ReceiveMaximum(maximum),
            },
            0x22 => Self::TopicAliasMaximum(from.two_bytes()?),
            0x24 => Self::MaximumQos(if flag(from)? { Qos::AtLeastOnce } else { Qos::AtMostOnce }),
            0x25 => Self::RetainAvailable(flag(from)?),
            0x27 => match from.four_bytes()? {
                0 => return Err(DecodeError::PropertyValue(id)),
                maximum => Self::MaximumPacketSize(maximum),
            },
            0x28 => Self::WildcardSubscriptionAvailable(flag(from)?),
            0x29 => Self::SubscriptionIdentifiersAvailable(flag(from)?),
            0x2A => Self::SharedSubscriptionAvailable(flag(from)?),
            _ => {
                let property = PublishProperty::read(id, from)?;
                if let Some(property) = property {
                    check_message_property(property)?;
                }
                return Ok(property.map(Self::Message));
            }
        }))
    }

    /// Appends the property.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Message(property) => property.write(out),
            Self::SessionExpiryInterval(seconds) => write_four_bytes(out, 0x11, seconds),
            Self::AssignedClientIdentifier(client_id) => write_string(out, 0x12, client_id),
            Self::ServerKeepAlive(seconds) => write_two_bytes(out, 0x13, seconds),
            Self::AuthenticationMethod(method) => write_string(out, 0x15, method),
            Self::AuthenticationData(data) => {
                out.push(0x16);
                write_binary(out, data);
            }
            Self::RequestProblemInformation(flag) => out.extend([0x17, flag.into()]),
            Self::WillDelayInterval(seconds) => write_four_bytes(out, 0x18, seconds),
            Self::RequestResponseInformation(flag) => out.extend([0x19, flag.into()]),
            Self::ResponseInformation(text) => write_string(out, 0x1A, text),
            Self::ServerReference(text) => write_string(out, 0x1C, text),
            Self::ReasonString(text) => write_string(out, 0x1F, text),
            Self::ReceiveMaximum(maximum) => write_two_bytes(out, 0x21, maximum),
            Self::TopicAliasMaximum(maximum) => write_two_bytes(out, 0x22, maximum),
            Self::MaximumQos(qos) => out.extend([0x24, qos.into()]),
            Self::RetainAvailable(flag) => out.extend([0x25, flag.into()]),
            Self::MaximumPacketSize(maximum) => write_four_bytes(out, 0x27, maximum),
            Self::WildcardSubscriptionAvailable(flag) => out.extend([0x28, flag.into()]),
            Self::SubscriptionIdentifiersAvailable(flag) => out.extend([0x29, flag.into()]),
            Self::SharedSubscriptionAvailable(flag) => out.extend([0x2A, flag.into()]),
        }
    }
}

/// Appends a property list with its length: these properties, then the user properties.
pub(super) fn write_list<'a>(
    out: &mut Vec<u8>,
    properties: impl IntoIterator<Item = Option<Property<'a>>>,
    user_properties: UserProperties<'_>,
) {
    write_with_length(out, |out| {
        properties.into_iter().flatten().for_each(|property| property.write(out));
        user_properties.iter().for_each(|(name, value)| PublishProperty::UserProperty(name, value).write(out));
    });
}

fn write_two_bytes(out: &mut Vec<u8>, id: u8, value: u16) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn write_four_bytes(out: &mut Vec<u8>, id: u8, value: u32) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn write_string(out: &mut Vec<u8>, id: u8, text: &str) {
    out.push(id);
    write_text(out, text);
}

/// The user properties of a packet other than PUBLISH: its property list in wire form, of which
/// only they count. Equal when names and values are, in this order.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a>(&'a [u8]);

impl<'a> UserProperties<'a> {
    /// The user properties in a property list without its length; see [`PublishProperty::write`].
    #[must_use]
    pub const fn new(wire: &'a [u8]) -> Self {
        Self(wire)
    }

    /// Names and values in order, up to the first malformed property.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            loop {
                let id = reader.byte().ok()?;
                if let Property::Message(PublishProperty::UserProperty(name, value)) =
                    Property::read(id, &mut reader).ok()??
                {
                    return Some((name, value));
                }
            }
        })
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
