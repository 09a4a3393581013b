//! Random lives of a few clients, record by record, against what a start makes of the same records:
//! from any checkpoint, the replay comes to what the dispatcher had, and the living sessions that are
//! made from it go on with the same packet identifiers.
//!
//! The clients use the real send window and do what a connection does, so the test also checks that a
//! message's number in the ledger is the one that it has at its client.
//!
//! `SYNAP_TEST_SEED=n` repeats one case, `SYNAP_TEST_CASES=n` says how many there are.

use std::{collections::BTreeMap, fmt::Write as _, sync::atomic::Ordering};

use super::*;
use crate::{
    auth::User,
    journal::{BatchBuilder, Journal, JournalOptions, Origin, Reader, Step},
    mqtt::{
        MailboxLimits, Profile, RetainedLimits, Settings,
        announce::record,
        codec::RetainHandling,
        ledger::owed::Portion,
        orphans::Orphans,
        session::{OwnedSession, SessionId},
        will::Will,
        window::{Receipt, Resend},
    },
    types::{PresenceChange, Publication, PublishProperties, Qos},
};

const TOPICS: [&str; 4] = ["a", "a/b", "c", "c/d"];
const FILTERS: [&str; 9] =
    ["a", "a/+", "#", "c/#", "$share/g/a/#", "$share/g/c/#", "$share/h/#", "$share/g/+", "$share/h/c/d"];
const QUEUED: usize = 6;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// A client and what it knows.
struct Client {
    name: String,
    owned: Option<OwnedSession>,
    receive_maximum: u16,
    /// The record of its coming, while it is there.
    opened: Option<(Sequence, Micros)>,
    /// Messages it has got and not acknowledged, by packet identifier.
    open: BTreeMap<u16, (Sequence, Qos)>,
    /// QoS 2 packet identifiers it has received and not released.
    received: Vec<u16>,
    session: Option<SessionId>,
}

struct World {
    random: Random,
    journal: Journal,
    store: StateStore,
    dispatch: Dispatch,
    reader: Reader,
    applied: Sequence,
    clients: Vec<Client>,
    log: Vec<String>,
    _directory: tempfile::TempDir,
}

fn settings() -> Settings {
    Settings {
        profile: Profile {
            mailbox: MailboxLimits { messages: QUEUED, bytes: 400, best_effort: 100 },
            ..Profile::default()
        },
        retained: RetainedLimits { messages: 3, bytes: 10_000 },
        ..Settings::default()
    }
}

fn broker(journal: &Journal) -> Arc<Broker> {
    Broker::new(journal.clone(), settings(), Box::new(|_| false))
}

