//! The properties of a PUBLISH, as they lie in the journal.

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
        let item = read_property(&mut self.0);
        if item.is_err() {
            self.0 = &[];
        }
        Some(item.map(|property| (property, &start[..start.len() - self.0.len()])))
    }
}

fn read_property<'a>(from: &mut &'a [u8]) -> Result<PublishProperty<'a>, PropertyError> {
    let [id] = read_array(from)?;
    Ok(match id {
        0x01 => PublishProperty::PayloadFormatIndicator(u8::from_be_bytes(read_array(from)?)),
        0x02 => PublishProperty::MessageExpiryInterval(u32::from_be_bytes(read_array(from)?)),
        0x03 => PublishProperty::ContentType(read_text(from)?),
        0x08 => PublishProperty::ResponseTopic(read_text(from)?),
        0x09 => PublishProperty::CorrelationData(read_binary(from)?),
        0x0B => PublishProperty::SubscriptionIdentifier(read_variable_byte_integer(from)?),
        0x23 => PublishProperty::TopicAlias(u16::from_be_bytes(read_array(from)?)),
        0x26 => PublishProperty::UserProperty(read_text(from)?, read_text(from)?),
        other => return Err(PropertyError::Unknown(other)),
    })
}

fn read_array<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], PropertyError> {
    let (head, rest) = from.split_first_chunk().ok_or(PropertyError::Malformed)?;
    *from = rest;
    Ok(*head)
}

fn read_binary<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], PropertyError> {
    let length = usize::from(u16::from_be_bytes(read_array(from)?));
    let (head, rest) = from.split_at_checked(length).ok_or(PropertyError::Malformed)?;
    *from = rest;
    Ok(head)
}

fn read_text<'a>(from: &mut &'a [u8]) -> Result<&'a str, PropertyError> {
    let text = std::str::from_utf8(read_binary(from)?).map_err(|_| PropertyError::Malformed)?;
    if text.contains('\0') { Err(PropertyError::Malformed) } else { Ok(text) }
}

fn read_variable_byte_integer(from: &mut &[u8]) -> Result<u32, PropertyError> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let [byte] = read_array(from)?;
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(PropertyError::Malformed)
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
