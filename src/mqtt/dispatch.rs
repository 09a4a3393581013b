//! What each record of the journal does: whom a publication goes to, and how sessions change.
//!
//! Deterministic for everything that needs a packet identifier: the same records in the same order
//! give every session the same queue, whether they come live or at a start. So nothing here looks at
//! a clock or at living connections, except for best effort, which no start repeats, and for a queue
//! that has become full, which is put on record ([`Change::Close`]).

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use hashbrown::HashMap;

use super::{
    Broker,
    codec::Subscription,
    commands::CommandTable,
    ledger::{
        Account, Ledger,
        change::{self, Change, options_byte},
        owed::Portion,
    },
    mailbox::{Entry, Put},
    retained::{self, Retained, RetainedLimits},
    retained_delivery::Unsent,
    routing::{GroupId, Made, Routing, SubscriptionOptions, Target},
    session::{Session, SessionId, SessionState},
    system::SystemTopics,
};
use crate::{
    auth::User,
    journal::{Origin, OwnedRecord, Record, StateChange},
    types::{Publication, Qos, Sequence},
};

type Random = foldhash::fast::RandomState;

/// Which of the two readings of the journal a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Appended: what is best effort is passed on.
    BestEffort,
    /// Durable: everything else happens, in order.
    Durable,
}

/// Queues that a start finds to have been closed: by session and record, how many messages of that
/// record did fit.
pub type Closures = HashMap<(SessionId, Sequence), u64, Random>;

