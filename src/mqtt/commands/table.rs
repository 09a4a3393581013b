//! All commands that are known: the dispatcher's. Those that are open, and for a time those that have come to their
//! end, within [`limits::FINISHED_COMMANDS`].
//!
//! [`CommandTable::change`] is the one way to change an entry: indexes, the desk and the row of the store follow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    desk::{Desk, Undelivered},
    entry::Entry,
};
use crate::{
    limits,
    types::{CommandInfo, CommandPage, Micros, Sequence},
};

type Random = foldhash::fast::RandomState;

/// A row of the store: the record of the request, and what is known; nothing once it is forgotten.
pub type Row = (u64, Option<Vec<u8>>);

/// What is told of a command.
pub struct Known {
    /// Without its answer.
    pub info: CommandInfo,
    /// The record of its completion.
    pub completed: Option<Sequence>,
}

/// Whether there is room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Free,
    /// There is not.
    None,
    /// The name of the request is known: this command has it.
    Repeated { id: Uuid, digest: Uuid },
}

/// See the module.
#[derive(Default)]
pub struct CommandTable {
    desk: Arc<Desk>,
    /// By the record of their request.
    entries: BTreeMap<u64, Entry>,
    ids: HashMap<Uuid, u64, Random>,
    keys: HashMap<Box<str>, u64, Random>,
    of_device: BTreeSet<(Box<str>, Reverse<u64>)>,
    /// How many are open, of each device.
    open: HashMap<Box<str>, usize, Random>,
    all_open: usize,
    /// Those that may have to be published, by topic.
    to_send: BTreeSet<(Box<str>, u64)>,
    /// Those whose request may have to be read again.
    needed: BTreeSet<u64>,
    /// Those that can be answered, by the topic of their answers.
    answerable: HashMap<Box<str>, BTreeSet<u64>, Random>,
    /// Those that are open, by the end of their time.
    deadlines: BTreeSet<(Micros, u64)>,
    /// Those that are not, by when that was.
    finished: BTreeSet<(Micros, u64)>,
    /// Those that are not delivered, as the desk has them.
    undelivered: HashMap<u64, Arc<Undelivered>, Random>,
    /// Those with something to be put on record.
    pub due: BTreeSet<u64>,
    /// Rows that the store does not have.
    rows: Vec<Row>,
}

impl CommandTable {
    /// An empty one, that others see through this desk.
    pub fn new(desk: Arc<Desk>) -> Self {
        Self { desk, ..Self::default() }
    }

