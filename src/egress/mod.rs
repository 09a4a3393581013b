//! Synap events to devices: a consumer of the journal that makes messages of events, by rules (docs/mapping.md).
//!
//! One task ([`Egress::run`]) follows the journal at `durable`, over whatever is an event there: messages of devices,
//! what the bridge tells of itself, rows of other writers. Messages are appended to the journal like any other, and are
//! durable before the cursor moves over their events.
//!
//! **Once.** Each message names its rule and its event. A start looks which are in the journal behind the cursor, and
//! leaves these out. **No loops.** What a rule has published is an event as well, and no rule takes it.
//! **Non-guarantees.** Events that retention or damage has taken before they were read are passed over, and said so. A
//! rule that is new begins where the others are.
//!
//! A full journal holds it up; nothing is lost meanwhile, because its cursor holds what it has not read.

mod rule;
mod seen;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use rule::Message;
pub use rule::{Payload, Rule};

use crate::{
    journal::{
        AppendError, BatchBuilder, Checkpoint, Consumer, Cursor, Journal, Origin, Outcome, ReadError, Reader, Record,
        Slice, StateError, StateStore, Step, Watermark,
    },
    limits,
    types::{EventMapper, Micros, Publication, PublishProperties, Sequence, Signal},
};
use seen::Seen;

/// The client identifier of what it publishes: that of publications without a client.
const CLIENT_ID: &str = "";

/// Pause after a failure of the disk, or while the journal is full.
const PAUSE: Duration = Duration::from_secs(1);

/// Why it cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The cursor is not there.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was published last cannot be looked at.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

/// What it has done since the start.
#[derive(Debug, Default)]
pub struct EgressStatistics {
    published: AtomicU64,
    unsent: AtomicU64,
}

impl EgressStatistics {
    /// Messages published.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Events of which no message could be made.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }
}

/// See the module.
pub struct Egress {
    journal: Journal,
    mapper: Arc<dyn EventMapper>,
    store: Arc<StateStore>,
    rules: Vec<Rule>,
    /// Of topic, properties and payload of one message.
    maximum_bytes: u32,
    /// What is stored of it.
    cursor: Cursor,
    /// Everything up to here is published.
    position: Sequence,
    reader: Reader,
    seen: Seen,
    statistics: Arc<EgressStatistics>,
    /// Whether the log has said that a rule could not be followed.
    told: Vec<bool>,
    stored: Instant,
    json: Vec<u8>,
}

/// Without rules: what has happened until there are some again is none of theirs. Blocks.
///
/// # Errors
/// [`StateError`]
pub fn forget(store: &StateStore) -> Result<(), StateError> {
    if store.position(Consumer::Egress)? == Sequence::ZERO {
        return Ok(());
    }
    store.commit(Consumer::Egress, Checkpoint::default(), Sequence::ZERO)
}

impl Egress {
    /// Goes on where an earlier life was, or begins with what comes. Blocks.
    ///
    /// # Errors
    /// [`EgressError`]
    pub fn open(
        journal: Journal,
        mapper: Arc<dyn EventMapper>,
        store: Arc<StateStore>,
        rules: Vec<Rule>,
        maximum_bytes: u32,
    ) -> Result<Self, EgressError> {
        let durable = journal.watermark(Watermark::Durable);
        let mut position = store.position(Consumer::Egress)?;
        if position == Sequence::ZERO {
            position = durable;
            store.commit(Consumer::Egress, Checkpoint::default(), position)?;
        }
        let seen = Seen::look(&journal, position, durable)?;
        Ok(Self {
            cursor: journal.register_cursor("egress", position),
            position,
            reader: journal.reader(position, Watermark::Durable),
            told: vec![false; rules.len()],
            journal,
            mapper,
            store,
            rules,
            maximum_bytes,
            seen,
            statistics: Arc::default(),
            stored: Instant::now(),
            json: Vec::new(),
        })
    }

    /// What it does, to be looked at.
    #[must_use]
    pub fn statistics(&self) -> Arc<EgressStatistics> {
        Arc::clone(&self.statistics)
    }

