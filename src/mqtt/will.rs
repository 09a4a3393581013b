//! Wills: what the bridge publishes for a client that has gone without a word (MQTT 5.0 section 3.1.2.5).

use std::time::Duration;

use super::{
    Broker, codec,
    session::{Session, SessionId},
    varint::{read_bytes, read_str, read_varint, write_bytes, write_varint},
};
use crate::{
    auth::access::Who,
    journal::{BatchBuilder, Origin, Record},
    types::{Micros, Publication, PublishProperties, Qos, Sequence},
};

const RETAIN: u8 = 1 << 2;

impl Broker {
    /// Whether the client of a session may publish its will now that it is due; counted where not.
    pub(super) fn may_have_will(&self, session: &Session, topic: &str) -> bool {
        let user = session.owner().map(|user| &**user);
        let allowed = self.access.may_publish(Who { user, client_id: session.client_id.as_str(), rights: None }, topic);
        if !allowed {
            self.statistics.may_not_have_will.add(1);
            tracing::info!(client.id = %session.client_id, "a will is void: no access rule allows it any more");
        }
        allowed
    }
}

/// A will, from CONNECT until it is published or void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The QoS it is published with.
    pub qos: Qos,
    retain: bool,
    /// Time from the end of the connection to its publication, unless the session ends before.
    pub delay: Duration,
    /// Where it is published.
    pub topic: Box<str>,
    properties: Box<[u8]>,
    payload: Box<[u8]>,
}

impl From<&codec::Will<'_>> for Will {
    fn from(will: &codec::Will<'_>) -> Self {
        Self {
            qos: will.qos,
            retain: will.retain,
            delay: Duration::from_secs(u64::from(will.delay_interval)),
            topic: will.topic.into(),
            properties: will.properties.as_ref().into(),
            payload: will.payload.into(),
        }
    }
}

impl Will {
    /// Adds its publication.
    pub fn publish(&self, session: SessionId, client_id: &str, guaranteed: bool, batch: &mut BatchBuilder) {
        batch.push(&Record::Publication {
            publication: Publication {
                sequence: Sequence::ZERO,
                received: Micros::default(),
                topic: &self.topic,
                payload: &self.payload,
                qos: self.qos,
                retain: self.retain,
                guaranteed: guaranteed || self.qos > Qos::AtMostOnce,
                client_id,
                properties: PublishProperties::new(&self.properties),
            },
            origin: Origin::Will(session.0),
        });
    }

    /// Appends it in the form of the journal's state changes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.qos) | if self.retain { RETAIN } else { 0 });
        write_varint(out, self.delay.as_secs());
        for part in [self.topic.as_bytes(), &self.properties, &self.payload] {
            write_bytes(out, part);
        }
    }

    /// Takes back what [`Will::write`] has written.
    #[must_use]
    pub fn read(from: &mut &[u8]) -> Option<Self> {
        let (&flags, rest) = from.split_first()?;
        *from = rest;
        Some(Self {
            qos: Qos::try_from(flags & 0b11).ok()?,
            retain: flags & RETAIN != 0,
            delay: Duration::from_secs(read_varint(from)?),
            topic: read_str(from)?.into(),
            properties: read_bytes(from)?.into(),
            payload: read_bytes(from)?.into(),
        })
    }

    #[cfg(test)]
    pub(super) fn example() -> Self {
        Self {
            qos: Qos::AtLeastOnce,
            retain: true,
            delay: Duration::from_secs(5),
            topic: "devices/pump-7/status".into(),
            properties: [0x01, 1].into(),
            payload: b"offline".as_slice().into(),
        }
    }
}
