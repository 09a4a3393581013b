//! What the importer tells of itself.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use super::arrivals::Counts;

/// Counters since the start, and the present state. Each is read alone: they are not in step.
#[derive(Debug, Default)]
pub struct ImportStatistics {
    connected: AtomicBool,
    standby: AtomicBool,
    imported: AtomicU64,
    omitted: AtomicU64,
    vanished: AtomicU64,
    lag_micros: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl ImportStatistics {
    /// Whether events of other writers are being taken over. False also while another bridge does it.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether another session takes them over, and this one waits for its end.
    #[must_use]
    pub fn standby(&self) -> bool {
        self.standby.load(Ordering::Relaxed)
    }

    /// Events taken into the journal.
    #[must_use]
    pub fn imported(&self) -> u64 {
        self.imported.load(Ordering::Relaxed)
    }

    /// Those of them that were too large, and are shown without their data.
    #[must_use]
    pub fn omitted(&self) -> u64 {
        self.omitted.load(Ordering::Relaxed)
    }

    /// Rows that were deleted, or moved to another time, before they were read.
    #[must_use]
    pub fn vanished(&self) -> u64 {
        self.vanished.load(Ordering::Relaxed)
    }

    /// How long the oldest row that was read last had waited; zero once nothing waits.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::Relaxed))
    }

    /// Why nothing is taken over; none while it is.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    pub(super) fn record_working(&self) {
        *self.last_error.lock() = None;
        self.standby.store(false, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn record_standby(&self) {
        *self.last_error.lock() = None;
        self.standby.store(true, Ordering::Relaxed);
    }

    pub(super) fn record_failure(&self, error: String) {
        *self.last_error.lock() = Some(error);
        self.standby.store(false, Ordering::Relaxed);
        self.connected.store(false, Ordering::Relaxed);
    }

    pub(super) fn record_lag(&self, lag: Duration) {
        self.lag_micros.store(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn record_batch(&self, counts: Counts) {
        self.imported.fetch_add(counts.imported, Ordering::Relaxed);
        self.omitted.fetch_add(counts.omitted, Ordering::Relaxed);
        self.vanished.fetch_add(counts.vanished, Ordering::Relaxed);
    }
}
