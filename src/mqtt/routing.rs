//! Who gets what: subscriptions and retained messages, under one lock.
//!
//! One lock because a subscriber must see the retained messages of a moment and then every
//! later message, none missed between the two and none overtaken by an older one. The
//! dispatcher holds it for one slice of the journal at a time.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use hashbrown::HashMap;

use super::session::Session;
use crate::{
    journal::OwnedRecord,
    types::{Publication, Qos, Sequence, TopicFilter},
};

/// Bytes that remembered matches may take; when they take more, all are forgotten.
const REMEMBERED_BYTES: usize = 4 << 20;

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

struct Subscription {
    session: Arc<Session>,
    options: SubscriptionOptions,
    since: Sequence,
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
    /// What was durable before the subscription was made; of that it gets retained messages only.
    pub since: Sequence,
    /// Identifiers of those that have one.
    pub identifiers: Option<Arc<[u32]>>,
}

#[derive(Default)]
struct Node {
    children: HashMap<Box<str>, Node, foldhash::fast::RandomState>,
    /// Subscriptions whose filter ends at this level.
    here: Vec<Subscription>,
    /// Subscriptions whose filter has `#` as its next and last level.
    below: Vec<Subscription>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.below.is_empty()
    }
}

/// A retained message, or, for as long as older records may still be dispatched, the memory
/// that there is none.
struct Retained {
    sequence: Sequence,
    record: Option<Arc<OwnedRecord>>,
}

/// Subscriptions by filter, retained messages by topic.
#[derive(Default)]
pub struct Routing {
    root: Node,
    subscriptions: usize,
    retained: BTreeMap<Box<str>, Retained>,
    remembered: HashMap<Box<str>, Arc<[Target]>, foldhash::fast::RandomState>,
    remembered_bytes: usize,
}

impl Routing {
    fn forget_matches(&mut self) {
        self.remembered.clear();
        self.remembered_bytes = 0;
    }

    /// Adds or replaces a session's subscription; whether there was one for this filter. A new
    /// one is for messages after `since`: the dispatcher may be some way behind the journal.
    pub fn subscribe(
        &mut self,
        filter: &TopicFilter,
        session: &Arc<Session>,
        options: SubscriptionOptions,
        since: Sequence,
    ) -> bool {
        self.forget_matches();
        let list = self.list_of(filter);
        if let Some(existing) = list.iter_mut().find(|entry| Arc::ptr_eq(&entry.session, session)) {
            existing.options = options;
            return true;
        }
        list.push(Subscription { session: Arc::clone(session), options, since });
        self.subscriptions += 1;
        false
    }

    /// Removes a session's subscription; whether there was one.
    pub fn unsubscribe(&mut self, filter: &TopicFilter, session: &Arc<Session>) -> bool {
        self.forget_matches();
        let levels: Vec<_> = filter.levels().collect();
        let removed = remove(&mut self.root, &levels, session);
        self.subscriptions -= usize::from(removed);
        removed
    }

    /// How many subscriptions there are.
    #[must_use]
    pub const fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// The sessions that get messages of `topic`.
    pub fn targets(&mut self, topic: &str) -> Arc<[Target]> {
        if let Some(known) = self.remembered.get(topic) {
            return Arc::clone(known);
        }
        let mut found = Vec::new();
        // Wildcards at the start do not match topics that begin with $ [MQTT-4.7.2-1].
        collect(&self.root, Some(topic), !topic.starts_with('$'), &mut found);
        let targets: Arc<[Target]> = merge(&found).into();
        self.remembered_bytes += topic.len() + targets.len() * size_of::<Target>();
        if self.remembered_bytes > REMEMBERED_BYTES {
            self.forget_matches();
        }
        self.remembered.insert(topic.into(), Arc::clone(&targets));
        targets
    }

    /// Takes a publication with the retain flag into account: the newest record of a topic
    /// wins, an empty payload removes (section 3.3.1.3). Records may come again, or QoS 0 ahead of
    /// others; the sequence decides. Whether anything changed.
    pub fn retain(&mut self, publication: &Publication<'_>) -> bool {
        let record = (!publication.payload.is_empty()).then(|| Arc::new(OwnedRecord::of(publication)));
        match self.retained.get_mut(publication.topic) {
            Some(known) if known.sequence >= publication.sequence => return false,
            Some(known) => *known = Retained { sequence: publication.sequence, record },
            None => {
                let retained = Retained { sequence: publication.sequence, record };
                self.retained.insert(publication.topic.into(), retained);
            }
        }
        true
    }

    /// Forgets that a topic has no retained message, now that no record older than
    /// `publication` can come.
    pub fn forget_removed(&mut self, publication: &Publication<'_>) {
        let is_over = |retained: &Retained| retained.record.is_none() && retained.sequence <= publication.sequence;
        if self.retained.get(publication.topic).is_some_and(is_over) {
            self.retained.remove(publication.topic);
        }
    }

