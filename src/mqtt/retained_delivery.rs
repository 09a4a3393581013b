//! What a subscription gets of the retained messages (MQTT 5.0 section 3.3.1.3): all of them, as fast as the client
//! takes them.
//!
//! There may be a million, and what waits for one client is bounded. So a subscription gets a portion at once, and the
//! rest portion by portion, in the order of topics, each when most of the session's queue is free and its client is
//! there. Nothing of that is dropped, and there is room for what is published meanwhile: that comes as a live message
//! and not a second time as a retained one.
//!
//! With QoS 1 and 2, how far it has come is on record (`ledger::owed`), so it goes on after a restart, and when a
//! client of a session that outlives its connection is back. With QoS 0 it is not, and ends with the connection.

use std::sync::Arc;

use super::{
    codec::Subscription,
    dispatch::{Dispatch, size},
    ledger::{
        change::Change,
        owed::{Owed, Portion, Wanted},
    },
    session::{Session, SessionId},
};
use crate::{
    journal::{Batch, BatchBuilder, OwnedRecord},
    types::{Publication, Qos, Sequence},
};

/// Retained messages looked at for one subscription before the dispatcher does something else. Records of
/// [`Change::More`] mean as many.
const MESSAGES_AT_A_TIME: usize = 10_000;

/// Subscriptions whose next portion is put on record at a time.
const PORTIONS_AT_A_TIME: usize = 64;

/// Retained messages that a subscription has still to get, all of them with QoS 0.
pub(super) struct Unsent {
    session: Arc<Session>,
    wanted: Wanted,
    /// Everything up to here, in the order of topics, has been sent.
    after: Box<str>,
}

impl Dispatch {
    /// Sends what is retained to a subscription that the record `made_by` has made: with QoS 1 and 2, `at_once` now.
    pub(super) fn send_retained(
        &mut self,
        session: &Arc<Session>,
        subscription: &Subscription<'_>,
        identifier: u32,
        made_by: Sequence,
        at_once: Option<Portion>,
    ) {
        let Ok(filter) = subscription.filter.parse() else { return };
        let wanted = Wanted { filter, maximum_qos: subscription.maximum_qos, identifier, made_by };
        match at_once {
            _ if wanted.maximum_qos == Qos::AtMostOnce => self.send_best_effort(session, wanted),
            Some(portion) => self.pay(session, wanted, "", portion),
            None => self.send_unpaced(session, &wanted),
        }
    }

    /// As an earlier version, which has written the record, has done it: what does not fit closes the queue.
    fn send_unpaced(&mut self, session: &Arc<Session>, wanted: &Wanted) {
        let records: Vec<_> = self.retained.matching(&wanted.filter).cloned().collect();
        for record in &records {
            let Some(publication) = record.publication() else { continue };
            if !self.ledger.get(session.id).is_some_and(|account| account.closed) {
                self.enqueue(session, &entry(wanted, &publication), Some(record), wanted.made_by);
            }
        }
    }

    fn send_best_effort(&mut self, session: &Arc<Session>, wanted: Wanted) {
        if self.replay.is_some() {
            return;
        }
        self.send_system(session, &wanted);
        let mut unsent = Unsent { session: Arc::clone(session), wanted, after: Box::default() };
        if self.go_on(&mut unsent) {
            self.unsent.push_back(unsent);
        }
    }

    /// What the broker says of itself.
    fn send_system(&mut self, session: &Arc<Session>, wanted: &Wanted) {
        let records: Vec<_> = self.system.matching(&wanted.filter).cloned().collect();
        for record in &records {
            if let Some(publication) = record.publication() {
                self.enqueue(session, &entry(wanted, &publication), Some(record), wanted.made_by);
            }
        }
    }

    /// Queues a portion of what a subscription wants of topics behind one, whatever the limits say, and notes what it
    /// is owed then. The same live and at a start.
    fn pay(&mut self, session: &Arc<Session>, wanted: Wanted, after: &str, portion: Portion) {
        if after.is_empty() && self.replay.is_none() {
            self.send_system(session, &wanted);
        }
        let (mut records, mut bytes, mut last) = (Vec::new(), 0, None);
        let mut candidates = self.retained.matching_behind(&wanted.filter, after).peekable();
        for (matches, record) in candidates.by_ref().take(MESSAGES_AT_A_TIME) {
            last = Some(record);
            let Some(publication) = record.publication() else { continue };
            if matches && publication.sequence < wanted.made_by {
                bytes += u64::from(size(&publication));
                records.push(Arc::clone(record));
            }
            if records.len() as u64 >= portion.messages || bytes >= portion.bytes {
                break;
            }
        }
        let has_more = candidates.peek().is_some();
        drop(candidates);
        let reached = last.and_then(|record| record.publication()).map(|publication| Box::from(publication.topic));
        for record in &records {
            if let Some(publication) = record.publication() {
                self.queue_owed(session, &entry(&wanted, &publication), record);
            }
        }
        match reached.filter(|_| has_more) {
            Some(after) => self.ledger.set_owed(session.id, Owed::new(wanted, after)),
            None => self.ledger.forget_owed(session.id, wanted.filter.as_str()),
        }
    }

