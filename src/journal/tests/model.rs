//! A model of what the journal promises, and a driver that lives many lives on one disk, step
//! by step in one thread, and holds each of them against the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::super::{
    committer::{Committer, Flow},
    record::{self, Salt},
    simulation::{Disk, Faults, JumpyClock, Random},
    *,
};
use super::push;
use crate::types::Qos;

/// What must be true of the records of all lives so far.
#[derive(Default)]
struct Model {
    /// Were reported durable, or read below the durable watermark: there for good.
    durable: BTreeMap<u64, Vec<u8>>,
    /// Were appended; may be there after a crash, or not.
    possible: BTreeMap<u64, Vec<u8>>,
    /// Refused, or not there after a crash: never to be seen again.
    gone: BTreeSet<u64>,
    last_used: u64,
    /// Records up to here may be retired.
    cursor: u64,
}

/// One batch of this life.
struct Appended {
    batch: Arc<Batch>,
    records: Vec<(u64, Vec<u8>)>,
}

/// A reader and what it has seen.
struct Witness {
    reader: Reader,
    watermark: Watermark,
    seen: Vec<u64>,
}

/// A disk, the model of what must be on it, and the seed's choices.
pub struct Driver {
    disk: Disk,
    clock: Arc<JumpyClock>,
    model: Model,
    random: Random,
    payloads: u64,
}

/// A journal between its opening and its end.
struct Life {
    journal: Journal,
    committer: Committer,
    appended: Vec<Appended>,
    witnesses: Vec<Witness>,
    stopped: bool,
}

