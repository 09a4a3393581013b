//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.8 to 3.11).

use super::{
    DecodeError, PacketType, ProtocolVersion, ReasonCode, Sender,
    ack::packet_id,
    frame::write_packet,
    property::{Properties, Property, UserProperties, write_list},
};
use crate::types::{
    PublishProperty, Qos, TopicFilter,
    wire::{Reader, write_text},
};

const NO_LOCAL: u8 = 0b0100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;

/// When a subscription is sent retained messages (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Whenever the subscription is made.
    #[default]
    SendAtSubscribe = 0,
    /// When it is made and did not exist before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// In 3.1.1 a valid topic filter. In 5.0 any text: an invalid filter is answered with
    /// [`ReasonCode::TopicFilterInvalid`] in its place of the SUBACK.
    pub filter: &'a str,
    /// The highest QoS its messages may be delivered with.
    pub maximum_qos: Qos,
    /// Whether messages of its own client are left out; always false in 3.1.1.
    pub no_local: bool,
    /// Whether messages keep the retain flag they were published with; always false in 3.1.1.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

impl<'a> Subscription<'a> {
    /// A subscription as in 3.1.1, which has no other options.
    #[must_use]
    pub const fn new(filter: &'a str, maximum_qos: Qos) -> Self {
        Self {
            filter,
            maximum_qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        }
    }

    /// Whether it is sent retained messages, being new or replacing another.
    #[must_use]
    pub const fn wants_retained(&self, new: bool) -> bool {
        match self.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        }
    }

    fn decode(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let filter = read_filter(reader, version)?;
        let options = reader.byte()?;
        let reserved = match version {
            ProtocolVersion::V311 => 0b1111_1100,
            ProtocolVersion::V5 => 0b1100_0000,
        };
        if options & reserved != 0 {
            return Err(DecodeError::SubscriptionOptions);
        }
        let no_local = options & NO_LOCAL != 0;
        if no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(Self {
            filter,
            maximum_qos: Qos::try_from(options & 0b11).map_err(|_| DecodeError::SubscriptionQos)?,
            no_local,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match options >> 4 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(DecodeError::RetainHandling),
            },
        })
    }

    fn options(&self, version: ProtocolVersion) -> u8 {
        let mut options = u8::from(self.maximum_qos);
        if version == ProtocolVersion::V5 {
            options |= if self.no_local { NO_LOCAL } else { 0 };
            options |= if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
            options |= (self.retain_handling as u8) << 4;
        }
        options
    }
}

/// A request to make or change subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// Sent with every message of these subscriptions; never 0.
    pub subscription_identifier: Option<u32>,
    /// What the client adds for the server's own use.
    pub user_properties: UserProperties<'a>,
    /// At least one, each answered in the SUBACK in this order.
    pub subscriptions: Vec<Subscription<'a>>,
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        const PACKET: PacketType = PacketType::Subscribe;
        let packet_id = packet_id(reader, PACKET)?;
        let mut subscription_identifier = None;
        let mut user_properties = UserProperties::default();
        if version == ProtocolVersion::V5 {
            let properties = Properties::read(reader, PACKET)?;
            user_properties = properties.user_properties();
            for entry in properties {
                let entry = entry?;
                match entry.property {
                    Property::Message(PublishProperty::SubscriptionIdentifier(identifier)) => {
                        if subscription_identifier.replace(identifier).is_some() {
                            return Err(DecodeError::DuplicateProperty(0x0B));
                        }
                    }
                    Property::Message(PublishProperty::UserProperty(..)) => {}
                    _ => return Err(entry.not_allowed()),
                }
            }
        }
        let subscriptions = entries(reader, PACKET, |reader| Subscription::decode(reader, version))?;
        Ok(Self { packet_id, subscription_identifier, user_properties, subscriptions })
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let identifier = self.subscription_identifier.map(PublishProperty::SubscriptionIdentifier);
        write_packet(out, PacketType::Subscribe, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            if version == ProtocolVersion::V5 {
                write_list(out, [identifier.map(Property::Message)], self.user_properties);
            }
            for subscription in &self.subscriptions {
                write_text(out, subscription.filter);
                out.push(subscription.options(version));
            }
        });
    }
}

