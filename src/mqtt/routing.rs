//! Who gets what: subscriptions by topic filter, shared ones by group. Belongs to the dispatcher,
//! which makes and ends subscriptions where the journal says so, so that every message and every
//! start see the same ones.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{
    codec::Subscription,
    filter_tree::{FilterTree, Keyed},
    mailbox::Identifiers,
    session::{Session, SessionId},
    topic_match::split_share,
};
use crate::types::{Qos, Sequence, TopicFilter};

/// Bytes that remembered matches may take; when they take more, all are forgotten.
const REMEMBERED_BYTES: usize = 4 << 20;

type Random = foldhash::fast::RandomState;

/// How a subscription wants its messages (MQTT 5.0 section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub maximum_qos: Qos,
    /// Leave out what the client itself published.
    pub no_local: bool,
    /// Keep the retain flag of live messages.
    pub retain_as_published: bool,
    /// Sent along with every message; 0 for none.
    pub identifier: u32,
}

impl SubscriptionOptions {
    /// Those of a subscription made with this identifier.
    #[must_use]
    pub const fn of(subscription: &Subscription<'_>, identifier: u32) -> Self {
        Self {
            maximum_qos: subscription.maximum_qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifier,
        }
    }
}

/// A group's number: the sequence of the record that made it, or, where that has made several, the next
/// that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// What is under a filter.
enum Subscriber {
    One {
        session: Arc<Session>,
        options: SubscriptionOptions,
        /// Best-effort messages up to here were passed on before the subscription was there.
        since: Sequence,
    },
    Group(GroupId),
}

impl Keyed for Subscriber {
    /// Whether it is a group, and its number.
    type Key = (bool, u64);

    fn key(&self) -> Self::Key {
        match self {
            Self::One { session, .. } => (false, session.id.0),
            Self::Group(id) => (true, id.0),
        }
    }
}

/// A session that gets a message, with all its matching subscriptions merged into one copy at
/// the highest granted QoS.
#[derive(Clone)]
pub struct Target {
    /// Who.
    pub session: Arc<Session>,
    /// The highest QoS of the matching subscriptions.
    pub maximum_qos: Qos,
    /// Whether every matching subscription leaves out the client's own messages.
    pub no_local: bool,
    /// Whether any of them keeps the retain flag.
    pub retain_as_published: bool,
    /// Best-effort messages up to here were passed on before the oldest subscription was there.
    pub since: Sequence,
    /// Identifiers of those that have one.
    pub identifiers: Identifiers,
}

/// Everyone who gets messages of a topic.
#[derive(Default)]
pub struct Targets {
    /// Sessions that get a copy each.
    pub sessions: Vec<Target>,
    /// Groups of which one member gets one.
    pub groups: SmallVec<[GroupId; 1]>,
}

/// The members of a shared subscription.
pub struct Group {
    /// `$share/…`, as it was subscribed to.
    pub text: Box<str>,
    members: Vec<Target>,
    /// How many messages were given to members: it decides whose turn it is.
    pub turn: u64,
    /// The same for best effort, which no start repeats.
    best_effort_turn: u64,
}

impl Group {
    /// The member whose turn it is, of those that `may` have it. The same at every reading of the
    /// journal.
    pub fn next(&mut self, may: impl Fn(SessionId) -> bool) -> Option<Target> {
        let those = || self.members.iter().filter(|member| may(member.session.id));
        let count = those().count() as u64;
        let chosen = those().nth(usize::try_from(self.turn.checked_rem(count)?).ok()?).cloned();
        self.turn += u64::from(chosen.is_some());
        chosen
    }

    /// Whether a member gets messages with an acknowledgement: at QoS 0 one that moves to it can be lost.
    #[must_use]
    pub fn acknowledges(&self, id: SessionId) -> bool {
        self.members.iter().any(|member| member.session.id == id && member.maximum_qos > Qos::AtMostOnce)
    }

    /// As [`Group::next`], for members whose clients acknowledge.
    pub fn next_acknowledging(&mut self, may: impl Fn(SessionId) -> bool) -> Option<Target> {
        let those: SmallVec<[SessionId; 8]> = self.members().filter(|&id| self.acknowledges(id) && may(id)).collect();
        self.next(|id| those.contains(&id))
    }

