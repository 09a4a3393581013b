//! What becomes of clients that do not keep up, in each mode.

use std::collections::BTreeMap;

use super::*;

/// A small journal whose memory is soon over, so that slow clients need the disk.
async fn publish_many(journal: &Journal, count: usize, topic: impl Fn(usize) -> String) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for n in 0..count {
        let batch = publish(journal, &topic(n), &format!("{{\"n\":{n}}}"), Qos::AtMostOnce).await;
        sequences.push(batch.last());
        // The hub's turn.
        tokio::task::yield_now().await;
    }
    sequences
}

fn subscription(mode: Mode) -> Subscription {
    Subscription { mode, ..Subscription::default() }
}

/// Reads until `last` has come, or has been told to be missing; blocks but heartbeats.
async fn read_until(stream: impl Stream<Item = Bytes>, last: Sequence) -> Vec<Block> {
    let mut stream = pin!(stream);
    let mut found = Vec::new();
    loop {
        let read = blocks(&stream.next().await.unwrap());
        found.extend(read.into_iter().filter(|block| !matches!(block, Block::Heartbeat(_))));
        if found.contains(&Block::Event(last)) {
            return found;
        }
    }
}

#[tokio::test]
async fn best_effort_drops_the_oldest_and_counts_them() {
    const COUNT: usize = 3 * limits::STREAM_QUEUE;
    for window in [0, 100_000, 64 << 20] {
        for filtered in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let journal = open_journal(directory.path());
            let (streams, stop) = start(&journal, window);
            let filter = match filtered {
                true => Filter { devices: vec!["d1".into()], ..Filter::default() },
                false => Filter::default(),
            };
            let is_wanted = |n: usize| !filtered || n % 2 == 1;
            let subscription = Subscription { filter, ..subscription(Mode::BestEffort) };
            let (_, stream) = open_with(&streams, subscription, &stop).await;
            let sequences = publish_many(&journal, COUNT, |n| format!("devices/d{}/t", n % 2)).await;
            let last = *sequences.last().unwrap();
            let found = read_until(stream, last).await;
            // Events and counts follow each other as the wanted events did.
            let mut expected = sequences.iter().enumerate().filter(|(n, _)| is_wanted(*n)).map(|(_, at)| *at);
            let mut dropped = 0;
            for block in &found {
                match block {
                    Block::Event(sequence) => assert_eq!(Some(*sequence), expected.next(), "window {window}"),
                    Block::Gap(gap) => {
                        assert_eq!(gap["reason"], "slow");
                        let count = usize::try_from(gap["count"].as_u64().unwrap()).unwrap();
                        dropped += count;
                        let resumes: LastEventId = gap["oldest"].as_str().unwrap().parse().unwrap();
                        let told = expected.by_ref().take(count).last().unwrap();
                        assert!(told < resumes.sequence, "window {window}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(expected.next(), None);
            assert!(dropped > 0, "window {window}, filtered {filtered}: nothing was dropped");
            assert_eq!(streams.statistics().dropped(), dropped as u64);
            if window > 1 << 20 {
                assert!(streams.statistics().encoded() > COUNT as u64 / 2, "the window was not what it came from");
            }
            journal.close();
        }
    }
}

/// As a long poll that does not wait.
#[tokio::test]
async fn whoever_does_not_wait_gets_what_lies_behind_what_the_filter_leaves_out() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 0);
    let first = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    for _ in 0..5 {
        publish(&journal, "other/a", "{}", Qos::AtLeastOnce).await;
    }
    let last = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    // The window has come that far, and holds nothing.
    let (_, everything) = open(&streams, Filter::default(), after(&journal, first), &stop).await;
    read_to(everything, last).await;
    let filter = Filter { topics: vec!["devices/#".parse().unwrap()], ..Filter::default() };
    let subscription = Subscription {
        start: after(&journal, first),
        heartbeat: Some(Duration::ZERO),
        filter,
        ..Subscription::default()
    };
    let (_, mut stream) = open_with(&streams, subscription, &stop).await;
    assert_eq!(blocks(&stream.next().await.unwrap()), events([last]));
}

/// The same, where the window rests because nobody watches.
#[tokio::test]
async fn whoever_does_not_wait_gets_what_the_window_has_not_come_to() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    for _ in 0..20 {
        let first = publish(&journal, "other/a", "{}", Qos::AtLeastOnce).await.last();
        let last = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
        let subscription =
            Subscription { start: after(&journal, first), heartbeat: Some(Duration::ZERO), ..Subscription::default() };
        let (_, mut stream) = open_with(&streams, subscription, &stop).await;
        assert_eq!(blocks(&stream.next().await.unwrap()), events([last]));
    }
}

#[tokio::test]
async fn best_effort_drops_nothing_of_a_client_that_keeps_up() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    let (_, mut stream) = open_with(&streams, subscription(Mode::BestEffort), &stop).await;
    for n in 0..3 * limits::STREAM_QUEUE / 100 {
        let sequences = publish_many(&journal, 100, |_| format!("devices/a/{n}")).await;
        assert_eq!(read_until(&mut stream, *sequences.last().unwrap()).await, events(sequences));
    }
}

