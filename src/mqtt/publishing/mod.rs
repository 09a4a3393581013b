//! Publications that no MQTT client sends: by HTTP, or over the streams' WebSocket.
//!
//! They are records like any other, of the client without a name, and are answered once they are on disk,
//! whatever their QoS. One that has a name of its own is done once: `keys` has the protocol. A caller that goes
//! away leaves what it has asked for to be finished.

mod keys;

use std::{error::Error, sync::Arc};

use super::{Broker, receive::is_within_limits, system};
use crate::{
    auth::access::Who,
    journal::{AppendError, BatchBuilder, Origin, Outcome, Record, StateError, StateStore},
    limits,
    types::{
        EventMapper, IdempotencyKey, Micros, Publication, PublishProperties, PublishRequest, Published, Sequence,
        Signal,
    },
};
use keys::{Entry, Keys};

/// The client identifier of what comes this way: MQTT clients never have an empty one.
pub const CLIENT_ID: &str = "";

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The topic is too long or too deep.
    #[error("a topic has at most {} bytes and {} levels", limits::MAXIMUM_TOPIC_BYTES, limits::MAXIMUM_TOPIC_LEVELS)]
    Topic,
    /// The topic is the broker's own.
    #[error("topics below $SYS/ are the bridge's own")]
    Reserved,
    /// No access rule allows it.
    #[error("no access rule allows clients without an account to publish there")]
    NotAuthorized,
    /// `mqtt.maximum_qos` is lower.
    #[error("the bridge takes no such QoS; at most {0}")]
    Qos(u8),
    /// `mqtt.retain_available` is false.
    #[error("the bridge retains nothing")]
    Retain,
    /// It would be larger than a packet may be.
    #[error("topic, properties and payload have more than {0} bytes together")]
    TooLarge(u32),
    /// The payload is said to be UTF-8, which is looked at, and is none.
    #[error("the payload is said to be UTF-8, and is not")]
    PayloadFormat,
    /// The same name was given to something else before.
    #[error("the idempotency key has been used for another publication")]
    KeyReused,
    /// An earlier request of the same name is not done yet.
    #[error("a publication with this idempotency key is under way")]
    InProgress,
    /// The disk or the journal is full. May pass.
    #[error("the journal is full")]
    Full,
    /// Nothing can be stored.
    #[error("it cannot be stored: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl From<StateError> for PublishError {
    fn from(error: StateError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Publishes. Cheap to clone.
#[derive(Clone)]
pub struct Publishing(Arc<Shared>);

struct Shared {
    broker: Arc<Broker>,
    mapper: Arc<dyn EventMapper>,
    keys: Keys,
}

impl Publishing {
    /// Publishes through `broker`; `mapper` says which events they become, and names are kept in `store`.
    #[must_use]
    pub fn new(broker: Arc<Broker>, mapper: Arc<dyn EventMapper>, store: Arc<StateStore>) -> Self {
        Self(Arc::new(Shared { broker, mapper, keys: Keys::new(store) }))
    }

    /// Whether this may be published at all.
    ///
    /// # Errors
    /// [`PublishError`]
    pub(super) fn check(&self, request: &PublishRequest) -> Result<(), PublishError> {
        self.0.check(request)
    }

    /// Publishes once; returns when it is on disk. Goes on when it is dropped.
    ///
    /// # Errors
    /// [`PublishError`]; after `Unavailable` it may have been published nevertheless, and a repetition of the
    /// same name tells.
    pub async fn publish(&self, request: PublishRequest) -> Result<Published, PublishError> {
        self.0.check(&request)?;
        let shared = Arc::clone(&self.0);
        let publishing = tokio::spawn(async move {
            match request.key.clone() {
                Some(key) => shared.publish_once(&key, &request).await,
                None => shared.append(&request).await,
            }
        });
        publishing.await.map_err(|error| PublishError::Unavailable(error.into()))?
    }
}

impl Shared {
    fn check(&self, request: &PublishRequest) -> Result<(), PublishError> {
        let PublishRequest { topic, payload, qos, retain, properties, .. } = request;
        let profile = &self.broker.settings.profile;
        let topic = topic.as_str();
        if !is_within_limits(topic) {
            return Err(PublishError::Topic);
        }
        if topic.starts_with(system::PREFIX) {
            return Err(PublishError::Reserved);
        }
        if *qos > profile.maximum_qos {
            return Err(PublishError::Qos(profile.maximum_qos.into()));
        }
        if *retain && !profile.retain_available {
            return Err(PublishError::Retain);
        }
        if topic.len() + properties.len() + payload.len() > profile.maximum_packet_size as usize {
            return Err(PublishError::TooLarge(profile.maximum_packet_size));
        }
        if !profile.takes_payload(PublishProperties::new(properties), payload) {
            return Err(PublishError::PayloadFormat);
        }
        let who = Who { user: None, client_id: CLIENT_ID, rights: None };
        if !request.is_granted && !self.broker.access.may_publish(who, topic) {
            self.broker.statistics.may_not_publish.add(1);
            return Err(PublishError::NotAuthorized);
        }
        Ok(())
    }

    async fn publish_once(&self, key: &IdempotencyKey, request: &PublishRequest) -> Result<Published, PublishError> {
        let _turn = self.keys.enter(key).ok_or(PublishError::InProgress)?;
        let entry = Entry::of(request, &self.broker.journal);
        let entry = match self.keys.find(key).await? {
            Some(known) if !known.is_for(&entry) => return Err(PublishError::KeyReused),
            Some(known) => match known.done() {
                Some(published) => return Ok(published),
                // An end of the process came between: it is in the journal, or it never will be.
                None => match keys::search(&self.broker.journal, &*self.mapper, known.after(), key).await? {
                    Some(published) => {
                        self.keys.put(key, Some(known.with(published))).await?;
                        return Ok(published);
                    }
                    None => known,
                },
            },
            None => {
                self.keys.put(key, Some(entry.clone())).await?;
                entry
            }
        };
        match self.append(request).await {
            Ok(published) => {
                // Should this fail, the journal tells.
                if let Err(error) = self.keys.put(key, Some(entry.with(published))).await {
                    tracing::warn!(%error, "an idempotency key is not noted as done");
                }
                Ok(published)
            }
            Err(PublishError::Full) => {
                self.keys.put(key, None).await?;
                Err(PublishError::Full)
            }
            Err(error) => Err(error),
        }
    }

    async fn append(&self, request: &PublishRequest) -> Result<Published, PublishError> {
        let properties = request.properties_with_key();
        let publication = Publication {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            topic: request.topic.as_str(),
            payload: &request.payload,
            qos: request.qos,
            retain: request.retain,
            // Of any QoS: the answer says that it is on disk.
            guaranteed: true,
            client_id: CLIENT_ID,
            properties: PublishProperties::new(&properties),
        };
        let mut batch = BatchBuilder::default();
        batch.push(&Record::Publication { publication, origin: Origin::Plain });
        let signal = Arc::new(Signal::new());
        let batch = self.broker.journal.append(batch, Some(&signal)).await?;
        self.broker.statistics.received.add(1);
        loop {
            match batch.outcome() {
                Outcome::Pending => signal.wait().await,
                Outcome::Durable => break,
                Outcome::Refused => return Err(PublishError::Full),
                Outcome::Failed => return Err(AppendError::Failed.into()),
            }
        }
        let Some(Record::Publication { publication, .. }) = batch.get(0) else {
            return Err(PublishError::Unavailable("the record is not what was appended".into()));
        };
        Ok(published(&publication, &*self.mapper))
    }
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::Full,
            other => Self::Unavailable(other.into()),
        }
    }
}

fn published(publication: &Publication<'_>, mapper: &dyn EventMapper) -> Published {
    Published { sequence: publication.sequence, event_id: mapper.map(publication).id, is_repeated: false }
}
