//! What connections and requests see of commands: which messages are commands whose acknowledgement is to be told,
//! which topics bring answers, and who waits for what. The dispatcher keeps it as its table says; nothing here is
//! true before the table is.
//!
//! Connections ask for each acknowledgement, and for messages of QoS 0: while no command is open, that is a comparison
//! with zero, and while some are, acknowledgements of younger messages are told from theirs by a comparison too.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    journal::{BatchBuilder, Record},
    mqtt::session::Session,
    types::{Command, CommandChange, CommandState, DeviceClients, Micros, Sequence},
};

type Random = foldhash::fast::RandomState;

/// A command of which it is not on record that it was delivered.
#[derive(Debug)]
pub struct Undelivered {
    id: Uuid,
    device: Box<str>,
    topic: Box<str>,
    requested: Micros,
    /// Whether the record is made.
    is_told: AtomicBool,
}

impl Undelivered {
    /// As it is on record.
    pub fn new(id: Uuid, device: &str, topic: &str, requested: Micros) -> Self {
        Self { id, device: device.into(), topic: topic.into(), requested, is_told: AtomicBool::new(false) }
    }

    /// Adds the record that it was delivered, unless that has been done.
    pub fn tell(&self, client_id: &str, batch: &mut BatchBuilder) -> bool {
        if self.is_told.swap(true, Ordering::AcqRel) {
            return false;
        }
        batch.push(&Record::Command(Command {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            id: self.id,
            device: &self.device,
            requested: self.requested,
            change: CommandChange::Delivered { client_id },
        }));
        true
    }

    /// The record was refused: it is to be made again.
    pub fn is_not_told(&self) {
        self.is_told.store(false, Ordering::Release);
    }
}

/// Whether a session is the device's: its client is the device, or it subscribes to exactly this topic.
pub fn is_of_device(clients: &DeviceClients, session: &Session, device: &str, topic: &str) -> bool {
    let client_id = session.client_id.as_str();
    client_id == device || clients.device(client_id) == Some(device) || session.subscriptions.lock().contains(topic)
}

/// See the module.
#[derive(Debug, Default)]
pub struct Desk {
    /// The newest record that `undelivered` has; 0 while it has none.
    newest: AtomicU64,
    /// Commands by the publications that carry them.
    undelivered: Mutex<HashMap<Sequence, Arc<Undelivered>, Random>>,
    /// As many as `answer_topics` has.
    awaited: AtomicUsize,
    /// How many commands are answered there.
    answer_topics: RwLock<HashMap<Box<str>, usize, Random>>,
    followed: Mutex<HashMap<Uuid, watch::Sender<Option<CommandState>>, Random>>,
    /// Names of requests that are under way.
    under_way: Mutex<HashSet<Box<str>, Random>>,
}

impl Desk {
    /// A publication carries a command that has not been delivered.
    pub fn watch(&self, sequence: Sequence, command: &Arc<Undelivered>) {
        let mut undelivered = self.undelivered.lock();
        undelivered.insert(sequence, Arc::clone(command));
        self.newest.fetch_max(sequence.0, Ordering::Release);
    }

    /// It does not, or it does not matter any more.
    pub fn unwatch(&self, sequences: &[u64]) {
        let mut undelivered = self.undelivered.lock();
        for &sequence in sequences {
            undelivered.remove(&Sequence(sequence));
        }
        if undelivered.is_empty() {
            self.newest.store(0, Ordering::Release);
        }
    }

    /// Whether there are any.
    pub fn is_watching(&self) -> bool {
        self.newest.load(Ordering::Acquire) > 0
    }

    /// A session has acknowledged the message of this record: where that means that a device has got a command, the
    /// record of it is added.
    pub fn acknowledged(
        &self,
        clients: &DeviceClients,
        session: &Session,
        sequence: Sequence,
        batch: &mut BatchBuilder,
    ) {
        if sequence.0 > self.newest.load(Ordering::Acquire) {
            return;
        }
        let command = self.undelivered.lock().get(&sequence).cloned();
        if let Some(command) = command.filter(|known| is_of_device(clients, session, &known.device, &known.topic)) {
            command.tell(session.client_id.as_str(), batch);
        }
    }

    /// One more command is answered at this topic.
    pub fn await_answer(&self, topic: &str) {
        let mut topics = self.answer_topics.write();
        *topics.entry(topic.into()).or_default() += 1;
        self.awaited.store(topics.len(), Ordering::Release);
    }

    /// One command less is answered there.
    pub fn forget_answer(&self, topic: &str) {
        let mut topics = self.answer_topics.write();
        if let Some(count) = topics.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                topics.remove(topic);
            }
        }
        self.awaited.store(topics.len(), Ordering::Release);
    }

    /// Whether somebody waits for an answer at this topic: it is made durable at once then, whatever its QoS.
    pub fn awaits(&self, topic: &str) -> bool {
        self.awaited.load(Ordering::Acquire) > 0 && self.answer_topics.read().contains_key(topic)
    }

    /// What happens to a command from here on.
    pub fn follow(&self, id: Uuid) -> Following<'_> {
        let mut followed = self.followed.lock();
        let states = followed.entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        Following { desk: self, id, states }
    }

    /// A command has come this far, on record.
    pub fn tell(&self, id: Uuid, state: CommandState) {
        if let Some(followers) = self.followed.lock().get(&id) {
            followers.send_replace(Some(state));
        }
    }

    /// Holds the name of a request, unless another one does.
    pub fn enter(&self, key: &str) -> Option<Turn<'_>> {
        self.under_way.lock().insert(key.into()).then(|| Turn { desk: self, key: key.into() })
    }
}

/// Follows one command; nothing is kept of it once the last one is gone.
pub struct Following<'a> {
    desk: &'a Desk,
    id: Uuid,
    states: watch::Receiver<Option<CommandState>>,
}

impl Following<'_> {
    /// The first state from now on that is such; none where the bridge ends. Cancel safe.
    pub async fn until(&mut self, such: impl Fn(CommandState) -> bool) -> Option<CommandState> {
        let found = self.states.wait_for(|state| state.is_some_and(&such)).await;
        found.ok().and_then(|state| *state)
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        let mut followed = self.desk.followed.lock();
        // This one is still among them.
        if followed.get(&self.id).is_some_and(|followers| followers.receiver_count() <= 1) {
            followed.remove(&self.id);
        }
    }
}

/// Holds the name of a request.
pub struct Turn<'a> {
    desk: &'a Desk,
    key: Box<str>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.desk.under_way.lock().remove(&self.key);
    }
}
