//! PUBLISH (MQTT 5.0 section 3.3), the one packet whose speed matters.

use std::borrow::Cow;

use super::{
    DecodeError, Frame, PacketTooLarge, PacketType, ProtocolVersion, Sender,
    ack::packet_id,
    property::{check_message_property, note, read_list},
};
use crate::types::{
    PublishProperties, PublishProperty, Qos, TopicError, TopicName,
    wire::{Reader, variable_byte_integer_size, write_text, write_variable_byte_integer},
};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A received PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// The level it is delivered with.
    pub qos: Qos,
    /// Whether the server shall keep it, or that it did.
    pub retain: bool,
    /// A valid topic name; empty where the topic alias stands for it.
    pub topic: &'a str,
    /// 0 with QoS 0, which has none, and never 0 otherwise.
    pub packet_id: u16,
    /// Stands for the topic name, or defines what it stands for; never 0.
    pub topic_alias: Option<u16>,
    /// The other properties in wire form, in order, checked; see [`Publish::properties`]. Copied
    /// only where the topic alias stood between two of them.
    pub properties: Cow<'a, [u8]>,
    /// The application message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// All properties but the topic alias.
    #[must_use]
    pub fn properties(&self) -> PublishProperties<'_> {
        PublishProperties::new(&self.properties)
    }

    pub(super) fn decode(frame: &Frame<'a>, version: ProtocolVersion, sender: Sender) -> Result<Self, DecodeError> {
        let qos = Qos::try_from(frame.flags >> 1 & 0b11)?;
        let dup = frame.flags & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(DecodeError::DupAtMostOnce);
        }
        let mut reader = Reader::new(frame.body);
        let topic = reader.text()?;
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { packet_id(&mut reader, PacketType::Publish)? };
        let (topic_alias, properties) = match version {
            ProtocolVersion::V311 => (None, Cow::Borrowed(&[][..])),
            ProtocolVersion::V5 => split_topic_alias(read_list(&mut reader)?, sender)?,
        };
        match TopicName::check(topic) {
            Err(TopicError::Empty) if version == ProtocolVersion::V5 => {
                topic_alias.ok_or(DecodeError::NoTopic)?;
            }
            checked => checked.map_err(DecodeError::Topic)?,
        }
        Ok(Self {
            dup,
            qos,
            retain: frame.flags & RETAIN != 0,
            topic,
            packet_id,
            topic_alias,
            properties,
            payload: reader.rest(),
        })
    }
}

/// Checks the properties and takes the topic alias out of them.
fn split_topic_alias(list: &[u8], sender: Sender) -> Result<(Option<u16>, Cow<'_, [u8]>), DecodeError> {
    let mut topic_alias = None;
    let mut before_alias = list;
    let mut after_alias = &[][..];
    let mut seen = 0;
    let mut reader = Reader::new(list);
    while !reader.is_empty() {
        let start = reader.rest();
        let id = reader.byte()?;
        let property = PublishProperty::read(id, &mut reader)?
            .ok_or(DecodeError::PropertyNotAllowed { id, packet: PacketType::Publish })?;
        seen = note(seen, id)?;
        check_message_property(property)?;
        match property {
            PublishProperty::TopicAlias(alias) => {
                topic_alias = Some(alias);
                before_alias = &list[..list.len() - start.len()];
                after_alias = reader.rest();
            }
            PublishProperty::SubscriptionIdentifier(_) if sender == Sender::Client => {
                return Err(DecodeError::SubscriptionIdentifier);
            }
            _ => {}
        }
    }
    let properties = match (before_alias, after_alias) {
        (one, []) | ([], one) => Cow::Borrowed(one),
        (before, after) => Cow::Owned([before, after].concat()),
    };
    Ok((topic_alias, properties))
}

/// A PUBLISH to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingPublish<'a> {
    /// Whether this session may have sent it before.
    pub dup: bool,
    /// The level it is delivered with.
    pub qos: Qos,
    /// Whether the receiver is told that it is, or shall be, retained.
    pub retain: bool,
    /// A valid topic name, or empty where the topic alias stands for it.
    pub topic: &'a str,
    /// Not 0 unless the QoS is 0, which has none.
    pub packet_id: u16,
    /// Sent as they are, except for the message expiry interval. Not in 3.1.1.
    pub properties: PublishProperties<'a>,
    /// Seconds that are left of the message's life, sent in the place of the message expiry
    /// interval that `properties` has [MQTT-3.3.2-6]; where it has none, nothing is added.
    pub message_expiry: Option<u32>,
    /// Sent after `properties`. Not in 3.1.1.
    pub topic_alias: Option<u16>,
    /// Sent last: of each subscription that matched, where it has one. Not in 3.1.1.
    pub subscription_identifiers: &'a [u32],
    /// The application message.
    pub payload: &'a [u8],
}