    /// Works until `stop` fires.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.follow() => {}
            () = stop.cancelled() => {}
        }
        self.store_position().await;
    }

    async fn follow(&mut self) {
        loop {
            let slice = match self.reader.step() {
                Step::Slice(slice) => Some(slice),
                Step::Disk => match self.reader.read_disk_async().await {
                    Ok(slice) => slice,
                    Err(ReadError::Cancelled) => return,
                    Err(error) => {
                        tracing::error!(%error, "events of a part of the journal do not reach devices");
                        if !error.is_loss() {
                            sleep(PAUSE).await;
                        }
                        None
                    }
                },
                Step::CaughtUp => {
                    if self.stored.elapsed() >= limits::EGRESS_CHECKPOINT_INTERVAL {
                        self.store_position().await;
                    }
                    let changed = tokio::time::timeout(limits::EGRESS_CHECKPOINT_INTERVAL, self.reader.changed());
                    if matches!(changed.await, Ok(Err(_))) {
                        return;
                    }
                    continue;
                }
            };
            if let Some(slice) = slice
                && !self.take(&slice).await
            {
                return;
            }
            // What was published for them is durable.
            self.position = self.reader.position();
            if self.stored.elapsed() >= limits::EGRESS_CHECKPOINT_INTERVAL {
                self.store_position().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Publishes what rules make of these records; whether there is a journal to go on with.
    async fn take(&mut self, slice: &Slice) -> bool {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for record in slice.records() {
            let before = messages.len();
            self.push(&record, &mut messages);
            bytes += messages.iter().skip(before).map(|(_, message)| message.bytes()).sum::<usize>();
            if messages.len() >= limits::EGRESS_BATCH || bytes >= limits::EGRESS_BATCH_BYTES {
                if !self.publish(&messages).await {
                    return false;
                }
                messages.clear();
                bytes = 0;
            }
        }
        messages.is_empty() || self.publish(&messages).await
    }

    /// Adds the messages for one record.
    fn push(&mut self, record: &Record<'_>, messages: &mut Vec<(usize, Message)>) {
        let mapper = Arc::clone(&self.mapper);
        let mut json = std::mem::take(&mut self.json);
        json.clear();
        let found = match record {
            // What can be told without mapping is told first: most messages are none's business here.
            Record::Publication { publication, .. } if self.is_wanted(mapper.event_type(publication.topic)) => {
                let event = if is_own(publication) { None } else { Some(mapper.map(publication)) };
                event.filter(|event| event.rejected.is_none())
            }
            Record::Presence(presence) => Some(mapper.announce(presence)),
            Record::Command(command) => Some(mapper.command(command)),
            Record::Event(event) if self.is_wanted(event.event_type) => {
                event.write_json(&mut json);
                self.apply_rules(event.id, event.event_type, &json, messages);
                None
            }
            Record::Publication { .. } | Record::Event(_) | Record::State(_) | Record::Mark { .. } => None,
        };
        if let Some(event) = found.filter(|event| self.is_wanted(&event.event_type)) {
            event.write_json(&mut json);
            self.apply_rules(event.id, &event.event_type, &json, messages);
        }
        self.json = json;
    }

    fn is_wanted(&self, event_type: &str) -> bool {
        self.rules.iter().any(|rule| rule.event_type.matches(event_type))
    }

    fn apply_rules(&mut self, id: Uuid, event_type: &str, json: &[u8], messages: &mut Vec<(usize, Message)>) {
        let Ok(json) = std::str::from_utf8(json) else { return };
        for (number, rule) in self.rules.iter().enumerate() {
            if !rule.event_type.matches(event_type) || self.seen.take(id, &rule.name) {
                continue;
            }
            match rule.message(id, json, self.maximum_bytes) {
                Ok(message) => messages.push((number, message)),
                Err(reason) => {
                    self.statistics.unsent.fetch_add(1, Ordering::Relaxed);
                    // Once a rule: its events may be many.
                    let is_told = self.told.get_mut(number).is_none_or(|told| std::mem::replace(told, true));
                    if is_told {
                        tracing::debug!(rule = %rule.name, event = %id, %reason, "an event does not reach devices");
                    } else {
                        tracing::warn!(rule = %rule.name, event = %id, %reason, "an event does not reach devices; others of this rule are counted only");
                    }
                }
            }
        }
    }

    /// Appends messages, and waits until they are durable; whether they are.
    async fn publish(&self, messages: &[(usize, Message)]) -> bool {
        let signal = Arc::new(Signal::new());
        let mut is_told = false;
        loop {
            match self.append(messages, &signal).await {
                Ok(Outcome::Durable) => {
                    self.statistics.published.fetch_add(messages.len() as u64, Ordering::Relaxed);
                    return true;
                }
                Ok(Outcome::Refused) | Err(AppendError::Full) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!("the journal is full: events do not reach devices until it has room");
                    }
                    sleep(PAUSE).await;
                }
                Ok(_) | Err(_) => return false,
            }
        }
    }

    async fn append(&self, messages: &[(usize, Message)], signal: &Arc<Signal>) -> Result<Outcome, AppendError> {
        let mut batch = BatchBuilder::default();
        for (number, message) in messages {
            let Some(rule) = self.rules.get(*number) else { continue };
            let publication = Publication {
                sequence: Sequence::ZERO,
                received: Micros::default(),
                topic: &message.topic,
                payload: &message.payload,
                qos: rule.qos,
                retain: rule.retain,
                // Of any QoS: the cursor moves over its event.
                guaranteed: true,
                client_id: CLIENT_ID,
                properties: PublishProperties::new(&message.properties),
            };
            batch.push(&Record::Publication { publication, origin: Origin::Plain });
        }
        let batch = self.journal.append(batch, Some(signal)).await?;
        while batch.outcome() == Outcome::Pending {
            signal.wait().await;
        }
        Ok(batch.outcome())
    }

    async fn store_position(&mut self) {
        self.stored = Instant::now();
        if self.position <= self.cursor.position() {
            return;
        }
        let (store, position) = (Arc::clone(&self.store), self.position);
        let write = move || store.commit(Consumer::Egress, Checkpoint::default(), position);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => self.cursor.set(position),
            Ok(Err(error)) => {
                tracing::error!(%error, "it cannot be stored how far events have reached devices; trying again");
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}

/// Whether a rule has published it.
fn is_own(publication: &Publication<'_>) -> bool {
    publication.client_id == CLIENT_ID
        && publication.properties.user_properties().any(|(name, _)| name == rule::RULE_PROPERTY)
}
