//! Commands to devices: a publication that a device is to answer, followed from its request to its end
//! (docs/commands.md, docs/decisions/0020-commands.md).
//!
//! What happens to a command is a record each: requested, delivered, completed, expired. `table` is what these
//! records say, with the rows of the store (`entry`): the dispatcher owns it, applies records to it in the order of
//! the journal, and puts on record what follows from them (`acts`): the publication, once somebody subscribes to its
//! topic; the completion, when the answer is durable; the end of its time. So a start comes to the same, and does what
//! is left to do. `desk` is what connections and requests see of it. [`Commands`] takes requests.
//!
//! Invariants: each step of a command is on record once. Nobody is told of one before it is durable.

mod acts;
pub mod desk;
mod entry;
mod note;
pub mod table;

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Broker,
    directory::{DirectoryError, Question},
    publishing::{PublishError, Publishing},
};
use crate::{
    journal::{AppendError, BatchBuilder, Clock, Journal, Outcome, Record, Slice, SystemClock, Watermark},
    limits,
    types::{
        Command, CommandChange, CommandInfo, CommandOrder, CommandPage, CommandRequest, CommandState, CommandTold,
        EventMapper, Micros, PublishProperties, PublishProperty, PublishRequest, Sequence, Signal, TopicError,
        TopicName,
    },
};
use desk::Turn;
use table::{Known, Room};

pub use acts::CommandActs;
pub use desk::Desk;
pub use entry::Entry as CommandEntry;
pub use table::CommandTable;

/// What stands for the device in a template.
const DEVICE: &str = "{device}";
/// What stands for the command's id in a template.
const COMMAND: &str = "{command}";

/// Where commands go and come back, where a request does not say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// The topic that commands are published to, with `{device}` and, if wanted, `{command}`.
    pub topic: String,
    /// The topic of their answers, likewise.
    pub response_topic: String,
    /// Time in which a device must have answered.
    pub expiry: Duration,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            topic: limits::COMMAND_TOPIC.to_owned(),
            response_topic: limits::COMMAND_RESPONSE_TOPIC.to_owned(),
            expiry: limits::COMMAND_EXPIRY,
        }
    }
}

/// Why a command is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The name of the device cannot be a level of a topic.
    #[error("the name of a device has 1 to {} bytes, without /, +, # and U+0000", limits::MAXIMUM_DEVICE_NAME_BYTES)]
    Device,
    /// What the template makes of the device is no topic.
    #[error("`{0}`: {1}")]
    Topic(String, TopicError),
    /// It would be its own answer.
    #[error("`responseTopic` must be another topic than that of the command, `{0}`")]
    OwnAnswer(String),
    /// It cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The same name was given to another command before.
    #[error("the idempotency key has been used for another command")]
    KeyReused,
    /// An earlier request of the same name is not done yet.
    #[error("a command with this idempotency key is under way")]
    InProgress,
    /// Too many wait for an answer.
    #[error(
        "too many commands wait for an answer: at most {}, and {} of one device",
        limits::OPEN_COMMANDS,
        limits::OPEN_COMMANDS_OF_DEVICE
    )]
    TooMany,
    /// The dispatcher does not answer.
    #[error("commands cannot be looked at now")]
    Unavailable,
}

impl From<DirectoryError> for CommandError {
    fn from(_: DirectoryError) -> Self {
        Self::Unavailable
    }
}

/// Takes commands, and tells of them. Cheap to clone.
#[derive(Clone)]
pub struct Commands(Arc<Shared>);

struct Shared {
    broker: Arc<Broker>,
    mapper: Arc<dyn EventMapper>,
    publishing: Publishing,
}

/// A command in the making.
struct Draft {
    id: Uuid,
    request: CommandRequest,
    topic: TopicName,
    answer_topic: TopicName,
    expiry: Duration,
    digest: Uuid,
}

impl Commands {
    /// For the devices of `broker`; `publishing` says what may be published, `mapper` what answers become.
    #[must_use]
    pub fn new(broker: Arc<Broker>, mapper: Arc<dyn EventMapper>, publishing: Publishing) -> Self {
        Self(Arc::new(Shared { broker, mapper, publishing }))
    }

