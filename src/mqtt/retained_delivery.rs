//! What a subscription gets of the retained messages (MQTT 5.0 section 3.3.1.3).
//!
//! There may be a million, and what waits for one client is bounded. Those of QoS 1 and 2 go through the session's
//! queue and its limits. Those that are delivered with QoS 0 come as fast as the client takes them: where its
//! mailbox has no room for all, the place in the order of topics is kept, and the dispatcher goes on from there.
//! What is published meanwhile comes as a live message and not a second time as a retained one.

use std::sync::Arc;

use super::{
    codec::Subscription,
    dispatch::{Dispatch, size},
    mailbox::{Entry, Identifiers},
    session::{Session, SessionId},
};
use crate::{
    journal::OwnedRecord,
    types::{Publication, Qos, Sequence, TopicFilter},
};

/// Retained messages looked at for one subscription before the dispatcher does something else.
const MESSAGES_AT_A_TIME: usize = 10_000;

/// Retained messages that a subscription has still to get, all of them with QoS 0.
pub(super) struct Unsent {
    session: Arc<Session>,
    wanted: Wanted,
    /// Everything up to here, in the order of topics, has been sent.
    after: Box<str>,
}

/// What a subscription asks of the retained messages.
struct Wanted {
    filter: TopicFilter,
    maximum_qos: Qos,
    identifiers: Identifiers,
    /// The record that made it: what is younger comes live.
    made_by: Sequence,
}

impl Wanted {
    fn entry(&self, publication: &Publication<'_>) -> Entry {
        Entry {
            sequence: publication.sequence,
            qos: publication.qos.min(self.maximum_qos),
            retain: true,
            from_retained: true,
            group: None,
            void: false,
            dup: false,
            size: size(publication),
            identifiers: self.identifiers.clone(),
        }
    }
}

impl Dispatch {
    /// Sends what is retained to a subscription that the record `made_by` has made.
    pub(super) fn send_retained(
        &mut self,
        session: &Arc<Session>,
        subscription: &Subscription<'_>,
        identifier: u32,
        made_by: Sequence,
    ) {
        let Ok(filter) = subscription.filter.parse() else { return };
        let identifiers = (identifier != 0).then_some(identifier).into_iter().collect();
        let wanted = Wanted { filter, maximum_qos: subscription.maximum_qos, identifiers, made_by };
        let matching = self.retained.matching(&wanted.filter).chain(self.system.matching(&wanted.filter));
        let records: Vec<_> = matching.cloned().collect();
        let mut after: Option<Box<str>> = None;
        let mut last = "";
        for record in &records {
            let Some(publication) = record.publication() else { continue };
            let entry = wanted.entry(&publication);
            if entry.qos > Qos::AtMostOnce {
                // Nothing behind one that does not fit would be queued either.
                if !self.ledger.get(session.id).is_some_and(|account| account.closed) {
                    self.enqueue(session, &entry, Some(record), made_by);
                }
            } else if after.is_none() && !self.has_room(session) {
                after = Some(last.into());
            } else if after.is_none() {
                self.enqueue(session, &entry, Some(record), made_by);
            }
            last = publication.topic;
        }
        if let Some(after) = after.filter(|_| self.replay.is_none()) {
            self.unsent.push_back(Unsent { session: Arc::clone(session), wanted, after });
        }
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
    }

    /// Whether there is more.
    fn go_on(&mut self, Unsent { session, wanted, after }: &mut Unsent) -> bool {
        let behind = self.retained.matching_behind(&wanted.filter, after);
        let next: Vec<(bool, Arc<OwnedRecord>)> =
            behind.take(MESSAGES_AT_A_TIME).map(|(matches, record)| (matches, Arc::clone(record))).collect();
        for (matches, record) in &next {
            let Some(publication) = record.publication() else { continue };
            let entry = wanted.entry(&publication);
            if *matches && entry.qos == Qos::AtMostOnce && publication.sequence < wanted.made_by {
                if !self.has_room(session) {
                    return true;
                }
                self.enqueue(session, &entry, Some(record), wanted.made_by);
            }
            *after = publication.topic.into();
        }
        !next.is_empty()
    }

    fn has_room(&self, session: &Session) -> bool {
        session.mailbox.lock().has_room_for_retained(self.broker.settings.profile.mailbox)
    }
}
