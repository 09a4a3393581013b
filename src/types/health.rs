//! How a part of the process is doing, told by the part itself.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;

/// The state of one part.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum HealthState {
    /// Not yet able to do its work.
    #[default]
    Starting,
    /// Does its work.
    Ready,
    /// Cannot do all of its work now, and tries on.
    Degraded {
        /// What is wrong, for people.
        reason: String,
    },
    /// Will not work again in this process.
    Failed {
        /// What went wrong, for people.
        reason: String,
    },
}

/// The handle by which a part tells its state. Cheap to clone; all clones are one part. The
/// last word counts, but `Failed` is final: a part that lost its promise must not take it back.
#[derive(Clone, Default)]
pub struct HealthReporter(Arc<Mutex<HealthState>>);

impl HealthReporter {
    /// The part does its work. True when that is news, so that it is logged once.
    pub fn ready(&self) -> bool {
        self.set(HealthState::Ready)
    }

    /// The part tries on but cannot do all of its work. True when it could until now.
    pub fn degraded(&self, reason: impl fmt::Display) -> bool {
        let was_degraded = matches!(self.state(), HealthState::Degraded { .. });
        self.set(HealthState::Degraded { reason: reason.to_string() }) && !was_degraded
    }

    /// The part will not work again. True the first time.
    pub fn failed(&self, reason: impl fmt::Display) -> bool {
        self.set(HealthState::Failed { reason: reason.to_string() })
    }

    /// What was told last.
    #[must_use]
    pub fn state(&self) -> HealthState {
        self.0.lock().clone()
    }

    fn set(&self, state: HealthState) -> bool {
        let mut current = self.0.lock();
        if matches!(*current, HealthState::Failed { .. }) || *current == state {
            return false;
        }
        *current = state;
        true
    }
}

impl fmt::Debug for HealthReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

/// The health of the process at one moment, as its JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HealthSnapshot {
    /// Whether no part has failed for good: `/healthz`. When false, only a restart helps.
    pub live: bool,
    /// Whether every part that gates readiness is ready: `/readyz`.
    pub ready: bool,
    /// Each part by its name.
    pub components: BTreeMap<&'static str, HealthState>,
}

impl HealthSnapshot {
    /// The same for those who need not know why.
    #[must_use]
    pub fn without_reasons(mut self) -> Self {
        for state in self.components.values_mut() {
            if let HealthState::Degraded { reason } | HealthState::Failed { reason } = state {
                "is told to callers with the scope `admin`".clone_into(reason);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_once() {
        let reporter = HealthReporter::default();
        assert_eq!(reporter.state(), HealthState::Starting);
        assert!(reporter.degraded("connection refused"));
        assert!(!reporter.degraded("timed out"), "a new reason is no news");
        assert_eq!(reporter.state(), HealthState::Degraded { reason: "timed out".to_owned() });
        assert!(reporter.clone().ready());
        assert!(!reporter.ready());
    }

    #[test]
    fn failure_is_final() {
        let reporter = HealthReporter::default();
        assert!(reporter.failed("fsync: input/output error"));
        assert!(!reporter.ready() && !reporter.degraded("x") && !reporter.failed("y"));
        assert_eq!(reporter.state(), HealthState::Failed { reason: "fsync: input/output error".to_owned() });
    }
}
