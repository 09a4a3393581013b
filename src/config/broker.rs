//! `[limits]`, `[mqtt]` and `[journal]`: what clients and the journal may use. The defaults and
//! their reasons are in [`crate::limits`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    profile::ResponseTopics,
    units::{bytes, duration, number, write_bytes, write_duration},
};
use crate::limits;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// What the process may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct LimitSettings {
    /// Memory that caches and buffers scale to, in bytes.
    #[serde(deserialize_with = "bytes::<_, _, { 16 * MIB }, TIB>", serialize_with = "write_bytes")]
    pub memory: u64,
    /// Largest packet taken from a client, in bytes.
    #[serde(deserialize_with = "bytes::<_, _, KIB, 268_435_460>", serialize_with = "write_bytes")]
    pub maximum_packet_size: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { memory: limits::MEMORY, maximum_packet_size: limits::MAXIMUM_PACKET_SIZE }
    }
}

/// What one MQTT client may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct MqttSettings {
    /// Longest keep alive, in seconds, that 5.0 clients are told; 0 for as long as they like.
    #[serde(deserialize_with = "number::<_, _, 0, 65_535>")]
    pub keep_alive: u16,
    /// Highest QoS that clients may publish with, and are granted.
    #[serde(deserialize_with = "number::<_, _, 0, 2>")]
    pub maximum_qos: u8,
    /// Whether messages can be retained.
    pub retain_available: bool,
    /// The beginning of response topics that clients are told where they ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_information: Option<ResponseTopics>,
    /// Whether a payload that is said to be UTF-8 must be.
    pub check_payload_format: bool,
    /// Unacknowledged QoS 1 and 2 messages on the way to the bridge.
    #[serde(deserialize_with = "number::<_, _, 1, 65_535>")]
    pub receive_maximum: u16,
    /// Topic aliases.
    #[serde(deserialize_with = "number::<_, _, 0, 65_535>")]
    pub topic_alias_maximum: u16,
    /// Session expiry granted at most; whole seconds.
    #[serde(deserialize_with = "duration::<_, 0, { 3_650 * DAY }>", serialize_with = "write_duration")]
    pub maximum_session_expiry: Duration,
    /// QoS 1 and 2 messages that wait for a session.
    #[serde(deserialize_with = "number::<_, _, 1, 100_000_000>")]
    pub maximum_queued_messages: usize,
    /// Bytes of them: topic, properties and payload.
    #[serde(deserialize_with = "bytes::<_, _, KIB, TIB>", serialize_with = "write_bytes")]
    pub maximum_queued_bytes: u64,
    /// QoS 0 messages that wait for a session.
    #[serde(deserialize_with = "number::<_, _, 1, 100_000_000>")]
    pub maximum_queued_best_effort: usize,
    /// Topics with a retained message.
    #[serde(deserialize_with = "number::<_, _, 0, 1_000_000_000>")]
    pub maximum_retained_messages: usize,
    /// Bytes of all retained messages.
    #[serde(deserialize_with = "bytes::<_, _, 0, TIB>", serialize_with = "write_bytes")]
    pub maximum_retained_bytes: u64,
    /// Topic filters of a session.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub maximum_subscriptions: usize,
    /// How often the `$SYS` topics are published, where they have changed; 0 for never.
    #[serde(deserialize_with = "duration::<_, 0, { 3_600 * SECOND }>", serialize_with = "write_duration")]
    pub sys_interval: Duration,
    /// Time for what comes before MQTT (PROXY protocol, TLS, WebSocket), and again for CONNECT.
    #[serde(deserialize_with = "duration::<_, 100, { 600 * SECOND }>", serialize_with = "write_duration")]
    pub handshake_timeout: Duration,
    /// Connections of a listener that are not let in yet.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub maximum_handshakes: usize,
}

impl Default for MqttSettings {
    fn default() -> Self {
        Self {
            keep_alive: 0,
            maximum_qos: 2,
            retain_available: true,
            response_information: None,
            check_payload_format: false,
            receive_maximum: limits::RECEIVE_MAXIMUM,
            topic_alias_maximum: limits::TOPIC_ALIAS_MAXIMUM,
            maximum_session_expiry: Duration::from_secs(limits::MAXIMUM_SESSION_EXPIRY.into()),
            maximum_queued_messages: limits::MAXIMUM_QUEUED_MESSAGES,
            maximum_queued_bytes: limits::MAXIMUM_QUEUED_BYTES,
            maximum_retained_messages: limits::MAXIMUM_RETAINED_MESSAGES,
            maximum_retained_bytes: limits::MAXIMUM_RETAINED_BYTES,
            maximum_queued_best_effort: limits::MAXIMUM_QUEUED_BEST_EFFORT,
            maximum_subscriptions: limits::MAXIMUM_SUBSCRIPTIONS,
            sys_interval: limits::SYS_INTERVAL,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            maximum_handshakes: limits::MAXIMUM_HANDSHAKES,
        }
    }
}

/// How much the journal keeps, and how long a best-effort record may stay unsynced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct JournalSettings {
    /// Age at which a segment may go, once no consumer needs it.
    #[serde(deserialize_with = "duration::<_, 0, { 36_500 * DAY }>", serialize_with = "write_duration")]
    pub retain_age: Duration,
    /// Bytes above which the oldest segments may go, once no consumer needs them.
    #[serde(deserialize_with = "bytes::<_, _, 0, { 1_024 * TIB }>", serialize_with = "write_bytes")]
    pub retain_bytes: u64,
    /// Bytes at which publishers are refused.
    #[serde(deserialize_with = "bytes::<_, _, MIB, { 1_024 * TIB }>", serialize_with = "write_bytes")]
    pub maximum_bytes: u64,
    /// Size of a segment, in bytes.
    #[serde(deserialize_with = "bytes::<_, _, { 64 * KIB }, { 1_024 * MIB }>", serialize_with = "write_bytes")]
    pub segment_bytes: u64,
    /// Longest time that QoS 0 records stay unsynced.
    #[serde(deserialize_with = "duration::<_, 1, { 60 * SECOND }>", serialize_with = "write_duration")]
    pub sync_interval: Duration,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            retain_age: limits::RETAIN_AGE,
            retain_bytes: limits::RETAIN_BYTES,
            maximum_bytes: limits::MAXIMUM_JOURNAL_BYTES,
            segment_bytes: limits::SEGMENT_BYTES,
            sync_interval: limits::SYNC_INTERVAL,
        }
    }
}