    /// Puts a command on record, once; returns when it is on disk and the dispatcher knows it. Goes on when it is
    /// dropped.
    ///
    /// # Errors
    /// [`CommandError`]; after a failure to store it, it may be on record nevertheless, and a repetition of the same
    /// name tells.
    pub async fn request(&self, request: CommandRequest) -> Result<CommandTold, CommandError> {
        let draft = self.0.draft(request)?;
        if draft.request.granted.as_ref().is_some_and(|granted| !granted.have(Some(draft.topic.as_str()))) {
            return Err(PublishError::NotAuthorized.into());
        }
        self.0.publishing.check(&draft.publication())?;
        let shared = Arc::clone(&self.0);
        let requesting = tokio::spawn(async move { shared.put_on_record(draft).await });
        requesting.await.map_err(|_| CommandError::Unavailable)?
    }

    /// The command once it is completed or expired, or after `wait`, however it is then; none where it is not known
    /// any more.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`]
    pub async fn settled(&self, id: Uuid, wait: Duration) -> Result<Option<CommandInfo>, CommandError> {
        let mut told = self.0.broker.commands.follow(id);
        // What has happened before is known, what happens from here on is told.
        let known = self.find(id).await?;
        if !known.as_ref().is_some_and(|command| is_open(command.state)) {
            return Ok(known);
        }
        // However it ends, the table says how it is.
        let _ended = timeout(wait, told.until(|state| !is_open(state))).await;
        self.find(id).await
    }

    /// One command, with its answer.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`]
    pub async fn find(&self, id: Uuid) -> Result<Option<CommandInfo>, CommandError> {
        let Some(Known { mut info, completed }) = self.0.ask(id).await? else { return Ok(None) };
        if let Some(sequence) = completed {
            info.completion = self.0.completion(sequence).await;
        }
        Ok(Some(info))
    }

    /// The newest commands of a device, without their answers.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`]
    pub async fn of_device(&self, device: &str, limit: usize) -> Result<CommandPage, CommandError> {
        let device = device.to_owned();
        let directory = &self.0.broker.directory;
        Ok(directory.ask(|answer| Question::Commands { device, limit, answer }).await?)
    }
}

/// Whether an answer is waited for.
const fn is_open(state: CommandState) -> bool {
    !matches!(state, CommandState::Completed | CommandState::Expired)
}

impl Shared {
    fn draft(&self, request: CommandRequest) -> Result<Draft, CommandError> {
        let device = request.device.as_str();
        let is_level = !device.contains(['/', '+', '#', '\0']);
        if !is_level || !(1..=limits::MAXIMUM_DEVICE_NAME_BYTES).contains(&device.len()) {
            return Err(CommandError::Device);
        }
        let id = Uuid::new_v4();
        let settings = &self.broker.settings.commands;
        let fill = |template: &str| {
            let text = template.replace(DEVICE, device).replace(COMMAND, &id.to_string());
            text.parse().map_err(|error| CommandError::Topic(text, error))
        };
        let topic = request.topic.clone().map_or_else(|| fill(&settings.topic), Ok)?;
        let answer_topic = request.answer_topic.clone().map_or_else(|| fill(&settings.response_topic), Ok)?;
        if topic == answer_topic {
            return Err(CommandError::OwnAnswer(topic.as_str().to_owned()));
        }
        let expiry = request.expiry.map_or(settings.expiry, |seconds| Duration::from_secs(seconds.into()));
        let digest = digest(&request);
        Ok(Draft { id, request, topic, answer_topic, expiry, digest })
    }

