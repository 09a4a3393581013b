//! The rules in effect.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

use super::{Rules, Who};

/// Holds the rules, and counts how often they have changed: whoever keeps what follows from them
/// looks at the count, which costs next to nothing.
#[derive(Debug)]
pub struct AccessControl {
    /// None where there are none: everything is allowed.
    rules: RwLock<Option<Arc<Rules>>>,
    generation: AtomicU64,
}

impl Default for AccessControl {
    fn default() -> Self {
        Self { rules: RwLock::new(None), generation: AtomicU64::new(1) }
    }
}

impl AccessControl {
    /// Rules by other rules from now on.
    pub fn replace(&self, rules: Option<Rules>) {
        *self.rules.write() = rules.map(Arc::new);
        // Behind the change: who sees the count sees the rules.
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The rules now.
    #[must_use]
    pub fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.read().clone()
    }

    /// Never 0, and another after each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a client may publish to a topic.
    #[must_use]
    pub fn may_publish(&self, who: Who<'_>, topic: &str) -> bool {
        match (self.rules.read().as_ref(), who.rights) {
            (Some(rules), _) => rules.may_publish(who, topic),
            (None, Some(rights)) => rights.may_publish(who, topic),
            (None, None) => true,
        }
    }
}