impl World {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), JournalOptions::default()).unwrap();
        let store = StateStore::open(&directory.path().join("state"), journal.id(), 1 << 20).unwrap();
        let reader = journal.reader(Sequence::ZERO, Watermark::Durable);
        let client = |n| Client {
            name: format!("client-{n}"),
            owned: None,
            receive_maximum: 1,
            opened: None,
            open: BTreeMap::new(),
            received: Vec::new(),
            session: None,
        };
        Self {
            random: Random(seed),
            dispatch: Dispatch::new(broker(&journal)),
            journal,
            store,
            reader,
            applied: Sequence::ZERO,
            clients: (0..4).map(client).collect(),
            log: Vec::new(),
            _directory: directory,
        }
    }

    async fn append(&self, batch: BatchBuilder) -> Sequence {
        self.journal.append(batch, None).await.unwrap().last()
    }

    async fn change(&mut self, id: SessionId, change: Change<'_>) -> Sequence {
        let mut batch = BatchBuilder::default();
        change.record(id, true, &mut batch);
        let at = self.append(batch).await;
        self.log.push(format!("{at} {} {change:?}", id.0));
        at
    }

    /// Puts on record that a client has come or gone, where it is a device.
    async fn announce(&mut self, at: usize, change: PresenceChange<'_>) -> (Sequence, Micros) {
        let mut batch = BatchBuilder::default();
        record(&self.clients[at].name, "device", change, "", &mut batch);
        let batch = self.journal.append(batch, None).await.unwrap();
        (batch.last(), batch.received())
    }

    /// The dispatcher takes everything there is, and puts on record which queues are closed.
    async fn settle(&mut self) {
        self.take_all().await;
        for (id, change) in std::mem::take(&mut self.dispatch.closing) {
            self.change(id, change).await;
        }
    }

    async fn take_all(&mut self) {
        loop {
            let appended = self.journal.watermark(Watermark::Appended);
            while self.journal.watermark(Watermark::Durable) < appended {
                tokio::task::yield_now().await;
            }
            let slice = match self.reader.step() {
                Step::Slice(slice) => slice,
                Step::CaughtUp => break,
                Step::Disk => match self.reader.read_disk().unwrap() {
                    Some(slice) => slice,
                    None => continue,
                },
            };
            for record in slice.records() {
                self.dispatch.apply(&record, Pass::Durable);
            }
            self.applied = slice.last();
            self.dispatch.wake();
        }
    }

    async fn step(&mut self) {
        let at = usize::try_from(self.random.below(4)).unwrap();
        match self.random.below(22) {
            0 | 1 => self.connect(at).await,
            2 => self.disconnect(at).await,
            3 | 4 => self.subscribe(at).await,
            5 => self.unsubscribe(at).await,
            6..=10 => self.publish().await,
            11..=13 => self.deliver(at),
            14..=16 => self.acknowledge(at).await,
            17 => self.open_queues().await,
            18 => self.end_absent(at).await,
            19 | 20 => self.pay().await,
            _ => self.checkpoint().await,
        }
    }

    async fn connect(&mut self, at: usize) {
        self.disconnect(at).await;
        let name = self.clients[at].name.parse().unwrap();
        // Every second client has an account.
        let user = at.is_multiple_of(2).then(|| User::from("anna"));
        let owned = self.dispatch.broker.sessions.own(&name, user.as_ref()).await.unwrap();
        let clean = self.random.one_in(5);
        let resumed = !clean && owned.existed();
        let sessions = &self.dispatch.broker.sessions;
        let mut owned = if resumed || !owned.existed() {
            owned
        } else {
            let new = sessions.prepare(&name, user.as_ref()).await;
            sessions.replace(owned, &new);
            new
        };
        let expiry = if self.random.one_in(3) { 0 } else { 3600 };
        let receive_maximum = self.random.pick(&[1, 2, 5]);
        let will = self.random.one_in(4).then(Will::example);
        let id = owned.session.id;
        let client_id = self.clients[at].name.clone();
        let user = user.as_deref();
        let change = Change::Connect { client_id: &client_id, user, expiry, receive_maximum, will };
        owned.state.connected_at = self.change(id, change).await;
        owned.state.established = true;
        owned.state.expiry = expiry;
        owned.state.window.resume();
        owned.session.mailbox.lock().set_online(true);
        let opened = if self.random.one_in(3) { None } else { Some(self.announce(at, PresenceChange::Opened).await) };
        let client = &mut self.clients[at];
        client.opened = opened;
        if !resumed {
            client.open.clear();
            client.received.clear();
        }
        (client.owned, client.receive_maximum, client.session) = (Some(owned), receive_maximum, Some(id));
    }

    async fn disconnect(&mut self, at: usize) {
        let Some(mut owned) = self.clients[at].owned.take() else { return };
        owned.session.mailbox.lock().set_online(false);
        if self.random.one_in(5) && owned.state.expiry > 0 {
            owned.state.expiry = self.random.pick(&[0, 60]);
        }
        let (id, expiry) = (owned.session.id, owned.state.expiry);
        let will_pending = expiry > 0 && self.random.one_in(2);
        let sent = owned.session.on_record(owned.state.window.next_number());
        self.change(id, Change::Disconnect { expiry, will_pending, sent }).await;
        if let Some((opened, since)) = self.clients[at].opened.take() {
            self.announce(at, PresenceChange::Closed { opened, since, reason: "gone" }).await;
        }
        if expiry == 0 {
            self.dispatch.broker.sessions.end(&mut owned);
        }
    }

    async fn subscribe(&mut self, at: usize) {
        let filters: Vec<_> = (0..=self.random.below(3)).map(|_| self.random.pick(&FILTERS)).collect();
        let random = &mut self.random;
        let mut subscription = |filter| Subscription {
            retain_as_published: random.one_in(2),
            retain_handling: random.pick(&[RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew]),
            ..Subscription::new(filter, random.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]))
        };
        let subscriptions: Vec<_> = filters.iter().map(|filter| subscription(filter)).collect();
        let identifier = u32::try_from(self.random.below(3)).unwrap();
        let Some(owned) = &self.clients[at].owned else { return };
        owned.session.subscriptions.lock().extend(filters.iter().map(|&filter| filter.into()));
        let id = owned.session.id;
        let at_once = self.random.pick(&[None, Some(Portion { messages: 1, bytes: 400 })]);
        self.change(id, Change::Subscribe { identifier, at_once, subscriptions }).await;
    }

    /// Whoever is owed retained messages and has room gets more of them.
    async fn pay(&mut self) {
        let (batch, asked) = self.dispatch.next_portions();
        if asked.is_empty() {
            return;
        }
        let batch = self.journal.append(batch, None).await.unwrap();
        self.log.push(format!("{} more for {asked:?}", batch.last()));
        self.dispatch.note_portions(&asked, &batch);
    }

    async fn unsubscribe(&mut self, at: usize) {
        let filter = self.random.pick(&FILTERS);
        let Some(owned) = &self.clients[at].owned else { return };
        if owned.session.subscriptions.lock().remove(filter) {
            let id = owned.session.id;
            self.change(id, Change::Unsubscribe { filters: vec![filter] }).await;
        }
    }

    async fn publish(&mut self) {
        let mut batch = BatchBuilder::default();
        let topic = self.random.pick(&TOPICS);
        let qos = self.random.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        let payload = vec![b'x'; usize::try_from(self.random.below(120)).unwrap()];
        let client = self.clients.iter().find(|client| client.owned.is_some() && qos == Qos::ExactlyOnce);
        let packet_id = u16::try_from(self.random.below(3)).unwrap() + 1;
        let publication = Publication {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            topic,
            payload: &payload,
            qos,
            retain: self.random.one_in(6),
            guaranteed: qos > Qos::AtMostOnce,
            client_id: client.map_or("publisher", |client| &client.name),
            properties: PublishProperties::default(),
        };
        let origin = if client.is_some() { Origin::Held(packet_id) } else { Origin::Plain };
        batch.push(&Record::Publication { publication, origin });
        let at = self.append(batch).await;
        self.log.push(format!("{at} publish {topic} {qos:?}"));
    }

    /// What `Connection::deliver` does, without a wire.
    fn deliver(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(owned) = &mut client.owned else { return };
        if self.applied < owned.state.connected_at {
            return;
        }
        let window = &mut owned.state.window;
        for number in owned.session.given_away.lock().drain(..) {
            window.acknowledge(crate::mqtt::window::packet_id(number), Qos::AtLeastOnce);
        }
        while let Some(resend) = window.next_resend(client.receive_maximum) {
            if let Resend::Publish(id, delivery) = resend {
                let message = (delivery.entry.sequence, delivery.entry.qos);
                let known = client.open.insert(id, message);
                assert!(known.is_none_or(|known| known == message), "{id}: {known:?} is now {message:?}");
            }
        }
        loop {
            let room = window.has_room(client.receive_maximum);
            let Some(Delivery { entry, record }) = owned.session.mailbox.lock().take(room) else { break };
            match entry.qos {
                Qos::AtMostOnce => {}
                _ if entry.void => window.skip(),
                qos => {
                    let sequence = entry.sequence;
                    let number = window.next_number();
                    let id = window.send(Delivery { entry, record });
                    client.open.insert(id, (sequence, qos));
                    if let Some(account) = self.dispatch.ledger.get(owned.session.id)
                        && owned.session.on_record(number + 1) > owned.session.on_record(number)
                    {
                        let number = owned.session.on_record(number);
                        let queued = account.queue.iter().find(|(queued, ..)| *queued == number);
                        if let Some((_, entry, _)) = queued {
                            assert_eq!((entry.sequence, entry.qos), (sequence, qos), "number {number} of {id}");
                        }
                    }
                }
            }
        }
    }

    async fn acknowledge(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(owned) = &mut client.owned else { return };
        let tracked = owned.session.tracked.load(Ordering::Acquire);
        let session = Arc::clone(&owned.session);
        let id = session.id;
        let mut receipt = None;
        if self.random.one_in(3)
            && let Some(packet_id) = client.received.pop()
        {
            owned.state.window.complete(packet_id);
        } else if let Some((&packet_id, &(_, qos))) =
            client.open.iter().nth(usize::try_from(self.random.below(3)).unwrap())
        {
            client.open.remove(&packet_id);
            if qos == Qos::AtLeastOnce {
                owned.state.window.acknowledge(packet_id, qos);
            } else if let Receipt::First(number) = owned.state.window.receive(packet_id) {
                client.received.push(packet_id);
                receipt = Some(number).filter(|_| tracked);
            }
        }
        let progress = tracked.then(|| owned.state.window.take_progress()).flatten();
        if let Some(number) = receipt {
            let number = session.on_record(number);
            self.change(id, Change::Receive { number }).await;
        }
        if let Some(progress) = progress {
            let progress = progress.on_record(|number| session.on_record(number));
            self.change(id, Change::Acknowledge(progress)).await;
        }
    }

    async fn open_queues(&mut self) {
        self.settle().await;
        let closed: Vec<_> = self.dispatch.ledger.closed().collect();
        for id in closed {
            let has_room = |account: &Account| account.session.mailbox.lock().waiting() <= QUEUED / 2;
            if self.dispatch.ledger.get(id).is_some_and(has_room) {
                self.change(id, Change::Open).await;
            }
        }
    }

    /// An absent client's session ends, as when it expires; its will is published in front of that.
    async fn end_absent(&mut self, at: usize) {
        if !self.random.one_in(3) || self.clients[at].owned.is_some() {
            return;
        }
        self.settle().await;
        let Some(id) = self.dispatch.ledger.session_of(&self.clients[at].name) else { return };
        let Some(account) = self.dispatch.ledger.get(id) else { return };
        let Some(mut owned) = account.session.own_abandoned() else { return };
        if let Some(will) = account.will.as_ref().filter(|_| account.will_pending) {
            let mut batch = BatchBuilder::default();
            will.publish(id, &self.clients[at].name, true, &mut batch);
            self.append(batch).await;
        }
        self.dispatch.broker.sessions.end(&mut owned);
        self.change(id, Change::End).await;
    }

    async fn checkpoint(&mut self) {
        self.settle().await;
        let changes = self.dispatch.ledger.take_changes();
        self.store.commit(Consumer::Dispatcher, changes.checkpoint(), self.applied).unwrap();
        self.log.push("checkpoint".into());
    }

    /// What a start would find now is what there is.
    async fn compare(&mut self) {
        self.settle().await;
        self.settle().await;
        assert!(self.dispatch.ledger.deadlines_are_right(), "{}", self.log.join("\n"));
        let (mut replayed, last) = Dispatch::replay(broker(&self.journal), &self.store).unwrap();
        assert_eq!(last, self.applied);
        let open: Vec<_> = replayed.ledger.left_open.iter().map(|(opened, open)| (opened, open.since)).collect();
        let mut expected: Vec<_> = self.clients.iter().filter_map(|client| client.opened).collect();
        expected.sort();
        assert_eq!(open, expected, "{}", self.log.join("\n"));
        let (live, replayed) = (describe(&mut self.dispatch), describe(&mut replayed));
        let only = |a: &str, b: &str| {
            a.lines().filter(|line| !b.lines().any(|other| other == *line)).collect::<Vec<_>>().join("\n")
        };
        let (gone, new) = (only(&live, &replayed), only(&replayed, &live));
        assert!(live == replayed, "live:\n{gone}\nreplayed:\n{new}\nafter:\n{}", self.log.join("\n"));
    }

    /// kill -9: another process takes over. Clients know what they had.
    async fn kill(&mut self) {
        self.settle().await;
        self.settle().await;
        self.clients.iter_mut().for_each(|client| client.owned = None);
        let now = Micros::saturating(0);
        let (dispatch, last) = Dispatch::restore(broker(&self.journal), &self.store, now).unwrap();
        assert_eq!(last, self.applied);
        self.dispatch = dispatch;
        let connections = &mut self.dispatch.ledger.left_open;
        let open: Vec<_> = connections.iter().map(|(opened, open)| (opened, open.since)).collect();
        let mut expected: Vec<_> = self.clients.iter_mut().filter_map(|client| client.opened.take()).collect();
        expected.sort();
        assert_eq!(open, expected, "{}", self.log.join("\n"));
        Orphans::new(connections, Micros::MIN).close_all(&self.journal).await;
        self.log.push("kill".into());
        for client in &mut self.clients {
            let session = self.dispatch.ledger.session_of(&client.name);
            if session.is_none() {
                client.open.clear();
                client.received.clear();
            }
        }
        self.check_rows();
    }

    /// The store has no row that belongs to nobody.
    fn check_rows(&self) {
        for space in ["session", "subscription", "queue", "owed"] {
            self.store
                .load(space, |key, _| {
                    let id = SessionId(u64::from_be_bytes(key[..8].try_into().unwrap()));
                    let account = self.dispatch.ledger.get(id);
                    assert!(account.is_some(), "a {space} of {id:?}\n{}", self.log.join("\n"));
                })
                .unwrap();
        }
    }
}

