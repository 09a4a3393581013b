//! What an earlier life had published for events behind the cursor: found in the journal at the start.

use std::collections::HashSet;

use uuid::Uuid;

use super::{is_own, rule};
use crate::{
    journal::{Journal, ReadError, Record, Slice, Watermark},
    types::{Publication, Sequence},
};

/// Events, each with a rule that has been followed for it.
#[derive(Debug, Default)]
pub struct Seen(HashSet<(Uuid, Box<str>), foldhash::fast::RandomState>);

impl Seen {
    /// Looks behind `after`, up to `to`: a message comes behind its event. Blocks.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn look(journal: &Journal, after: Sequence, to: Sequence) -> Result<Self, ReadError> {
        let mut seen = Self::default();
        let mut reader = journal.reader(after, Watermark::Durable);
        while reader.position() < to {
            match reader.read_disk() {
                Ok(Some(slice)) => seen.note(&slice),
                Ok(None) => break,
                Err(error) if error.is_loss() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }

    /// Whether this rule has been followed for this event; it is forgotten then.
    pub fn take(&mut self, event: Uuid, rule: &str) -> bool {
        !self.0.is_empty() && self.0.remove(&(event, rule.into()))
    }

    fn note(&mut self, slice: &Slice) {
        for record in slice.records() {
            if let Record::Publication { publication, .. } = record
                && is_own(&publication)
            {
                self.0.extend(source(&publication));
            }
        }
    }
}

fn source(publication: &Publication<'_>) -> Option<(Uuid, Box<str>)> {
    let find = |wanted| publication.properties.user_properties().find(|(name, _)| *name == wanted);
    let (_, event) = find(rule::EVENT_PROPERTY)?;
    let (_, rule) = find(rule::RULE_PROPERTY)?;
    Some((Uuid::try_parse(event).ok()?, rule.into()))
}
