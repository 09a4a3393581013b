//! Streams over a real journal: the hand-over between journal and window, gaps, bounds.

use std::{borrow::Cow, path::Path, pin::pin};

use futures_util::StreamExt;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    journal::{Batch, BatchBuilder, JournalOptions, LogOptions, Outcome, Record, Watermark},
    types::{Epoch, EventQuery, Micros, Publication, PublishProperties, Qos, Reliability, Signal, Source, SynapEvent},
};

/// Maps `devices/{device}/…` to an event whose data is the payload; `hidden/…` is not streamed.
pub struct TestMapper;

impl EventMapper for TestMapper {
    fn map<'a>(&'a self, publication: &Publication<'a>) -> SynapEvent<'a> {
        let mut levels = publication.topic.split('/');
        let (domain, device) = (levels.next().unwrap_or_default(), levels.next());
        SynapEvent {
            sequence: publication.sequence,
            id: Uuid::from_u128(publication.sequence.0.into()),
            event_type: format!("{domain}.telemetry.received").into(),
            subject_id: Uuid::nil(),
            subject_type: "device",
            device,
            topic: publication.topic,
            data: String::from_utf8_lossy(publication.payload),
            metadata: Cow::Owned(format!("{{\"topic\":\"{}\"}}", publication.topic)),
            user_id: "owner",
            source: Source::Api,
            timestamp: publication.received,
            reliability: Reliability::Guaranteed,
            streamed: domain != "hidden",
        }
    }

    fn guarantees(&self, _: &str) -> bool {
        false
    }
}

/// A journal of small segments and little memory.
pub fn open_journal(directory: &Path) -> Journal {
    let mut options = JournalOptions::default();
    options.log.segment_bytes = 32 << 10;
    options.memory.tail = 8 << 10;
    Journal::open(directory, options).unwrap().0
}

/// Appends one message and waits until it is durable, where it is guaranteed.
pub async fn publish(journal: &Journal, topic: &str, payload: &str, qos: Qos) -> Arc<Batch> {
    let mut batch = BatchBuilder::default();
    batch.push(&Record::Publication {
        publication: Publication {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            topic,
            payload: payload.as_bytes(),
            qos,
            retain: false,
            guaranteed: qos > Qos::AtMostOnce,
            client_id: "tester",
            properties: PublishProperties::default(),
        },
        packet_id: 0,
    });
    let signal = Arc::new(Signal::new());
    let batch = journal.append(batch, Some(&signal)).await.unwrap();
    while qos > Qos::AtMostOnce && batch.outcome() == Outcome::Pending {
        signal.wait().await;
    }
    batch
}

/// Streams with their hub; they end when the token is cancelled.
pub fn start(journal: &Journal, window: usize) -> (Streams, CancellationToken) {
    let options = StreamOptions { window, ..StreamOptions::default() };
    start_with(journal, &options)
}

fn start_with(journal: &Journal, options: &StreamOptions) -> (Streams, CancellationToken) {
    let streams = Streams::new(journal.clone(), Arc::new(TestMapper), options);
    let stop = CancellationToken::new();
    tokio::spawn({
        let (streams, stop) = (streams.clone(), stop.clone());
        async move { streams.run(stop).await }
    });
    (streams, stop)
}

/// A block of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    Event(Sequence),
    Gap(serde_json::Value),
    Heartbeat(Option<Sequence>),
}

fn blocks(body: &[u8]) -> Vec<Block> {
    let text = std::str::from_utf8(body).unwrap();
    let whole = text.strip_suffix("\n\n").unwrap_or_else(|| panic!("not whole blocks: {text:?}"));
    whole.split("\n\n").map(block).collect()
}

fn block(text: &str) -> Block {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let sequence = field("id").map(|id| id.parse::<LastEventId>().unwrap().sequence);
    if text.starts_with(": heartbeat") {
        return Block::Heartbeat(sequence);
    }
    let data: serde_json::Value = serde_json::from_str(field("data").unwrap()).unwrap();
    match field("event") {
        Some("gap") => Block::Gap(data),
        _ => {
            assert_eq!(text.lines().count(), 2, "{text:?}");
            let id = Uuid::from_u128(sequence.unwrap().0.into()).to_string();
            assert_eq!(data["id"], id.as_str());
            Block::Event(sequence.unwrap())
        }
    }
}

/// Opens a stream and reads its first message.
async fn open(
    streams: &Streams,
    filter: Filter,
    start: Start,
    stop: &CancellationToken,
) -> (String, std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>>) {
    let mut stream = Box::pin(streams.open(filter, start, stop.clone()));
    let greeting = String::from_utf8(stream.next().await.unwrap().to_vec()).unwrap();
    assert!(greeting.starts_with("data: {\"type\":\"connected\",\"clientId\":\""), "{greeting}");
    (greeting, stream)
}

