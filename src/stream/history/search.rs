//! One event by its id, as far as the journal has it. Blocks.
//!
//! Ids of devices' events tell where they would be. Those of other writers tell nothing, so the records are looked
//! through for them; what was learned of where such records are spares the next look most of it, and where there are
//! none, all of it. None are added where this is asked: they come with a database, which answers itself then.

use std::{io, sync::OnceLock};

use uuid::Uuid;

use super::page;
use crate::{
    journal::{Journal, Record, Watermark},
    stream::shown::Shown,
    types::{EventMapper, PodEvent, Sequence},
};

/// The first and the last record that is an event of another writer, once that is known; none where there is none.
pub type Others = OnceLock<Option<(Sequence, Sequence)>>;

/// The event with this id where its id says, as JSON.
pub fn mapped(journal: &Journal, mapper: &dyn EventMapper, id: Uuid) -> io::Result<Option<String>> {
    let sequence = mapper.sequence(id);
    if sequence < journal.oldest() || sequence > journal.watermark(Watermark::Visible) {
        return Ok(None);
    }
    let batches = journal.read_before(sequence.next())?.unwrap_or_default();
    let record = batches.iter().rev().find_map(|batch| batch.find(sequence));
    let event = match record {
        Some(Record::Publication { publication, .. }) => mapper.map(&publication),
        Some(Record::Presence(presence)) => mapper.announce(&presence),
        Some(Record::Command(command)) => mapper.command(&command),
        _ => return Ok(None),
    };
    Ok((event.id == id).then(|| page::json(&Shown::Mapped(event))))
}

/// The event of another writer with this id, as JSON; of several with one id the newest.
pub fn of_others(journal: &Journal, others: &Others, id: Uuid) -> io::Result<Option<String>> {
    let visible = journal.watermark(Watermark::Visible);
    let (first, last) = match others.get() {
        Some(None) => return Ok(None),
        Some(Some(range)) => *range,
        None => (Sequence::ZERO, visible),
    };
    let (mut found, mut range) = (None, None);
    backwards(journal, first, last, |event| {
        let (_, last) = range.unwrap_or((event.sequence, event.sequence));
        range = Some((event.sequence, last));
        if found.is_none() && event.id == id {
            found = Some(page::json(&Shown::Pod(*event)));
        }
        // Once it is known where they are, the first that fits is enough.
        found.is_some() && others.get().is_some()
    })?;
    others.get_or_init(|| range);
    Ok(found)
}

/// Shows the events of other writers from `last` back to `first`, until `is_enough`.
fn backwards(
    journal: &Journal,
    first: Sequence,
    last: Sequence,
    mut is_enough: impl FnMut(&PodEvent<'_>) -> bool,
) -> io::Result<()> {
    let mut before = last.next();
    while before > first {
        let Some(batches) = journal.read_before(before)? else { return Ok(()) };
        for batch in batches.iter().rev() {
            for record in (0..batch.len()).rev().filter_map(|index| batch.get(index)) {
                if let Record::Event(event) = record
                    && event.sequence < before
                    && is_enough(&event)
                {
                    return Ok(());
                }
            }
            before = before.min(batch.first());
        }
        if batches.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}
