//! Connections that an earlier life has left open on record: this one closes them.
//!
//! The dispatcher's. A start puts their ends on record before the first listener opens, so that they come before
//! whatever the same clients do next; where there is no room for that, the dispatcher tries again. Those whose end is
//! on record are not in the ledger any more, so a start that is cut short leaves the rest to the next one.

use std::{collections::VecDeque, sync::Arc};

use super::{
    announce::{RESTART, record},
    ledger::connections::{OpenConnection, OpenConnections},
};
use crate::{
    journal::{Batch, BatchBuilder, Journal, Outcome},
    limits,
    types::{Micros, PresenceChange, Sequence, Signal},
};

type Orphan = (Sequence, OpenConnection);

/// See the module.
pub struct Orphans {
    left: VecDeque<Orphan>,
    /// On their way to the disk.
    under_way: Option<(Arc<Batch>, Vec<Orphan>)>,
    /// When the earlier life has last put anything on record.
    seen: Micros,
}

impl Orphans {
    /// All that are open. `seen` is the time of the journal's last record.
    #[must_use]
    pub fn new(open: &mut OpenConnections, seen: Micros) -> Self {
        Self { left: open.take().collect(), under_way: None, seen }
    }

    /// Puts the ends of all on record, as far as there is room.
    pub async fn close_all(&mut self, journal: &Journal) {
        let signal = Arc::new(Signal::new());
        loop {
            self.close_some(journal, Some(&signal)).await;
            let Some((batch, _)) = &self.under_way else { return };
            while batch.outcome() == Outcome::Pending {
                signal.wait().await;
            }
            if batch.outcome() != Outcome::Durable {
                return;
            }
        }
    }

    /// Looks what has become of the last ones, and appends the next.
    pub async fn close_some(&mut self, journal: &Journal, signal: Option<&Arc<Signal>>) {
        match self.under_way.take() {
            Some((batch, orphans)) => match batch.outcome() {
                Outcome::Pending => {
                    self.under_way = Some((batch, orphans));
                    return;
                }
                Outcome::Refused => orphans.into_iter().rev().for_each(|orphan| self.left.push_front(orphan)),
                Outcome::Durable | Outcome::Failed => {}
            },
            None if self.left.is_empty() => return,
            None => {}
        }
        let mut orphans: Vec<_> = self.left.drain(..self.left.len().min(limits::CLOSED_AT_ONCE)).collect();
        if orphans.is_empty() {
            return;
        }
        match journal.append(self.batch(&orphans), signal).await {
            Ok(batch) => self.under_way = Some((batch, orphans)),
            Err(_) => orphans.drain(..).rev().for_each(|orphan| self.left.push_front(orphan)),
        }
    }

    fn batch(&self, orphans: &[Orphan]) -> BatchBuilder {
        let details = format!("\"message\":\"the bridge ended while it was connected\",\"lastSeen\":\"{}\"", self.seen);
        let mut batch = BatchBuilder::default();
        for (opened, OpenConnection { since, client_id, device }) in orphans {
            let change = PresenceChange::Closed { opened: *opened, since: *since, reason: RESTART };
            record(client_id, device, change, &details, &mut batch);
        }
        batch
    }
}
