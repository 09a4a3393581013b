//! Files of events, and of a device's past, on their way into the database (decision 0016).

use anyhow::{Context, bail};
use uuid::Uuid;

use super::{database, routes};
use crate::{
    config::Settings,
    formats::{Entry, FieldError, PlainRow},
    mapping::Mapper,
    timescale::{Loaded, Loader},
    types::{
        EventMapper, ImportedEvent, Kept, Measurements, Micros, Publication, PublishProperties, Qos, Sequence, Source,
        write_json_string,
    },
};

const NO_DATABASE: &str = "events are imported into the database, and `timescale.url` names none: the journal keeps what \
     arrives for some days, and is no place for the past";

/// Namespace of the ids of events that were made from rows of plain files: the UUIDv5 of `import.synap-mqtt` in the DNS
/// namespace. It must never change: by it a row that is imported again is known.
const ROW_NAMESPACE: Uuid = Uuid::from_u128(0xdab3_f871_73a7_5774_95af_a3fb_d5a2_af38);

/// Opens the database's way in.
///
/// # Errors
/// When there is no database, or it does not answer.
pub async fn open(settings: &Settings, streamed: bool) -> anyhow::Result<Loader> {
    let database = database(settings)?.context(NO_DATABASE)?;
    Ok(Loader::open(&database, streamed).await?)
}

/// An event, and what the database keeps of it.
pub struct Planned {
    /// The event.
    pub event: ImportedEvent,
    /// Whether the table gets a row.
    pub with_row: bool,
    /// Its numbers, where a route keeps them.
    pub measurements: Option<Measurements>,
}

impl From<ImportedEvent> for Planned {
    fn from(event: ImportedEvent) -> Self {
        Self { event, with_row: true, measurements: None }
    }
}

/// Makes events of a device's past, by the routes, as they would have made them of messages: the same type, subject
/// and measurements.
pub struct Past {
    mapper: Mapper,
    topic: String,
    origin: String,
}

impl Past {
    /// Rows count as published to `topic`; `origin` goes into their metadata.
    ///
    /// # Errors
    /// When routes cannot be compiled, or the topic's events are not of `device`, where one is named.
    pub fn new(settings: &Settings, topic: String, device: Option<&str>, origin: &str) -> anyhow::Result<Self> {
        let mapper = Mapper::new(routes::compile(settings)?, Uuid::nil(), &settings.pod.user_id);
        let past = Self { mapper, topic, origin: origin.to_owned() };
        let event = past.mapper.map(&past.publication(b"{}", Micros::default()));
        if let Some(device) = device
            && event.device != Some(device)
        {
            bail!(
                "by the routes, {} is a topic of {}, and not of the device {device}; --topic names another",
                past.topic,
                event.device.map_or("no device".to_owned(), |other| format!("the device {other}"))
            );
        }
        Ok(past)
    }

    fn publication<'a>(&'a self, payload: &'a [u8], received: Micros) -> Publication<'a> {
        Publication {
            sequence: Sequence::ZERO,
            received,
            topic: &self.topic,
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            guaranteed: true,
            client_id: "",
            properties: PublishProperties::default(),
        }
    }

    /// The event of a row.
    ///
    /// # Errors
    /// When the route refuses it.
    pub fn plan(&self, row: &PlainRow) -> Result<Planned, FieldError> {
        let publication = self.publication(row.data.as_bytes(), row.time);
        let mut event = self.mapper.map(&publication);
        if let Some(reason) = event.rejected.take() {
            return Err(FieldError::Record(format!("the route of {} refuses it: {reason}", self.topic)));
        }
        event.timestamp = row.time;
        // The route's decoder is for what the device sends, and this is JSON whatever that is.
        event.data = row.data.as_str().into();
        event.id = self.id(row);
        let mut measurements = Measurements::default();
        if event.kept != Kept::Event {
            self.mapper.measure(&publication, &event, &mut measurements);
        }
        let said_all = !measurements.is_empty() && !measurements.is_partial;
        Ok(Planned {
            with_row: event.kept != Kept::Measurements || !said_all,
            measurements: Some(measurements).filter(|measurements| !measurements.is_empty()),
            event: ImportedEvent {
                id: event.id,
                timestamp: row.time,
                event_type: event.event_type.clone().into_owned(),
                subject_id: event.subject_id.to_string(),
                subject_type: event.subject_type.to_owned(),
                metadata: self.metadata(event.device),
                data: event.data.into_owned(),
                user_id: event.user_id.to_owned(),
                source: Source::Migration.as_str().to_owned(),
                correlation_id: None,
            },
        })
    }

    /// The same for the same row, in whatever file and at whatever line it is.
    fn id(&self, row: &PlainRow) -> Uuid {
        let name = format!("{}\n{}\n{}", self.topic, row.time.get(), row.data);
        Uuid::new_v5(&ROW_NAMESPACE, name.as_bytes())
    }

    fn metadata(&self, device: Option<&str>) -> String {
        let mut out = b"{\"version\":\"v1\",\"topic\":".to_vec();
        write_json_string(&self.topic, &mut out);
        if let Some(device) = device {
            out.extend_from_slice(b",\"device\":");
            write_json_string(device, &mut out);
        }
        out.push(b',');
        out.extend_from_slice(self.origin.as_bytes());
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that are new.
    pub stored: u64,
    /// Numbers that are new.
    pub measurements: u64,
    /// Events that the table had.
    pub known: u64,
    /// Records that are none, or that the table refused.
    pub bad: u64,
}

impl Counts {
    /// Counts what became of a batch.
    pub fn add(&mut self, loaded: &Loaded) {
        self.stored += loaded.events;
        self.measurements += loaded.measurements;
        self.known += loaded.known;
    }
}

/// Makes a plan of an entry.
pub fn planned<T>(entry: Entry<T>, plan: impl FnOnce(T) -> Result<Planned, FieldError>) -> Entry<Planned> {
    let Entry { line, text, found } = entry;
    Entry { line, text, found: found.and_then(plan) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_as_documented() {
        assert_eq!(ROW_NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"import.synap-mqtt"));
    }
}
