//! Many tasks at once, on real files and with the committer's own thread.

use std::sync::atomic::AtomicUsize;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// Appends `count` batches, and returns what was appended.
async fn publish(journal: Journal, count: u64, seed: u64) -> Vec<Arc<Batch>> {
    let mut random = simulation::Random::new(seed);
    let signal = Arc::new(Signal::new());
    let mut batches = Vec::new();
    for _ in 0..count {
        let mut batch = BatchBuilder::default();
        let qos = if random.one_in(2) { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        (0..=random.below(5)).for_each(|_| push(&mut batch, &[0; 200], qos));
        let batch = journal.append(batch, Some(&signal)).await.unwrap();
        while random.one_in(4) && batch.outcome() == Outcome::Pending {
            signal.wait().await;
        }
        batches.push(batch);
    }
    batches
}

/// Reads until `records` were seen.
async fn follow(journal: Journal, watermark: Watermark, records: Arc<AtomicUsize>) -> Vec<Sequence> {
    let mut reader = journal.reader(Sequence::ZERO, watermark);
    let mut seen: Vec<Sequence> = Vec::new();
    while seen.len() < records.load(Ordering::Acquire) {
        let slice = reader.next().await.unwrap();
        assert!(slice.last() <= journal.watermark(watermark));
        for record in slice.records() {
            if let Record::Publication { publication, .. } = record {
                let settled = publication.sequence <= journal.watermark(Watermark::Durable);
                assert!(
                    watermark == Watermark::Appended
                        || !publication.guaranteed
                        || settled
                        || watermark == Watermark::Visible
                );
                assert!(seen.last().is_none_or(|&last| last < publication.sequence));
                seen.push(publication.sequence);
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everyone_reads_everything_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small_options();
    options.memory.pending = 32 << 10;
    let (journal, _) = Journal::open(directory.path(), options).unwrap();
    let total = Arc::new(AtomicUsize::new(usize::MAX));
    let readers: Vec<_> = [Watermark::Durable, Watermark::Visible, Watermark::Appended]
        .into_iter()
        .flat_map(|watermark| [watermark; 2])
        .map(|watermark| tokio::spawn(follow(journal.clone(), watermark, Arc::clone(&total))))
        .collect();
    let publishers: Vec<_> = (0..6).map(|seed| tokio::spawn(publish(journal.clone(), 400, seed))).collect();
    let mut batches = Vec::new();
    for publisher in publishers {
        batches.extend(tokio::time::timeout(PATIENCE, publisher).await.unwrap().unwrap());
    }
    // One more record ends the readers' waiting, whatever they have seen by now.
    total.store(batches.iter().map(|batch| batch.len()).sum::<usize>() + 1, Ordering::Release);
    batches.push(append_durably(&journal, publication(b"last", Qos::AtLeastOnce)).await);
    let mut expected: Vec<_> =
        batches.iter().flat_map(|batch| batch.first().0..=batch.last().0).map(Sequence).collect();
    expected.sort_unstable();
    for reader in readers {
        assert_eq!(tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap(), expected);
    }
    assert!(batches.iter().all(|batch| batch.outcome() == Outcome::Durable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_ends_appends_that_wait_and_keeps_what_was_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small_options();
    options.memory.pending = 1;
    let (journal, _) = Journal::open(directory.path(), options).unwrap();
    let appended = Arc::new(AtomicUsize::new(0));
    let publisher = |journal: Journal, appended: Arc<AtomicUsize>| async move {
        let mut batches = Vec::new();
        loop {
            match journal.append(publication(&[0; 300], Qos::AtMostOnce), None).await {
                Ok(batch) => batches.push(batch),
                Err(error) => {
                    assert_eq!(error, AppendError::Closed);
                    return batches;
                }
            }
            appended.fetch_add(1, Ordering::Release);
        }
    };
    let publishers: Vec<_> = (0..8).map(|_| tokio::spawn(publisher(journal.clone(), Arc::clone(&appended)))).collect();
    while appended.load(Ordering::Acquire) < 200 {
        tokio::task::yield_now().await;
    }
    let closing = journal.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    for publisher in publishers {
        for batch in tokio::time::timeout(PATIENCE, publisher).await.unwrap().unwrap() {
            assert_eq!(batch.outcome(), Outcome::Durable);
        }
    }
}

#[tokio::test]
async fn unsynced_records_are_synced_in_time_and_once() {
    let disk = Disk::new(1);
    let mut options = small_options();
    options.sync_interval = Duration::from_millis(5);
    let (journal, _) = Journal::open_on(disk.start(Faults::default()), Arc::new(SystemClock), options).unwrap();
    let before = disk.syncs();
    let signal = Arc::new(Signal::new());
    for n in 1..=5 {
        let batch = journal.append(publication(b"0", Qos::AtMostOnce), Some(&signal)).await.unwrap();
        while batch.outcome() == Outcome::Pending {
            signal.wait().await;
        }
        assert_eq!(disk.syncs() - before, n, "a committer that spins syncs more often");
    }
}

#[test]
fn a_directory_has_one_journal_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path(), small_options()).unwrap();
    let error = Journal::open(directory.path(), small_options()).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy));
    drop(journal);
    Journal::open(directory.path(), small_options()).map(drop).unwrap();
}
