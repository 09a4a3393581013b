//! What a listener allows its clients, and tells 5.0 clients in CONNACK (MQTT 5.0 section 3.2.2.3).

use super::mailbox::MailboxLimits;
use crate::{
    limits,
    types::{PublishProperties, Qos, ResponseInformation},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Largest packet accepted, in bytes.
    pub maximum_packet_size: u32,
    /// QoS 1 and 2 messages in flight, in either direction.
    pub receive_maximum: u16,
    /// Highest topic alias a client may use.
    pub topic_alias_maximum: u16,
    /// Highest QoS a client may publish with, and is granted.
    pub maximum_qos: Qos,
    /// Whether messages can be retained, and retained ones are sent.
    pub retain_available: bool,
    /// Longest keep alive, in seconds, which 5.0 clients are told; none for as long as they like. 3.1.1
    /// has no way to tell, so there the client's own counts.
    pub keep_alive: Option<u16>,
    /// What clients that ask for it are told to make response topics from.
    pub response_information: Option<ResponseInformation>,
    /// Whether a payload that is said to be UTF-8 must be.
    pub check_payload_format: bool,
    /// Bounds of a session's queue.
    pub mailbox: MailboxLimits,
}

impl Profile {
    /// Whether a payload is what its payload format indicator says, as far as that is looked at. Text is
    /// UTF-8 as Unicode has it (section 3.3.2.3.2), U+0000 included.
    #[must_use]
    pub fn takes_payload(&self, properties: PublishProperties<'_>, payload: &[u8]) -> bool {
        !self.check_payload_format || !properties.says_utf8() || std::str::from_utf8(payload).is_ok()
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            maximum_packet_size: limits::MAXIMUM_PACKET_SIZE,
            receive_maximum: limits::RECEIVE_MAXIMUM,
            topic_alias_maximum: limits::TOPIC_ALIAS_MAXIMUM,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            keep_alive: None,
            response_information: None,
            check_payload_format: false,
            mailbox: MailboxLimits {
                messages: limits::MAXIMUM_QUEUED_MESSAGES,
                bytes: limits::MAXIMUM_QUEUED_BYTES,
                best_effort: limits::MAXIMUM_QUEUED_BEST_EFFORT,
            },
        }
    }
}
