//! What a listener allows its clients, and tells 5.0 clients in CONNACK (MQTT 5.0 section 3.2.2.3).

use super::mailbox::MailboxLimits;
use crate::{limits, types::Qos};

/// See the module.
#[derive(Clone, Copy, Debug)]
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
    /// Bounds of a session's queue.
    pub mailbox: MailboxLimits,
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
            mailbox: MailboxLimits {
                messages: limits::MAXIMUM_QUEUED_MESSAGES,
                bytes: limits::MAXIMUM_QUEUED_BYTES,
                best_effort: limits::MAXIMUM_QUEUED_BEST_EFFORT,
            },
        }
    }
}
