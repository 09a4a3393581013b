//! The ledger's form in the store. Keys and values of its spaces:
//!
//! | space | key | value |
//! | --- | --- | --- |
//! | `session` | number | client id, account, expiry, receive maximum, flags, since, counters, held identifiers, will |
//! | `subscription` | number, filter | options, identifier |
//! | `queue` | number, first message's number | a chunk of the queue |
//! | `group` | filter with `$share/…` | group's number, its turn |
//! | `retained` | topic | the record |
//! | `connection` | record of its opening | when, client id, device |
//! | `command` | record of its request | what is known of it, as JSON |
//! | `owed` | number, filter | what the subscription gets of the retained messages, and up to which topic it has |
//! | `limit` | `retained` | messages and bytes that were retained at most when the journal's last records were made |
//!
//! Numbers in keys are eight bytes, big-endian, so that keys are in their order; in values they are
//! varints.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use hashbrown::HashMap;

use super::{
    super::{
        commands::CommandEntry,
        mailbox::Packed,
        retained::RetainedLimits,
        routing::GroupId,
        seldom::Seldom,
        session::{Session, SessionId},
        varint::{read_str, read_varint, unzigzag, write_bytes, write_varint, zigzag},
        will::Will,
        window::Acknowledged,
    },
    Account, Queue,
    connections::{self, OpenConnection},
    owed::Owed,
};
use crate::{
    auth::User,
    journal::{Checkpoint, OwnedRecord, StateError, StateStore},
    types::{ClientId, Micros, Presence, Sequence},
};

const SESSIONS: &str = "session";
const SUBSCRIPTIONS: &str = "subscription";
const QUEUES: &str = "queue";
const GROUPS: &str = "group";
const RETAINED: &str = "retained";
const LIMITS: &str = "limit";
const CONNECTIONS: &str = "connection";
const COMMANDS: &str = "command";
const OWED: &str = "owed";

const CONNECTED: u8 = 1;
const WILL_PENDING: u8 = 1 << 1;
const ENDED: u8 = 1 << 2;
const CLOSED: u8 = 1 << 3;
const WILL: u8 = 1 << 4;
const TRACKED: u8 = 1 << 5;
const FULL: u8 = 1 << 6;
const OWNED: u8 = 1 << 7;

