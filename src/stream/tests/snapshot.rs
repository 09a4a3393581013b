//! First what is current, then what changes: no hole between, and nothing twice.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

/// What a client knows: the number of the newest event of each topic.
#[derive(Debug, Default)]
struct Known {
    newest: BTreeMap<String, u64>,
    last: u64,
    is_current: bool,
}

impl Known {
    fn take(&mut self, line: &serde_json::Value) {
        let number = || {
            let event = &line["event"];
            let topic = event["metadata"]["topic"].as_str().unwrap().to_owned();
            (topic, event["data"]["n"].as_u64().unwrap())
        };
        match line["type"].as_str().unwrap() {
            "event" => {
                let (topic, n) = number();
                // Within a topic, and within changes, it only rises.
                let before = self.newest.insert(topic, n);
                assert!(before.is_none_or(|before| before < n), "{line} behind {before:?}");
                assert_eq!(line["id"].is_string(), self.is_current, "{line}");
                if self.is_current {
                    assert!(n > self.last, "{line}");
                    self.last = n;
                }
            }
            "snapshot" => {
                assert_eq!(line["events"].as_u64(), Some(self.newest.len() as u64));
                assert_eq!(line["complete"], true);
                self.is_current = true;
            }
            "connected" => assert!(line["id"].is_null(), "{line}"),
            "position" => {}
            other => panic!("{other}"),
        }
    }
}

async fn watch(streams: Streams, mode: Mode, filter: Filter, total: u64, patience: u64) -> Known {
    let subscription = Subscription { snapshot: true, form: Form::Lines, mode, filter, ..Subscription::default() };
    let mut client = streams.client(subscription, CancellationToken::new());
    let mut known = Known::default();
    while known.newest.get("devices/end").is_none_or(|n| *n < total) {
        let body = client.next().await.unwrap();
        for line in std::str::from_utf8(&body).unwrap().lines() {
            known.take(&serde_json::from_str(line).unwrap());
        }
        for _ in 0..patience {
            tokio::task::yield_now().await;
        }
    }
    assert!(known.is_current);
    known
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_its_changes_are_what_is_current(
        topics in 1..40_u64,
        before in 0..300_usize,
        publishers in 1..4_usize,
        clients in prop::collection::vec((0..3_usize, any::<bool>(), 0..30_u64, 0..200_usize), 1..8),
        window in prop::sample::select(vec![0, 2_000, 1_000_000]),
        seed in any::<u64>(),
    ) {
        const EACH: usize = 200;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let journal = open_journal(directory.path());
            let (streams, stop) = start(&journal, window);
            // Numbers are given and appended in one order.
            let order = Arc::new(tokio::sync::Mutex::new(0_u64));
            let newest = Arc::new(Mutex::new(BTreeMap::new()));
            let one = {
                let (journal, order, newest) = (journal.clone(), Arc::clone(&order), Arc::clone(&newest));
                move |topic: String, qos: Qos| {
                    let (journal, order, newest) = (journal.clone(), Arc::clone(&order), Arc::clone(&newest));
                    async move {
                        let mut last = order.lock().await;
                        *last += 1;
                        publish(&journal, &topic, &format!("{{\"n\":{}}}", *last), qos).await;
                        newest.lock().insert(topic, *last);
                    }
                }
            };
            let mut random = seed;
            let mut draw = move |below: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) % below
            };
            for _ in 0..before {
                one(format!("devices/{}", draw(topics)), Qos::AtMostOnce).await;
            }
            let (progress, _) = watch::channel(0_usize);
            let total = (before + publishers * EACH + 1) as u64;
            let watching: Vec<_> = clients.into_iter().map(|(mode, filtered, patience, joins)| {
                let mode = match mode {
                    0 => Mode::Guaranteed,
                    1 => Mode::BestEffort,
                    _ => Mode::Latest { interval: Duration::from_millis(2) },
                };
                let wanted = ["devices/1", "devices/end"].map(|topic| topic.parse().unwrap());
                let filter = Filter { topics: if filtered { wanted.into() } else { Vec::new() }, ..Filter::default() };
                let (streams, mut progress) = (streams.clone(), progress.subscribe());
                let watching = tokio::spawn(async move {
                    progress.wait_for(|done| *done >= joins).await.unwrap();
                    watch(streams, mode, filter, total, patience).await
                });
                (filtered, watching)
            }).collect();
            let publishing: Vec<_> = (0..publishers).map(|_| {
                let plan: Vec<_> = (0..EACH).map(|_| (draw(topics), draw(2))).collect();
                let (one, progress) = (one.clone(), progress.clone());
                tokio::spawn(async move {
                    for (topic, qos) in plan {
                        let qos = if qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                        one(format!("devices/{topic}"), qos).await;
                        progress.send_modify(|done| *done += 1);
                    }
                })
            }).collect();
            for publisher in publishing {
                publisher.await.unwrap();
            }
            one("devices/end".into(), Qos::AtLeastOnce).await;
            let expected = newest.lock().clone();
            for (filtered, watching) in watching {
                let known = watching.await.unwrap().newest;
                let mut expected = expected.clone();
                expected.retain(|topic, _| !filtered || topic == "devices/1" || topic == "devices/end");
                assert_eq!(known, expected);
            }
            stop.cancel();
            journal.close();
        });
    }
}

