//! The properties of a PUBLISH, as they lie in the journal.

use super::wire::{Reader, WireError, write_binary, write_text, write_variable_byte_integer};

/// One property of a PUBLISH (MQTT 5.0 section 3.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishProperty<'a> {
    /// 0x01: 1 when the payload is UTF-8 text.
    PayloadFormatIndicator(u8),
    /// 0x02: lifetime in seconds, counted from receipt.
    MessageExpiryInterval(u32),
    /// 0x03
    ContentType(&'a str),
    /// 0x08
    ResponseTopic(&'a str),
    /// 0x09
    CorrelationData(&'a [u8]),
    /// 0x0B, which only a server may send.
    SubscriptionIdentifier(u32),
    /// 0x23
    TopicAlias(u16),
    /// 0x26: may occur many times; order is kept.
    UserProperty(&'a str, &'a str),
}

/// Bytes that are no property list of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// Ends inside a property, or a string is not UTF-8 or holds U+0000 [MQTT-1.5.4-1].
    #[error("the properties are cut off or hold invalid text")]
    Malformed,
    /// A property that a PUBLISH cannot have (section 2.2.2.2).
    #[error("property 0x{0:02X} does not belong in a PUBLISH")]
    Unknown(u8),
}

impl From<WireError> for PropertyError {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

impl<'a> PublishProperty<'a> {
    /// Reads the value of the property `id`, whose identifier has been read already; nothing
    /// when a PUBLISH has no such property.
    ///
    /// # Errors
    /// When the value is malformed.
    pub fn read(id: u8, from: &mut Reader<'a>) -> Result<Option<Self>, WireError> {
        Ok(Some(match id {
            0x01 => Self::PayloadFormatIndicator(from.byte()?),
            0x02 => Self::MessageExpiryInterval(from.four_bytes()?),
            0x03 => Self::ContentType(from.text()?),
            0x08 => Self::ResponseTopic(from.text()?),
            0x09 => Self::CorrelationData(from.binary()?),
            0x0B => Self::SubscriptionIdentifier(from.variable_byte_integer()?),
            0x23 => Self::TopicAlias(from.two_bytes()?),
            0x26 => Self::UserProperty(from.text()?, from.text()?),
            _ => return Ok(None),
        }))
    }

    /// Appends the property in wire form.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::PayloadFormatIndicator(value) => out.extend([0x01, value]),
            Self::MessageExpiryInterval(seconds) => {
                out.push(0x02);
                out.extend(seconds.to_be_bytes());
            }
            Self::ContentType(text) => {
                out.push(0x03);
                write_text(out, text);
            }
            Self::ResponseTopic(topic) => {
                out.push(0x08);
                write_text(out, topic);
            }
            Self::CorrelationData(data) => {
                out.push(0x09);
                write_binary(out, data);
            }
            Self::SubscriptionIdentifier(identifier) => {
                out.push(0x0B);
                write_variable_byte_integer(out, identifier as usize);
            }
            Self::TopicAlias(alias) => {
                out.push(0x23);
                out.extend(alias.to_be_bytes());
            }
            Self::UserProperty(name, value) => {
                out.push(0x26);
                write_text(out, name);
                write_text(out, value);
            }
        }
    }
}

/// A property list in wire form, without its length prefix.
///
/// The journal keeps this form: what a v5 publisher sent, less topic alias and subscription
/// identifiers, is what v5 subscribers get, in the same order and byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties<'a>(&'a [u8]);

impl<'a> PublishProperties<'a> {
    /// Wraps wire bytes; [`PublishProperties::iter`] finds out whether they are well formed.
    #[must_use]
    pub const fn new(wire: &'a [u8]) -> Self {
        Self(wire)
    }

    /// The wire form.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no property at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties in order, each with the wire bytes it takes; ends after the first error.
    #[must_use]
    pub const fn iter(&self) -> PropertyIter<'a> {
        PropertyIter(self.0)
    }

    /// Whether the payload is said to be UTF-8 text.
    #[must_use]
    pub fn says_utf8(&self) -> bool {
        self.find(|property| match property {
            PublishProperty::PayloadFormatIndicator(format) => Some(format == 1),
            _ => None,
        }) == Some(true)
    }

    /// The message expiry interval in seconds, where set.
    #[must_use]
    pub fn message_expiry_interval(&self) -> Option<u32> {
        self.find(|property| match property {
            PublishProperty::MessageExpiryInterval(seconds) => Some(seconds),
            _ => None,
        })
    }

    /// The content type, where set.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a str> {
        self.find(|property| match property {
            PublishProperty::ContentType(text) => Some(text),
            _ => None,
        })
    }

    /// The correlation data, where set.
    #[must_use]
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.find(|property| match property {
            PublishProperty::CorrelationData(data) => Some(data),
            _ => None,
        })
    }

    /// The user properties in order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Ok((PublishProperty::UserProperty(name, value), _)) => Some((name, value)),
            _ => None,
        })
    }

    fn find<T>(&self, pick: impl Fn(PublishProperty<'a>) -> Option<T>) -> Option<T> {
        self.iter().find_map(|property| property.ok().and_then(|(property, _)| pick(property)))
    }
}

/// See [`PublishProperties::iter`].
#[derive(Debug)]
pub struct PropertyIter<'a>(&'a [u8]);

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Result<(PublishProperty<'a>, &'a [u8]), PropertyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let start = self.0;
        let mut reader = Reader::new(start);
        let item = read_property(&mut reader);
        self.0 = if item.is_ok() { reader.rest() } else { &[] };
        Some(item.map(|property| (property, &start[..start.len() - self.0.len()])))
    }
}

fn read_property<'a>(from: &mut Reader<'a>) -> Result<PublishProperty<'a>, PropertyError> {
    let id = from.byte()?;
    PublishProperty::read(id, from)?.ok_or(PropertyError::Unknown(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_back_in_order_with_their_bytes() {
        let wire = [0x26, 0, 1, b'k', 0, 1, b'v', 0x01, 1, 0x03, 0, 2, b'a', b'/', 0x02, 0, 0, 0, 9];
        let list = PublishProperties::new(&wire);
        let all: Vec<_> = list.iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(all[0], (PublishProperty::UserProperty("k", "v"), &wire[..7]));
        assert_eq!(all[1], (PublishProperty::PayloadFormatIndicator(1), &wire[7..9]));
        assert_eq!(list.content_type(), Some("a/"));
        assert_eq!(list.message_expiry_interval(), Some(9));
    }

    #[test]
    fn a_cut_or_foreign_property_ends_the_list() {
        assert_eq!(PublishProperties::new(&[0x02, 0, 0]).iter().next(), Some(Err(PropertyError::Malformed)));
        assert_eq!(PublishProperties::new(&[0x11, 0]).iter().next(), Some(Err(PropertyError::Unknown(0x11))));
        let mut after_error = PublishProperties::new(&[0x7F, 0x01, 1]).iter();
        assert!(after_error.next().is_some_and(|item| item.is_err()));
        assert_eq!(after_error.next(), None);
    }
}
