//! What waits for one session: references to journal records, never payloads.
//!
//! The dispatcher puts entries in; the session's connection takes them out and reads the
//! records from the journal, from memory while it keeps up and from disk when not. A slow or
//! absent client costs a few bytes a message.

mod entry;

use std::{collections::VecDeque, sync::Arc};

pub use entry::{Delivery, Entry, Identifiers, Packed};

use crate::{
    journal::OwnedRecord,
    types::{Qos, Sequence},
};

/// Bounds of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct MailboxLimits {
    /// Messages of QoS 1 and 2.
    pub messages: usize,
    /// Bytes of them: topic, properties and payload.
    pub bytes: u64,
    /// Messages of QoS 0.
    pub best_effort: usize,
}

/// What became of a message that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits.
    Queued,
    /// It is best effort and nobody is there.
    NotWanted,
    /// Best effort beyond the limit.
    Shed,
    /// QoS 1 or 2 beyond a limit.
    Full,
}

/// The queue of one session.
#[derive(Debug, Default)]
pub struct Mailbox {
    queue: Packed,
    /// The messages of those entries that are not in the journal, in order.
    records: VecDeque<Arc<OwnedRecord>>,
    best_effort: usize,
    /// Numbered messages that other members of a shared subscription get.
    void: usize,
    /// Bytes of the QoS 1 and 2 messages that are not void.
    bytes: u64,
    /// Whether entries may not be in the order of the journal: those of other members come later.
    unordered: bool,
    online: bool,
    dropped: u64,
    /// As its client's listener says, if it had one in this life.
    limits: Option<MailboxLimits>,
}

impl Mailbox {
    /// Queues a message, unless it is best effort for an absent client or over a limit: its own, or
    /// `default`.
    pub fn put(&mut self, entry: &Entry, record: Option<&Arc<OwnedRecord>>, default: MailboxLimits) -> Put {
        let limits = self.limits.unwrap_or(default);
        let best_effort = entry.qos == Qos::AtMostOnce;
        if best_effort && !self.online {
            return Put::NotWanted;
        }
        if best_effort && self.best_effort >= limits.best_effort {
            self.dropped += 1;
            return Put::Shed;
        }
        let waiting = self.waiting();
        // One message always fits, however large.
        if !best_effort
            && (waiting >= limits.messages || (waiting > 0 && self.bytes + u64::from(entry.size) > limits.bytes))
        {
            self.dropped += 1;
            return Put::Full;
        }
        self.restore(entry, record);
        Put::Queued
    }

    /// As [`Mailbox::put`], whatever the limits say: it was within them once.
    pub fn restore(&mut self, entry: &Entry, record: Option<&Arc<OwnedRecord>>) {
        if entry.qos == Qos::AtMostOnce {
            self.best_effort += 1;
        } else if entry.void {
            self.void += 1;
        } else {
            self.bytes += u64::from(entry.size);
        }
        self.unordered |= entry.sequence < self.queue.last();
        self.queue.push(entry);
        self.records.extend(record.cloned());
    }

    /// The next message, unless it needs a packet identifier and `window` says there is none.
    pub fn take(&mut self, window: bool) -> Option<Delivery> {
        if !window && self.queue.front()?.qos > Qos::AtMostOnce {
            return None;
        }
        let entry = self.queue.pop()?;
        if entry.qos == Qos::AtMostOnce {
            self.best_effort -= 1;
        } else if entry.void {
            self.void -= 1;
        } else {
            self.bytes -= u64::from(entry.size);
        }
        self.unordered &= !self.queue.is_empty();
        let record = if entry.from_retained { self.records.pop_front() } else { None };
        if self.records.is_empty() {
            self.records = VecDeque::new();
        }
        Some(Delivery { entry, record })
    }

    /// Tells whether a client is there; best effort does not wait for one.
    pub fn set_online(&mut self, online: bool) {
        self.online = online;
        if !online && self.best_effort > 0 {
            self.rewrite(|entry| (entry.qos > Qos::AtMostOnce).then_some(entry));
        }
    }

    /// Makes messages void that other members of a shared subscription get, by their numbers; `next` is
    /// the number behind the last message. Returns the number of the first one that waits here.
    pub fn give_away(&mut self, next: u64, is_given: impl Fn(u64) -> bool) -> u64 {
        let first = next.saturating_sub((self.queue.len() - self.best_effort) as u64);
        let mut number = first;
        self.rewrite(|entry| {
            let mut void = entry.void;
            if entry.qos > Qos::AtMostOnce {
                void |= is_given(number);
                number += 1;
            }
            Some(Entry { void, ..entry })
        });
        first
    }

    fn rewrite(&mut self, mut change: impl FnMut(Entry) -> Option<Entry>) {
        let mut kept = Self { online: self.online, dropped: self.dropped, limits: self.limits, ..Self::default() };
        while let Some(Delivery { entry, record }) = self.take(true) {
            if let Some(entry) = change(entry) {
                kept.restore(&entry, record.as_ref());
            }
        }
        *self = kept;
    }

    /// Counts a message that the session was to get and does not.
    pub const fn count_dropped(&mut self, messages: u64) {
        self.dropped += messages;
    }

    /// Sets its own limits.
    pub const fn set_limits(&mut self, limits: MailboxLimits) {
        self.limits = Some(limits);
    }

    /// Whether a quarter of what may wait does not: time to open a queue that was full.
    #[must_use]
    pub fn has_room(&self, default: MailboxLimits) -> bool {
        let limits = self.limits.unwrap_or(default);
        let waiting = self.queue.len() - self.best_effort;
        waiting <= limits.messages / 4 * 3 && self.bytes <= limits.bytes / 4 * 3
    }

