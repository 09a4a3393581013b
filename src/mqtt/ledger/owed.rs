//! Retained messages that subscriptions have still to get (`retained_delivery`).
//!
//! On record as everything of a session is: a SUBSCRIBE makes the debt, each [`More`](super::change::Change::More)
//! pays a portion of it at its place in the journal. So a start comes to the same queue, with the same numbers, and a
//! session that outlives its connection gets the rest when its client is back.

use std::{collections::BTreeMap, sync::Arc};

use super::super::{
    mailbox::{Entry, Identifiers, MailboxLimits},
    session::SessionId,
    varint::{read_str, read_varint, write_bytes, write_varint},
};
use crate::{
    journal::{Batch, Outcome},
    types::{Qos, Sequence, TopicFilter},
};

/// Messages that are queued by one record, at most.
const PORTION_MESSAGES: usize = 1_000;

/// How many messages one record queues: neither more nor, by more than one, more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Messages.
    pub messages: u64,
    /// Bytes: topic, properties and payload.
    pub bytes: u64,
}

impl Portion {
    /// A part of what may wait for the session, so that there is room for what is published meanwhile.
    #[must_use]
    pub fn of(limits: MailboxLimits) -> Self {
        Self { messages: (limits.messages / 4).clamp(1, PORTION_MESSAGES) as u64, bytes: (limits.bytes / 4).max(1) }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        write_varint(out, self.messages);
        write_varint(out, self.bytes);
    }

    pub(super) fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self { messages: read_varint(from)?, bytes: read_varint(from)? })
    }
}

/// What a subscription asks of the retained messages.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of these topics.
    pub filter: TopicFilter,
    /// With this QoS at most.
    pub maximum_qos: Qos,
    /// Sent along; 0 for none.
    pub identifier: u32,
    /// The record that made it: what is younger comes live.
    pub made_by: Sequence,
}

impl Wanted {
    /// How a message is delivered.
    #[must_use]
    pub fn entry(&self, sequence: Sequence, qos: Qos, size: u32) -> Entry {
        let identifiers: Identifiers = (self.identifier != 0).then_some(self.identifier).into_iter().collect();
        Entry {
            sequence,
            qos: qos.min(self.maximum_qos),
            retain: true,
            from_retained: true,
            group: None,
            void: false,
            dup: false,
            size,
            identifiers,
        }
    }
}

/// What one subscription has still to get.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Of what it asked.
    pub wanted: Wanted,
    /// Everything up to this topic, in their order, has been queued.
    pub after: Box<str>,
    /// The record of the next portion, where it is under way.
    pub asked: Option<Arc<Batch>>,
}

impl Owed {
    /// From here on.
    #[must_use]
    pub const fn new(wanted: Wanted, after: Box<str>) -> Self {
        Self { wanted, after, asked: None }
    }

    /// Whether the next portion is not under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asked.as_ref().is_none_or(|batch| matches!(batch.outcome(), Outcome::Refused | Outcome::Failed))
    }

    /// As the store has it, behind session and filter.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.wanted.maximum_qos)];
        write_varint(&mut out, u64::from(self.wanted.identifier));
        write_varint(&mut out, self.wanted.made_by.0);
        write_bytes(&mut out, self.after.as_bytes());
        out
    }

    pub(super) fn decode(filter: &[u8], value: &[u8]) -> Option<Self> {
        let (&qos, mut rest) = value.split_first()?;
        let from = &mut rest;
        let wanted = Wanted {
            filter: std::str::from_utf8(filter).ok()?.parse().ok()?,
            maximum_qos: Qos::try_from(qos).ok()?,
            identifier: u32::try_from(read_varint(from)?).ok()?,
            made_by: Sequence(read_varint(from)?),
        };
        let after = read_str(from)?.into();
        from.is_empty().then(|| Self::new(wanted, after))
    }
}

/// All debts, by session.
#[derive(Default)]
pub struct Debts(BTreeMap<SessionId, Vec<Owed>>);

impl Debts {
    /// Whether nobody is owed anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a subscription is owed.
    pub fn get_mut(&mut self, id: SessionId, filter: &str) -> Option<&mut Owed> {
        self.0.get_mut(&id)?.iter_mut().find(|owed| owed.wanted.filter.as_str() == filter)
    }

    /// All, by session.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Owed)> {
        self.0.iter().flat_map(|(id, all)| all.iter().map(|owed| (*id, owed)))
    }

    pub(super) fn add(&mut self, id: SessionId, owed: Owed) {
        self.0.entry(id).or_default().push(owed);
    }

    /// Whether there was any.
    pub(super) fn remove(&mut self, id: SessionId, filter: &str) -> bool {
        let Some(all) = self.0.get_mut(&id) else { return false };
        let before = all.len();
        all.retain(|owed| owed.wanted.filter.as_str() != filter);
        let removed = all.len() < before;
        if all.is_empty() {
            self.0.remove(&id);
        }
        removed
    }

    pub(super) fn remove_all(&mut self, id: SessionId) -> Vec<Owed> {
        self.0.remove(&id).unwrap_or_default()
    }
}