/// The lengths that stand in front of what they count, in bytes.
struct Layout {
    properties: usize,
    remaining: usize,
    packet: usize,
}

impl OutgoingPublish<'_> {
    /// Bytes that [`OutgoingPublish::encode`] appends, fixed header included.
    #[must_use]
    pub fn encoded_size(&self, version: ProtocolVersion) -> usize {
        self.layout(version).packet
    }

    /// Appends the packet in one pass.
    ///
    /// # Errors
    /// When it had more than `maximum_packet_size` bytes, or than any packet can have; nothing is
    /// appended then.
    pub fn encode(
        &self,
        version: ProtocolVersion,
        maximum_packet_size: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), PacketTooLarge> {
        debug_assert_eq!(self.qos == Qos::AtMostOnce, self.packet_id == 0);
        let layout = self.layout(version);
        let maximum = maximum_packet_size.min(super::MAXIMUM_PACKET_SIZE);
        if layout.packet > maximum as usize {
            return Err(PacketTooLarge { size: layout.packet, maximum });
        }
        let start = out.len();
        out.reserve(layout.packet);
        let dup = if self.dup { DUP } else { 0 };
        out.push(PacketType::Publish.header() | dup | u8::from(self.qos) << 1 | u8::from(self.retain));
        write_variable_byte_integer(out, layout.remaining);
        write_text(out, self.topic);
        if self.qos != Qos::AtMostOnce {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
        }
        if version == ProtocolVersion::V5 {
            write_variable_byte_integer(out, layout.properties);
            self.write_properties(out);
        }
        out.extend_from_slice(self.payload);
        debug_assert_eq!(out.len() - start, layout.packet);
        Ok(())
    }

    fn layout(&self, version: ProtocolVersion) -> Layout {
        let mut properties = 0;
        let mut remaining = 2 + self.topic.len() + self.payload.len();
        if self.qos != Qos::AtMostOnce {
            remaining += 2;
        }
        if version == ProtocolVersion::V5 {
            properties = self.properties.as_bytes().len() + if self.topic_alias.is_some() { 3 } else { 0 };
            for identifier in self.subscription_identifiers {
                properties += 1 + variable_byte_integer_size(*identifier as usize);
            }
            remaining += variable_byte_integer_size(properties) + properties;
        }
        Layout { properties, remaining, packet: 1 + variable_byte_integer_size(remaining) + remaining }
    }

    fn write_properties(&self, out: &mut Vec<u8>) {
        let published = out.len();
        out.extend_from_slice(self.properties.as_bytes());
        if let Some(seconds) = self.message_expiry {
            let value = self.message_expiry_offset().and_then(|offset| out.get_mut(published + offset..));
            if let Some(value) = value.and_then(|value| value.first_chunk_mut()) {
                *value = seconds.to_be_bytes();
            }
        }
        if let Some(alias) = self.topic_alias {
            PublishProperty::TopicAlias(alias).write(out);
        }
        for identifier in self.subscription_identifiers {
            PublishProperty::SubscriptionIdentifier(*identifier).write(out);
        }
    }

    /// Where the value of the published message expiry interval lies in the property list.
    fn message_expiry_offset(&self) -> Option<usize> {
        let mut offset = 0;
        for entry in self.properties.iter() {
            match entry.ok()? {
                (PublishProperty::MessageExpiryInterval(_), _) => return Some(offset + 1),
                (_, wire) => offset += wire.len(),
            }
        }
        None
    }
}

impl<'a> From<&'a Publish<'_>> for OutgoingPublish<'a> {
    /// The same message, as a client sends it.
    fn from(publish: &'a Publish<'_>) -> Self {
        Self {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            packet_id: publish.packet_id,
            properties: publish.properties(),
            message_expiry: None,
            topic_alias: publish.topic_alias,
            subscription_identifiers: &[],
            payload: publish.payload,
        }
    }
}
