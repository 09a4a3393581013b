//! Shared subscriptions (MQTT 5.0 section 4.8.2): what a member that is away cannot take, another
//! gets.
//!
//! A message of QoS 1 moves whether it was sent or not; one of QoS 2 that was sent stays, because its
//! delivery must be completed to the same client [MQTT-4.8.2-4] or not at all [MQTT-4.8.2-5]. It
//! keeps its number in the queue that it leaves, so that no other message's number changes.
//!
//! Nothing moves to a member at QoS 0 as long as the one that has it may come back, or another acknowledges.

use std::sync::{Arc, atomic::Ordering};

use super::{dispatch::Dispatch, ledger::Standing, mailbox::Entry, routing::GroupId, session::SessionId};
use crate::types::Qos;

impl Dispatch {
    /// A session is a member of a group now.
    pub(super) fn joined(&mut self, id: SessionId, group: GroupId) {
        if let Some(account) = self.ledger.change(id) {
            account.join(group);
        }
        let turn = self.routing.group(group).map(|found| (found.text.clone(), found.turn));
        if let Some((text, turn)) = turn {
            self.ledger.changes.set_group(&text, Some((group, turn)));
        }
        self.ledger.track(id);
        self.take_over(group);
    }

    /// A session is no member of a group any more. What it has queued stays with it.
    pub(super) fn left(&mut self, id: SessionId, group: GroupId) {
        if let Some(account) = self.ledger.change(id) {
            account.groups.retain(|known| *known != group);
        }
    }

    /// A member is back: it gets what waits with those of its groups that are away.
    pub(super) fn take_over_for(&mut self, id: SessionId) {
        self.groups_of(id).into_iter().for_each(|group| self.take_over(group));
    }

    fn take_over(&mut self, group: GroupId) {
        let members: Vec<_> = self.routing.group(group).map(|found| found.members().collect()).unwrap_or_default();
        for member in members {
            if self.ledger.get(member).is_some_and(|account| !account.connected) && self.has_others(group, member) {
                self.hand_over_group(member, group, false);
            }
        }
    }

    /// Gives what a member that is away has to others that are there. Where none is, it stays, until
    /// one is.
    pub(super) fn hand_over(&mut self, from: SessionId) {
        for group in self.groups_of(from) {
            if self.has_others(group, from) {
                self.hand_over_group(from, group, false);
            }
        }
    }

    /// Gives what a former member has to any that is left.
    pub(super) fn bequeath(&mut self, from: SessionId) {
        for group in self.groups_of(from) {
            self.hand_over_group(from, group, true);
        }
    }

    fn groups_of(&self, id: SessionId) -> Vec<GroupId> {
        self.ledger.get(id).map(|account| account.groups.clone()).unwrap_or_default()
    }

    fn has_others(&self, group: GroupId, than: SessionId) -> bool {
        let is_there = |id| id != than && self.ledger.get(id).is_some_and(|account| account.connected);
        self.routing.group(group).is_some_and(|found| found.members().any(|id| is_there(id) && found.acknowledges(id)))
    }

    fn hand_over_group(&mut self, from: SessionId, group: GroupId, anyone: bool) {
        let Some(account) = self.ledger.change(from) else { return };
        let session = Arc::clone(&account.session);
        let sent = account.sent;
        let moves = |(number, entry, standing): &(u64, Entry, Standing)| {
            *standing == Standing::Open
                && entry.group == Some(group)
                && (entry.qos < Qos::ExactlyOnce || *number >= sent)
        };
        let moving: Vec<_> = account.queue.iter().filter(moves).map(|(number, entry, _)| (number, entry)).collect();
        if moving.is_empty() {
            return;
        }
        let next = account.queue.next();
        moving.iter().for_each(|(number, _)| account.queue.finish(*number));
        if self.replay.is_none() {
            let is_moving = |number| moving.binary_search_by_key(&number, |(moving, _)| *moving).is_ok();
            let waiting_from = session.mailbox.lock().give_away(next, is_moving);
            let untracked = session.untracked.load(Ordering::Relaxed);
            let sent = moving.iter().map(|(number, _)| *number).filter(|number| *number < waiting_from);
            session.given_away.lock().extend(sent.map(|number| untracked + number));
        }
        for (_, entry) in moving {
            self.give(group, from, &entry, anyone);
        }
    }

    fn give(&mut self, group: GroupId, from: SessionId, entry: &Entry, anyone: bool) {
        let ledger = &self.ledger;
        let is_there = |id| id != from && ledger.get(id).is_some_and(|account| account.connected);
        let Some(found) = self.routing.group_mut(group) else { return };
        let target = found
            .next_acknowledging(is_there)
            .or_else(|| found.next_acknowledging(|id| anyone && id != from))
            .or_else(|| found.next(is_there))
            .or_else(|| found.next(|id| anyone && id != from));
        let Some(target) = target else { return };
        self.ledger.changes.set_group(&found.text, Some((group, found.turn)));
        let entry = Entry { qos: entry.qos.min(target.maximum_qos), identifiers: target.identifiers, ..entry.clone() };
        // Whatever its limits say: it is no new message, and must not be lost on the way.
        if entry.qos > Qos::AtMostOnce {
            self.ledger.queue(target.session.id, &entry);
        }
        if self.replay.is_none() {
            target.session.mailbox.lock().restore(&entry, None);
            self.list(&target.session);
        }
    }
}
