//! What a start finds on a disk that was torn, damaged or tampered with.

use super::*;

fn options() -> JournalOptions {
    let mut options = small_options();
    options.log.segment_bytes = 2 << 10;
    options
}

fn newest(disk: &Disk) -> String {
    disk.names().pop().unwrap()
}

/// Where a payload lies in a file.
fn find(disk: &Disk, name: &str, payload: &[u8]) -> Option<usize> {
    disk.read(name).windows(payload.len()).position(|window| window == payload)
}

/// The file that holds a payload, and where in it.
fn locate(disk: &Disk, payload: &[u8]) -> (String, usize) {
    disk.names().into_iter().find_map(|name| Some((name.clone(), find(disk, &name, payload)?))).unwrap()
}

fn flip(disk: &Disk, payload: &[u8]) -> String {
    let (name, at) = locate(disk, payload);
    disk.tamper(&name, |bytes| bytes[at] ^= 1);
    name
}

fn as_bytes(payloads: &[Vec<u8>]) -> Vec<&[u8]> {
    payloads.iter().map(Vec::as_slice).collect()
}

#[test]
fn a_torn_end_is_cut_at_the_last_whole_record() {
    type Tear = fn(&mut Vec<u8>, usize);
    let tears: [(&str, Tear, &[&[u8]]); 7] = [
        ("nothing", |_, _| {}, &[b"first", b"second", b"third!"]),
        ("cut in the body", |bytes, at| bytes.truncate(at + 3), &[b"first", b"second"]),
        ("cut in the header", |bytes, at| bytes.truncate(at - 30), &[b"first", b"second"]),
        ("zeros in the body", |bytes, at| bytes[at..].fill(0), &[b"first", b"second"]),
        ("zeros behind", |bytes, _| bytes.extend([0; 5000]), &[b"first", b"second", b"third!"]),
        ("garbage behind", |bytes, at| bytes[at + 6..at + 1000].fill(0xa5), &[b"first", b"second", b"third!"]),
        ("garbage in front", |bytes, at| bytes[at - 60..at - 20].fill(0x5a), &[b"first", b"second"]),
    ];
    for (name, tear, expected) in tears {
        let disk = Disk::new(1);
        let mut journal = Manual::open(&disk, Faults::default(), options());
        journal.write(&[b"first", b"second", b"third!"]);
        disk.kill_process();
        let (file, at) = locate(&disk, b"third!");
        disk.tamper(&file, |bytes| tear(bytes, at));
        for again in 0..2 {
            let journal = Manual::open(&disk, Faults::default(), options());
            assert_eq!(journal.recovery.damage, [], "{name}");
            let torn = again == 0 && !matches!(name, "nothing" | "zeros behind");
            assert_eq!(journal.recovery.torn_bytes > 0, torn, "{name}");
            assert_eq!(journal.recovery.last, Sequence(expected.len() as u64), "{name}");
            let (found, errors) = journal.read(Sequence::ZERO);
            assert_eq!((as_bytes(&found).as_slice(), errors.len()), (expected, 0), "{name}");
            disk.kill_process();
        }
    }
}

#[test]
fn damage_before_a_later_mark_is_reported_and_not_cut() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options());
    journal.write(&[b"first", b"second", b"third!", b"fourth"]);
    disk.kill_process();
    let file = flip(&disk, b"second");
    let journal = Manual::open(&disk, Faults::default(), options());
    let [damage] = journal.recovery.damage.as_slice() else { panic!("{:?}", journal.recovery) };
    assert_eq!((&damage.segment, damage.after, damage.before), (&file, Sequence(1), Sequence(3)));
    assert_eq!(journal.recovery.torn_bytes, 0);
    let (found, errors) = journal.read(Sequence::ZERO);
    assert_eq!(as_bytes(&found), [b"first", b"third!".as_slice(), b"fourth"]);
    assert!(matches!(errors.as_slice(), [ReadError::Damaged(again)] if again == damage), "{errors:?}");
    let (found, errors) = journal.read(Sequence(2));
    assert_eq!((found.len(), errors.len()), (2, 0), "what lies before the reader is no concern of its");
}