#[tokio::test]
async fn latest_gives_the_newest_of_each_topic_in_turns() {
    for window in [0, 64 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let journal = open_journal(directory.path());
        let (streams, stop) = start(&journal, window);
        let mode = Mode::Latest { interval: Duration::from_millis(50) };
        let filter = Filter { topics: vec!["devices/#".parse().unwrap()], ..Filter::default() };
        let (_, stream) = open_with(&streams, Subscription { filter, ..subscription(mode) }, &stop).await;
        let mut stream = pin!(stream);
        // Topics of a client that does not read: at its turn, one event each, the newest, in order.
        let topic = |n: usize| if n % 7 == 6 { "other/x".into() } else { format!("devices/d{}/t", n % 7 % 3) };
        let mut newest = BTreeMap::new();
        for round in 0..3 {
            let sequences = publish_many(&journal, 700, topic).await;
            for (n, sequence) in sequences.iter().enumerate().filter(|(n, _)| n % 7 != 6) {
                newest.insert(topic(n), *sequence);
            }
            let mut expected: Vec<_> = newest.values().copied().collect();
            expected.sort_unstable();
            let found = read_until(&mut stream, *expected.last().unwrap()).await;
            // A turn that began while they were published has told of some before.
            let tail = &found[found.len() - expected.len()..];
            assert_eq!(tail, events(expected), "round {round}, window {window}");
            assert!(found.len() < 350, "{} events in round {round}", found.len());
        }
        journal.close();
    }
}

#[tokio::test]
async fn latest_waits_between_two_turns() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    let interval = Duration::from_millis(300);
    let (_, mut stream) = open_with(&streams, subscription(Mode::Latest { interval }), &stop).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        let last = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
        assert_eq!(read_until(&mut stream, last).await, events([last]));
    }
    assert!(begun.elapsed() >= 2 * interval, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_guaranteed_client_that_retention_overtakes_is_sent_away_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_forgetful_journal(directory.path());
    let (streams, stop) = start(&journal, 0);
    let (_, mut stream) = open(&streams, Filter::default(), Start::Now, &stop).await;
    let first = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    assert_eq!(read_to(&mut stream, first).await, events([first]));
    let payload = format!("\"{}\"", "x".repeat(1000));
    while journal.oldest() <= first.next() {
        publish(&journal, "devices/a/t", &payload, Qos::AtLeastOnce).await;
        tokio::task::yield_now().await;
    }
    // It may get what was gathered before; then it is told where it was, and nothing is skipped.
    let mut found = Vec::new();
    while let Some(body) = stream.next().await {
        found.extend(blocks(&body));
    }
    let (end, before) = found.split_last().unwrap();
    let seen = events((first.next().0..).map(Sequence).take(before.len()));
    assert_eq!(before, seen);
    assert_eq!(*end, Block::Told("end".into(), serde_json::json!({"type": "end", "reason": "behind"})));
    journal.close();
}

#[tokio::test]
async fn a_stream_ends_behind_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    for window in [0, 1 << 20] {
        let (streams, stop) = start(&journal, window);
        let from = journal.watermark(Watermark::Visible);
        let sequences = publish_many(&journal, 50, |_| "devices/a/t".into()).await;
        publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await;
        let until = sequences[19];
        let subscription = Subscription { start: after(&journal, from), until, ..Subscription::default() };
        assert!(!streams.is_over(&subscription));
        let (_, mut stream) = open_with(&streams, subscription.clone(), &stop).await;
        let mut found = Vec::new();
        while let Some(body) = stream.next().await {
            found.extend(blocks(&body));
        }
        let end = found.pop();
        assert_eq!(end, Some(Block::Told("end".into(), serde_json::json!({"type": "end", "reason": "complete"}))));
        assert_eq!(found, events(sequences[..20].iter().copied()));
        assert!(streams.is_over(&Subscription { start: after(&journal, until), ..subscription }));
    }
}

#[tokio::test]
async fn a_client_that_is_asked_in_vain_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    for window in [0, 1 << 20] {
        let (streams, stop) = start(&journal, window);
        let mut client = streams.client(Subscription::default(), stop.clone());
        client.next().await.unwrap();
        let mut found = Vec::new();
        let mut sequences = Vec::new();
        while sequences.len() < 600 {
            sequences.extend(publish_many(&journal, 3, |_| "devices/a/t".into()).await);
            // Given up at whatever point it waits.
            for patience in [0, 50, 200] {
                let asked = tokio::time::timeout(Duration::from_micros(patience), client.next()).await;
                found.extend(asked.into_iter().flat_map(|body| blocks(&body.unwrap())));
            }
        }
        let last = *sequences.last().unwrap();
        while !found.contains(&Block::Event(last)) {
            found.extend(blocks(&client.next().await.unwrap()));
        }
        assert_eq!(found, events(sequences), "window {window}");
    }
}