    /// As [`Group::next`], for a message that only a client that is there can get.
    pub fn next_online(&mut self) -> Option<Target> {
        let turn = self.turn;
        self.turn = self.best_effort_turn;
        let online =
            |id| self.members.iter().any(|member| member.session.id == id && member.session.mailbox.lock().is_online());
        let there: Vec<_> = self.members.iter().map(|member| member.session.id).filter(|&id| online(id)).collect();
        let chosen = self.next(|id| there.contains(&id));
        self.best_effort_turn = self.turn;
        self.turn = turn;
        chosen
    }

    /// Everyone in it.
    pub fn members(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.members.iter().map(|member| member.session.id)
    }
}

/// What a new subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// There was none of this session for this filter.
    New,
    /// It has replaced one.
    Replaced,
    /// The session has joined, or is in, this group.
    Shared(GroupId),
}

/// Subscriptions by filter.
#[derive(Default)]
pub struct Routing {
    tree: FilterTree<Subscriber>,
    subscriptions: usize,
    groups: HashMap<GroupId, Group, Random>,
    group_names: HashMap<Box<str>, GroupId, Random>,
    remembered: HashMap<Box<str>, Arc<Targets>, Random>,
    remembered_bytes: usize,
    /// No subscription has missed a best-effort message above this.
    young_until: Sequence,
}

impl Routing {
    /// Makes or replaces a session's subscription, by the record `made_by`. Best-effort messages up to
    /// `since` were passed on already.
    pub fn subscribe(
        &mut self,
        text: &str,
        session: &Arc<Session>,
        options: SubscriptionOptions,
        made_by: Sequence,
        since: Sequence,
    ) -> Option<Made> {
        let (share, filter) = split_share(text)?;
        let filter: TopicFilter = filter.parse().ok()?;
        self.forget_matches();
        self.young_until = self.young_until.max(since);
        if share.is_some() {
            return Some(Made::Shared(self.join(text, &filter, session, options, GroupId(made_by.0))));
        }
        if let Some(Subscriber::One { options: known, .. }) = self.tree.get_mut(&filter, (false, session.id.0)) {
            *known = options;
            return Some(Made::Replaced);
        }
        self.tree.insert(&filter, Subscriber::One { session: Arc::clone(session), options, since });
        self.subscriptions += 1;
        Some(Made::New)
    }

    fn join(
        &mut self,
        text: &str,
        filter: &TopicFilter,
        session: &Arc<Session>,
        options: SubscriptionOptions,
        new: GroupId,
    ) -> GroupId {
        let new = (new.0..).map(GroupId).find(|id| !self.groups.contains_key(id)).unwrap_or(new);
        let id = *self.group_names.entry(text.into()).or_insert(new);
        let group = self.groups.entry(id).or_insert_with(|| {
            self.tree.insert(filter, Subscriber::Group(id));
            Group { text: text.into(), members: Vec::new(), turn: 0, best_effort_turn: 0 }
        });
        let member = Target {
            session: Arc::clone(session),
            maximum_qos: options.maximum_qos,
            no_local: false,
            retain_as_published: options.retain_as_published,
            since: Sequence::ZERO,
            identifiers: if options.identifier == 0 {
                Identifiers::new()
            } else {
                [options.identifier].into_iter().collect()
            },
        };
        // In the order of their numbers, which is the same at every reading of the journal.
        match group.members.binary_search_by_key(&session.id, |member| member.session.id) {
            Ok(at) => group.members[at] = member,
            Err(at) => {
                group.members.insert(at, member);
                self.subscriptions += 1;
            }
        }
        id
    }

    /// Puts a group of an earlier life back, to be joined by its members.
    pub fn restore_group(&mut self, text: &str, id: GroupId, turn: u64) {
        let Some((Some(_), filter)) = split_share(text) else { return };
        let Ok(filter) = filter.parse::<TopicFilter>() else { return };
        self.tree.insert(&filter, Subscriber::Group(id));
        self.group_names.insert(text.into(), id);
        self.groups.insert(id, Group { text: text.into(), members: Vec::new(), turn, best_effort_turn: 0 });
    }