    /// Puts a retained message of an earlier life back.
    pub fn restore_retained(&mut self, record: OwnedRecord) {
        if let Some(publication) = record.publication() {
            let (topic, sequence) = (publication.topic.into(), publication.sequence);
            self.retained.insert(topic, Retained { sequence, record: Some(Arc::new(record)) });
        }
    }

    /// Retained messages that match, by topic, `most` of them at most.
    pub fn retained_for(&self, filter: &TopicFilter, most: usize) -> Vec<Arc<OwnedRecord>> {
        let literal = filter.as_str().find(['+', '#']).unwrap_or(filter.as_str().len());
        if literal == filter.as_str().len() {
            let exact = self.retained.get(filter.as_str()).and_then(|retained| retained.record.clone());
            return exact.into_iter().collect();
        }
        // "a/#" matches "a" as well, so the range starts without the separator.
        let prefix = filter.as_str().get(..literal).unwrap_or_default().trim_end_matches('/');
        self.retained
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .filter(|(topic, _)| filter.matches(topic))
            .filter_map(|(_, retained)| retained.record.clone())
            .take(most)
            .collect()
    }

    /// How many topics have a retained message.
    #[must_use]
    pub fn retained_count(&self) -> usize {
        self.retained.len()
    }

    fn list_of(&mut self, filter: &TopicFilter) -> &mut Vec<Subscription> {
        let mut node = &mut self.root;
        for level in filter.levels() {
            if level == "#" {
                return &mut node.below;
            }
            node = node.children.entry(level.into()).or_default();
        }
        &mut node.here
    }
}

fn remove(node: &mut Node, levels: &[&str], session: &Arc<Session>) -> bool {
    let list = match levels {
        [] => &mut node.here,
        ["#"] => &mut node.below,
        [level, rest @ ..] => {
            let Some(child) = node.children.get_mut(*level) else { return false };
            let removed = remove(child, rest, session);
            if child.is_empty() {
                node.children.remove(*level);
            }
            return removed;
        }
    };
    let before = list.len();
    list.retain(|entry| !Arc::ptr_eq(&entry.session, session));
    before > list.len()
}

/// Collects what matches the rest of a topic. Depth is bounded by the limit on topic levels.
fn collect<'a>(node: &'a Node, rest: Option<&str>, wildcards: bool, found: &mut Vec<&'a Subscription>) {
    if wildcards {
        found.extend(&node.below);
    }
    let Some(rest) = rest else {
        found.extend(&node.here);
        return;
    };
    let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
    if let Some(child) = node.children.get(level) {
        collect(child, rest, true, found);
    }
    if wildcards && let Some(child) = node.children.get("+") {
        collect(child, rest, true, found);
    }
}