impl Driver {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            disk: Disk::new(random.next()),
            clock: Arc::new(JumpyClock::new(random.next())),
            model: Model::default(),
            payloads: 0,
            random,
        }
    }

    /// Opens the journal, works for a while, and ends somehow.
    pub fn live(&mut self) {
        let Some(mut life) = self.open() else { return };
        let steps = self.random.below(120);
        for _ in 0..steps {
            self.step(&mut life);
            if self.disk.is_dead() || life.stopped {
                break;
            }
        }
        self.end(life);
    }

    /// The last life: a whole disk, no faults, everything still there.
    pub fn finish(&mut self) {
        let storage = self.disk.start(Faults::default());
        let (journal, _, recovery) = Journal::prepare(storage, self.clock.clone(), self.options()).unwrap();
        assert_eq!(recovery.damage, []);
        self.check_start(&journal, &recovery);
    }

    fn options(&mut self) -> JournalOptions {
        let r = &mut self.random;
        let mut pick = |choices: &[u64]| choices[r.below(choices.len() as u64) as usize];
        let maximum_bytes = pick(&[u64::MAX, u64::MAX, 64 << 10]);
        JournalOptions {
            log: LogOptions {
                segment_bytes: pick(&[1 << 10, 4 << 10, 64 << 10]),
                retain_age: Duration::MAX,
                retain_bytes: pick(&[u64::MAX, 8 << 10]),
                maximum_bytes,
            },
            memory: MemoryBudget {
                tail: pick(&[0, 2 << 10, 1 << 20]) as usize,
                pending: pick(&[4 << 10, 1 << 20]) as usize,
            },
            sync_interval: if r.one_in(2) { Duration::ZERO } else { Duration::MAX },
        }
    }

    fn faults(&mut self) -> Faults {
        let r = &mut self.random;
        let unlucky = |r: &mut Random, odds, range| r.one_in(odds).then(|| 1 + r.below(range));
        Faults {
            power_loss: unlucky(r, 2, 80),
            failing_sync: unlucky(r, 6, 30),
            capacity: if r.one_in(4) { r.below(128 << 10) } else { u64::MAX },
            preallocates: !r.one_in(3),
            reads_fail: false,
        }
    }

    fn open(&mut self) -> Option<Life> {
        let (options, faults) = (self.options(), self.faults());
        let storage = self.disk.start(faults);
        let (journal, committer, recovery) = match Journal::prepare(storage, self.clock.clone(), options) {
            Ok(opened) => opened,
            // Only as a consequence of a fault that was asked for.
            Err(OpenError::Io { .. }) => {
                let killed = faults.failing_sync.is_some() || faults.capacity < u64::MAX;
                assert!(self.disk.is_dead() || killed);
                if !self.disk.is_dead() && self.random.one_in(2) {
                    self.disk.lose_power();
                }
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(recovery.damage, []);
        self.check_start(&journal, &recovery);
        journal.start_retention();
        let start = Sequence(self.model.cursor);
        let witnesses = [Watermark::Durable, Watermark::Visible, Watermark::Appended].map(|watermark| Witness {
            reader: journal.reader(start, watermark),
            watermark,
            seen: Vec::new(),
        });
        Some(Life { journal, committer, appended: Vec::new(), witnesses: witnesses.into(), stopped: false })
    }

    /// Everything that must be there is, nothing else is, and all of it is there to stay.
    fn check_start(&mut self, journal: &Journal, recovery: &Recovery) {
        assert!(recovery.next.0 > self.model.last_used, "sequences up to {} are used", self.model.last_used);
        let oldest = journal.oldest().0;
        assert!(oldest <= self.model.cursor + 1, "records that a cursor holds were removed");
        let found = read_to_end(journal, Sequence::ZERO);
        for (&sequence, payload) in self.model.durable.range(oldest..) {
            assert_eq!(found.get(&sequence), Some(payload), "record {sequence} is lost");
        }
        let expected = |sequence| self.model.durable.get(sequence).or_else(|| self.model.possible.get(sequence));
        for (sequence, payload) in &found {
            assert!(!self.model.gone.contains(sequence), "record {sequence} has come back");
            assert_eq!(expected(sequence), Some(payload), "record {sequence} was never written");
        }
        assert!(recovery.last.0 >= found.keys().next_back().copied().unwrap_or_default());
        let lost =
            std::mem::take(&mut self.model.possible).into_keys().filter(|sequence| !found.contains_key(sequence));
        self.model.gone.extend(lost);
        self.model.durable.retain(|&sequence, _| sequence >= oldest);
        self.model.durable.extend(found);
    }

    fn step(&mut self, life: &mut Life) {
        match self.random.below(12) {
            0..=4 => self.append(life),
            5..=7 => self.commit(life),
            8..=9 => {
                let at = self.random.below(3) as usize;
                self.read(life, at, 1);
            }
            10 => self.keep_house(life),
            _ => {
                let capacity = if self.random.one_in(2) { u64::MAX } else { self.random.below(256 << 10) };
                if self.random.one_in(4) {
                    self.disk.set_faults(|faults| faults.capacity = capacity);
                }
            }
        }
        check_order(&life.journal);
    }

    fn append(&mut self, life: &mut Life) {
        let mut builder = BatchBuilder::default();
        let kind = self.random.below(3);
        let payloads: Vec<_> = (0..1 + self.random.below(4)).map(|_| self.payload()).collect();
        for payload in &payloads {
            let guaranteed = kind == 0 || kind == 1 && self.random.one_in(2);
            push(&mut builder, payload, if guaranteed { Qos::AtLeastOnce } else { Qos::AtMostOnce });
        }
        let polled = pin!(life.journal.append(builder, None)).poll(&mut Context::from_waker(Waker::noop()));
        let batch = match polled {
            Poll::Ready(Ok(batch)) => batch,
            Poll::Ready(Err(error)) => {
                assert_eq!(life.journal.check(), Err(error));
                return;
            }
            // Dropped while it waits: nothing was appended, which the dense numbers prove.
            Poll::Pending => return,
        };
        assert!(batch.first().0 > self.model.last_used);
        self.model.last_used = batch.last().0;
        assert_eq!(batch.len(), payloads.len());
        let records: Vec<_> = (batch.first().0..).zip(payloads).collect();
        self.model.possible.extend(records.iter().cloned());
        life.appended.push(Appended { batch, records });
    }

    /// Unique, of any size, and sometimes an attack: what looks like the journal's own records.
    fn payload(&mut self) -> Vec<u8> {
        self.payloads += 1;
        let mut payload = self.payloads.to_le_bytes().to_vec();
        let length = match self.random.below(400) {
            0 => self.random.below(300 << 10),
            1..=20 => self.random.below(6 << 10),
            _ => self.random.below(300),
        };
        if self.random.one_in(8) {
            let far = Sequence(1 << 60);
            let mark = Record::Mark { ceiling: far, durable: Sequence(far.0 - 2) };
            while (payload.len() as u64) < length {
                let start = payload.len();
                record::encode(&mark, &mut payload);
                record::seal(&mut payload[start..], far.previous(), Micros::MAX, Salt(0));
            }
        }
        payload.resize(payload.len().max(length as usize), 0xa5);
        payload
    }

    fn commit(&mut self, life: &mut Life) {
        life.stopped |= life.committer.work(Duration::ZERO) == Flow::Stop;
        self.settle(life);
    }

    fn keep_house(&mut self, life: &mut Life) {
        let seen = life.witnesses[0].seen.last().copied().unwrap_or_default();
        self.model.cursor = self.model.cursor.max(self.random.below(seen + 1));
        let cursor = life.journal.register_cursor("test", Sequence(self.model.cursor));
        life.stopped |= life.committer.keep_house() == Flow::Stop;
        drop(cursor);
        self.settle(life);
    }

    /// Takes note of what became of the batches.
    fn settle(&mut self, life: &Life) {
        for appended in &life.appended {
            let outcome = appended.batch.outcome();
            for (sequence, payload) in &appended.records {
                match outcome {
                    Outcome::Durable => {
                        if self.model.possible.remove(sequence).is_some() {
                            self.model.durable.insert(*sequence, payload.clone());
                        }
                    }
                    Outcome::Refused => {
                        self.model.possible.remove(sequence);
                        self.model.gone.insert(*sequence);
                    }
                    Outcome::Pending => assert!(!life.stopped, "record {sequence} has no outcome"),
                    Outcome::Failed => assert!(life.stopped),
                }
            }
        }
        if life.stopped && !life.appended.is_empty() {
            assert!(life.journal.check().is_err());
        }
    }

    /// Lets a reader go on for some steps.
    fn read(&mut self, life: &mut Life, at: usize, steps: usize) {
        let witness = &mut life.witnesses[at];
        for _ in 0..steps {
            let before = witness.reader.position();
            let slice = match witness.reader.step() {
                Step::CaughtUp => return,
                Step::Slice(slice) => slice,
                Step::Disk => match witness.reader.read_disk() {
                    Ok(Some(slice)) => slice,
                    Ok(None) => {
                        assert!(witness.reader.position() > before, "a reader stands still");
                        continue;
                    }
                    Err(ReadError::Retired { after, before }) => {
                        assert!(after < before && before.0 <= self.model.cursor + 1);
                        continue;
                    }
                    Err(error) => {
                        assert!(self.disk.is_dead(), "{error}");
                        return;
                    }
                },
            };
            assert!(slice.last() <= life.journal.watermark(witness.watermark));
            for publication in slice.records().filter_map(publication) {
                let sequence = publication.sequence.0;
                assert!(witness.seen.last().is_none_or(|&last| last < sequence));
                let known = [&self.model.durable, &self.model.possible].into_iter().find_map(|all| all.get(&sequence));
                match witness.watermark {
                    Watermark::Durable => {
                        assert!(self.model.durable.contains_key(&sequence), "{sequence} is not durable")
                    }
                    Watermark::Visible if publication.guaranteed => {
                        assert!(self.model.durable.contains_key(&sequence), "{sequence} is still in doubt");
                    }
                    _ => {}
                }
                assert_eq!(known.map(Vec::as_slice), Some(publication.payload), "record {sequence}");
                witness.seen.push(sequence);
            }
        }
    }

    fn end(&mut self, mut life: Life) {
        self.settle(&life);
        if !self.disk.is_dead() && !life.stopped && self.random.one_in(2) {
            life.journal.shared.close();
            while life.committer.work(Duration::ZERO) == Flow::Continue {}
            life.stopped = true;
            self.settle(&life);
            self.check_witnesses(&mut life);
        }
        if self.disk.is_dead() {
            return;
        }
        if self.random.one_in(2) { self.disk.lose_power() } else { self.disk.kill_process() }
    }

    /// Readers that drain have seen all there is for them.
    fn check_witnesses(&mut self, life: &mut Life) {
        if life.appended.iter().any(|appended| appended.batch.outcome() == Outcome::Failed) {
            return;
        }
        for at in 0..life.witnesses.len() {
            self.read(life, at, usize::MAX);
            if self.disk.is_dead() {
                return;
            }
            let seen: BTreeSet<u64> = life.witnesses[at].seen.iter().copied().collect();
            let missed = self.model.durable.keys().find(|&&key| key > self.model.cursor && !seen.contains(&key));
            assert_eq!(missed, None, "missed by the reader of {:?}", life.witnesses[at].watermark);
        }
    }
}

fn publication<'a>(record: Record<'a>) -> Option<crate::types::Publication<'a>> {
    match record {
        Record::Publication { publication, .. } => Some(publication),
        _ => None,
    }
}

fn check_order(journal: &Journal) {
    let [durable, visible, appended] =
        [Watermark::Durable, Watermark::Visible, Watermark::Appended].map(|watermark| journal.watermark(watermark));
    assert!(durable <= visible && visible <= appended, "{durable} {visible} {appended}");
}

/// Everything from disk, with sequences and times that rise.
fn read_to_end(journal: &Journal, after: Sequence) -> BTreeMap<u64, Vec<u8>> {
    let mut reader = journal.reader(after, Watermark::Durable);
    let mut found = BTreeMap::new();
    let mut latest = Micros::MIN;
    while let Some(slice) = reader.read_disk().unwrap() {
        for publication in slice.records().filter_map(publication) {
            assert!(publication.received >= latest, "time runs backwards");
            latest = publication.received;
            let again = found.insert(publication.sequence.0, publication.payload.to_vec());
            assert_eq!(again, None, "sequence {} was used twice", publication.sequence);
        }
    }
    found
}
