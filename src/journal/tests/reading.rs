//! Reading: from memory and disk alike, at holes, at the ends, by time.

use super::*;

fn options(tail: usize) -> JournalOptions {
    let mut options = small_options();
    options.log.segment_bytes = 4 << 10;
    options.memory.tail = tail;
    options
}

/// Everything after a position, from wherever it is.
fn read_after(journal: &Journal, after: Sequence, watermark: Watermark) -> Vec<u64> {
    let mut reader = journal.reader(after, watermark);
    let mut found = Vec::new();
    loop {
        let slice = match reader.step() {
            Step::Slice(slice) => slice,
            Step::Disk => match reader.read_disk().unwrap() {
                Some(slice) => slice,
                None => continue,
            },
            Step::CaughtUp => return found,
        };
        found.extend(slice.records().filter_map(|record| record.sequence()).map(|sequence| sequence.0));
        assert_eq!(reader.position(), slice.last());
    }
}

#[test]
fn every_position_reads_what_follows_it_whatever_is_in_memory() {
    for tail in [0, 1 << 10, 8 << 10, usize::MAX] {
        let disk = Disk::new(1);
        let mut expected = Vec::new();
        for _ in 0..3 {
            let mut journal = Manual::open(&disk, Faults::default(), options(tail));
            for n in 0..24_u8 {
                let mut batch = BatchBuilder::default();
                (0..n % 3 + 1).for_each(|_| push(&mut batch, &[n; 50], Qos::AtLeastOnce));
                let batch = journal.try_append(batch).unwrap().unwrap();
                expected.extend(batch.first().0..=batch.last().0);
                journal.commit();
            }
            let inside_hole = expected[0].saturating_sub(1)..=expected[expected.len() - 1] + 2;
            let positions = expected.iter().copied().chain([0, *inside_hole.end(), u64::MAX - 1, u64::MAX]);
            for after in positions.flat_map(|n| [n.saturating_sub(1), n, n.saturating_add(1)]) {
                let following: Vec<_> = expected.iter().copied().filter(|&sequence| sequence > after).collect();
                assert_eq!(read_after(&journal.journal, Sequence(after), Watermark::Durable), following, "{after}");
            }
            journal.close();
        }
    }
}

#[test]
fn records_larger_than_a_read_and_a_segment_are_whole() {
    let disk = Disk::new(1);
    let big = vec![1; 900 << 10];
    let mut journal = Manual::open(&disk, Faults::default(), options(0));
    journal.write(&[b"small", &big, b"small", &big, &big, b"small"]);
    let (found, errors) = journal.read(Sequence::ZERO);
    assert_eq!(errors.len(), 0, "{errors:?}");
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, big.len(), 5, big.len(), big.len(), 5]);
    for after in 0..6 {
        assert_eq!(journal.read(Sequence(after)).0.len() as u64, 6 - after);
    }
    disk.kill_process();
    assert_eq!(Manual::open(&disk, Faults::default(), options(0)).recovery.last, Sequence(6));
}

#[test]
fn best_effort_behind_a_refused_hole_is_seen_at_once() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options(0));
    let written = journal.write(&[b"first"]);
    let mut reader = journal.journal.reader(written[0].last(), Watermark::Visible);
    journal.append(&[0; 8 << 10], Qos::AtLeastOnce);
    disk.set_faults(|faults| faults.capacity = 0);
    journal.commit();
    assert_eq!(journal.journal.check(), Err(AppendError::Full));
    assert!(matches!(reader.step(), Step::CaughtUp));
    disk.set_faults(|faults| faults.capacity = u64::MAX);
    journal.committer.keep_house();
    let batch = journal.append(b"0", Qos::AtMostOnce);
    let Step::Slice(slice) = reader.step() else { panic!("not seen before it is written") };
    assert_eq!(slice.last(), batch.last());
}

/// Notes how far a journal is visible at the moment that a signal rings.
struct Witness {
    journal: Journal,
    visible: Mutex<Option<Sequence>>,
}

impl std::task::Wake for Witness {
    fn wake(self: Arc<Self>) {
        self.visible.lock().get_or_insert(self.journal.watermark(Watermark::Visible));
    }
}

#[test]
fn what_is_in_doubt_is_not_visible_although_a_sync_passes_by() {
    let disk = Disk::new(1);
    let faults = Faults { capacity: 4 << 10, ..Faults::default() };
    let mut journal = Manual::open(&disk, faults, options(1 << 20));
    let witness = Arc::new(Witness { journal: journal.journal.clone(), visible: Mutex::default() });
    let signal = Arc::new(Signal::new());
    assert!(signal.poll_rung(&Context::from_waker(&Arc::clone(&witness).into())).is_pending());
    let append = pin!(journal.journal.append(publication(b"durable", Qos::AtLeastOnce), Some(&signal)))
        .poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(durable)) = append else { panic!("the append waits") };
    let refused = journal.append(&[0; 8 << 10], Qos::AtLeastOnce);
    journal.commit();
    assert_eq!((durable.outcome(), refused.outcome()), (Outcome::Durable, Outcome::Refused));
    assert_eq!(*witness.visible.lock(), Some(durable.last()), "between the sync and the refusal");
    assert_eq!(read_after(&journal.journal, Sequence::ZERO, Watermark::Visible), [1]);
    let visible = journal.journal.watermark(Watermark::Visible);
    assert_eq!(visible, refused.last(), "a refused number is nothing to wait for");
}

#[test]
fn a_position_by_time_misses_no_record_although_clocks_jump() {
    let disk = Disk::new(1);
    let mut records = Vec::new();
    for (life, start) in [1_000_000, 400_000, 9_000_000].into_iter().enumerate() {
        let clock = Arc::new(JumpyClock::new(life as u64));
        clock.set(start);
        let mut journal = Manual::open_at(&disk, Faults::default(), options(0), clock).unwrap();
        for n in 0..300_u64 {
            let batch = journal.append(&[0; 150], Qos::AtMostOnce);
            records.push((batch.received(), batch.first()));
            if n % 7 == 0 {
                journal.commit();
            }
        }
        while journal.journal.watermark(Watermark::Durable) < records[records.len() - 1].1 {
            journal.commit();
        }
        assert!(records.is_sorted());
        for (at, &(time, _)) in records.iter().enumerate() {
            let (first, _) = records.iter().find(|record| record.0 >= time).map(|&(_, n)| (n, at)).unwrap();
            let position = journal.journal.position_at(time).unwrap();
            assert!(position < first, "{position} is not before {first}");
            let between = records.iter().filter(|record| record.1 > position && record.1 < first).count();
            assert!(between <= 40, "{between} records in vain");
        }
        assert_eq!(journal.journal.position_at(Micros::MIN).unwrap(), Sequence::ZERO);
        journal.close();
    }
}

#[test]
fn an_empty_append_is_nothing() {
    let disk = Disk::new(1);
    let journal = Manual::open(&disk, Faults::default(), options(0));
    let batch = journal.try_append(BatchBuilder::default()).unwrap().unwrap();
    assert_eq!(batch.outcome(), Outcome::Durable);
    assert_eq!(journal.append(b"0", Qos::AtMostOnce).first(), Sequence(1));
}