/// Everything that must be the same.
fn describe(dispatch: &mut Dispatch) -> String {
    let mut out = String::new();
    let mut accounts: Vec<_> = dispatch.ledger.iter().collect();
    accounts.sort_by_key(|(id, _)| **id);
    for (id, account) in accounts {
        let held: BTreeMap<_, _> = account.held.iter().collect();
        let mut filters: Vec<_> = account.session.subscriptions.lock().iter().cloned().collect();
        filters.sort();
        writeln!(
            out,
            "session {} {} of {:?} expiry {} receive {} connected {} since {:?} will {:?} {} ended {} held {held:?} sent {} closed {} {} groups {:?} tracked {} filters {filters:?}",
            id.0,
            account.session.client_id,
            account.session.owner(),
            account.expiry,
            account.receive_maximum,
            account.connected,
            account.since,
            account.will,
            account.will_pending,
            account.ended,
            account.sent,
            account.closed,
            account.full,
            account.groups,
            account.tracked,
        )
        .unwrap();
        if account.tracked {
            writeln!(out, " base {} next {}", account.queue.base(), account.queue.next()).unwrap();
            for (number, entry, standing) in account.queue.iter() {
                writeln!(out, " {number} {standing:?} {entry:?}").unwrap();
            }
        }
    }
    for (id, owed) in dispatch.ledger.debts.iter() {
        writeln!(out, "owed to {} {:?} behind {}", id.0, owed.wanted, owed.after).unwrap();
    }
    for topic in TOPICS {
        let targets = dispatch.routing.targets(topic);
        let mut sessions: Vec<_> = targets
            .sessions
            .iter()
            .map(|target| {
                let mut identifiers = target.identifiers.to_vec();
                identifiers.sort_unstable();
                (target.session.id, target.maximum_qos, target.no_local, target.retain_as_published, identifiers)
            })
            .collect();
        sessions.sort_by_key(|target| target.0);
        writeln!(out, "{topic}: {sessions:?}").unwrap();
        for &id in &targets.groups {
            let group = dispatch.routing.group(id).unwrap();
            writeln!(out, " {id:?} {} {:?} turn {}", group.text, group.members().collect::<Vec<_>>(), group.turn)
                .unwrap();
        }
    }
    for record in dispatch.retained.iter() {
        let publication = record.publication().unwrap();
        writeln!(out, "retained {} {}", publication.topic, publication.sequence).unwrap();
    }
    out
}