/// Reads blocks up to the event `last`.
async fn read_to(stream: impl Stream<Item = Bytes>, last: Sequence) -> Vec<Block> {
    let mut stream = pin!(stream);
    let mut found = Vec::new();
    while !found.contains(&Block::Event(last)) {
        found.extend(blocks(&stream.next().await.unwrap()));
    }
    found
}

fn events(sequences: impl IntoIterator<Item = Sequence>) -> Vec<Block> {
    sequences.into_iter().map(Block::Event).collect()
}

fn after(journal: &Journal, sequence: Sequence) -> Start {
    Start::After(LastEventId { epoch: journal.epoch(), sequence })
}

/// What one client of the hand-over test does.
#[derive(Clone, Debug)]
struct Plan {
    resume: usize,
    joins: usize,
    /// Bodies between two pauses; a pause lasts until the journal has grown.
    patience: usize,
    filtered: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    (0..400_usize, 0..400_usize, 1..20_usize, any::<bool>()).prop_map(|(resume, joins, patience, filtered)| Plan {
        resume,
        joins,
        patience,
        filtered,
    })
}

async fn follow(plan: Plan, journal: Journal, streams: Streams, mut appended: watch::Receiver<Vec<Sequence>>) {
    const TOTAL: usize = 400;
    let (resume, joins) = (plan.resume.min(plan.joins), plan.joins);
    appended.wait_for(|sequences| sequences.len() >= joins).await.unwrap();
    let from = resume.checked_sub(1).map_or(Sequence::ZERO, |at| appended.borrow()[at]);
    let filter = match plan.filtered {
        true => Filter { devices: vec!["d1".into()], ..Filter::default() },
        false => Filter::default(),
    };
    let stop = CancellationToken::new();
    let (_, mut stream) = open(&streams, filter, after(&journal, from), &stop).await;
    // Every tenth message is not streamed, and every fifth is of device d1; the last one is.
    let is_wanted = |n: &usize| n % 10 != 9 && (!plan.filtered || n % 5 == 1);
    let expected = |sequences: &[Sequence]| {
        let wanted = (resume..TOTAL).filter(is_wanted);
        events(wanted.filter_map(|n| sequences.get(n).copied()))
    };
    let count = (resume..TOTAL).filter(is_wanted).count();
    let (mut seen, mut bodies) = (Vec::new(), 0);
    while seen.len() < count {
        seen.extend(blocks(&stream.next().await.unwrap()));
        bodies += 1;
        if bodies % plan.patience == 0 {
            let now = appended.borrow_and_update().len();
            appended.wait_for(|sequences| sequences.len() >= TOTAL.min(now + 60)).await.unwrap();
        }
    }
    appended.wait_for(|sequences| sequences.len() == TOTAL).await.unwrap();
    assert_eq!(seen, expected(&appended.borrow()), "{plan:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_client_sees_every_event_once(
        plans in prop::collection::vec(plan(), 1..24),
        window in prop::sample::select(vec![0, 2_000, 20_000, 1_000_000]),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let journal = open_journal(directory.path());
            let (streams, stop) = start(&journal, window);
            let (progress, _) = watch::channel(Vec::new());
            let clients: Vec<_> = plans
                .into_iter()
                .map(|plan| tokio::spawn(follow(plan, journal.clone(), streams.clone(), progress.subscribe())))
                .collect();
            let mut random = seed;
            for n in 0..400_usize {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let topic = if n % 10 == 9 { "hidden/d0/t".into() } else { format!("devices/d{}/t", n % 5) };
                let payload = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat((random >> 55) as usize));
                let qos = if random >> 63 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                let batch = publish(&journal, &topic, &payload, qos).await;
                progress.send_modify(|sequences| sequences.push(batch.last()));
            }
            for client in clients {
                client.await.unwrap();
            }
            stop.cancel();
            journal.close();
        });
    }
}

#[tokio::test]
async fn a_stream_without_an_id_starts_now_and_can_resume_before_its_first_event() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    let seen = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let (greeting, stream) = open(&streams, Filter::default(), Start::Now, &stop).await;
    drop(stream);
    let missed = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let id = greeting.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert_eq!(id, LastEventId { epoch: journal.epoch(), sequence: seen }.to_string());
    let (_, stream) = open(&streams, Filter::default(), Start::After(id.parse().unwrap()), &stop).await;
    assert_eq!(read_to(stream, missed).await, events([missed]));
}

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
            {"type": "gap", "requested": requested, "oldest": oldest, "reason": "unknown-epoch"}
        );
        assert_eq!(blocks(gap.as_bytes()), [Block::Gap(expected)]);
        assert_eq!(read_to(stream, last).await, events([first, last]));
    }
    assert_eq!(streams.statistics().gaps(), 3);
}

#[tokio::test]
async fn an_id_older_than_what_is_kept_gives_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = JournalOptions::default();
    options.log = LogOptions { segment_bytes: 4 << 10, retain_bytes: 8 << 10, ..options.log };
    options.memory.tail = 0;
    let journal = Journal::open(directory.path(), options).unwrap().0;
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