type Random = foldhash::fast::RandomState;
type Row = (&'static str, Vec<u8>);
/// A filter with its options and identifier.
type StoredSubscription = (Box<str>, u8, u32);

/// A retained message with its topic.
type StoredMessage = (Box<str>, Arc<OwnedRecord>);

/// Changes that the store does not have, by row; the newest of each.
#[derive(Default)]
pub struct Changes {
    rows: HashMap<Row, Option<Vec<u8>>, Random>,
    retained: HashMap<Box<str>, Option<Arc<OwnedRecord>>, Random>,
    connections: HashMap<Sequence, Option<Box<[u8]>>, Random>,
}

impl Changes {
    /// A topic's retained message, or that it has none.
    pub fn set_retained(&mut self, topic: &str, record: Option<Arc<OwnedRecord>>) {
        self.retained.insert(topic.into(), record);
    }

    /// A subscription, or that it is over.
    pub fn set_subscription(&mut self, id: SessionId, filter: &str, options: Option<(u8, u32)>) {
        let value = options.map(|(options, identifier)| {
            let mut value = vec![options];
            write_varint(&mut value, u64::from(identifier));
            value
        });
        self.rows.insert((SUBSCRIPTIONS, key(id, filter.as_bytes())), value);
    }

    /// What a subscription has still to get of the retained messages, or that this is nothing.
    pub(super) fn set_owed(&mut self, id: SessionId, filter: &str, owed: Option<&Owed>) {
        self.rows.insert((OWED, key(id, filter.as_bytes())), owed.map(Owed::encode));
    }

    /// A group's number and turn, or that it is over.
    pub fn set_group(&mut self, text: &str, group: Option<(GroupId, u64)>) {
        let value = group.map(|(id, turn)| {
            let mut value = Vec::new();
            write_varint(&mut value, id.0);
            write_varint(&mut value, turn);
            value
        });
        self.rows.insert((GROUPS, text.as_bytes().to_vec()), value);
    }

    /// The limits that decide what is retained from now on.
    pub fn set_limits(&mut self, limits: RetainedLimits) {
        let mut value = Vec::new();
        write_varint(&mut value, limits.messages as u64);
        write_varint(&mut value, limits.bytes);
        self.rows.insert((LIMITS, RETAINED.as_bytes().to_vec()), Some(value));
    }

    /// A connection that is open, or that it is not any more.
    pub(super) fn set_connection(&mut self, presence: &Presence<'_>) {
        let (opened, value) = connections::row(presence);
        self.connections.insert(opened, value);
    }

    /// What is known of a command, or that nothing is any more.
    pub fn set_command(&mut self, order: u64, row: Option<Vec<u8>>) {
        self.rows.insert((COMMANDS, order.to_be_bytes().to_vec()), row);
    }

    pub(super) fn set_session(&mut self, id: SessionId, account: &mut Account) {
        account.stored = true;
        self.rows.insert((SESSIONS, key(id, &[])), Some(encode_account(account)));
        let rows = &mut self.rows;
        if let Some(queue) = account.queue.present_mut() {
            queue.take_rows(|first, value| {
                rows.insert((QUEUES, key(id, &first.to_be_bytes())), value);
            });
        }
    }

    pub(super) fn remove_session(&mut self, id: SessionId) {
        self.rows.insert((SESSIONS, key(id, &[])), None);
    }

    pub(super) fn remove_chunks(&mut self, id: SessionId, chunks: impl Iterator<Item = u64>) {
        for first in chunks {
            self.rows.insert((QUEUES, key(id, &first.to_be_bytes())), None);
        }
    }

    /// Puts changes that could not be written back, under those made since.
    pub fn put_back(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        self.rows.extend(newer.rows);
        self.retained.extend(newer.retained);
        self.connections.extend(newer.connections);
    }

    /// The changes as the store takes them.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        for ((space, key), value) in &self.rows {
            checkpoint.set(space, key.clone(), value.clone());
        }
        for (opened, value) in &self.connections {
            checkpoint.set(CONNECTIONS, opened.0.to_be_bytes(), value.as_deref().map(<[u8]>::to_vec));
        }
        for (topic, record) in &self.retained {
            checkpoint.set(RETAINED, topic.as_bytes(), record.as_ref().map(|record| record.as_bytes().to_vec()));
        }
        checkpoint
    }
}

/// What a start finds in the store.
pub struct Stored {
    /// Retained messages by topic, in order.
    pub retained: Vec<StoredMessage>,
    /// Groups: text, number, turn.
    pub groups: Vec<(Box<str>, GroupId, u64)>,
    /// Sessions.
    pub sessions: BTreeMap<SessionId, StoredSession>,
    /// Connections that are open on record.
    pub connections: Vec<(Sequence, OpenConnection)>,
    /// Commands.
    pub commands: Vec<CommandEntry>,
    /// Retained messages that subscriptions have still to get.
    pub owed: Vec<(SessionId, Owed)>,
}

/// A session in the store.
pub struct StoredSession {
    /// Its account.
    pub account: Account,
    /// What it subscribes to.
    pub subscriptions: Vec<StoredSubscription>,
}

/// Reads everything; `revive` makes the living half of each session. Retained messages are read beside the rest,
/// by a thread of their own: a start waits for this.
///
/// # Errors
/// [`StateError`]
pub fn load(store: &StateStore, revive: impl Fn(SessionId, ClientId) -> Arc<Session>) -> Result<Stored, StateError> {
    std::thread::scope(|scope| {
        let retained = scope.spawn(|| load_retained(store));
        let sessions = load_sessions(store, revive)?;
        let groups = load_groups(store)?;
        let connections = load_connections(store)?;
        let commands = load_commands(store)?;
        let owed = load_owed(store)?;
        let retained = retained.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Stored { retained, groups, sessions, connections, commands, owed })
    })
}

/// The limits that decided what was retained since the checkpoint.
///
/// # Errors
/// [`StateError`]
pub fn load_limits(store: &StateStore) -> Result<Option<RetainedLimits>, StateError> {
    let Some(value) = store.get(LIMITS, RETAINED.as_bytes())? else { return Ok(None) };
    let mut rest = value.as_slice();
    let messages = read_varint(&mut rest).and_then(|messages| usize::try_from(messages).ok());
    let limits = messages.zip(read_varint(&mut rest)).map(|(messages, bytes)| RetainedLimits { messages, bytes });
    limits.map(Some).ok_or(StateError::Value { space: LIMITS })
}