#[tokio::test]
async fn a_start_from_any_checkpoint_comes_to_what_there_was() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let only = number("SYNAP_TEST_SEED");
    let first = only.unwrap_or_else(fresh_seed);
    let cases = if only.is_some() { 1 } else { number("SYNAP_TEST_CASES").unwrap_or(4) };
    for seed in first..first + cases {
        println!("SYNAP_TEST_SEED={seed}");
        let mut world = World::new(seed);
        for step in 0..400 {
            world.step().await;
            if world.random.one_in(3) {
                world.settle().await;
            }
            if step % 20 == 19 {
                world.compare().await;
            }
            if world.random.one_in(100) {
                world.kill().await;
            }
        }
    }
}

#[tokio::test]
async fn a_queue_that_was_closed_while_there_was_no_room_to_record_it_is_recorded_by_the_next_start() {
    let mut world = World::new(1);
    while world.clients[0].owned.as_ref().is_none_or(|owned| !owned.is_kept()) {
        world.connect(0).await;
    }
    let id = world.clients[0].session.unwrap();
    let subscriptions = vec![Subscription::new("#", Qos::AtLeastOnce)];
    world.change(id, Change::Subscribe { identifier: 0, at_once: None, subscriptions }).await;
    while world.dispatch.closing.is_empty() {
        world.publish().await;
        world.take_all().await;
    }
    let changes = world.dispatch.ledger.take_changes();
    world.store.commit(Consumer::Dispatcher, changes.checkpoint(), world.applied).unwrap();
    world.clients.iter_mut().for_each(|client| client.owned = None);
    let now = Micros::saturating(0);
    let (dispatch, _) = Dispatch::restore(broker(&world.journal), &world.store, now).unwrap();
    assert!(matches!(dispatch.closing.as_slice(), [(closed, Change::Close { .. })] if *closed == id));
    world.dispatch = dispatch;
    world.settle().await;
    world.settle().await;
    assert!(world.dispatch.ledger.get(id).unwrap().full);
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() << 16
}