/// A request to end subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// What the client adds for the server's own use.
    pub user_properties: UserProperties<'a>,
    /// At least one; as in [`Subscription::filter`].
    pub filters: Vec<&'a str>,
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        const PACKET: PacketType = PacketType::Unsubscribe;
        let packet_id = packet_id(reader, PACKET)?;
        let mut user_properties = UserProperties::default();
        if version == ProtocolVersion::V5 {
            let properties = Properties::read(reader, PACKET)?;
            user_properties = properties.user_properties();
            for entry in properties {
                let entry = entry?;
                match entry.property {
                    Property::Message(PublishProperty::UserProperty(..)) => {}
                    _ => return Err(entry.not_allowed()),
                }
            }
        }
        let filters = entries(reader, PACKET, |reader| read_filter(reader, version))?;
        Ok(Self { packet_id, user_properties, filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        write_packet(out, PacketType::Unsubscribe, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            if version == ProtocolVersion::V5 {
                write_list(out, [], self.user_properties);
            }
            self.filters.iter().for_each(|filter| write_text(out, filter));
        });
    }
}

/// The answer to SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// The request's.
    pub packet_id: u16,
    /// One for each entry of the request, in its order; empty in a 3.1.1 UNSUBACK.
    pub reasons: Vec<ReasonCode>,
    /// For diagnostics.
    pub reason_string: Option<&'a str>,
    /// For diagnostics.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Suback<'a> {
    pub(super) fn decode(
        packet: PacketType,
        reader: &mut Reader<'a>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let packet_id = packet_id(reader, packet)?;
        let mut reason_string = None;
        let mut user_properties = UserProperties::default();
        if version == ProtocolVersion::V5 {
            let properties = Properties::read(reader, packet)?;
            user_properties = properties.user_properties();
            for entry in properties {
                let entry = entry?;
                match entry.property {
                    Property::ReasonString(text) => reason_string = Some(text),
                    Property::Message(PublishProperty::UserProperty(..)) => {}
                    _ => return Err(entry.not_allowed()),
                }
            }
        }
        let reasons = if version == ProtocolVersion::V311 && packet == PacketType::Unsuback {
            Vec::new()
        } else {
            entries(reader, packet, |reader| match ReasonCode::decode(reader.byte()?, packet, Sender::Server)? {
                reason if version == ProtocolVersion::V311 && reason > ReasonCode::UnspecifiedError => {
                    Err(DecodeError::ReasonCode { code: reason as u8, packet })
                }
                reason => Ok(reason),
            })?
        };
        Ok(Self { packet_id, reasons, reason_string, user_properties })
    }

    /// Appends the answer as a packet of this type, [`PacketType::Suback`] or
    /// [`PacketType::Unsuback`]. 3.1.1 knows one failure only, 0x80.
    pub fn encode(&self, packet: PacketType, version: ProtocolVersion, out: &mut Vec<u8>) {
        debug_assert!(matches!(packet, PacketType::Suback | PacketType::Unsuback), "{packet} has another form");
        write_packet(out, packet, |out| {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
            match version {
                ProtocolVersion::V5 => {
                    write_list(out, [self.reason_string.map(Property::ReasonString)], self.user_properties);
                    out.extend(self.reasons.iter().map(|reason| *reason as u8));
                }
                ProtocolVersion::V311 if packet == PacketType::Unsuback => {}
                ProtocolVersion::V311 => {
                    out.extend(self.reasons.iter().map(|reason| *(reason.min(&ReasonCode::UnspecifiedError)) as u8));
                }
            }
        });
    }
}

/// The entries of a payload, of which there must be at least one.
fn entries<'a, T>(
    reader: &mut Reader<'a>,
    packet: PacketType,
    mut entry: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(entry(reader)?);
    }
    if entries.is_empty() { Err(DecodeError::NoEntries(packet)) } else { Ok(entries) }
}

/// Reads a filter, which in 3.1.1 must be valid: there a bad one is a malformed packet.
fn read_filter<'a>(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<&'a str, DecodeError> {
    let filter = reader.text()?;
    if version == ProtocolVersion::V311 {
        TopicFilter::check(filter).map_err(DecodeError::TopicFilter)?;
    }
    Ok(filter)
}
