//! What a connection's client may do, as far as the connection has found out.
//!
//! A part of the connection's task. The rules in effect are taken when the connection is first asked
//! about, and again whenever others have taken their place; what they say of the last few topics is
//! remembered. Where nobody has written rules this costs a comparison of two numbers, and memory for
//! neither.
//!
//! Deliveries are looked at only where that can matter: when a subscription of the session is not
//! allowed as a whole, be it that it was granted so or that rules have changed.

use std::sync::Arc;

use super::{
    authenticate::Identity,
    session::{OwnedSession, Session},
    topic_match::split_share,
};
use crate::{
    auth::{
        User,
        access::{AccessControl, Grant, Rules, Who},
    },
    limits,
};

/// See the module.
#[derive(Debug, Default)]
pub struct Access {
    /// Of the rules that `held` is about; 0 before the first.
    generation: u64,
    held: Option<Box<Held>>,
}

#[derive(Debug)]
struct Held {
    rules: Arc<Rules>,
    /// Whether messages must be looked at before they are sent.
    filters: bool,
    /// Shared subscriptions that are not allowed as a whole any more.
    forfeited: Vec<Box<str>>,
    published: Remembered,
    received: Remembered,
    /// Whether the log has said that a publication was refused.
    told: bool,
}

/// Who a connection's client is, and what it has subscribed to.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// Its account, where it has one.
    user: Option<&'a User>,
    /// What its token allows it, where it says so.
    rights: Option<&'a Rules>,
    /// Its session.
    session: &'a Session,
}

impl<'a> Client<'a> {
    /// Of a connection's own fields, so that others of them can be borrowed meanwhile.
    #[must_use]
    pub fn of(identity: &'a Option<Box<Identity>>, owned: &'a OwnedSession) -> Self {
        let identity = identity.as_deref();
        let (user, rights) =
            (identity.and_then(|identity| identity.user.as_ref()), identity.and_then(Identity::rights));
        Self { user, rights, session: &owned.session }
    }

    /// As the rules know it.
    #[must_use]
    pub fn who(self) -> Who<'a> {
        Who { user: self.user.map(|user| &**user), client_id: self.session.client_id.as_str(), rights: self.rights }
    }
}

impl Access {
    /// What is held of the rules in effect, or nothing where there are none.
    fn held(&mut self, control: &AccessControl, client: Client<'_>) -> Option<&mut Held> {
        if control.generation() != self.generation {
            self.renew(control, client);
        }
        self.held.as_deref_mut()
    }

    fn renew(&mut self, control: &AccessControl, client: Client<'_>) {
        // In this order: rules that are newer than the count are looked at once more.
        self.generation = control.generation();
        // Who brings rights of its own has no others where nobody has written rules.
        let rules = control.rules().or_else(|| client.rights.map(|_| Arc::default()));
        self.held = rules.map(|rules| Box::new(Held::new(rules, client)));
    }

    /// Whether the client may publish to a topic.
    pub fn may_publish(&mut self, control: &AccessControl, client: Client<'_>, topic: &str) -> bool {
        self.held(control, client)
            .is_none_or(|held| held.published.get(topic, || held.rules.may_publish(client.who(), topic)))
    }

    /// Whether the client may be sent a message of a topic.
    pub fn may_receive(&mut self, control: &AccessControl, client: Client<'_>, topic: &str) -> bool {
        self.held(control, client)
            .filter(|held| held.filters)
            .is_none_or(|held| held.received.get(topic, || held.rules.may_receive(client.who(), topic)))
    }

    /// What becomes of a subscription, whose text is valid. One that is made is counted on.
    pub fn grant(&mut self, control: &AccessControl, client: Client<'_>, text: &str) -> Grant {
        let Some(held) = self.held(control, client) else { return Grant::Whole };
        let grant = grant(&held.rules, client.who(), text);
        held.filters |= grant == Grant::Filtered;
        grant
    }

    /// The rules that the last question was answered from.
    pub fn rules(&self) -> Option<&Rules> {
        self.held.as_deref().map(|held| &*held.rules)
    }

    /// Shared subscriptions that have to end, where rules have changed; each is named once.
    pub fn take_forfeited(&mut self, control: &AccessControl, client: Client<'_>) -> Vec<Box<str>> {
        self.held(control, client).map(|held| std::mem::take(&mut held.forfeited)).unwrap_or_default()
    }

    /// Whether this is the first refusal that is told of, since the rules have changed.
    pub fn is_first_refusal(&mut self) -> bool {
        self.held.as_deref_mut().is_some_and(|held| !std::mem::replace(&mut held.told, true))
    }
}

impl Held {
    fn new(rules: Arc<Rules>, client: Client<'_>) -> Self {
        let mut filters = false;
        let mut forfeited = Vec::new();
        for text in client.session.subscriptions.lock().iter() {
            if grant(&rules, client.who(), text) != Grant::Whole {
                filters = true;
                if matches!(split_share(text), Some((Some(_), _))) {
                    forfeited.push(text.clone());
                }
            }
        }
        Self {
            rules,
            filters,
            forfeited,
            published: Remembered::default(),
            received: Remembered::default(),
            told: false,
        }
    }
}

fn grant(rules: &Rules, who: Who<'_>, text: &str) -> Grant {
    let (share, filter) = split_share(text).unwrap_or((None, text));
    rules.grant(who, filter, share.is_some())
}

/// The last few topics and what was found of them, the latest first.
#[derive(Debug, Default)]
struct Remembered(Vec<(Box<str>, bool)>);

impl Remembered {
    fn get(&mut self, topic: &str, find: impl FnOnce() -> bool) -> bool {
        match self.0.iter().position(|(known, _)| &**known == topic) {
            Some(0) => {}
            Some(at) => (0..at).rev().for_each(|place| self.0.swap(place, place + 1)),
            None => {
                let found = (topic.into(), find());
                self.0.truncate(limits::REMEMBERED_TOPICS - 1);
                self.0.insert(0, found);
            }
        }
        self.0.first().is_some_and(|(_, allowed)| *allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_topics_are_remembered() {
        let mut remembered = Remembered::default();
        let mut asked = Vec::new();
        for topic in ["a", "a", "b", "a", "c", "d", "a", "e", "f", "a", "b"] {
            let allowed = remembered.get(topic, || {
                asked.push(topic);
                topic == "a"
            });
            assert_eq!(allowed, topic == "a", "{topic}");
        }
        assert_eq!(asked, ["a", "b", "c", "d", "e", "f", "b"]);
        assert!(remembered.0.len() <= limits::REMEMBERED_TOPICS);
    }
}
