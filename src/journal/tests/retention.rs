//! What is removed, and what never is.

use super::*;

fn options() -> JournalOptions {
    let mut options = small_options();
    options.log.segment_bytes = 2 << 10;
    options.log.retain_bytes = 8 << 10;
    options
}

fn filled(disk: &Disk, options: JournalOptions) -> Manual {
    let mut journal = Manual::open(disk, Faults::default(), options);
    for _ in 0..100 {
        journal.write(&[&[0; 200]]);
    }
    journal
}

#[test]
fn nothing_goes_before_every_consumer_has_registered() {
    let disk = Disk::new(1);
    let mut journal = filled(&disk, options());
    let segments = disk.names().len();
    journal.committer.keep_house();
    assert_eq!(disk.names().len(), segments);
    journal.journal.start_retention();
    journal.committer.keep_house();
    assert!(disk.names().len() < segments);
    assert!(journal.journal.bytes() <= 8 << 10);
}

#[test]
fn the_lowest_cursor_holds_everything_above_it() {
    let disk = Disk::new(1);
    let mut journal = filled(&disk, options());
    let slow = journal.journal.register_cursor("slow", Sequence(10));
    let fast = journal.journal.register_cursor("fast", Sequence(100));
    journal.journal.start_retention();
    for at in [10, 10, 25, 60] {
        slow.set(Sequence(at));
        journal.committer.keep_house();
        let oldest = journal.journal.oldest();
        assert!(oldest <= Sequence(at + 1));
        assert!(oldest.0 + 20 > at, "{oldest} is far below {at}");
        let (found, errors) = journal.read(Sequence(at));
        assert_eq!((found.len() as u64, errors.len()), (100 - at, 0));
    }
    assert_eq!(journal.journal.cursors(), [("slow", Sequence(60)), ("fast", Sequence(100))]);
    drop(slow);
    journal.committer.keep_house();
    assert!(journal.journal.oldest() > Sequence(61));
    assert_eq!((fast.name(), fast.position()), ("fast", Sequence(100)));
}

#[test]
fn age_removes_what_size_would_keep() {
    let disk = Disk::new(1);
    let mut options = options();
    options.log.retain_bytes = u64::MAX;
    options.log.retain_age = Duration::from_secs(3600);
    let clock = Arc::new(JumpyClock::new(1));
    let mut journal = Manual::open_at(&disk, Faults::default(), options, clock.clone()).unwrap();
    journal.journal.start_retention();
    for _ in 0..50 {
        journal.write(&[&[0; 200]]);
    }
    journal.committer.keep_house();
    assert_eq!(journal.journal.oldest(), Sequence(1));
    clock.set(clock.now().get() + 2 * 3_600_000_000);
    for _ in 0..10 {
        journal.write(&[&[0; 200]]);
    }
    journal.committer.keep_house();
    let oldest = journal.journal.oldest();
    assert!((Sequence(30)..=Sequence(51)).contains(&oldest), "{oldest}");
}

#[test]
fn a_reader_whose_records_went_is_told_and_goes_on() {
    let disk = Disk::new(1);
    let mut journal = filled(&disk, options());
    let mut held = journal.journal.reader(Sequence::ZERO, Watermark::Durable);
    let first = held.read_disk().unwrap().unwrap();
    let mut late = journal.journal.reader(Sequence(3), Watermark::Durable);
    let mut fresh = journal.journal.reader(Sequence::ZERO, Watermark::Durable);
    journal.journal.start_retention();
    journal.committer.keep_house();
    let oldest = journal.journal.oldest();
    for (reader, position) in [(&mut held, first.last()), (&mut late, Sequence(3))] {
        match reader.read_disk() {
            Err(ReadError::Retired { after, before }) => assert_eq!((after, before), (position, oldest)),
            other => panic!("{other:?}"),
        }
        let slice = reader.read_disk().unwrap().unwrap();
        assert_eq!(slice.records().next().unwrap().sequence(), Some(oldest));
    }
    let slice = fresh.read_disk().unwrap().unwrap();
    assert_eq!(slice.records().next().unwrap().sequence(), Some(oldest), "zero means whatever there is");
}

#[test]
fn numbers_that_were_never_used_are_no_gap() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options());
    journal.write(&[b"first", b"second"]);
    disk.kill_process();
    let mut journal = Manual::open(&disk, Faults::default(), options());
    for _ in 0..100 {
        journal.write(&[&[0; 200]]);
    }
    let cursor = journal.journal.register_cursor("done with the first life", Sequence(2));
    journal.journal.start_retention();
    journal.committer.keep_house();
    assert_eq!(journal.journal.oldest(), Sequence(3), "the first life's segment can go, its reader misses nothing");
    let (found, errors) = journal.read(cursor.position());
    assert_eq!((found.len(), errors.len()), (100, 0));
}
