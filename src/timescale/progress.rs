//! Tells how a backlog drains.

use tokio::time::Instant;

use crate::limits;

/// Logs rate and lag every few seconds while the writer is behind, and once when it no longer is.
pub struct Progress {
    since: Instant,
    rows: u64,
    behind: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { since: Instant::now(), rows: 0, behind: false }
    }
}

impl Progress {
    /// Counts rows that were stored; `lag` is what is left.
    pub fn stored(&mut self, rows: u64, lag: u64) {
        self.rows += rows;
        let caught_up = lag == 0;
        if caught_up && !self.behind {
            *self = Self::default();
            return;
        }
        let elapsed = self.since.elapsed();
        if !caught_up && elapsed < limits::TIMESCALE_PROGRESS_INTERVAL {
            return;
        }
        let rows_per_second = (self.rows as f64 / elapsed.as_secs_f64().max(1e-3)).round();
        if caught_up {
            tracing::info!(rows_per_second, "the database has caught up");
        } else {
            tracing::info!(rows_per_second, lag, "the database catches up");
        }
        *self = Self { behind: !caught_up, ..Self::default() };
    }
}
