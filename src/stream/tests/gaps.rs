//! What cannot be shown is told.

use super::*;

#[tokio::test]
async fn a_foreign_id_gives_a_gap_and_then_everything_that_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    let first = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let last = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let other = Epoch(journal.epoch().0 ^ 1);
    for (start, requested) in [
        (Start::Unknown("7\"".into()), "7\"".to_owned()),
        (Start::After(LastEventId { epoch: other, sequence: first }), format!("{other}-{first}")),
        (after(&journal, last.next()), format!("{}-{}", journal.epoch(), last.next())),
    ] {
        let (greeting, stream) = open(&streams, Filter::default(), start, &stop).await;
        let (_, gap) = greeting.split_once("\n\n").unwrap();
        let oldest = format!("{}-{first}", journal.epoch());
        let expected = serde_json::json!(
            {"type": "gap", "requested": requested, "oldest": oldest, "reason": "unknown-epoch", "reset": true}
        );
        assert_eq!(blocks(gap.as_bytes()), [Block::Gap(expected)]);
        assert_eq!(read_to(stream, last).await, events([first, last]));
    }
    assert_eq!(streams.statistics().gaps(), 3);
}

#[tokio::test]
async fn an_id_older_than_what_is_kept_gives_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_forgetful_journal(directory.path());
    let (streams, stop) = start(&journal, 0);
    let payload = format!("\"{}\"", "x".repeat(1000));
    let mut sequences = Vec::new();
    while journal.oldest() <= Sequence(20) {
        sequences.push(publish(&journal, "devices/a/t", &payload, Qos::AtLeastOnce).await.last());
        tokio::task::yield_now().await;
    }
    let last = *sequences.last().unwrap();
    let (_, stream) = open(&streams, Filter::default(), after(&journal, sequences[1]), &stop).await;
    let found = read_to(stream, last).await;
    let Block::Gap(gap) = &found[0] else { panic!("{found:?}") };
    assert_eq!(gap["reason"], "retention");
    assert_eq!(gap["requested"], format!("{}-{}", journal.epoch(), sequences[1]));
    let oldest: LastEventId = gap["oldest"].as_str().unwrap().parse().unwrap();
    assert!(oldest.sequence > Sequence(20));
    assert_eq!(found[1..], events((oldest.sequence.0..=last.0).map(Sequence)));
    journal.close();
}

#[tokio::test]
async fn damage_in_the_journal_gives_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let payload = format!("\"{}\"", "x".repeat(1000));
    let mut sequences = Vec::new();
    let journal = open_journal(directory.path());
    for _ in 0..100 {
        sequences.push(publish(&journal, "devices/a/t", &payload, Qos::AtLeastOnce).await.last());
    }
    journal.close();
    let journal = open_journal(directory.path());
    let mut files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut bytes = std::fs::read(&files[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    std::fs::write(&files[1], bytes).unwrap();

    let (streams, stop) = start(&journal, 0);
    let (_, stream) = open(&streams, Filter::default(), after(&journal, Sequence::ZERO), &stop).await;
    let found = read_to(stream, *sequences.last().unwrap()).await;
    let at = found.iter().position(|block| matches!(block, Block::Gap(_))).unwrap();
    let Block::Gap(gap) = &found[at] else { unreachable!() };
    assert_eq!(gap["reason"], "damage");
    assert_eq!(gap["requested"], format!("{}-{}", journal.epoch(), sequences[at - 1]));
    assert_eq!(gap["oldest"], format!("{}-{}", journal.epoch(), sequences[at + 1]));
    let mut expected = sequences.clone();
    expected.remove(at);
    let rest: Vec<_> = found.into_iter().filter(|block| !matches!(block, Block::Gap(_))).collect();
    assert_eq!(rest, events(expected));
    journal.close();
}
