//! Publications become events: which route a topic falls under gives type, subject and time,
//! the payload gives `data`.
//!
//! No task of its own: every consumer calls [`Mapper::map`] for each record it handles. Mapping
//! is total and a pure function of the record, the routes and the journal's identity, so the
//! table, the stream and every retry see the same event.
//!
//! `table` has the routes, `pattern` their language, `payload` and `metadata` the two JSON
//! objects, `jsonb` what the table can hold, `event_time` and `event_id` what they say.

mod event_id;
mod event_time;
mod jsonb;
mod metadata;
mod pattern;
mod payload;
mod table;
#[cfg(test)]
mod tests;

use uuid::Uuid;

pub use self::table::{Route, RouteError, RouteProblem, RouteTable};
use self::{
    event_id::JournalBits,
    table::{DEVICE, Subject, TOPIC},
};
use crate::types::{EventMapper, Publication, Sequence, Source, SynapEvent, subject_id};

/// The mapper of one journal.
#[derive(Debug)]
pub struct Mapper {
    routes: RouteTable,
    journal: JournalBits,
    user_id: Box<str>,
}

impl Mapper {
    /// A mapper for the records of one journal. `user_id` is the pod's owner.
    #[must_use]
    pub fn new(routes: RouteTable, journal: Uuid, user_id: &str) -> Self {
        Self { routes, journal: JournalBits::new(journal), user_id: user_id.into() }
    }
}

impl EventMapper for Mapper {
    fn map<'a>(&'a self, publication: &Publication<'a>) -> SynapEvent<'a> {
        let (rule, subject) = self.routes.resolve(publication.topic);
        let device = match subject {
            Subject::Borrowed(name) if &*rule.subject_type == DEVICE => Some(name),
            _ => None,
        };
        let unnamed_elsewhere = device.is_none() && &*rule.subject_type != TOPIC;
        let data = payload::data(publication.payload);
        let own_time = rule.timestamp.as_ref().zip(data.json).and_then(|(pointer, json)| pointer.time_in(json));
        SynapEvent {
            sequence: publication.sequence,
            id: self.journal.event_id(publication.sequence, publication.received),
            event_type: (&*rule.event_type).into(),
            subject_id: subject_id(subject.name()),
            subject_type: &rule.subject_type,
            device,
            topic: publication.topic,
            data: data.object,
            metadata: metadata::metadata(publication, device, unnamed_elsewhere.then(|| subject.name())).into(),
            user_id: &self.user_id,
            source: Source::Api,
            timestamp: own_time.unwrap_or(publication.received),
            reliability: metadata::reliability(publication),
            streamed: rule.stream,
        }
    }

    fn guarantees(&self, topic: &str) -> bool {
        self.routes.guarantees(topic)
    }

    fn names_device(&self, topic: &str) -> bool {
        let (rule, subject) = self.routes.resolve(topic);
        matches!(subject, Subject::Borrowed(_)) && &*rule.subject_type == DEVICE
    }

    fn sequence(&self, id: Uuid) -> Sequence {
        event_id::sequence(id)
    }
}

/// Text that was written as bytes.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
