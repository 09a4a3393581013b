//! Newest first. Blocks.

use std::{io, sync::Arc};

use super::{
    arrival_of, cursor,
    page::{Page, Progress},
};
use crate::{
    journal::{Batch, Journal, Record},
    types::{EventMapper, EventPage, EventQuery, Micros, Sequence},
};

/// The events before `before`.
pub fn scan(journal: &Journal, mapper: &dyn EventMapper, query: EventQuery, before: Sequence) -> io::Result<EventPage> {
    let arrived = arrival_of(query.from.unwrap_or(Micros::MIN));
    let mut scan = Scan { page: Page::new(query), arrived, before };
    let mut progress = Progress::More;
    while progress == Progress::More {
        let Some(batches) = journal.read_before(scan.before)? else { break };
        progress = scan.look_through(&batches, mapper);
    }
    let next_cursor = (progress == Progress::Full).then(|| cursor(journal, scan.before));
    Ok(EventPage { events: scan.page.events, next_cursor })
}

struct Scan {
    page: Page,
    /// Nothing that arrived before this time is wanted.
    arrived: Micros,
    /// Everything from here on was looked at, or is no part of the page.
    before: Sequence,
}

impl Scan {
    fn look_through(&mut self, batches: &[Arc<Batch>], mapper: &dyn EventMapper) -> Progress {
        for batch in batches.iter().rev() {
            for record in (0..batch.len()).rev().filter_map(|index| batch.get(index)) {
                let Record::Publication { publication, .. } = record else { continue };
                if publication.sequence >= self.before {
                    continue;
                }
                if publication.received < self.arrived {
                    return Progress::Done;
                }
                match self.page.look_at(&publication, mapper) {
                    Progress::More => self.before = publication.sequence,
                    progress => return progress,
                }
            }
            self.before = self.before.min(batch.first());
        }
        Progress::More
    }
}
