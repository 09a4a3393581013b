//! Publications, presence and what happens to commands become rows: which tables have something of them.

use std::sync::Arc;

use uuid::Uuid;

use super::rows::RowBatch;
use crate::types::{Command, EventMapper, Kept, Measurements, Presence, Publication};

/// Encodes the publications of one journal.
pub struct Encoder {
    journal: Uuid,
    mapper: Arc<dyn EventMapper>,
    /// Of the event at hand.
    measurements: Measurements,
}

impl Encoder {
    /// For the publications of this journal.
    pub fn new(journal: Uuid, mapper: Arc<dyn EventMapper>) -> Self {
        Self { journal, mapper, measurements: Measurements::default() }
    }

    /// Adds a publication's rows: a dead letter, or its event, its numbers, or both. Returns why it
    /// is a dead letter.
    pub fn push(&mut self, batch: &mut RowBatch, publication: &Publication<'_>) -> Option<String> {
        let event = self.mapper.map(publication);
        batch.next(&event);
        if let Some(reason) = &event.rejected {
            tracing::debug!(sequence = %event.sequence, topic = publication.topic, %reason, "an event is rejected");
            batch.push_dead_letter(self.journal, publication, reason, &event);
            return event.rejected;
        }
        if event.kept != Kept::Event {
            self.mapper.measure(publication, &event, &mut self.measurements);
            batch.push_measurements(event.id, &self.measurements);
            let said_all = !self.measurements.is_empty() && !self.measurements.is_partial;
            if event.kept == Kept::Measurements && said_all {
                return None;
            }
        }
        batch.push(&event);
        None
    }

    /// Adds the row of a device that has come or gone.
    pub fn push_presence(&self, batch: &mut RowBatch, presence: &Presence<'_>) {
        let event = self.mapper.announce(presence);
        batch.next(&event);
        batch.push(&event);
    }

    /// Adds the row of what has happened to a command.
    pub fn push_command(&self, batch: &mut RowBatch, command: &Command<'_>) {
        let event = self.mapper.command(command);
        batch.next(&event);
        batch.push(&event);
    }
}
