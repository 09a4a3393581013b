//! Tests of the journal as a whole: by model on a simulated disk, by case, and on real files.

mod concurrency;
mod crash;
mod full;
mod model;
mod reading;
mod repair;
mod retention;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::{
    committer::{Committer, Flow},
    simulation::{Disk, Faults, JumpyClock},
    *,
};
use crate::types::{Publication, PublishProperties, Qos};

fn publication(payload: &[u8], qos: Qos) -> BatchBuilder {
    let mut batch = BatchBuilder::default();
    push(&mut batch, payload, qos);
    batch
}

fn push(batch: &mut BatchBuilder, payload: &[u8], qos: Qos) {
    batch.push(&Record::Publication {
        publication: Publication {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            topic: "a/b",
            payload,
            qos,
            retain: false,
            guaranteed: qos > Qos::AtMostOnce,
            client_id: "tester",
            properties: PublishProperties::default(),
        },
        origin: Origin::Plain,
    });
}

/// A journal on a simulated disk whose committer works when told to.
struct Manual {
    journal: Journal,
    committer: Committer,
    recovery: Recovery,
}

impl Manual {
    fn open(disk: &Disk, faults: Faults, options: JournalOptions) -> Self {
        Self::try_open(disk, faults, options).unwrap()
    }

    fn try_open(disk: &Disk, faults: Faults, options: JournalOptions) -> Result<Self, OpenError> {
        Self::open_at(disk, faults, options, Arc::new(JumpyClock::new(1)))
    }

    fn open_at(disk: &Disk, faults: Faults, options: JournalOptions, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (journal, committer, recovery) = Journal::prepare(disk.start(faults), clock, options)?;
        Ok(Self { journal, committer, recovery })
    }

    /// Appends without waiting; nothing when it would have to wait.
    fn try_append(&self, batch: BatchBuilder) -> Option<Result<Arc<Batch>, AppendError>> {
        match pin!(self.journal.append(batch, None)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn append(&self, payload: &[u8], qos: Qos) -> Arc<Batch> {
        self.try_append(publication(payload, qos)).unwrap().unwrap()
    }

    fn commit(&mut self) -> Flow {
        self.committer.work(Duration::ZERO)
    }

    /// Appends a record for each payload, each with a commit of its own.
    fn write(&mut self, payloads: &[&[u8]]) -> Vec<Arc<Batch>> {
        let mut write = |payload: &&[u8]| {
            let batch = self.append(payload, Qos::AtLeastOnce);
            assert_eq!(self.commit(), Flow::Continue);
            assert_eq!(batch.outcome(), Outcome::Durable);
            batch
        };
        payloads.iter().map(&mut write).collect()
    }

    fn close(mut self) {
        self.journal.shared.close();
        while self.commit() == Flow::Continue {}
    }

    /// Everything that is durable, from disk, and what was said to be lost.
    fn read(&self, after: Sequence) -> (Vec<Vec<u8>>, Vec<ReadError>) {
        let mut reader = self.journal.reader(after, Watermark::Durable);
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        loop {
            match reader.read_disk() {
                Ok(Some(slice)) => found.extend(payloads(&slice)),
                Ok(None) => return (found, errors),
                Err(error) => errors.push(error),
            }
            assert!(errors.len() < 100, "{errors:?}");
        }
    }
}

fn payloads(slice: &Slice) -> Vec<Vec<u8>> {
    let payload = |record: Record<'_>| match record {
        Record::Publication { publication, .. } => Some(publication.payload.to_vec()),
        _ => None,
    };
    slice.records().filter_map(payload).collect()
}

async fn append_durably(journal: &Journal, batch: BatchBuilder) -> Arc<Batch> {
    let signal = Arc::new(Signal::new());
    let batch = journal.append(batch, Some(&signal)).await.unwrap();
    while batch.outcome() == Outcome::Pending {
        signal.wait().await;
    }
    assert_eq!(batch.outcome(), Outcome::Durable);
    batch
}

async fn read_all(journal: &Journal, after: Sequence) -> Vec<(Sequence, Vec<u8>)> {
    let mut reader = journal.reader(after, Watermark::Durable);
    let mut found = Vec::new();
    while reader.position() < journal.watermark(Watermark::Durable) {
        let slice = match reader.step() {
            Step::Slice(slice) => Some(slice),
            Step::Disk => reader.read_disk_async().await.unwrap(),
            Step::CaughtUp => break,
        };
        for record in slice.iter().flat_map(Slice::records) {
            if let Record::Publication { publication, .. } = record {
                found.push((publication.sequence, publication.payload.to_vec()));
            }
        }
    }
    found
}

fn small_options() -> JournalOptions {
    let mut options = JournalOptions::default();
    options.log.segment_bytes = 64 << 10;
    options.memory.tail = 16 << 10;
    options
}

#[tokio::test]
async fn what_was_durable_is_read_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3_u32 {
        let (journal, recovery) = Journal::open(directory.path(), small_options()).unwrap();
        assert_eq!(recovery.torn_bytes, 0);
        for n in 0..1000_u32 {
            let payload = format!("{round}-{n}-{}", "x".repeat(100)).into_bytes();
            let batch = publication(&payload, Qos::AtLeastOnce);
            let appended = if n % 100 == 99 {
                append_durably(&journal, batch).await
            } else {
                journal.append(batch, None).await.unwrap()
            };
            expected.push((appended.first(), payload));
        }
        assert_eq!(read_all(&journal, Sequence::ZERO).await, expected);
        let middle = expected[expected.len() / 2].0;
        assert_eq!(read_all(&journal, middle).await, expected[expected.len() / 2 + 1..]);
        journal.close();
    }
    assert!(expected.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[tokio::test]
async fn best_effort_is_visible_at_once_and_guaranteed_only_when_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), small_options()).unwrap();
    let batch = journal.append(publication(b"0", Qos::AtMostOnce), None).await.unwrap();
    assert!(journal.watermark(Watermark::Visible) >= batch.last());
    let batch = append_durably(&journal, publication(b"1", Qos::AtLeastOnce)).await;
    assert!(journal.watermark(Watermark::Durable) >= batch.last());
    assert!(journal.watermark(Watermark::Visible) >= batch.last());
    journal.close();
    assert_eq!(journal.append(publication(b"2", Qos::AtMostOnce), None).await.unwrap_err(), AppendError::Closed);
}

#[tokio::test]
async fn reading_backwards_finds_what_reading_forwards_finds() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for _ in 0..3 {
        let (journal, _) = Journal::open(directory.path(), small_options()).unwrap();
        for n in 0..900_u32 {
            let batch = publication(&[b'x'; 100], Qos::AtLeastOnce);
            let appended = if n % 50 == 49 {
                append_durably(&journal, batch).await
            } else {
                journal.append(batch, None).await.unwrap()
            };
            expected.push(appended.first());
        }
        for end in [expected.len(), expected.len() / 2] {
            let mut before = expected.get(end).copied().unwrap_or(Sequence(u64::MAX));
            let mut found = Vec::new();
            while let Some(batches) = journal.read_before(before).unwrap() {
                let batches = batches.iter().rev();
                let sequences: Vec<_> = batches
                    .flat_map(|batch| batch.after(Sequence::ZERO).filter_map(|record| record.sequence()))
                    .collect();
                let mut sequences: Vec<_> = sequences.into_iter().filter(|sequence| *sequence < before).collect();
                sequences.sort_unstable_by(|a, b| b.cmp(a));
                before = *sequences.last().unwrap();
                found.extend(sequences);
            }
            found.reverse();
            assert_eq!(found, expected[..end]);
        }
        journal.close();
    }
}
