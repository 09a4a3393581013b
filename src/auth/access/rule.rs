//! Rules as they are written.

use std::collections::BTreeMap;

use crate::types::RuleTopic;

/// What a client does with topics, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Sends messages, also its will.
    pub publish: bool,
    /// Asks for messages, and gets them.
    pub subscribe: bool,
    /// Gets messages that it has not asked for as such: those of a wider filter.
    pub receive: bool,
}

/// Who a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every client.
    Everybody,
    /// Clients that have not said who they are.
    Anonymous,
    /// Clients of an account.
    User(Box<str>),
    /// Clients of every account with this role.
    Role(Box<str>),
}

/// Which way a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// These actions are allowed.
    Allow,
    /// They are not, whatever other rules say.
    Deny,
}

/// What answers a SUBSCRIBE that is not allowed; the later ones are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedSubscribe {
    /// It is granted, and each message is looked at before it is sent.
    Filter,
    /// 0x80 Unspecified error.
    Failure,
    /// 0x87 Not authorized; 0x80 in 3.1.1, which has no other.
    #[default]
    NotAuthorized,
}

/// What becomes of a QoS 1 or 2 PUBLISH that is not allowed where there is no word for it: in 3.1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefusedPublish {
    /// It is acknowledged and goes nowhere.
    #[default]
    Acknowledge,
    /// The connection ends.
    Disconnect,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who it is for.
    pub subject: Subject,
    /// Which way it decides.
    pub effect: Effect,
    /// On what.
    pub actions: Actions,
    /// Where.
    pub topic: RuleTopic,
    /// What answers a SUBSCRIBE that it has to do with and that is refused, where it says so.
    pub refuse: Option<RefusedSubscribe>,
}

/// All rules there are, and what goes for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In any order.
    pub rules: Vec<Rule>,
    /// Users by role.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The answer where no rule says another.
    pub refused_subscribe: RefusedSubscribe,
    /// See there.
    pub refused_publish: RefusedPublish,
}