    async fn put_on_record(&self, draft: Draft) -> Result<CommandTold, CommandError> {
        let turn = draft.request.key.as_ref().map(|key| self.broker.commands.enter(key.as_str()));
        let _turn: Option<Turn<'_>> = match turn {
            Some(None) => return Err(CommandError::InProgress),
            Some(turn) => turn,
            None => None,
        };
        let key = draft.request.key.as_ref().map(|key| key.as_str().to_owned());
        let device = draft.request.device.clone();
        match self.broker.directory.ask(|answer| Question::CommandRoom { key, device, answer }).await? {
            Room::Repeated { digest, .. } if digest != draft.digest => return Err(CommandError::KeyReused),
            Room::Repeated { id, .. } => {
                let command = self.ask(id).await?.ok_or(CommandError::Unavailable)?.info;
                return Ok(CommandTold { command, is_repeated: true });
            }
            Room::None => return Err(CommandError::TooMany),
            Room::Free => {}
        }
        let mut told = self.broker.commands.follow(draft.id);
        self.append(&draft).await?;
        // It is durable: the dispatcher comes to it, or the bridge ends.
        told.until(|_| true).await.ok_or(CommandError::Unavailable)?;
        let command = self.ask(draft.id).await?.ok_or(CommandError::Unavailable)?.info;
        Ok(CommandTold { command, is_repeated: false })
    }

    async fn append(&self, draft: &Draft) -> Result<(), CommandError> {
        let mut batch = BatchBuilder::default();
        batch.push(&Record::Command(draft.record(SystemClock.now())));
        let signal = Arc::new(Signal::new());
        let batch = self.broker.journal.append(batch, Some(&signal)).await.map_err(PublishError::from)?;
        loop {
            match batch.outcome() {
                Outcome::Pending => signal.wait().await,
                Outcome::Durable => return Ok(()),
                Outcome::Refused => return Err(PublishError::Full.into()),
                Outcome::Failed => return Err(PublishError::from(AppendError::Failed).into()),
            }
        }
    }

    async fn ask(&self, id: Uuid) -> Result<Option<Known>, CommandError> {
        Ok(self.broker.directory.ask(|answer| Question::Command { id, answer }).await?)
    }

    /// What the event of a completion says, where the journal still has it.
    async fn completion(&self, sequence: Sequence) -> Option<Box<RawValue>> {
        let slice = slice_with(&self.broker.journal, sequence).await?;
        let Some(Record::Command(command)) = slice.batch().find(sequence) else { return None };
        RawValue::from_string(self.mapper.command(&command).data.into_owned()).ok()
    }
}

impl Draft {
    /// What is published first, for whoever must allow that.
    fn publication(&self) -> PublishRequest {
        let properties = publication_properties(
            PublishProperties::new(&self.request.properties),
            self.id,
            self.answer_topic.as_str(),
            u32::MAX,
        );
        PublishRequest {
            topic: self.topic.clone(),
            payload: self.request.payload.clone(),
            qos: self.request.qos,
            retain: false,
            properties,
            key: None,
            is_granted: self.request.granted.is_some(),
        }
    }

    fn record(&self, now: Micros) -> Command<'_> {
        let expiry = i64::try_from(self.expiry.as_micros()).unwrap_or(i64::MAX);
        let order = CommandOrder {
            topic: self.topic.as_str(),
            answer_topic: self.answer_topic.as_str(),
            qos: self.request.qos,
            expires: Micros::saturating(now.get().saturating_add(expiry)),
            key: self.request.key.as_ref().map_or("", |key| key.as_str()),
            digest: self.digest,
            properties: PublishProperties::new(&self.request.properties),
            payload: &self.request.payload,
        };
        Command {
            sequence: Sequence::ZERO,
            received: now,
            id: self.id,
            device: &self.request.device,
            requested: now,
            change: CommandChange::Requested(order),
        }
    }
}

/// Properties that a command is published with, after those of its request.
fn publication_properties(asked: PublishProperties<'_>, id: Uuid, answer_topic: &str, seconds: u32) -> Vec<u8> {
    let mut out = asked.as_bytes().to_vec();
    PublishProperty::MessageExpiryInterval(seconds).write(&mut out);
    PublishProperty::ResponseTopic(answer_topic).write(&mut out);
    PublishProperty::CorrelationData(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
        .write(&mut out);
    out
}

/// Each part with its length, so that no two requests are one text.
fn digest(request: &CommandRequest) -> Uuid {
    let mut hash = Sha256::new();
    let topics = [&request.topic, &request.answer_topic].map(|topic| topic.as_ref().map_or("", TopicName::as_str));
    let [topic, answer_topic] = topics.map(str::as_bytes);
    for part in [request.device.as_bytes(), topic, answer_topic, &request.properties, &request.payload] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update([request.qos.into()]);
    hash.update(request.expiry.unwrap_or(0).to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    Uuid::from_slice(digest.get(..16).unwrap_or_default()).unwrap_or_default()
}

/// The slice of the journal that has a durable record, if it still does.
async fn slice_with(journal: &Journal, sequence: Sequence) -> Option<Slice> {
    let mut reader = journal.reader(sequence.previous(), Watermark::Durable);
    match reader.next_kept().await {
        Ok(slice) => slice,
        Err(error) => {
            tracing::error!(%sequence, %error, "a record of a command cannot be read");
            None
        }
    }
}