fn merge(found: &[&Subscription]) -> Vec<Target> {
    let mut by_session: HashMap<*const Session, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut merged: Vec<(Target, Vec<u32>)> = Vec::new();
    for subscription in found {
        let options = subscription.options;
        let at = *by_session.entry(Arc::as_ptr(&subscription.session)).or_insert_with(|| {
            let target = Target {
                session: Arc::clone(&subscription.session),
                maximum_qos: Qos::AtMostOnce,
                no_local: true,
                retain_as_published: false,
                since: subscription.since,
                identifiers: None,
            };
            merged.push((target, Vec::new()));
            merged.len() - 1
        });
        let Some((target, identifiers)) = merged.get_mut(at) else { continue };
        target.maximum_qos = target.maximum_qos.max(options.maximum_qos);
        target.since = target.since.min(subscription.since);
        target.no_local &= options.no_local;
        target.retain_as_published |= options.retain_as_published;
        if options.identifier != 0 {
            identifiers.push(options.identifier);
        }
    }
    let finish = |(target, identifiers): (Target, Vec<u32>)| Target {
        identifiers: (!identifiers.is_empty()).then(|| identifiers.into()),
        ..target
    };
    merged.into_iter().map(finish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Micros, PublishProperties};

    fn session(name: &str) -> Arc<Session> {
        Arc::new(Session::new(name.parse().unwrap()))
    }

    fn options(maximum_qos: Qos, identifier: u32) -> SubscriptionOptions {
        SubscriptionOptions { maximum_qos, no_local: false, retain_as_published: false, identifier }
    }

    fn filter(text: &str) -> TopicFilter {
        text.parse().unwrap()
    }

    fn retained(topic: &'static str, payload: &'static str, sequence: u64) -> Publication<'static> {
        Publication {
            sequence: Sequence(sequence),
            received: Micros::default(),
            topic,
            payload: payload.as_bytes(),
            qos: Qos::AtLeastOnce,
            retain: true,
            guaranteed: true,
            client_id: "publisher",
            properties: PublishProperties::default(),
        }
    }

    fn payloads(routing: &Routing, text: &str) -> Vec<String> {
        let found = routing.retained_for(&filter(text), usize::MAX);
        found.iter().map(|record| String::from_utf8_lossy(record.publication().unwrap().payload).into()).collect()
    }

    /// The trie and the plain definition of a match must agree on every pair.
    #[test]
    fn the_trie_matches_what_the_filter_matches() {
        let filters =
            ["#", "+", "+/+", "a", "a/#", "a/+", "a/b", "a/b/#", "+/b", "/", "/+", "a//b", "$SYS/#", "$SYS/+", "+/b/+"];
        let topics = ["a", "a/b", "a/b/c", "b/b", "/", "/a", "a//b", "a/", "$SYS/x", "$SYS", "x/b/y", "b"];
        for topic in topics {
            for text in filters {
                let mut routing = Routing::default();
                routing.subscribe(&filter(text), &session("s"), options(Qos::AtMostOnce, 0), Sequence::ZERO);
                assert_eq!(routing.targets(topic).len() == 1, filter(text).matches(topic), "{text} and {topic}");
            }
        }
    }

    #[test]
    fn overlapping_subscriptions_give_one_copy_at_the_highest_qos_with_all_identifiers() {
        let mut routing = Routing::default();
        let one = session("one");
        routing.subscribe(&filter("a/#"), &one, options(Qos::AtMostOnce, 7), Sequence::ZERO);
        routing.subscribe(&filter("a/+"), &one, options(Qos::ExactlyOnce, 9), Sequence::ZERO);
        routing.subscribe(&filter("a/b"), &session("two"), options(Qos::AtLeastOnce, 0), Sequence::ZERO);
        let targets = routing.targets("a/b");
        assert_eq!(targets.len(), 2);
        let merged = targets.iter().find(|target| Arc::ptr_eq(&target.session, &one)).unwrap();
        assert_eq!(merged.maximum_qos, Qos::ExactlyOnce);
        let mut identifiers = merged.identifiers.as_deref().unwrap().to_vec();
        identifiers.sort_unstable();
        assert_eq!(identifiers, [7, 9]);
    }

    #[test]
    fn what_is_remembered_of_a_topic_follows_the_subscriptions() {
        let mut routing = Routing::default();
        let one = session("one");
        assert!(routing.targets("a/b").is_empty());
        assert!(!routing.subscribe(&filter("a/b"), &one, options(Qos::AtMostOnce, 0), Sequence::ZERO));
        assert_eq!(routing.targets("a/b").len(), 1);
        assert!(routing.subscribe(&filter("a/b"), &one, options(Qos::AtLeastOnce, 0), Sequence::ZERO), "replaced");
        assert_eq!(routing.targets("a/b")[0].maximum_qos, Qos::AtLeastOnce);
        assert!(routing.unsubscribe(&filter("a/b"), &one));
        assert!(!routing.unsubscribe(&filter("a/b"), &one));
        assert!(routing.targets("a/b").is_empty());
        assert_eq!(routing.subscriptions(), 0);
        assert!(routing.root.is_empty(), "nothing is left of it");
    }

    #[test]
    fn the_newest_retained_message_wins_in_whatever_order_records_come() {
        let mut routing = Routing::default();
        routing.retain(&retained("a/b", "new", 5));
        routing.retain(&retained("a/b", "old", 4));
        assert_eq!(payloads(&routing, "a/#"), ["new"]);
        routing.retain(&retained("a/b", "", 9));
        routing.retain(&retained("a/b", "late", 8));
        assert!(payloads(&routing, "#").is_empty(), "an older record must not come back");
        routing.forget_removed(&retained("a/b", "late", 8));
        assert_eq!(routing.retained_count(), 1, "still needed against records in front of the removal");
        routing.forget_removed(&retained("a/b", "", 9));
        assert_eq!(routing.retained_count(), 0);
    }

    #[test]
    fn retained_messages_are_found_by_prefix_and_wildcard() {
        let mut routing = Routing::default();
        for (sequence, topic) in (1..).zip(["a", "a/b", "a/c/d", "ab", "b/b"]) {
            routing.retain(&retained(topic, topic, sequence));
        }
        assert_eq!(payloads(&routing, "a/#"), ["a", "a/b", "a/c/d"]);
        assert_eq!(payloads(&routing, "+/b"), ["a/b", "b/b"]);
        assert_eq!(payloads(&routing, "ab"), ["ab"]);
        assert_eq!(payloads(&routing, "#").len(), 5);
    }
}