/// Retained messages that are older than any record, two on a page.
struct Old(Vec<(&'static str, Arc<OwnedRecord>)>);

impl RetainedMessages for Old {
    fn page(&self, after: Option<String>, before: Sequence) -> BoxFuture<'_, Option<RetainedPage>> {
        let behind = self.0.iter().filter(|(topic, _)| after.as_deref().is_none_or(|after| *topic > after));
        let page: Vec<_> = behind.take(2).collect();
        let next = (page.len() == 2).then(|| page[1].0.to_owned());
        let is_old = |record: &Arc<OwnedRecord>| record.publication().unwrap().sequence < before;
        let messages = page.into_iter().map(|(_, record)| Arc::clone(record)).filter(is_old).collect();
        Box::pin(async move { Some(RetainedPage { messages, next }) })
    }
}

#[tokio::test]
async fn retained_messages_that_outlived_the_journal_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_forgetful_journal(directory.path());
    let payload = format!("\"{}\"", "x".repeat(1000));
    let mut last = Sequence::ZERO;
    while journal.oldest() <= Sequence(5) {
        last = publish(&journal, "devices/new/t", &payload, Qos::AtLeastOnce).await.last();
        tokio::task::yield_now().await;
    }
    let retained = |topic: &'static str, sequence| {
        let publication = Publication {
            sequence,
            received: Micros::default(),
            topic,
            payload: b"{}",
            qos: Qos::AtLeastOnce,
            retain: true,
            guaranteed: true,
            client_id: "tester",
            properties: PublishProperties::default(),
        };
        (topic, Arc::new(OwnedRecord::of(&publication)))
    };
    let old = Old(vec![
        retained("devices/a", Sequence(1)),
        retained("devices/b", Sequence(2)),
        retained("devices/new/t", last),
        retained("hidden/c", Sequence(3)),
        retained("other/d", Sequence(4)),
    ]);
    let sources = Sources { retained: Some(Arc::new(old)), ..sources(&journal) };
    let (streams, stop) = start_from(sources, &StreamOptions::default());
    for (filter, expected) in [(None, &[1, 2, 4][..]), (Some("devices/#"), &[1, 2])] {
        let topics = filter.iter().map(|filter| filter.parse().unwrap()).collect();
        let filter = Filter { topics, ..Filter::default() };
        let subscription = Subscription { snapshot: true, filter, ..Subscription::default() };
        let (_, mut stream) = open_with(&streams, subscription, &stop).await;
        let mut found = Vec::new();
        while !matches!(found.last(), Some(Block::Told(..))) {
            found.extend(blocks(&stream.next().await.unwrap()));
        }
        let marker = found.pop().unwrap();
        let count = expected.len() + 1;
        let told = serde_json::json!({"type": "snapshot", "events": count, "complete": true});
        assert_eq!(marker, Block::Told("snapshot".into(), told));
        let states = expected.iter().map(|number| Sequence(*number)).chain([last]);
        assert_eq!(found, states.map(Block::State).collect::<Vec<_>>());
    }
    journal.close();
}

#[tokio::test]
async fn a_resumed_stream_has_no_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    let first = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let last = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let subscription = Subscription { snapshot: true, start: after(&journal, first), ..Subscription::default() };
    let (_, stream) = open_with(&streams, subscription, &stop).await;
    assert_eq!(read_to(stream, last).await, events([last]));
}