#[test]
fn damage_to_the_last_record_of_a_closed_journal_is_no_torn_end() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options());
    journal.write(&[b"first", b"second"]);
    journal.close();
    flip(&disk, b"second");
    let journal = Manual::open(&disk, Faults::default(), options());
    assert_eq!((journal.recovery.damage.len(), journal.recovery.torn_bytes), (1, 0));
    let (found, errors) = journal.read(Sequence::ZERO);
    assert_eq!(as_bytes(&found), [b"first"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// A journal of several segments, the newest not among those that hold "record 0" to "record 59".
fn many_segments(disk: &Disk) -> Vec<Vec<u8>> {
    let payloads: Vec<_> = (0..60_u32).map(|n| format!("record {n:03} {}", "x".repeat(60)).into_bytes()).collect();
    let mut journal = Manual::open(disk, Faults::default(), options());
    journal.write(&as_bytes(&payloads));
    journal.close();
    Manual::open(disk, Faults::default(), options()).close();
    assert!(disk.names().len() > 4);
    payloads
}

#[test]
fn damage_in_older_segments_is_found_by_readers_and_exact() {
    type Harm = fn(&Disk, String, usize);
    let harms: [(&str, Harm); 6] = [
        ("a flipped bit", |disk, name, at| disk.tamper(&name, |bytes| bytes[at] ^= 1)),
        ("a broken length", |disk, name, at| disk.tamper(&name, |bytes| bytes[at - 57..at - 50].fill(0xff))),
        ("a lost sector", |disk, name, at| disk.tamper(&name, |bytes| bytes[at..at + 512].fill(0))),
        ("a cut", |disk, name, at| disk.tamper(&name, |bytes| bytes.truncate(at - 60))),
        ("an emptied file", |disk, name, _| disk.tamper(&name, |bytes| bytes.truncate(64))),
        ("a missing file", |disk, name, _| disk.tamper_names(|names| names.retain(|other, _| *other != name))),
    ];
    for (harm_name, harm) in harms {
        let disk = Disk::new(1);
        let payloads = many_segments(&disk);
        let (name, at) = locate(&disk, &payloads[25]);
        harm(&disk, name, at);
        let journal = Manual::open(&disk, Faults::default(), options());
        let (found, errors) = journal.read(Sequence::ZERO);
        let missing: Vec<_> = (1..=60).filter(|&n| !found.contains(&payloads[n as usize - 1])).collect();
        assert!(missing.contains(&26) && missing.len() < 40, "{harm_name}: {missing:?}");
        let [ReadError::Damaged(damage)] = errors.as_slice() else { panic!("{harm_name}: {errors:?}") };
        let (after, before) = (missing[0] - 1, missing[missing.len() - 1] + 1);
        assert_eq!((damage.after.0, damage.before.0), (after, before), "{harm_name}");
        assert_eq!(before - after - 1, missing.len() as u64, "{harm_name}");
    }
}

#[test]
fn a_file_that_was_never_used_is_removed_and_any_other_is_refused() {
    let disk = Disk::new(1);
    many_segments(&disk);
    let storage = disk.start(Faults::default());
    storage.create("00000000099999999999.journal", 4096).unwrap();
    storage.create("notes.txt", 0).unwrap();
    assert!(Manual::try_open(&disk, Faults::default(), options()).is_ok());
    assert!(!disk.names().contains(&"00000000099999999999.journal".into()));
    assert!(disk.names().contains(&"notes.txt".into()));
    let first = disk.names()[0].clone();
    disk.tamper(&first, |bytes| bytes[9] ^= 1);
    let result = Manual::try_open(&disk, Faults::default(), options());
    assert!(matches!(result.map(drop).unwrap_err(), OpenError::Foreign { file } if file == first));
}

#[test]
fn files_of_another_journal_or_under_another_name_are_refused() {
    let (disk, other) = (Disk::new(1), Disk::new(2));
    many_segments(&disk);
    many_segments(&other);
    let (name, foreign) = (newest(&disk), other.read(&newest(&other)));
    disk.tamper(&name, |bytes| *bytes = foreign);
    let result = Manual::try_open(&disk, Faults::default(), options());
    assert!(matches!(result.map(drop).unwrap_err(), OpenError::Mixed { file } if file == name));
    let copy = disk.read(&disk.names()[0]);
    disk.tamper(&name, |bytes| *bytes = copy);
    let result = Manual::try_open(&disk, Faults::default(), options());
    assert!(matches!(result.map(drop).unwrap_err(), OpenError::Foreign { file } if file == name));
}

#[test]
fn records_of_a_later_version_stop_the_start() {
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options());
    journal.write(&[b"first"]);
    disk.kill_process();
    let (name, at) = locate(&disk, b"first");
    let start = at - "a/btester".len() - 12 - record::HEADER_BYTES;
    disk.tamper(&name, |bytes| {
        let salt = u32::from_le_bytes(*bytes[56..].first_chunk().unwrap());
        bytes[start + 25] = 99;
        record::seal(&mut bytes[start..], Sequence(1), Micros::default(), record::Salt(salt));
    });
    let error = Manual::try_open(&disk, Faults::default(), options()).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Newer { error: record::RecordError::Unknown { kind: 99, .. }, .. }), "{error}");
}

#[test]
fn sequences_are_not_reused_for_records_that_a_crash_took() {
    let disk = Disk::new(1);
    let mut options = options();
    options.sync_interval = Duration::MAX;
    let mut used = Sequence::ZERO;
    for _ in 0..20 {
        let mut journal = Manual::open(&disk, Faults::default(), options.clone());
        let batch = journal.append(b"0", Qos::AtMostOnce);
        assert!(batch.first() > used);
        used = batch.last();
        journal.commit();
        disk.lose_power();
    }
}

#[test]
fn records_planted_in_a_payload_are_not_taken_for_real() {
    let mut planted = vec![0; 600];
    for n in 0..100_u64 {
        let start = planted.len();
        record::encode(&Record::Mark { ceiling: Sequence(u64::MAX - 9), durable: Sequence(1 << 40) }, &mut planted);
        record::seal(&mut planted[start..], Sequence((1 << 40) + n), Micros::MAX, record::Salt(0));
    }
    let disk = Disk::new(1);
    let mut journal = Manual::open(&disk, Faults::default(), options());
    journal.write(&[b"first", &planted]);
    disk.kill_process();
    let (name, at) = locate(&disk, &planted);
    disk.tamper(&name, |bytes| bytes[at - 60..at + 10].fill(0));
    let journal = Manual::open(&disk, Faults::default(), options());
    assert_eq!(journal.recovery.last, Sequence(1));
    assert!(journal.recovery.next < Sequence(1 << 30));
}
