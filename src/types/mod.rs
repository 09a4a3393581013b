//! Words of the domain, parsed once at the edge and trusted afterwards.
//!
//! Nothing here knows any other room of this crate. A value of one of these types is
//! valid by construction: its checks live in `FromStr`, `TryFrom` or a named constructor.

mod client_id;
mod client_pattern;
mod consumers;
mod dead_letter;
mod descriptors;
mod device;
mod event;
mod event_query;
mod event_text;
mod health;
mod imported_event;
mod json;
mod json_text;
mod listen_address;
mod measurement;
mod origin;
mod peer;
mod pod_event;
mod presence;
mod properties;
mod publication;
mod publish_request;
mod qos;
mod response_information;
mod rule_topic;
mod sequence;
mod series;
mod session;
mod signal;
mod timestamp;
mod topic;
pub mod wire;

pub use client_id::{ClientId, ClientIdError};
pub use client_pattern::{ClientPattern, ClientPatternError, DeviceClients};
pub use consumers::{ConsumerInfo, ConsumersInfo, DatabaseInfo, ImportInfo, JournalInfo};
pub use dead_letter::{DeadLetter, DeadLetterPage, DeadLetterQuery};
pub use descriptors::Descriptors;
pub use device::{DeviceInfo, DevicePage, DeviceQuery, DeviceState, LastClosed, LastValue, OpenConnection};
pub use event::{EventMapper, Kept, MessageKey, Reliability, Source, SynapEvent, subject_id};
pub use event_query::{EventPage, EventQuery, Order, OrderError};
pub use health::{HealthReporter, HealthSnapshot, HealthState};
pub use imported_event::ImportedEvent;
pub use json::write_json_string;
pub use json_text::JsonText;
pub use listen_address::{ListenAddress, ListenAddressError};
pub use measurement::{Measurement, Measurements};
pub use origin::{Origin, OriginError, is_loopback};
pub use peer::Peer;
pub use pod_event::PodEvent;
pub use presence::{Presence, PresenceChange};
pub use properties::{PropertyError, PublishProperties, PublishProperty};
pub use publication::Publication;
pub use publish_request::{IdempotencyKey, IdempotencyKeyError, KEY_PROPERTY, PublishRequest, Published};
pub use qos::{Qos, QosError};
pub use response_information::ResponseInformation;
pub use rule_topic::{RuleLevel, RuleTopic, RuleTopicError};
pub use sequence::{Epoch, LastEventId, LastEventIdError, Sequence};
pub use series::{Bucket, SeriesBuilder, SeriesQuery};
pub use session::{SessionInfo, SessionPage, SessionQuery};
pub use signal::Signal;
pub use timestamp::{Micros, TimestampError};
pub use topic::{TopicError, TopicFilter, TopicName};