    /// Removes a session's subscription; the group it has left, if it was shared, and whether that is
    /// empty now.
    pub fn unsubscribe(&mut self, text: &str, session: SessionId) -> Option<(GroupId, bool)> {
        let (share, filter) = split_share(text)?;
        let filter: TopicFilter = filter.parse().ok()?;
        self.forget_matches();
        if share.is_none() {
            self.subscriptions -= usize::from(self.tree.remove(&filter, (false, session.0)).is_some());
            return None;
        }
        let id = *self.group_names.get(text)?;
        let group = self.groups.get_mut(&id)?;
        let before = group.members.len();
        group.members.retain(|member| member.session.id != session);
        self.subscriptions -= before - group.members.len();
        let empty = group.members.is_empty();
        if empty {
            self.groups.remove(&id);
            self.group_names.remove(text);
            self.tree.remove(&filter, (true, id.0));
        }
        Some((id, empty))
    }

    /// A group by its number.
    pub fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&id)
    }

    /// A group by its number.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// How many subscriptions there are.
    #[must_use]
    pub const fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// How many of them are shared.
    #[must_use]
    pub fn shared_subscriptions(&self) -> usize {
        self.groups.values().map(|group| group.members.len()).sum()
    }

    /// Whether a subscription may have been made after the best-effort message with this sequence was
    /// passed on, and in front of it in the journal.
    #[must_use]
    pub fn may_be_missed(&self, sequence: Sequence) -> bool {
        sequence <= self.young_until
    }

    /// Who gets messages of `topic`.
    pub fn targets(&mut self, topic: &str) -> Arc<Targets> {
        if let Some(known) = self.remembered.get(topic) {
            return Arc::clone(known);
        }
        let mut merge = Merge::default();
        self.tree.visit_matches(topic, |subscriber| merge.add(subscriber));
        // The same at every reading of the journal, whatever the order in the tree: a session that is in
        // several groups gets a numbered message from each.
        merge.targets.groups.sort_unstable();
        merge.targets.sessions.iter_mut().for_each(|target| target.identifiers.sort_unstable());
        let targets = Arc::new(merge.targets);
        self.remembered_bytes += topic.len() + size_of::<Targets>() + targets.sessions.len() * size_of::<Target>();
        if self.remembered_bytes > REMEMBERED_BYTES {
            self.forget_matches();
        }
        self.remembered.insert(topic.into(), Arc::clone(&targets));
        targets
    }

    fn forget_matches(&mut self) {
        self.remembered.clear();
        self.remembered_bytes = 0;
    }
}

/// Matching subscriptions, made one for each session.
#[derive(Default)]
struct Merge {
    targets: Targets,
    at: HashMap<SessionId, usize, Random>,
}