#[tokio::test]
async fn a_body_is_bounded_unless_one_event_is_larger() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    for window in [0, 64 << 20] {
        let (streams, stop) = start(&journal, window);
        let from = journal.watermark(Watermark::Visible);
        let (_, mut stream) = open(&streams, Filter::default(), Start::Now, &stop).await;
        let mut last = from;
        for n in 0..60 {
            let size = if n == 30 { 100_000 } else { 7_000 };
            let payload = format!("\"{}\"", "x".repeat(size));
            last = publish(&journal, "devices/a/t", &payload, Qos::AtLeastOnce).await.last();
        }
        let mut found = Vec::new();
        while found.last() != Some(&Block::Event(last)) {
            let body = stream.next().await.unwrap();
            let inside = blocks(&body);
            assert!(body.len() <= limits::STREAM_BODY_BYTES || inside.len() == 1, "{} bytes", body.len());
            found.extend(inside);
        }
        assert_eq!(found, events((from.next().0..=last.0).map(Sequence)));
    }
}

#[tokio::test]
async fn silence_gives_heartbeats_that_move_past_what_was_not_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let options = StreamOptions { heartbeat: Duration::from_millis(20), ..StreamOptions::default() };
    let (streams, stop) = start_with(&journal, &options);
    let filter = Filter { types: vec!["other".into()], ..Filter::default() };
    let (_, mut stream) = open(&streams, filter, Start::Now, &stop).await;
    assert_eq!(blocks(&stream.next().await.unwrap()), [Block::Heartbeat(None)]);
    let last = publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await.last();
    let mut moved = None;
    while moved.is_none() {
        moved = blocks(&stream.next().await.unwrap()).into_iter().find(|block| *block != Block::Heartbeat(None));
    }
    assert_eq!(moved, Some(Block::Heartbeat(Some(last))));
}

#[tokio::test]
async fn streams_end_when_they_are_stopped_and_leave_nothing_encoded() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 1 << 20);
    publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await;
    let closing = CancellationToken::new();
    let (_, mut stream) = open(&streams, Filter::default(), Start::Now, &closing).await;
    assert_eq!(streams.clients(), 1);
    let waiting = tokio::spawn(async move { stream.next().await });
    closing.cancel();
    assert_eq!(waiting.await.unwrap(), None);
    assert_eq!(streams.clients(), 0);
    publish(&journal, "devices/a/t", "{}", Qos::AtLeastOnce).await;
    assert_eq!(streams.statistics().encoded(), 0);
    stop.cancel();
}

async fn all_pages(history: &History, query: EventQuery) -> Vec<u128> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = history.query(EventQuery { cursor, ..query.clone() }).await.unwrap();
        assert!(page.events.len() <= usize::from(query.limit));
        let id = |event: &String| {
            let event: serde_json::Value = serde_json::from_str(event).unwrap();
            event["id"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128()
        };
        found.extend(page.events.iter().map(id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

fn everything(limit: u16) -> EventQuery {
    EventQuery { topic: None, event_type: None, device: None, from: None, to: None, limit, cursor: None }
}

#[tokio::test]
async fn history_pages_backwards_over_restarts_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let mut sequences = Vec::new();
    for _ in 0..2 {
        let journal = open_journal(directory.path());
        for n in 0..150 {
            let topic = format!("devices/d{}/t", n % 3);
            let qos = if n % 7 == 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            sequences.push(u128::from(publish(&journal, &topic, "{}", qos).await.last().0));
        }
        publish(&journal, "hidden/x", "{}", Qos::AtLeastOnce).await;
        journal.close();
    }
    let journal = open_journal(directory.path());
    let history = History::new(journal.clone(), Arc::new(TestMapper));
    let newest_first: Vec<_> = sequences.iter().rev().copied().collect();
    let topic = Some("devices/#".parse().unwrap());
    assert_eq!(all_pages(&history, EventQuery { topic, ..everything(7) }).await, newest_first);
    let of_one = newest_first
        .iter()
        .copied()
        .filter(|sequence| sequences.iter().position(|other| other == sequence).is_some_and(|at| at % 150 % 3 == 1));
    let device = Some("d1".to_owned());
    assert_eq!(all_pages(&history, EventQuery { device, ..everything(1000) }).await, of_one.collect::<Vec<_>>());

    let full = history.query(EventQuery { topic: Some("hidden/#".parse().unwrap()), ..everything(2) }).await.unwrap();
    assert_eq!((full.events.len(), full.next_cursor), (2, None));
    let future = Some(Micros::MAX);
    assert_eq!(all_pages(&history, EventQuery { from: future, ..everything(10) }).await, []);
    assert_eq!(all_pages(&history, EventQuery { to: Some(Micros::MIN), ..everything(10) }).await, []);
    for cursor in ["", "12", "00000000-1"] {
        let query = EventQuery { cursor: Some(cursor.into()), ..everything(10) };
        assert!(matches!(history.query(query).await, Err(HistoryError::Cursor)), "{cursor}");
    }
    journal.close();
}
