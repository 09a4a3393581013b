//! The health of the whole process, gathered from its parts, for `/healthz` and `/readyz`.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::types::{HealthReporter, HealthSnapshot, HealthState};

/// Whether a part must be ready before the process says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Without this part no traffic should come.
    Readiness,
    /// The process serves without this part; its state is only shown.
    None,
}

/// All parts. Cheap to clone; all clones are one registry.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Component>>>);

#[derive(Debug)]
struct Component {
    gate: Gate,
    reporter: HealthReporter,
}

impl Health {
    /// Adds a part, which starts as [`HealthState::Starting`]. A name that is there already is
    /// replaced.
    pub fn component(&self, name: &'static str, gate: Gate) -> HealthReporter {
        let reporter = HealthReporter::default();
        self.0.lock().insert(name, Component { gate, reporter: reporter.clone() });
        reporter
    }

    /// How everything is now.
    #[must_use]
    pub fn snapshot(&self) -> HealthSnapshot {
        let (mut live, mut ready) = (true, true);
        let mut state = |(name, part): (&&'static str, &Component)| {
            let state = part.reporter.state();
            live &= !matches!(state, HealthState::Failed { .. });
            ready &= part.gate == Gate::None || state == HealthState::Ready;
            (*name, state)
        };
        let components = self.0.lock().iter().map(&mut state).collect();
        HealthSnapshot { live, ready, components }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_waits_for_its_gates() {
        let health = Health::default();
        let journal = health.component("journal", Gate::Readiness);
        let timescale = health.component("timescale", Gate::None);
        assert!(!health.snapshot().ready);
        journal.ready();
        timescale.degraded("connection refused");
        let snapshot = health.snapshot();
        assert!(snapshot.ready && snapshot.live);
        assert_eq!(
            serde_json::to_string(&snapshot).unwrap(),
            r#"{"live":true,"ready":true,"components":{"journal":{"state":"ready"},"timescale":{"state":"degraded","reason":"connection refused"}}}"#
        );
        journal.degraded("disk full");
        assert!(!health.snapshot().ready);
        timescale.failed("bug");
        assert!(!health.snapshot().live);
    }
}
