//! What the writer tells of itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::table::Table;
use crate::types::Sequence;

/// Counters since the start, and the present state. Each is read alone: they are not in step.
#[derive(Debug, Default)]
pub struct Statistics {
    connected: AtomicBool,
    rows: AtomicU64,
    measurements: AtomicU64,
    repeats: AtomicU64,
    batches: AtomicU64,
    known_rows: AtomicU64,
    dead_letters: AtomicU64,
    damages: AtomicU64,
    cursor: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Statistics {
    /// Whether the database answers and takes events. Health is degraded while it does not.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Rows written.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Measurements written.
    #[must_use]
    pub fn measurements(&self) -> u64 {
        self.measurements.load(Ordering::Relaxed)
    }

    /// Publications that were left out, for their device had sent them before.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Batches that they came in.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Rows that were in the table already, after a cursor was lost.
    #[must_use]
    pub fn known_rows(&self) -> u64 {
        self.known_rows.load(Ordering::Relaxed)
    }

    /// Publications that the table or their route refused and `mqtt.dead_letters` has.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    /// Damaged places of the journal that were passed over; their records are lost.
    #[must_use]
    pub fn damages(&self) -> u64 {
        self.damages.load(Ordering::Relaxed)
    }

    /// The last record that is in the database.
    #[must_use]
    pub fn cursor(&self) -> Sequence {
        Sequence(self.cursor.load(Ordering::Relaxed))
    }

    /// Records between the cursor and the journal's durable end; sequences have holes, so this
    /// is an upper bound.
    #[must_use]
    pub fn lag(&self, durable: Sequence) -> u64 {
        durable.0.saturating_sub(self.cursor().0)
    }

    /// Why the database does not take events; none while it does.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    pub(super) fn record_position(&self, cursor: Sequence) {
        self.cursor.store(cursor.0, Ordering::Relaxed);
    }

    pub(super) fn record_working(&self) {
        if !self.connected.swap(true, Ordering::Relaxed) {
            *self.last_error.lock() = None;
        }
    }

    pub(super) fn record_failure(&self, error: String) {
        *self.last_error.lock() = Some(error);
        self.connected.store(false, Ordering::Relaxed);
    }

    pub(super) fn record_stored(&self, stored: &Stored, cursor: Sequence) {
        self.rows.fetch_add(stored.rows, Ordering::Relaxed);
        self.measurements.fetch_add(stored.measurements, Ordering::Relaxed);
        self.repeats.fetch_add(stored.repeats, Ordering::Relaxed);
        self.known_rows.fetch_add(stored.known_rows, Ordering::Relaxed);
        self.dead_letters.fetch_add(stored.dead_letters, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.cursor.store(cursor.0, Ordering::Relaxed);
    }

    pub(super) fn record_damage(&self) {
        self.damages.fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows written.
    pub rows: u64,
    /// Rows of measurements written.
    pub measurements: u64,
    /// Rows that were there already.
    pub known_rows: u64,
    /// Publications that devices had sent before.
    pub repeats: u64,
    /// Publications set aside.
    pub dead_letters: u64,
}

impl Stored {
    /// Counts rows of a table.
    pub(super) const fn add(&mut self, table: Table, rows: u64) {
        match table {
            Table::Events => self.rows += rows,
            Table::Measurements => self.measurements += rows,
            Table::DeadLetters => self.dead_letters += rows,
        }
    }
}

impl std::ops::AddAssign for Stored {
    fn add_assign(&mut self, more: Self) {
        self.rows += more.rows;
        self.measurements += more.measurements;
        self.repeats += more.repeats;
        self.known_rows += more.known_rows;
        self.dead_letters += more.dead_letters;
    }
}