    /// The next portion of what a subscription is owed is on record.
    pub(super) fn pay_more(&mut self, id: SessionId, filter: &str, portion: Portion) {
        let Some(account) = self.ledger.get(id) else { return };
        let session = Arc::clone(&account.session);
        // It may be over, or made anew, by a record in front of this one.
        let Some(Owed { wanted, after, .. }) = self.ledger.debts.get_mut(id, filter).cloned() else { return };
        self.pay(&session, wanted, &after, portion);
    }

    /// Puts a portion on record for those who are owed something, are there, and have room; none where there is nobody.
    pub(super) fn next_portions(&self) -> (BatchBuilder, Vec<(SessionId, Box<str>)>) {
        let (mut batch, mut asked) = (BatchBuilder::default(), Vec::new());
        let default = self.broker.settings.profile.mailbox;
        for (id, owed) in self.ledger.debts.iter().filter(|(_, owed)| owed.is_idle()) {
            let Some(account) = self.ledger.get(id) else { continue };
            let mailbox = account.session.mailbox.lock();
            if !mailbox.is_online() || !mailbox.has_room_for_retained(default) {
                continue;
            }
            let filter = owed.wanted.filter.as_str();
            Change::More { filter, portion: Portion::of(mailbox.limits(default)) }.record(id, true, &mut batch);
            asked.push((id, filter.into()));
            if asked.len() == PORTIONS_AT_A_TIME {
                break;
            }
        }
        (batch, asked)
    }

    /// Those portions are on their way.
    pub(super) fn note_portions(&mut self, asked: &[(SessionId, Box<str>)], batch: &Arc<Batch>) {
        for (id, filter) in asked {
            if let Some(owed) = self.ledger.debts.get_mut(*id, filter) {
                owed.asked = Some(Arc::clone(batch));
            }
        }
    }

    /// Whether a client that is there waits for retained messages.
    pub(super) fn has_unsent(&self) -> bool {
        let is_there = |id| self.ledger.get(id).is_some_and(|account| account.session.mailbox.lock().is_online());
        !self.unsent.is_empty() || self.ledger.debts.iter().any(|(id, _)| is_there(id))
    }

    /// Goes on with one of the subscriptions that have not got everything yet, and whose client has room for more.
    pub(super) fn send_unsent(&mut self) {
        for _ in 0..self.unsent.len() {
            let Some(mut unsent) = self.unsent.pop_front() else { return };
            if !unsent.session.mailbox.lock().is_online() {
                continue;
            }
            let has_room = self.has_room(&unsent.session);
            if !has_room || self.go_on(&mut unsent) {
                self.unsent.push_back(unsent);
            }
            if has_room {
                self.wake();
                return;
            }
        }
    }

    /// A subscription is over, or made anew.
    pub(super) fn forget_unsent(&mut self, id: SessionId, filter: &str) {
        self.unsent.retain(|unsent| unsent.session.id != id || unsent.wanted.filter.as_str() != filter);
        self.ledger.forget_owed(id, filter);
    }

    /// Whether there is more.
    fn go_on(&mut self, Unsent { session, wanted, after }: &mut Unsent) -> bool {
        let behind = self.retained.matching_behind(&wanted.filter, after);
        let next: Vec<(bool, Arc<OwnedRecord>)> =
            behind.take(MESSAGES_AT_A_TIME).map(|(matches, record)| (matches, Arc::clone(record))).collect();
        for (matches, record) in &next {
            let Some(publication) = record.publication() else { continue };
            if *matches && publication.sequence < wanted.made_by {
                if !self.has_room(session) {
                    return true;
                }
                self.enqueue(session, &entry(wanted, &publication), Some(record), wanted.made_by);
            }
            *after = publication.topic.into();
        }
        next.len() == MESSAGES_AT_A_TIME
    }

    fn has_room(&self, session: &Session) -> bool {
        session.mailbox.lock().has_room_for_retained(self.broker.settings.profile.mailbox)
    }
}

fn entry(wanted: &Wanted, publication: &Publication<'_>) -> super::mailbox::Entry {
    wanted.entry(publication.sequence, publication.qos, size(publication))
}