    /// Whether nothing is known of any.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts back what the store has.
    pub fn restore(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.index(entry.order, &entry);
            self.entries.insert(entry.order, entry);
        }
    }

    /// Adds a command.
    pub fn add(&mut self, entry: Entry) {
        let order = entry.order;
        self.rows.push((order, Some(entry.encode())));
        self.index(order, &entry);
        self.desk.tell(entry.id, entry.state());
        self.entries.insert(order, entry);
        self.forget_surplus();
    }

    /// Changes an entry.
    pub fn change(&mut self, order: u64, change: impl FnOnce(&mut Entry)) {
        let Some(mut entry) = self.entries.remove(&order) else { return };
        self.unindex(order, &entry);
        change(&mut entry);
        self.rows.push((order, Some(entry.encode())));
        self.index(order, &entry);
        self.desk.tell(entry.id, entry.state());
        self.entries.insert(order, entry);
        self.forget_surplus();
    }

    /// A command by its id.
    pub fn order_of(&self, id: Uuid) -> Option<u64> {
        self.ids.get(&id).copied()
    }

    /// What is known of one.
    pub fn get(&self, order: u64) -> Option<&Entry> {
        self.entries.get(&order)
    }

    /// What others see of one that is not delivered.
    pub fn undelivered(&self, order: u64) -> Option<&Arc<Undelivered>> {
        self.undelivered.get(&order)
    }

    /// Those that answers at this topic may be for.
    pub fn answered_at(&self, topic: &str) -> Option<&BTreeSet<u64>> {
        self.answerable.get(topic)
    }

    /// Those that may have to be published to topics that begin so.
    pub fn to_send(&self, prefix: &str) -> impl Iterator<Item = (&str, u64)> {
        let from = self.to_send.range((Box::<str>::from(prefix), 0)..);
        from.map(|(topic, order)| (&**topic, *order)).take_while(move |(topic, _)| topic.starts_with(prefix))
    }

    /// Those whose time is over.
    pub fn over(&self, now: Micros) -> Vec<u64> {
        self.deadlines.iter().take_while(|(end, _)| *end <= now).map(|(_, order)| *order).collect()
    }

    /// The first record that may have to be read again.
    pub fn oldest_needed(&self) -> Option<Sequence> {
        self.needed.first().copied().map(Sequence)
    }

    /// After a start: whatever is to be put on record is due.
    pub fn all_due(&mut self) {
        let is_due = |entry: &Entry| entry.is_wanted || entry.answer.is_some();
        self.due = self.entries.iter().filter(|(_, entry)| is_due(entry)).map(|(order, _)| *order).collect();
    }

    /// Whether another one may come for a device; whether the name of its request is known.
    pub fn room(&self, key: Option<&str>, device: &str) -> Room {
        let known = key.and_then(|key| self.entries.get(self.keys.get(key)?));
        if let Some(entry) = known {
            return Room::Repeated { id: entry.id, digest: entry.digest };
        }
        let of_device = self.open.get(device).copied().unwrap_or_default();
        let is_full = self.all_open >= limits::OPEN_COMMANDS || of_device >= limits::OPEN_COMMANDS_OF_DEVICE;
        if is_full { Room::None } else { Room::Free }
    }

    /// One command.
    pub fn known(&self, id: Uuid) -> Option<Known> {
        let entry = self.entries.get(self.ids.get(&id)?)?;
        Some(Known { info: entry.info(), completed: entry.completion() })
    }

    /// The newest of a device.
    pub fn page(&self, device: &str, limit: usize) -> CommandPage {
        let first = (Box::<str>::from(device), Reverse(u64::MAX));
        let mut found = self.of_device.range(first..).take_while(|(of, _)| &**of == device);
        let entries = found.by_ref().take(limit).filter_map(|(_, Reverse(order))| self.entries.get(order));
        let commands = entries.map(Entry::info).collect();
        CommandPage { commands, has_more: found.next().is_some() }
    }

    /// Forgets those that have come to their end before `time`.
    pub fn forget_before(&mut self, time: Micros) {
        while let Some(&(ended, order)) = self.finished.first()
            && ended < time
        {
            self.forget(order);
        }
    }

    /// Rows that the store does not have.
    pub fn take_rows(&mut self) -> std::vec::Drain<'_, Row> {
        self.rows.drain(..)
    }

    fn forget_surplus(&mut self) {
        while self.finished.len() > limits::FINISHED_COMMANDS
            && let Some(&(_, order)) = self.finished.first()
        {
            self.forget(order);
        }
    }

    fn forget(&mut self, order: u64) {
        let Some(entry) = self.entries.remove(&order) else { return };
        self.unindex(order, &entry);
        self.due.remove(&order);
        self.rows.push((order, None));
    }

    fn index(&mut self, order: u64, entry: &Entry) {
        self.ids.insert(entry.id, order);
        if !entry.key.is_empty() {
            self.keys.insert(entry.key.clone(), order);
        }
        self.of_device.insert((entry.device.clone(), Reverse(order)));
        if entry.is_open() {
            *self.open.entry(entry.device.clone()).or_default() += 1;
            self.all_open += 1;
            self.desk.await_answer(&entry.answer_topic);
            self.deadlines.insert((entry.expires(), order));
        }
        if entry.may_be_sent() {
            self.to_send.insert((entry.topic.clone(), order));
        }
        if entry.is_needed() {
            self.needed.insert(order);
        }
        if !entry.is_completed() {
            self.answerable.entry(entry.answer_topic.clone()).or_default().insert(order);
        }
        if let Some(ended) = entry.ended() {
            self.finished.insert((ended, order));
        }
        if entry.is_open() && !entry.is_delivered() {
            let undelivered = self.undelivered.entry(order).or_insert_with(|| {
                Arc::new(Undelivered::new(entry.id, &entry.device, &entry.topic, entry.requested()))
            });
            for &sequence in &entry.sent {
                self.desk.watch(Sequence(sequence), undelivered);
            }
        } else {
            self.undelivered.remove(&order);
        }
    }

    fn unindex(&mut self, order: u64, entry: &Entry) {
        self.ids.remove(&entry.id);
        self.keys.remove(&entry.key);
        self.of_device.remove(&(entry.device.clone(), Reverse(order)));
        if entry.is_open() {
            if let Some(open) = self.open.get_mut(&entry.device) {
                *open -= 1;
                if *open == 0 {
                    self.open.remove(&entry.device);
                }
            }
            self.all_open -= 1;
            self.desk.forget_answer(&entry.answer_topic);
            self.deadlines.remove(&(entry.expires(), order));
        }
        self.to_send.remove(&(entry.topic.clone(), order));
        self.needed.remove(&order);
        if let Some(of_topic) = self.answerable.get_mut(&entry.answer_topic) {
            of_topic.remove(&order);
            if of_topic.is_empty() {
                self.answerable.remove(&entry.answer_topic);
            }
        }
        if let Some(ended) = entry.ended() {
            self.finished.remove(&(ended, order));
        }
        self.desk.unwatch(&entry.sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command, CommandChange, CommandOrder, CommandState, PublishProperties, Qos};

    fn entry(order: u64, device: &str, key: &str) -> Entry {
        let asked = CommandOrder {
            topic: "d/commands",
            answer_topic: "d/responses",
            qos: Qos::AtLeastOnce,
            expires: Micros::saturating(1_000 + order.cast_signed()),
            key,
            digest: Uuid::from_u128(1),
            properties: PublishProperties::new(&[]),
            payload: b"",
        };
        let at = Micros::saturating(order.cast_signed());
        let command = Command {
            sequence: Sequence(order),
            received: at,
            id: Uuid::from_u128(order.into()),
            device,
            requested: at,
            change: CommandChange::Requested(asked),
        };
        Entry::new(&command, &asked)
    }

    #[test]
    fn indexes_and_desk_follow_an_entry_from_its_request_to_its_end() {
        let desk = Arc::new(Desk::default());
        let mut table = CommandTable::new(Arc::clone(&desk));
        table.add(entry(5, "d", "name"));
        assert_eq!(
            table.room(Some("name"), "d"),
            Room::Repeated { id: Uuid::from_u128(5), digest: Uuid::from_u128(1) }
        );
        assert_eq!(table.to_send("d/").collect::<Vec<_>>(), [("d/commands", 5)]);
        assert_eq!((table.to_send("e").count(), table.oldest_needed()), (0, Some(Sequence(5))));
        assert!(desk.awaits("d/responses") && !desk.awaits("d/commands"));
        assert!(table.over(Micros::saturating(1_004)).is_empty());
        assert_eq!(table.over(Micros::saturating(1_005)), [5]);
        table.change(5, |entry| {
            entry.note_sent(Sequence(6));
        });
        assert_eq!(table.known(Uuid::from_u128(5)).unwrap().info.state, CommandState::Sent);
        table.change(5, |entry| entry.note_delivered(Micros::saturating(7)));
        assert_eq!((table.to_send("").count(), table.oldest_needed()), (0, None));
        assert!(table.undelivered(5).is_none());
        table.change(5, |entry| entry.note_completed(Sequence(9), Micros::saturating(9)));
        assert!(!desk.awaits("d/responses") && table.over(Micros::saturating(i64::MAX)).is_empty());
        let known = table.known(Uuid::from_u128(5)).unwrap();
        assert_eq!((known.info.state, known.completed), (CommandState::Completed, Some(Sequence(9))));
        table.forget_before(Micros::saturating(9));
        assert!(table.get(5).is_some());
        table.forget_before(Micros::saturating(10));
        assert!(table.is_empty() && table.known(Uuid::from_u128(5)).is_none());
        assert_eq!((table.room(Some("name"), "d"), table.page("d", 9).commands.len()), (Room::Free, 0));
        assert_eq!(table.take_rows().next_back(), Some((5, None)));
    }

    #[test]
    fn rows_bring_everything_back() {
        let mut table = CommandTable::default();
        for order in 1..=3 {
            table.add(entry(order, "d", ""));
        }
        table.change(2, |entry| entry.is_wanted = true);
        table.change(3, |entry| entry.note_expired(Micros::saturating(2_000)));
        let rows: BTreeMap<_, _> = table.take_rows().collect();
        let mut again = CommandTable::default();
        again.restore(rows.values().map(|row| Entry::decode(row.as_ref().unwrap()).unwrap()).collect());
        again.all_due();
        assert_eq!((again.entries == table.entries, again.due.len()), (true, 1));
        let page = again.page("d", 2);
        let ids: Vec<_> = page.commands.iter().map(|command| command.id.as_u128()).collect();
        assert_eq!((ids, page.has_more), (vec![3, 2], true));
        assert_eq!(again.over(Micros::saturating(i64::MAX)), [1, 2]);
    }

    #[test]
    fn one_device_cannot_take_all_room() {
        let mut table = CommandTable::default();
        for order in 1..=limits::OPEN_COMMANDS_OF_DEVICE as u64 {
            table.add(entry(order, "d", ""));
        }
        assert_eq!((table.room(None, "d"), table.room(None, "e")), (Room::None, Room::Free));
        table.change(1, |entry| entry.note_expired(Micros::saturating(2_000)));
        assert_eq!(table.room(None, "d"), Room::Free);
    }
}