/// Everything that follows from the journal.
pub struct Dispatch {
    pub(super) broker: Arc<Broker>,
    pub(super) routing: Routing,
    pub(super) retained: Retained,
    /// Of the life whose records are applied: a start retains again what that one did.
    pub(super) retained_limits: RetainedLimits,
    /// Subscriptions that have not got all retained messages yet.
    pub(super) unsent: VecDeque<Unsent>,
    pub(super) ledger: Ledger,
    pub(super) commands: CommandTable,
    pub(super) system: SystemTopics,
    /// While a start applies records again, there are no clients, and what was full is known.
    pub(super) replay: Option<Closures>,
    /// Best-effort messages up to here have been passed on.
    pub(super) best_effort_to: Sequence,
    /// Queues that have become full and must be put on record as closed.
    pub(super) closing: Vec<(SessionId, Change<'static>)>,
    /// Sessions to be woken.
    woken: Vec<Arc<Session>>,
}

impl Dispatch {
    /// Nothing yet.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self {
            system: SystemTopics::new(broker.settings.sys_interval),
            retained_limits: broker.settings.retained,
            commands: CommandTable::new(Arc::clone(&broker.commands)),
            broker,
            routing: Routing::default(),
            retained: Retained::default(),
            unsent: VecDeque::new(),
            ledger: Ledger::default(),
            replay: None,
            best_effort_to: Sequence::ZERO,
            closing: Vec::new(),
            woken: Vec::new(),
        }
    }

    /// Applies one record.
    pub fn apply(&mut self, record: &Record<'_>, pass: Pass) {
        match (record, pass) {
            (Record::Publication { publication, .. }, Pass::BestEffort) => {
                if !publication.guaranteed {
                    self.pass_on(publication);
                }
            }
            (Record::Publication { publication, origin }, Pass::Durable) => self.publication(publication, *origin),
            (Record::State(change), Pass::Durable) => self.state(change),
            (Record::Presence(presence), Pass::Durable) => self.ledger.note_presence(presence, self.replay.is_some()),
            (Record::Command(command), Pass::Durable) => self.note_command(command),
            // Rows of the pod's table have no topic that anyone could subscribe to.
            (Record::Event(_) | Record::Mark { .. }, _)
            | (Record::State(_) | Record::Presence(_) | Record::Command(_), Pass::BestEffort) => {}
        }
    }

    /// Wakes those who have something to do now.
    pub fn wake(&mut self) {
        for session in self.woken.drain(..) {
            session.listed.store(false, Ordering::Release);
            session.signal.ring();
        }
        let statistics = &self.broker.statistics;
        statistics.subscriptions.set(self.routing.subscriptions() as u64);
        statistics.retained.set(self.retained.len() as u64);
        statistics.retained_bytes.set(self.retained.bytes());
    }

    pub(super) fn list(&mut self, session: &Arc<Session>) {
        if !session.listed.swap(true, Ordering::AcqRel) {
            self.woken.push(Arc::clone(session));
        }
    }

    fn publication(&mut self, publication: &Publication<'_>, origin: Origin) {
        match origin {
            Origin::Plain => {}
            Origin::Held(packet_id) => {
                let session = self.ledger.session_of(publication.client_id);
                if let Some(account) = session.and_then(|id| self.ledger.change(id)) {
                    account.held.insert(packet_id, publication.sequence);
                }
            }
            Origin::Will(id) => self.will_is_over(SessionId(id)),
        }
        // Before anyone can acknowledge it.
        self.note_command_traffic(publication);
        if publication.guaranteed {
            self.pass_on(publication);
        } else if self.replay.is_none() && self.routing.may_be_missed(publication.sequence) {
            self.catch_up(publication);
        }
        if publication.retain {
            self.retain(publication);
        }
    }

    /// Gives a publication to everyone who subscribes to its topic.
    fn pass_on(&mut self, publication: &Publication<'_>) {
        let targets = self.routing.targets(publication.topic);
        for target in &targets.sessions {
            // A subscription that is younger gets it from the other pass.
            if publication.guaranteed || publication.sequence > target.since {
                self.deliver(target, publication, None);
            }
        }
        for &group in &targets.groups {
            self.deliver_to_group(group, publication);
        }
    }

    /// Gives a best-effort publication to subscriptions that were made in front of it in the journal
    /// and after it was passed on.
    fn catch_up(&mut self, publication: &Publication<'_>) {
        let targets = self.routing.targets(publication.topic);
        for target in targets.sessions.iter().filter(|target| publication.sequence <= target.since) {
            self.deliver(target, publication, None);
        }
    }

    fn deliver_to_group(&mut self, id: GroupId, publication: &Publication<'_>) {
        let Some(group) = self.routing.group_mut(id) else { return };
        if publication.qos == Qos::AtMostOnce {
            if self.replay.is_none()
                && let Some(target) = group.next_online()
            {
                self.deliver(&target, publication, Some(id));
            }
            return;
        }
        let ledger = &self.ledger;
        // Full is what is on record as that: a start must give it to the same one.
        let has_room = |id| ledger.get(id).is_some_and(|account| !account.full);
        let is_there = |id| has_room(id) && ledger.get(id).is_some_and(|account| account.connected);
        // Where every queue is full, one of them counts it.
        let target = group
            .next(is_there)
            .or_else(|| group.next_acknowledging(has_room))
            .or_else(|| group.next(has_room))
            .or_else(|| group.next(|_| true));
        let Some(target) = target else { return };
        let (text, turn) = (group.text.clone(), group.turn);
        self.ledger.changes.set_group(&text, Some((id, turn)));
        self.deliver(&target, publication, Some(id));
    }

    fn deliver(&mut self, target: &Target, publication: &Publication<'_>, group: Option<GroupId>) {
        if target.no_local && target.session.client_id.as_str() == publication.client_id {
            return;
        }
        let entry = Entry {
            sequence: publication.sequence,
            qos: publication.qos.min(target.maximum_qos),
            retain: publication.retain && target.retain_as_published,
            from_retained: false,
            group,
            void: false,
            dup: false,
            size: size(publication),
            identifiers: target.identifiers.clone(),
        };
        self.enqueue(&target.session, &entry, None, publication.sequence);
    }

    /// Queues a message that the record `at` has brought for a session.
    pub(super) fn enqueue(
        &mut self,
        session: &Arc<Session>,
        entry: &Entry,
        record: Option<&Arc<OwnedRecord>>,
        at: Sequence,
    ) {
        if entry.qos == Qos::AtMostOnce || !session.tracked.load(Ordering::Relaxed) {
            let queued = self.replay.is_none() && self.post(session, entry, record) == Put::Queued;
            if queued && !session.tracked.load(Ordering::Relaxed) {
                session.untracked.fetch_add(u64::from(entry.qos > Qos::AtMostOnce), Ordering::Relaxed);
            }
            return;
        }
        let Some(account) = self.ledger.change(session.id) else { return };
        let count = account.count(at);
        if account.closed {
            session.mailbox.lock().count_dropped(1);
            self.broker.statistics.dropped.add(u64::from(self.replay.is_none()));
            return;
        }
        let fits = match &self.replay {
            Some(closures) => closures.get(&(session.id, at)).is_none_or(|kept| count < *kept),
            None => self.post(session, entry, record) == Put::Queued,
        };
        if fits {
            self.ledger.queue(session.id, entry);
        } else {
            self.ledger.set_closed(session.id, true);
            if self.replay.is_none() {
                self.closing.push((session.id, Change::Close { at: at.0, kept: count }));
            }
        }
    }

    /// Queues a retained message that a subscription is owed, whatever the limits say: it comes in portions that they
    /// have room for.
    pub(super) fn queue_owed(&mut self, session: &Arc<Session>, entry: &Entry, record: &Arc<OwnedRecord>) {
        let is_numbered = entry.qos > Qos::AtMostOnce;
        let is_tracked = session.tracked.load(Ordering::Relaxed);
        if is_numbered && is_tracked {
            self.ledger.queue(session.id, entry);
        }
        if self.replay.is_some() {
            return;
        }
        let mut mailbox = session.mailbox.lock();
        if is_numbered || mailbox.is_online() {
            mailbox.restore(entry, Some(record));
        }
        drop(mailbox);
        if is_numbered && !is_tracked {
            session.untracked.fetch_add(1, Ordering::Relaxed);
        }
        self.list(session);
    }

    /// Puts a message into a living session's mailbox.
    pub(super) fn post(&mut self, session: &Arc<Session>, entry: &Entry, record: Option<&Arc<OwnedRecord>>) -> Put {
        let mut mailbox = session.mailbox.lock();
        let put = mailbox.put(entry, record, self.broker.settings.profile.mailbox);
        let first_drop = put == Put::Full && mailbox.dropped() == 1;
        let (messages, bytes) = (mailbox.waiting(), mailbox.bytes());
        drop(mailbox);
        if matches!(put, Put::Shed | Put::Full) {
            self.broker.statistics.dropped.add(1);
        }
        if first_drop {
            tracing::warn!(client.id = %session.client_id, messages, bytes, "the session's queue is full: messages are dropped");
        }
        self.list(session);
        put
    }

    fn retain(&mut self, publication: &Publication<'_>) {
        let record = match self.retained.retain(publication, self.retained_limits) {
            retained::Change::Nothing => return,
            retained::Change::Set(record) => Some(record),
            retained::Change::Removed => None,
            retained::Change::Full => {
                if self.replay.is_none() {
                    self.broker.statistics.not_retained.add(1);
                }
                None
            }
        };
        self.ledger.changes.set_retained(publication.topic, record);
    }

    fn state(&mut self, change: &StateChange<'_>) {
        let Some((id, what)) = change::decode(change.body) else {
            // A checksum vouches for the bytes: another version wrote them.
            tracing::error!(sequence = %change.sequence, "the journal has a change of a session in a form unknown to this version");
            return;
        };
        match what {
            Change::Connect { client_id, user, expiry, receive_maximum, will } => {
                self.connect(id, client_id, change);
                self.ledger.forget_deadline(id);
                if let Some(account) = self.ledger.change(id) {
                    account.session.belongs_to(user.map(User::from).as_ref());
                    account.expiry = expiry;
                    account.receive_maximum = receive_maximum;
                    account.connected = true;
                    account.since = change.received;
                    account.will = will.map(Box::new);
                    account.will_pending = false;
                }
                if expiry > 0 {
                    self.ledger.track(id);
                }
                self.take_over_for(id);
            }
            Change::Disconnect { expiry, will_pending, sent } => {
                self.ledger.forget_deadline(id);
                if let Some(account) = self.ledger.change(id) {
                    account.expiry = expiry;
                    account.connected = false;
                    account.since = change.received;
                    account.will_pending = will_pending && account.will.is_some();
                    account.will.take_if(|_| !will_pending);
                    account.sent = account.sent.max(sent);
                }
                if expiry == 0 {
                    self.end(id);
                } else {
                    self.ledger.set_deadline(id);
                    self.hand_over(id);
                }
            }
            Change::End => self.end(id),
            Change::Subscribe { identifier, at_once, subscriptions } => {
                for subscription in &subscriptions {
                    self.subscribe(id, subscription, identifier, change.sequence, at_once);
                }
            }
            Change::More { filter, portion } => self.pay_more(id, filter, portion),
            Change::Unsubscribe { filters } => filters.iter().for_each(|filter| self.unsubscribe(id, filter)),
            Change::Release { packet_id } => {
                if let Some(account) = self.ledger.change(id) {
                    account.held.remove(&packet_id);
                }
            }
            Change::Acknowledge(acknowledged) => {
                if let Some(account) = self.ledger.change(id).filter(|account| account.tracked) {
                    account.queue.acknowledge(&acknowledged);
                }
            }
            Change::Receive { number } => {
                if let Some(account) = self.ledger.change(id).filter(|account| account.tracked) {
                    account.queue.receive(number);
                }
            }
            // That it is closed is known before, live and at a start.
            Change::Close { .. } => {
                if let Some(account) = self.ledger.change(id) {
                    account.full = account.closed;
                }
            }
            Change::Open => self.ledger.set_closed(id, false),
            Change::DropWill => self.will_is_over(id),
        }
        if let Some(session) = self.broker.sessions.find(id) {
            self.list(&session);
        }
    }

    /// Makes the account of a session that is new, and ends any other of its client.
    fn connect(&mut self, id: SessionId, client_id: &str, change: &StateChange<'_>) {
        if let Some(other) = self.ledger.session_of(client_id).filter(|&other| other != id) {
            self.ledger.forget_deadline(other);
            if let Some(account) = self.ledger.change(other) {
                account.since = change.received;
            }
            self.end(other);
        }
        if self.ledger.get(id).is_none()
            && let Some(session) = self.living(id, client_id)
        {
            self.ledger.open(Account::new(session));
        }
    }

    fn living(&self, id: SessionId, client_id: &str) -> Option<Arc<Session>> {
        let sessions = &self.broker.sessions;
        let revive = || Some(sessions.restore(id, client_id.parse().ok()?, SessionState::default()));
        sessions.find(id).or_else(|| if self.replay.is_some() { revive() } else { None })
    }

    fn subscribe(
        &mut self,
        id: SessionId,
        subscription: &Subscription<'_>,
        identifier: u32,
        made_by: Sequence,
        at_once: Option<Portion>,
    ) {
        let Some(account) = self.ledger.get(id) else { return };
        let session = Arc::clone(&account.session);
        let options = SubscriptionOptions::of(subscription, identifier);
        let since = self.best_effort_to.max(made_by);
        let Some(made) = self.routing.subscribe(subscription.filter, &session, options, made_by, since) else { return };
        self.forget_unsent(id, subscription.filter);
        // Also live, where the connection has done so: it may have ended the same one since.
        session.subscriptions.lock().insert(subscription.filter.into());
        // Also of a session that does not outlive its connection: what it has queued must come out the
        // same at a start, because others may get it.
        let stored = Some((options_byte(subscription), identifier));
        self.ledger.changes.set_subscription(id, subscription.filter, stored);
        self.note_command_subscriber(&session, subscription.filter);
        match made {
            Made::Shared(group) => self.joined(id, group),
            Made::Replaced | Made::New => {
                if subscription.wants_retained(made == Made::New) {
                    self.send_retained(&session, subscription, identifier, made_by, at_once);
                }
            }
        }
    }

    fn unsubscribe(&mut self, id: SessionId, filter: &str) {
        self.forget_unsent(id, filter);
        if let Some((group, empty)) = self.routing.unsubscribe(filter, id) {
            self.left(id, group);
            if empty {
                self.ledger.changes.set_group(filter, None);
            }
        }
        let Some(account) = self.ledger.get(id) else { return };
        account.session.subscriptions.lock().remove(filter);
        self.ledger.changes.set_subscription(id, filter, None);
    }

    /// A session is over: its subscriptions and messages go; its will, if it waits, is due.
    pub(super) fn end(&mut self, id: SessionId) {
        let Some(account) = self.ledger.get(id) else {
            self.broker.sessions.forget(id);
            return;
        };
        let session = Arc::clone(&account.session);
        let filters = std::mem::take(&mut *session.subscriptions.lock());
        for filter in filters.iter() {
            if let Some((_, true)) = self.routing.unsubscribe(filter, id) {
                self.ledger.changes.set_group(filter, None);
            }
            self.ledger.changes.set_subscription(id, filter, None);
        }
        self.bequeath(id);
        self.broker.sessions.forget(id);
        if self.ledger.get(id).is_some_and(|account| account.will_pending) {
            self.ledger.leave_will(id);
        } else {
            self.ledger.close(id);
        }
    }

    fn will_is_over(&mut self, id: SessionId) {
        self.ledger.forget_deadline(id);
        let Some(account) = self.ledger.change(id) else { return };
        (account.will, account.will_pending) = (None, false);
        if account.ended {
            self.ledger.close(id);
        } else {
            self.ledger.set_deadline(id);
        }
    }
}

/// What a message counts for in a queue, in bytes.
pub(super) fn size(publication: &Publication<'_>) -> u32 {
    let bytes = publication.topic.len() + publication.properties.as_bytes().len() + publication.payload.len();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