impl Merge {
    fn add(&mut self, subscriber: &Subscriber) {
        let (session, options, since) = match subscriber {
            Subscriber::Group(id) => return self.targets.groups.push(*id),
            Subscriber::One { session, options, since } => (session, options, *since),
        };
        let sessions = &mut self.targets.sessions;
        let at = *self.at.entry(session.id).or_insert_with(|| {
            sessions.push(Target {
                session: Arc::clone(session),
                maximum_qos: Qos::AtMostOnce,
                no_local: true,
                retain_as_published: false,
                since,
                identifiers: Identifiers::new(),
            });
            sessions.len() - 1
        });
        let Some(target) = sessions.get_mut(at) else { return };
        target.maximum_qos = target.maximum_qos.max(options.maximum_qos);
        target.since = target.since.min(since);
        target.no_local &= options.no_local;
        target.retain_as_published |= options.retain_as_published;
        if options.identifier != 0 {
            target.identifiers.push(options.identifier);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::session::SessionState;

    fn session(id: u64) -> Arc<Session> {
        let client_id = format!("client-{id}").parse().unwrap();
        Arc::new(Session::new(SessionId(id), client_id, SessionState::default()))
    }

    fn options(maximum_qos: Qos, identifier: u32) -> SubscriptionOptions {
        SubscriptionOptions { maximum_qos, no_local: false, retain_as_published: false, identifier }
    }

    fn subscribe(routing: &mut Routing, text: &str, session: &Arc<Session>, maximum_qos: Qos, identifier: u32) -> Made {
        routing.subscribe(text, session, options(maximum_qos, identifier), Sequence(1), Sequence::ZERO).unwrap()
    }

    #[test]
    fn overlapping_subscriptions_give_one_copy_at_the_highest_qos_with_all_identifiers() {
        let mut routing = Routing::default();
        let one = session(1);
        subscribe(&mut routing, "a/#", &one, Qos::AtMostOnce, 7);
        subscribe(&mut routing, "a/+", &one, Qos::ExactlyOnce, 9);
        subscribe(&mut routing, "a/b", &session(2), Qos::AtLeastOnce, 0);
        let targets = routing.targets("a/b");
        assert_eq!(targets.sessions.len(), 2);
        let merged = targets.sessions.iter().find(|target| Arc::ptr_eq(&target.session, &one)).unwrap();
        assert_eq!(merged.maximum_qos, Qos::ExactlyOnce);
        let mut identifiers = merged.identifiers.to_vec();
        identifiers.sort_unstable();
        assert_eq!(identifiers, [7, 9]);
    }

    #[test]
    fn what_is_remembered_of_a_topic_follows_the_subscriptions() {
        let mut routing = Routing::default();
        let one = session(1);
        assert!(routing.targets("a/b").sessions.is_empty());
        assert_eq!(subscribe(&mut routing, "a/b", &one, Qos::AtMostOnce, 0), Made::New);
        assert_eq!(routing.targets("a/b").sessions.len(), 1);
        assert_eq!(subscribe(&mut routing, "a/b", &one, Qos::AtLeastOnce, 0), Made::Replaced);
        assert_eq!(routing.targets("a/b").sessions[0].maximum_qos, Qos::AtLeastOnce);
        routing.unsubscribe("a/b", one.id);
        routing.unsubscribe("a/b", one.id);
        assert!(routing.targets("a/b").sessions.is_empty());
        assert_eq!(routing.subscriptions(), 0);
    }

    #[test]
    fn a_group_takes_turns_among_those_that_are_there() {
        let mut routing = Routing::default();
        let sessions: Vec<_> = (1..=3).map(session).collect();
        for session in &sessions {
            let made = subscribe(&mut routing, "$share/g/a/+", session, Qos::AtLeastOnce, 0);
            assert_eq!(made, Made::Shared(GroupId(1)));
        }
        let targets = routing.targets("a/b");
        assert!(targets.sessions.is_empty());
        assert_eq!(targets.groups.as_slice(), [GroupId(1)]);
        let group = routing.group_mut(GroupId(1)).unwrap();
        let mut turn = |there: &[u64]| group.next(|id| there.contains(&id.0)).map(|target| target.session.id.0);
        let taken: Vec<_> = (0..6).map(|_| turn(&[1, 2, 3]).unwrap()).collect();
        assert_eq!(taken, [1, 2, 3, 1, 2, 3]);
        assert_eq!((turn(&[2]), turn(&[2])), (Some(2), Some(2)));
        assert_eq!(turn(&[]), None);
        assert_eq!(routing.unsubscribe("$share/g/a/+", SessionId(1)), Some((GroupId(1), false)));
        routing.unsubscribe("$share/g/a/+", SessionId(2));
        assert_eq!(routing.unsubscribe("$share/g/a/+", SessionId(3)), Some((GroupId(1), true)));
        assert!(routing.targets("a/b").groups.is_empty());
        assert_eq!(routing.subscriptions(), 0);
    }

    #[test]
    fn one_packet_makes_several_groups() {
        let mut routing = Routing::default();
        let one = session(1);
        for text in ["$share/g/a", "$share/g/b", "$share/h/a"] {
            subscribe(&mut routing, text, &one, Qos::AtLeastOnce, 0);
        }
        assert_eq!(routing.targets("a").groups.as_slice(), [GroupId(1), GroupId(3)]);
        assert_eq!(routing.targets("b").groups.as_slice(), [GroupId(2)]);
        assert_eq!(routing.unsubscribe("$share/g/b", one.id), Some((GroupId(2), true)));
        assert_eq!(routing.subscriptions(), 2);
    }
}