/// Every row of a space, unless `take` says of one that it is damaged.
fn load_space(
    store: &StateStore,
    space: &'static str,
    mut take: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<(), StateError> {
    let mut is_whole = true;
    store.load(space, |key, value| is_whole &= take(key, value).is_some())?;
    if is_whole { Ok(()) } else { Err(StateError::Value { space }) }
}

fn load_sessions(
    store: &StateStore,
    revive: impl Fn(SessionId, ClientId) -> Arc<Session>,
) -> Result<BTreeMap<SessionId, StoredSession>, StateError> {
    let mut sessions = BTreeMap::new();
    let mut chunks: HashMap<SessionId, Vec<(u64, Packed)>, Random> = HashMap::default();
    load_space(store, QUEUES, |key, value| {
        let ((id, first), packed) = split_chunk_key(key).zip(Packed::read(value))?;
        chunks.entry(id).or_default().push((first, packed));
        Some(())
    })?;
    load_space(store, SESSIONS, |key, value| {
        let (id, _) = split_key(key)?;
        let account = decode_account(value, chunks.remove(&id), |client_id| revive(id, client_id))?;
        sessions.insert(id, StoredSession { account, subscriptions: Vec::new() });
        Some(())
    })?;
    load_space(store, SUBSCRIPTIONS, |key, value| {
        let (id, subscription) = decode_subscription(key, value)?;
        if let Some(session) = sessions.get_mut(&id) {
            session.subscriptions.push(subscription);
        }
        Some(())
    })?;
    Ok(sessions)
}

fn load_groups(store: &StateStore) -> Result<Vec<(Box<str>, GroupId, u64)>, StateError> {
    let mut groups = Vec::new();
    load_space(store, GROUPS, |key, mut value| {
        let (id, turn) = (read_varint(&mut value)?, read_varint(&mut value)?);
        groups.push((std::str::from_utf8(key).ok()?.into(), GroupId(id), turn));
        Some(())
    })?;
    Ok(groups)
}

fn load_connections(store: &StateStore) -> Result<Vec<(Sequence, OpenConnection)>, StateError> {
    let mut connections = Vec::new();
    load_space(store, CONNECTIONS, |key, value| {
        connections.push((Sequence(u64::from_be_bytes(key.try_into().ok()?)), OpenConnection::decode(value)?));
        Some(())
    })?;
    Ok(connections)
}

fn load_commands(store: &StateStore) -> Result<Vec<CommandEntry>, StateError> {
    let mut commands = Vec::new();
    load_space(store, COMMANDS, |_, value| {
        commands.push(CommandEntry::decode(value)?);
        Some(())
    })?;
    Ok(commands)
}

fn load_owed(store: &StateStore) -> Result<Vec<(SessionId, Owed)>, StateError> {
    let mut owed = Vec::new();
    load_space(store, OWED, |key, value| {
        let (id, filter) = split_key(key)?;
        owed.push((id, Owed::decode(filter, value)?));
        Some(())
    })?;
    Ok(owed)
}

fn load_retained(store: &StateStore) -> Result<Vec<StoredMessage>, StateError> {
    let mut retained = Vec::new();
    load_space(store, RETAINED, |key, value| {
        let record = OwnedRecord::from_bytes(value.to_vec())?;
        retained.push((std::str::from_utf8(key).ok()?.into(), Arc::new(record)));
        Some(())
    })?;
    Ok(retained)
}

fn key(id: SessionId, rest: &[u8]) -> Vec<u8> {
    [id.0.to_be_bytes().as_slice(), rest].concat()
}

fn split_key(key: &[u8]) -> Option<(SessionId, &[u8])> {
    let (id, rest) = key.split_first_chunk()?;
    Some((SessionId(u64::from_be_bytes(*id)), rest))
}

fn split_chunk_key(key: &[u8]) -> Option<(SessionId, u64)> {
    let (id, first) = split_key(key)?;
    Some((id, u64::from_be_bytes(first.try_into().ok()?)))
}

fn decode_subscription(key: &[u8], value: &[u8]) -> Option<(SessionId, StoredSubscription)> {
    let (id, filter) = split_key(key)?;
    let (&options, mut rest) = value.split_first()?;
    let identifier = u32::try_from(read_varint(&mut rest)?).ok()?;
    Some((id, (std::str::from_utf8(filter).ok()?.into(), options, identifier)))
}

fn encode_account(account: &Account) -> Vec<u8> {
    let flag = |condition, flag| if condition { flag } else { 0 };
    let mut out = vec![
        flag(account.connected, CONNECTED)
            | flag(account.will_pending, WILL_PENDING)
            | flag(account.ended, ENDED)
            | flag(account.closed, CLOSED)
            | flag(account.tracked, TRACKED)
            | flag(account.full, FULL)
            | flag(account.will.is_some(), WILL)
            | flag(account.session.owner().is_some(), OWNED),
    ];
    write_bytes(&mut out, account.session.client_id.as_str().as_bytes());
    if let Some(owner) = account.session.owner() {
        write_bytes(&mut out, owner.as_bytes());
    }
    write_varint(&mut out, u64::from(account.expiry));
    write_varint(&mut out, u64::from(account.receive_maximum));
    write_varint(&mut out, zigzag(account.since.get()));
    write_varint(&mut out, account.sent);
    write_varint(&mut out, account.session.mailbox.lock().dropped());
    let queue = &account.queue;
    Acknowledged { below: queue.base(), beyond: queue.beyond().iter().copied().collect() }.write(&mut out);
    Acknowledged { below: queue.base(), beyond: queue.received().iter().copied().collect() }.write(&mut out);
    write_varint(&mut out, account.held.len() as u64);
    for (&packet_id, &sequence) in account.held.iter() {
        write_varint(&mut out, u64::from(packet_id));
        write_varint(&mut out, sequence.0);
    }
    if let Some(will) = &account.will {
        will.write(&mut out);
    }
    out
}

fn decode_account(
    value: &[u8],
    chunks: Option<Vec<(u64, Packed)>>,
    revive: impl FnOnce(ClientId) -> Arc<Session>,
) -> Option<Account> {
    let (&flags, mut rest) = value.split_first()?;
    let from = &mut rest;
    let client_id: ClientId = read_str(from)?.parse().ok()?;
    let owner: Option<User> = if flags & OWNED == 0 { None } else { Some(read_str(from)?.into()) };
    let expiry = u32::try_from(read_varint(from)?).ok()?;
    let receive_maximum = u16::try_from(read_varint(from)?).ok()?;
    let since = Micros::saturating(unzigzag(read_varint(from)?));
    let sent = read_varint(from)?;
    let dropped = read_varint(from)?;
    let done = Acknowledged::read(from)?;
    let received = Acknowledged::read(from)?;
    let mut held = HashMap::default();
    for _ in 0..read_varint(from)? {
        held.insert(u16::try_from(read_varint(from)?).ok()?, Sequence(read_varint(from)?));
    }
    let will = if flags & WILL == 0 { None } else { Some(Box::new(Will::read(from)?)) };
    let set = |numbers: Vec<u64>| numbers.into_iter().collect::<BTreeSet<_>>();
    let mut queue = Queue::restored(done.below, set(done.beyond), set(received.beyond));
    for (first, entries) in chunks.unwrap_or_default() {
        if !queue.restore_chunk(first, entries) {
            return None;
        }
    }
    let session = revive(client_id);
    session.belongs_to(owner.as_ref());
    session.mailbox.lock().count_dropped(dropped);
    let tracked = flags & TRACKED != 0;
    session.tracked.store(tracked, Ordering::Release);
    Some(Account {
        expiry,
        receive_maximum,
        connected: flags & CONNECTED != 0,
        since,
        will,
        will_pending: flags & WILL_PENDING != 0,
        ended: flags & ENDED != 0,
        held: if held.is_empty() { Seldom::default() } else { held.into() },
        queue: queue.into(),
        sent,
        closed: flags & CLOSED != 0,
        full: flags & FULL != 0,
        tracked,
        stored: true,
        ..Account::new(session)
    })
}
