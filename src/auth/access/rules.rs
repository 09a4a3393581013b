//! Rules in the form that answers questions.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{
    Effect, Policy, RefusedPublish, RefusedSubscribe, Rule, Subject,
    marks::{Action, Marks},
    tree::{Names, RuleTree},
};
use crate::auth::prepare;

type Random = foldhash::fast::RandomState;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Its account; none where it has not said who it is.
    pub user: Option<&'a str>,
    /// Its client identifier.
    pub client_id: &'a str,
    /// What it may do beside what the rules say, where its token says so; as everybody's rules.
    pub rights: Option<&'a Rules>,
}

/// What becomes of a SUBSCRIBE to one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// All of it is allowed.
    Whole,
    /// Each message must be looked at before it is sent.
    Filtered,
    /// It is not made; the answer is never [`RefusedSubscribe::Filter`].
    Refused(RefusedSubscribe),
}

/// Every rule there is.
#[derive(Debug, Default)]
pub struct Rules {
    everybody: RuleTree,
    anonymous: RuleTree,
    users: HashMap<Box<str>, RuleTree, Random>,
    roles: Vec<RuleTree>,
    /// Places in `roles` by user.
    memberships: HashMap<Box<str>, SmallVec<[u32; 4]>, Random>,
    refused_subscribe: RefusedSubscribe,
    refused_publish: RefusedPublish,
}

impl Rules {
    /// The rules of a policy. Rules of a role that nobody has are left out.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let mut rules = Self {
            refused_subscribe: policy.refused_subscribe,
            refused_publish: policy.refused_publish,
            ..Self::default()
        };
        let mut places: HashMap<&str, usize, Random> = HashMap::default();
        for (role, users) in &policy.roles {
            let place = rules.roles.len();
            rules.roles.push(RuleTree::default());
            places.insert(role, place);
            for user in users {
                rules.memberships.entry(known_as(user)).or_default().push(u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
        for rule in &policy.rules {
            rules.add(rule, &places);
        }
        rules
    }

    fn add(&mut self, rule: &Rule, roles: &HashMap<&str, usize, Random>) {
        let tree = match &rule.subject {
            Subject::Everybody => Some(&mut self.everybody),
            Subject::Anonymous => Some(&mut self.anonymous),
            Subject::User(name) => Some(self.users.entry(known_as(name)).or_default()),
            Subject::Role(role) => roles.get(&**role).and_then(|&place| self.roles.get_mut(place)),
        };
        if let Some(tree) = tree {
            tree.add(&rule.topic, Marks::of(rule));
        }
    }

    /// Whether a client may publish to a topic.
    #[must_use]
    pub fn may_publish(&self, who: Who<'_>, topic: &str) -> bool {
        self.ask(who, |tree, names, found| tree.matching(topic, names, found)).allow(Action::Publish)
    }

    /// Whether a client may be sent a message of a topic.
    #[must_use]
    pub fn may_receive(&self, who: Who<'_>, topic: &str) -> bool {
        self.ask(who, |tree, names, found| tree.matching(topic, names, found)).allow(Action::Receive)
    }

    /// What becomes of a subscription: allowed where one rule matches all that the filter matches and
    /// no rule denies any of it; else the strictest answer of the rules that have to do with it. `is_shared`
    /// where the group would miss what one of it must not get.
    #[must_use]
    pub fn grant(&self, who: Who<'_>, filter: &str, is_shared: bool) -> Grant {
        let covering = self.ask(who, |tree, names, found| tree.covering(filter, names, found));
        let overlapping = self.ask(who, |tree, names, found| tree.overlapping(filter, names, found));
        let is_denied = overlapping.has(Effect::Deny, Action::Subscribe);
        let is_uncovered = !covering.has(Effect::Allow, Action::Subscribe);
        let is_withheld = overlapping.has(Effect::Deny, Action::Receive);
        let said = |effect| overlapping.answer(effect).unwrap_or(self.refused_subscribe);
        let answers = [
            is_denied.then(|| said(Effect::Deny)),
            is_uncovered.then(|| said(Effect::Allow)),
            is_withheld.then_some(RefusedSubscribe::Filter),
        ];
        match answers.into_iter().flatten().max() {
            None => Grant::Whole,
            Some(RefusedSubscribe::Filter) if is_shared => Grant::Refused(RefusedSubscribe::NotAuthorized),
            Some(RefusedSubscribe::Filter) => Grant::Filtered,
            Some(answer) => Grant::Refused(answer),
        }
    }

    /// What becomes of a refused PUBLISH that cannot be answered.
    #[must_use]
    pub const fn refused_publish(&self) -> RefusedPublish {
        self.refused_publish
    }

    /// What all rules say that are for a client.
    fn ask(&self, who: Who<'_>, question: impl Fn(&RuleTree, Names<'_>, &mut Marks)) -> Marks {
        let names = Names::new(who.client_id, who.user);
        let mut found = Marks::default();
        question(&self.everybody, names, &mut found);
        if let Some(rights) = who.rights {
            question(&rights.everybody, names, &mut found);
        }
        match who.user {
            None => question(&self.anonymous, names, &mut found),
            Some(user) => {
                if let Some(tree) = self.users.get(user) {
                    question(tree, names, &mut found);
                }
                let roles = self.memberships.get(user).into_iter().flatten();
                roles.filter_map(|&role| self.roles.get(role as usize)).for_each(|tree| {
                    question(tree, names, &mut found);
                });
            }
        }
        found
    }
}

/// The form in which an account has a name.
fn known_as(name: &str) -> Box<str> {
    prepare::name(name).as_deref().unwrap_or(name).into()
}
