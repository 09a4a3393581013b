//! What streams and histories show of the journal: publications, presence and commands as the mapper makes events
//! of them, and events of other writers as they are.

use uuid::Uuid;

use crate::{
    journal::Record,
    types::{Command, EventMapper, Micros, PodEvent, Presence, Publication, Sequence, SynapEvent},
};

/// A record that is an event, before anything costly is done with it.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    Publication(Publication<'a>),
    Presence(Presence<'a>),
    Command(Command<'a>),
    Pod(PodEvent<'a>),
}

/// An event to be shown.
#[derive(Clone, Debug)]
pub enum Shown<'a> {
    Mapped(SynapEvent<'a>),
    Pod(PodEvent<'a>),
}

/// How an event names its device: our own by name, other writers' by the stable id of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device<T> {
    Name(T),
    Subject(T),
}

impl<T> Device<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Device<U> {
        match self {
            Self::Name(name) => Device::Name(change(name)),
            Self::Subject(id) => Device::Subject(change(id)),
        }
    }
}

impl<'a> Candidate<'a> {
    /// A record's event, where it is one.
    pub const fn of(record: &Record<'a>) -> Option<Self> {
        match record {
            Record::Publication { publication, .. } => Some(Self::Publication(*publication)),
            Record::Presence(presence) => Some(Self::Presence(*presence)),
            Record::Command(command) => Some(Self::Command(*command)),
            Record::Event(event) => Some(Self::Pod(*event)),
            Record::State(_) | Record::Mark { .. } => None,
        }
    }

    pub const fn sequence(&self) -> Sequence {
        match self {
            Self::Publication(publication) => publication.sequence,
            Self::Presence(presence) => presence.sequence,
            Self::Command(command) => command.sequence,
            Self::Pod(event) => event.sequence,
        }
    }

    pub const fn received(&self) -> Micros {
        match self {
            Self::Publication(publication) => publication.received,
            Self::Presence(presence) => presence.received,
            Self::Command(command) => command.received,
            Self::Pod(event) => event.received,
        }
    }

    pub const fn topic(&self) -> Option<&'a str> {
        match self {
            Self::Publication(publication) => Some(publication.topic),
            Self::Presence(_) | Self::Command(_) => None,
            Self::Pod(event) => event.topic,
        }
    }

    pub const fn correlation(&self) -> Option<Uuid> {
        match self {
            Self::Publication(_) | Self::Presence(_) => None,
            Self::Command(command) => Some(command.id),
            Self::Pod(event) => event.correlation_id,
        }
    }

    /// The event itself.
    pub fn event(self, mapper: &'a dyn EventMapper) -> Shown<'a> {
        match self {
            Self::Publication(publication) => Shown::Mapped(mapper.map(&publication)),
            Self::Presence(presence) => Shown::Mapped(mapper.announce(&presence)),
            Self::Command(command) => Shown::Mapped(mapper.command(&command)),
            Self::Pod(event) => Shown::Pod(event),
        }
    }
}

impl Shown<'_> {
    pub const fn sequence(&self) -> Sequence {
        match self {
            Self::Mapped(event) => event.sequence,
            Self::Pod(event) => event.sequence,
        }
    }

    pub const fn timestamp(&self) -> Micros {
        match self {
            Self::Mapped(event) => event.timestamp,
            Self::Pod(event) => event.timestamp,
        }
    }

    pub const fn topic(&self) -> Option<&str> {
        match self {
            Self::Mapped(event) => event.topic,
            Self::Pod(event) => event.topic,
        }
    }

    pub fn event_type(&self) -> &str {
        match self {
            Self::Mapped(event) => &event.event_type,
            Self::Pod(event) => event.event_type,
        }
    }

    pub fn device(&self) -> Option<Device<&str>> {
        match self {
            Self::Mapped(event) => event.device.map(Device::Name),
            Self::Pod(event) => (event.subject_type == "device").then_some(Device::Subject(event.subject_id)),
        }
    }

    /// Whether this is the id of its subject.
    pub fn is_about(&self, subject: &str) -> bool {
        match self {
            Self::Mapped(event) => event.subject_id.to_string() == subject,
            Self::Pod(event) => event.subject_id == subject,
        }
    }

    /// Whether stream clients see it.
    pub const fn streamed(&self) -> bool {
        match self {
            Self::Mapped(event) => event.streamed,
            Self::Pod(_) => true,
        }
    }

    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Mapped(event) => event.write_json(out),
            Self::Pod(event) => event.write_json(out),
        }
    }
}
