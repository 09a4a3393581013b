//! No room, and a disk that fails.

use super::*;

fn options() -> JournalOptions {
    let mut options = small_options();
    options.log.segment_bytes = 4 << 10;
    options
}

#[test]
fn no_room_at_start_is_full_and_passes() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults { capacity: 100, ..Faults::default() }, options());
    assert_eq!(journal.journal.check(), Err(AppendError::Full));
    assert_eq!(journal.try_append(publication(b"0", Qos::AtMostOnce)).unwrap().unwrap_err(), AppendError::Full);
    assert_eq!(journal.committer.keep_house(), Flow::Continue);
    assert_eq!(journal.journal.check(), Err(AppendError::Full));
    disk.set_faults(|faults| faults.capacity = u64::MAX);
    assert_eq!(journal.committer.keep_house(), Flow::Continue);
    journal.write(&[b"1"]);
    journal.close();
    assert_eq!(Manual::open(&disk, Faults::default(), options()).read(Sequence::ZERO).0, [b"1"]);
}

/// Fills a disk until something is refused, and returns what was.
fn fill(journal: &mut Manual) -> Vec<Arc<Batch>> {
    for _ in 0..100 {
        let batches: Vec<_> = (0..4).map(|n| journal.append(&[n; 300], alternating(n))).collect();
        assert_eq!(journal.commit(), Flow::Continue);
        if journal.journal.check().is_err() {
            return batches;
        }
        assert!(batches.iter().all(|batch| batch.outcome() == Outcome::Durable));
    }
    panic!("never full");
}

fn alternating(n: u8) -> Qos {
    if n.is_multiple_of(2) { Qos::AtMostOnce } else { Qos::AtLeastOnce }
}

#[test]
fn a_full_disk_refuses_exactly_what_is_not_written_and_recovers() {
    for preallocates in [true, false] {
        let disk = Disk::new(1);
        let faults = Faults { capacity: 20_000, preallocates, ..Faults::default() };
        let mut journal = Manual::open(&disk, faults, options());
        let mut durable = journal.journal.watch(Watermark::Durable);
        let batches = fill(&mut journal);
        let refused = batches.iter().position(|batch| batch.outcome() == Outcome::Refused).unwrap();
        let (written, lost) = batches.split_at(refused);
        assert!(written.iter().all(|batch| batch.outcome() == Outcome::Durable));
        assert!(lost.iter().all(|batch| batch.outcome() == Outcome::Refused));
        assert_eq!(*durable.borrow_and_update(), lost[0].first().previous());
        disk.set_faults(|faults| faults.capacity = u64::MAX);
        assert_eq!(journal.committer.keep_house(), Flow::Continue);
        let next = journal.write(&[b"afterwards"]);
        assert!(next[0].first() > lost[lost.len() - 1].last());
        let expected = journal.read(Sequence::ZERO);
        assert_eq!(expected.0.len() as u64, lost[0].first().0);
        disk.lose_power();
        let journal = Manual::open(&disk, Faults::default(), options());
        assert_eq!((journal.recovery.damage.len(), journal.recovery.last), (0, next[0].last()));
        assert_eq!(journal.read(Sequence::ZERO).0, expected.0);
    }
}

#[test]
fn refused_records_are_not_found_by_the_next_start() {
    // At some of these, the write that fails leaves whole records behind.
    for capacity in (20_000..24_000).step_by(200) {
        let disk = Disk::new(1);
        let faults = Faults { capacity, preallocates: false, ..Faults::default() };
        let mut journal = Manual::open(&disk, faults, options());
        let batches = fill(&mut journal);
        disk.kill_process();
        let journal = Manual::open(&disk, Faults::default(), options());
        let refused = batches.iter().find(|batch| batch.outcome() == Outcome::Refused).unwrap();
        assert_eq!(journal.recovery.last, refused.first().previous(), "{capacity}");
    }
}

#[test]
fn the_maximum_size_is_never_exceeded_and_retention_makes_room() {
    let disk = Disk::new(1);
    let mut options = options();
    options.log.maximum_bytes = 24 << 10;
    let mut journal = Manual::open(&disk, Faults::default(), options);
    let cursor = journal.journal.register_cursor("slow", Sequence::ZERO);
    journal.journal.start_retention();
    fill(&mut journal);
    journal.committer.keep_house();
    assert_eq!(journal.journal.check(), Err(AppendError::Full));
    assert!(journal.journal.bytes() <= 24 << 10);
    cursor.set(journal.journal.watermark(Watermark::Durable));
    journal.committer.keep_house();
    journal.write(&[b"afterwards"]);
}

#[test]
fn a_full_journal_closes() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults { capacity: 20_000, ..Faults::default() }, options());
    fill(&mut journal);
    journal.committer.keep_house();
    journal.close();
    let disk = Disk::new(1);
    let journal = Manual::open(&disk, Faults { capacity: 5_000, ..Faults::default() }, options());
    while journal
        .try_append(publication(&[0; 300], Qos::AtMostOnce))
        .is_some_and(|result| result.unwrap().last().0 < 50)
    {}
    journal.close();
}

#[test]
fn a_failed_sync_fails_everything_for_good() {
    for failing_sync in 1..8 {
        let disk = Disk::new(failing_sync);
        // The first sync is that of the segment's header.
        let faults = Faults { failing_sync: Some(1 + failing_sync), ..Faults::default() };
        let mut journal = Manual::open(&disk, faults, options());
        let mut all = Vec::new();
        loop {
            all.extend((0..4).map(|n| journal.append(&[n; 100], alternating(n))));
            if journal.commit() == Flow::Stop {
                break;
            }
        }
        let durable = journal.journal.watermark(Watermark::Durable);
        for batch in &all {
            let expected = if batch.last() <= durable { Outcome::Durable } else { Outcome::Failed };
            assert_eq!(batch.outcome(), expected);
        }
        assert_eq!(all.iter().filter(|batch| batch.outcome() == Outcome::Failed).count(), 4);
        assert_eq!(journal.journal.check(), Err(AppendError::Failed));
        let refused = journal.try_append(publication(b"0", Qos::AtMostOnce)).unwrap();
        assert_eq!(refused.unwrap_err(), AppendError::Failed);
    }
}

#[test]
fn a_read_error_moves_no_reader() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options());
    journal.write(&[b"first", b"second"]);
    let mut reader = journal.journal.reader(Sequence::ZERO, Watermark::Durable);
    disk.set_faults(|faults| faults.reads_fail = true);
    assert!(matches!(reader.read_disk(), Err(ReadError::Io(_))));
    assert_eq!(reader.position(), Sequence::ZERO);
    disk.set_faults(|faults| faults.reads_fail = false);
    assert_eq!(payloads(&reader.read_disk().unwrap().unwrap()), [b"first".as_slice(), b"second"]);
}
