//! What waits for one session: references to journal records, never payloads.
//!
//! The dispatcher puts entries in; the session's connection takes them out and reads the
//! records from the journal, from memory while it keeps up and from disk when not. A slow or
//! absent client costs one entry a message.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    journal::OwnedRecord,
    types::{Qos, Sequence},
};

/// A message on its way to a client.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where the message is.
    pub source: Source,
    /// The QoS it is delivered with.
    pub qos: Qos,
    /// The retain flag it is delivered with.
    pub retain: bool,
    /// Identifiers of the subscriptions that it matched.
    pub identifiers: Option<Arc<[u32]>>,
}

/// Where a message is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In the journal.
    Journal(Sequence),
    /// A retained message, which may be older than the journal.
    Retained(Arc<OwnedRecord>),
}

/// Bounds of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct MailboxLimits {
    /// Messages of QoS 1 and 2.
    pub messages: usize,
    /// Messages of QoS 0.
    pub best_effort: usize,
}

/// The queue of one session.
#[derive(Debug, Default)]
pub struct Mailbox {
    queue: VecDeque<Delivery>,
    best_effort: usize,
    online: bool,
    dropped: u64,
}

impl Mailbox {
    /// Queues a message, unless it is best effort for an absent client or over a limit;
    /// whether it was queued.
    pub fn put(&mut self, delivery: Delivery, limits: MailboxLimits) -> bool {
        let best_effort = delivery.qos == Qos::AtMostOnce;
        if best_effort && !self.online {
            return true;
        }
        let full = if best_effort {
            self.best_effort >= limits.best_effort
        } else {
            self.queue.len() - self.best_effort >= limits.messages
        };
        if full {
            self.dropped += 1;
            return false;
        }
        self.best_effort += usize::from(best_effort);
        self.queue.push_back(delivery);
        true
    }

    /// The next message, unless it needs a packet identifier and `window` says there is none.
    pub fn take(&mut self, window: bool) -> Option<Delivery> {
        if !window && self.queue.front()?.qos > Qos::AtMostOnce {
            return None;
        }
        let delivery = self.queue.pop_front()?;
        self.best_effort -= usize::from(delivery.qos == Qos::AtMostOnce);
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(delivery)
    }

    /// Tells whether a client is there; best effort does not wait for one.
    pub fn set_online(&mut self, online: bool) {
        self.online = online;
        if !online {
            self.queue.retain(|delivery| delivery.qos > Qos::AtMostOnce);
            self.best_effort = 0;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self { online: self.online, ..Self::default() };
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The first journal record that waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Sequence> {
        self.queue.iter().find_map(|delivery| match delivery.source {
            Source::Journal(sequence) => Some(sequence),
            Source::Retained(_) => None,
        })
    }

    /// Messages dropped because the queue was full.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MailboxLimits = MailboxLimits { messages: 2, best_effort: 1 };

    fn delivery(sequence: u64, qos: Qos) -> Delivery {
        Delivery { source: Source::Journal(Sequence(sequence)), qos, retain: false, identifiers: None }
    }

    #[test]
    fn each_kind_has_its_own_limit_and_drops_are_counted() {
        let mut mailbox = Mailbox::default();
        mailbox.set_online(true);
        for (sequence, qos, fits) in [
            (1, Qos::AtMostOnce, true),
            (2, Qos::AtMostOnce, false),
            (3, Qos::AtLeastOnce, true),
            (4, Qos::ExactlyOnce, true),
            (5, Qos::AtLeastOnce, false),
        ] {
            assert_eq!(mailbox.put(delivery(sequence, qos), LIMITS), fits, "{sequence}");
        }
        assert_eq!(mailbox.dropped(), 2);
        assert!(mailbox.take(false).is_some_and(|delivery| delivery.qos == Qos::AtMostOnce));
        assert!(mailbox.take(false).is_none(), "a full window holds back what needs an identifier");
        assert!(mailbox.take(true).is_some());
    }

    #[test]
    fn best_effort_does_not_wait_for_an_absent_client() {
        let mut mailbox = Mailbox::default();
        mailbox.set_online(true);
        mailbox.put(delivery(1, Qos::AtMostOnce), LIMITS);
        mailbox.put(delivery(2, Qos::AtLeastOnce), LIMITS);
        mailbox.set_online(false);
        assert!(mailbox.put(delivery(3, Qos::AtMostOnce), LIMITS), "not a drop: nobody was promised it");
        assert_eq!(mailbox.oldest(), Some(Sequence(2)));
        assert!(mailbox.take(true).is_some());
        assert!(mailbox.is_empty());
    }
}
