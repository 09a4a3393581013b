//! An accepted PUBLISH, as every consumer of the journal sees it.

use super::{Micros, PublishProperties, Qos, Sequence};

/// A borrowed view of one accepted PUBLISH. The bytes belong to the journal batch it was read
/// from, so a consumer that outlives the batch copies what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When the bridge received it; never decreases along the journal.
    pub received: Micros,
    /// A valid topic name.
    pub topic: &'a str,
    /// The application message, 0 to 268,435,455 bytes.
    pub payload: &'a [u8],
    /// The level it was published with.
    pub qos: Qos,
    /// Whether the publisher asked to retain it.
    pub retain: bool,
    /// Whether it was fsynced before anyone saw it: QoS 1 and 2, and QoS 0 on a route that
    /// asks for more than best effort.
    pub guaranteed: bool,
    /// The publisher's client identifier.
    pub client_id: &'a str,
    /// MQTT 5 properties less topic alias and subscription identifiers; empty for 3.1.1.
    pub properties: PublishProperties<'a>,
}
