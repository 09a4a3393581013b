//! Publications become events: which route a topic falls under gives type, subject and time,
//! the payload gives `data`.
//!
//! No task of its own: every consumer calls [`Mapper::map`] for each record it handles. Mapping
//! is total and a pure function of the record, the Sparkplug births in front of it, the routes and the journal's
//! identity, so the table, the stream and every retry see the same event.
//!
//! `table` has the routes, `pattern` their language, `decode` the formats that payloads are in,
//! `payload` and `metadata` the two JSON objects, `presence` the events of devices that come and go, `command` those of commands, `measure` the numbers in them, `schema` what must hold of them, `jsonb` what the table can hold, `event_time` and
//! `event_id` what they say.

mod births;
mod command;
mod decode;
mod dedupe;
mod event_id;
mod event_time;
mod jsonb;
mod measure;
mod metadata;
mod pattern;
mod payload;
mod presence;
mod schema;
mod table;
#[cfg(test)]
mod tests;
mod time_window;

use std::sync::Arc;

use uuid::Uuid;

use self::{
    births::Births,
    event_id::JournalBits,
    metadata::Details,
    table::{DEVICE, Rule, Subject, TOPIC},
};
pub use self::{
    decode::Decoder,
    dedupe::{Dedupe, DedupeBy},
    table::{Route, RouteError, RouteProblem, RouteTable},
    time_window::TimeWindow,
};
use crate::types::{
    Command, EventMapper, Kept, Measurements, Presence, Publication, Sequence, Source, SynapEvent, TopicFilter,
    subject_id,
};

/// The mapper of one journal.
#[derive(Debug)]
pub struct Mapper {
    routes: Arc<RouteTable>,
    journal: JournalBits,
    user_id: Box<str>,
    births: Births,
}

impl Mapper {
    /// A mapper for the records of one journal. `user_id` is the pod's owner.
    #[must_use]
    pub fn new(routes: impl Into<Arc<RouteTable>>, journal: Uuid, user_id: &str) -> Self {
        Self {
            routes: routes.into(),
            journal: JournalBits::new(journal),
            user_id: user_id.into(),
            births: Births::default(),
        }
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
        let decoder = decoder_of(rule, publication);
        let birth = match decoder {
            Decoder::SparkplugB => self.births.of(publication),
            _ => Arc::default(),
        };
        let data = payload::data(publication.payload, decoder, &birth);
        let device_time = rule.timestamp.as_ref().zip(data.json()).and_then(|(pointer, json)| pointer.time_in(json));
        let believed = device_time.filter(|own| rule.time_window.holds(publication.received, *own));
        let disbelieved = device_time.filter(|_| believed.is_none()).map(|own| own.to_string());
        let kept = if data.json().is_some() { rule.kept } else { Kept::Event };
        let decode_error = data.error.map(|error| error.to_string());
        let refused = decode_error.clone().filter(|_| rule.strict);
        let fault = rule.schema.as_ref().and_then(|schema| schema.fault(data.json()));
        // A payload that is not in its format is no JSON either; the former says more.
        let rejected = refused.or_else(|| fault.map(|fault| decode_error.clone().unwrap_or(fault)));
        let named = rule.names.as_ref().filter(|_| rejected.is_none());
        let message_key = named.and_then(|names| names.key(publication, data.json()));
        let details = Details {
            device,
            subject: unnamed_elsewhere.then(|| subject.name()),
            decoder: decoder.binary_name().filter(|_| data.error.is_none() && !publication.payload.is_empty()),
            decode_error: decode_error.as_deref(),
            device_time: disbelieved.as_deref(),
            rejected: rejected.as_deref(),
        };
        SynapEvent {
            sequence: publication.sequence,
            id: self.journal.event_id(publication.sequence, publication.received),
            event_type: (&*rule.event_type).into(),
            subject_id: subject_id(subject.name()),
            subject_type: &rule.subject_type,
            device,
            topic: Some(publication.topic),
            data: data.object,
            metadata: metadata::metadata(publication, details).into(),
            user_id: &self.user_id,
            source: Source::Api,
            timestamp: believed.unwrap_or(publication.received),
            correlation_id: None,
            reliability: metadata::reliability(publication),
            streamed: rule.stream,
            kept,
            rejected,
            message_key,
        }
    }

    fn announce<'a>(&'a self, presence: &Presence<'a>) -> SynapEvent<'a> {
        presence::event(presence, self.journal, &self.user_id)
    }

    fn command<'a>(&'a self, command: &Command<'a>) -> SynapEvent<'a> {
        command::event(command, self.journal, &self.user_id)
    }

    fn measure(&self, publication: &Publication<'_>, event: &SynapEvent<'_>, out: &mut Measurements) {
        let (rule, subject) = self.routes.resolve(publication.topic);
        out.begin(subject.name());
        if event.kept == Kept::Event {
            return;
        }
        if decoder_of(rule, publication) == Decoder::SparkplugB {
            let (received, window) = (publication.received, rule.time_window);
            rule.metrics.find_metrics(&event.data, received, window, event.timestamp, out);
        } else {
            rule.metrics.find(&event.data, event.timestamp, out);
        }
        out.keep_last();
    }

    fn guarantees(&self, topic: &str) -> bool {
        self.routes.guarantees(topic)
    }

    fn topics_of(&self, device: &str) -> Vec<TopicFilter> {
        self.routes.topics_of(device)
    }

    fn names_device(&self, topic: &str) -> bool {
        let (rule, subject) = self.routes.resolve(topic);
        matches!(subject, Subject::Borrowed(_)) && &*rule.subject_type == DEVICE
    }

    fn event_type<'a>(&'a self, topic: &'a str) -> &'a str {
        &self.routes.resolve(topic).0.event_type
    }

    fn learn(&self, publication: &Publication<'_>) {
        self.births.learn(publication);
    }

    fn take_learned(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.births.take_changes()
    }

    fn remember(&self, key: &[u8], value: &[u8]) -> bool {
        self.births.restore(key, value)
    }

    fn sequence(&self, id: Uuid) -> Sequence {
        event_id::sequence(id)
    }
}

/// The format of a publication's payload.
fn decoder_of(rule: &Rule, publication: &Publication<'_>) -> Decoder {
    let properties = &publication.properties;
    let content_type = if properties.is_empty() { None } else { properties.content_type() };
    rule.decoder.or_told_by(content_type, publication.topic)
}

/// Text that was written as bytes.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
