//! What rules say, as a set that can be united: bits.

use std::ops::{BitOr, BitOrAssign};

use super::{Actions, Effect, RefusedSubscribe, Rule};

/// What some rules say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u16);

const PUBLISH: u16 = 1;
const SUBSCRIBE: u16 = 1 << 1;
const RECEIVE: u16 = 1 << 2;
/// Bits of actions and of answers that rules with this effect have.
const SHIFT: u16 = 6;

/// An action that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Publish,
    Subscribe,
    Receive,
}

const fn shift(effect: Effect) -> u16 {
    match effect {
        Effect::Allow => 0,
        Effect::Deny => SHIFT,
    }
}

impl Marks {
    /// Of one rule. Who may ask for messages may get them, and who may not ask must not get them.
    pub(super) fn of(rule: &Rule) -> Self {
        let Actions { publish, subscribe, receive } = rule.actions;
        let bit = |has, bit| if has { bit } else { 0 };
        let actions = bit(publish, PUBLISH) | bit(subscribe, SUBSCRIBE) | bit(receive || subscribe, RECEIVE);
        let answer = rule.refuse.map_or(0, answer_bit);
        Self((actions | answer) << shift(rule.effect))
    }

    /// Whether some rule has this effect on this action.
    pub(super) const fn has(self, effect: Effect, action: Action) -> bool {
        let bit = match action {
            Action::Publish => PUBLISH,
            Action::Subscribe => SUBSCRIBE,
            Action::Receive => RECEIVE,
        };
        self.0 & bit << shift(effect) != 0
    }

    /// Whether an action is allowed, if these rules are all that have to do with it.
    pub(super) const fn allow(self, action: Action) -> bool {
        self.has(Effect::Allow, action) && !self.has(Effect::Deny, action)
    }

    /// The strictest answer that a rule of this effect names.
    pub(super) fn answer(self, effect: Effect) -> Option<RefusedSubscribe> {
        use RefusedSubscribe::{Failure, Filter, NotAuthorized};
        let names = |answer: &RefusedSubscribe| self.0 >> shift(effect) & answer_bit(*answer) != 0;
        [NotAuthorized, Failure, Filter].into_iter().find(names)
    }

    /// Whether these say all that `others` say.
    pub(super) const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

const fn answer_bit(answer: RefusedSubscribe) -> u16 {
    1 << 3 << answer as u16
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