    /// Whether half of what may wait does not, at least: the other half is for what is published now.
    #[must_use]
    pub fn has_room_for_retained(&self, default: MailboxLimits) -> bool {
        let limits = self.limits(default);
        self.best_effort < limits.best_effort.div_ceil(2)
            && self.waiting() < limits.messages.div_ceil(2)
            && self.bytes < limits.bytes.div_ceil(2)
    }

    /// Its own limits, or `default`.
    #[must_use]
    pub fn limits(&self, default: MailboxLimits) -> MailboxLimits {
        self.limits.unwrap_or(default)
    }

    /// Whether a client is there.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Messages of QoS 1 and 2 that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.queue.len() - self.best_effort - self.void
    }

    /// Bytes of the QoS 1 and 2 messages that wait.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first journal record that waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Sequence> {
        let mut needed = self.queue.iter().filter(|entry| !entry.from_retained && !entry.void);
        if self.unordered {
            needed.map(|entry| entry.sequence).min()
        } else {
            needed.next().map(|entry| entry.sequence)
        }
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

    const LIMITS: MailboxLimits = MailboxLimits { messages: 2, bytes: 100, best_effort: 1 };

    fn entry(sequence: u64, qos: Qos) -> Entry {
        Entry {
            sequence: Sequence(sequence),
            qos,
            retain: false,
            from_retained: false,
            group: None,
            void: false,
            dup: false,
            size: 10,
            identifiers: Identifiers::new(),
        }
    }

    fn online() -> Mailbox {
        let mut mailbox = Mailbox::default();
        mailbox.set_online(true);
        mailbox
    }

    #[test]
    fn each_kind_has_its_own_limit_and_drops_are_counted() {
        let mut mailbox = online();
        for (sequence, qos, put) in [
            (1, Qos::AtMostOnce, Put::Queued),
            (2, Qos::AtMostOnce, Put::Shed),
            (3, Qos::AtLeastOnce, Put::Queued),
            (4, Qos::ExactlyOnce, Put::Queued),
            (5, Qos::AtLeastOnce, Put::Full),
        ] {
            assert_eq!(mailbox.put(&entry(sequence, qos), None, LIMITS), put, "{sequence}");
        }
        assert_eq!((mailbox.dropped(), mailbox.bytes()), (2, 20));
        assert!(mailbox.take(false).is_some_and(|delivery| delivery.entry.qos == Qos::AtMostOnce));
        assert!(mailbox.take(false).is_none(), "a full window holds back what needs an identifier");
        assert!(mailbox.take(true).is_some());
        assert_eq!(mailbox.bytes(), 10);
    }

    #[test]
    fn bytes_are_bounded_and_one_message_always_fits() {
        let mut mailbox = Mailbox::default();
        let large = |sequence| Entry { size: 200, ..entry(sequence, Qos::AtLeastOnce) };
        assert_eq!(mailbox.put(&large(1), None, LIMITS), Put::Queued);
        assert_eq!(mailbox.put(&large(2), None, LIMITS), Put::Full);
    }

    #[test]
    fn best_effort_does_not_wait_for_an_absent_client() {
        let mut mailbox = online();
        mailbox.put(&entry(1, Qos::AtMostOnce), None, LIMITS);
        mailbox.put(&entry(2, Qos::AtLeastOnce), None, LIMITS);
        mailbox.set_online(false);
        let put = mailbox.put(&entry(3, Qos::AtMostOnce), None, LIMITS);
        assert_eq!(put, Put::NotWanted, "not a drop: nobody was promised it");
        assert_eq!(mailbox.oldest(), Some(Sequence(2)));
        assert!(mailbox.take(true).is_some());
        assert!(mailbox.is_empty());
    }

    #[test]
    fn what_is_given_away_keeps_its_number() {
        let mut mailbox = online();
        mailbox.put(&entry(1, Qos::AtMostOnce), None, LIMITS);
        mailbox.put(&entry(2, Qos::AtLeastOnce), None, LIMITS);
        mailbox.put(&entry(3, Qos::ExactlyOnce), None, LIMITS);
        assert_eq!(mailbox.give_away(9, |number| number == 7), 7);
        assert_eq!((mailbox.waiting(), mailbox.bytes(), mailbox.oldest()), (1, 10, Some(Sequence(1))));
        assert_eq!(mailbox.put(&entry(4, Qos::AtLeastOnce), None, LIMITS), Put::Queued, "it takes no room");
        let taken: Vec<_> = std::iter::from_fn(|| mailbox.take(true)).map(|delivery| delivery.entry).collect();
        let what: Vec<_> = taken.iter().map(|entry| (entry.sequence.0, entry.void)).collect();
        assert_eq!(what, [(1, false), (2, true), (3, false), (4, false)]);
        assert_eq!((mailbox.waiting(), mailbox.bytes()), (0, 0));
    }

    #[test]
    fn the_oldest_is_known_in_any_order() {
        let mut mailbox = online();
        mailbox.restore(&entry(9, Qos::AtLeastOnce), None);
        mailbox.restore(&entry(3, Qos::AtLeastOnce), None);
        mailbox.restore(&entry(5, Qos::AtLeastOnce), None);
        assert_eq!(mailbox.oldest(), Some(Sequence(3)));
        mailbox.take(true);
        assert_eq!(mailbox.oldest(), Some(Sequence(3)));
        mailbox.take(true);
        assert_eq!(mailbox.oldest(), Some(Sequence(5)));
    }
}
