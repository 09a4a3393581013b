//! Streams over a real journal.

mod gaps;
mod handover;
mod history;
mod modes;
mod snapshot;

use std::{borrow::Cow, path::Path, pin::pin};

use futures_util::StreamExt;
use uuid::Uuid;

use super::*;
use crate::{
    journal::{Batch, BatchBuilder, JournalOptions, LogOptions, Origin, Outcome, Record, Watermark},
    types::{
        Command, Epoch, EventQuery, Kept, Measurements, Micros, Presence, Publication, PublishProperties, Qos,
        Reliability, Signal, Source, SynapEvent,
    },
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
            topic: Some(publication.topic),
            data: String::from_utf8_lossy(publication.payload),
            metadata: Cow::Owned(format!("{{\"topic\":\"{}\"}}", publication.topic)),
            user_id: "owner",
            source: Source::Api,
            timestamp: publication.received,
            correlation_id: None,
            reliability: Reliability::Guaranteed,
            streamed: domain != "hidden",
            kept: Kept::Event,
            rejected: None,
            message_key: None,
        }
    }

    fn announce<'a>(&'a self, presence: &Presence<'a>) -> SynapEvent<'a> {
        SynapEvent {
            sequence: presence.sequence,
            id: Uuid::from_u128(presence.sequence.0.into()),
            event_type: "devices.connection.opened".into(),
            subject_id: Uuid::nil(),
            subject_type: "device",
            device: Some(presence.device),
            topic: None,
            data: "{}".into(),
            metadata: "{}".into(),
            user_id: "owner",
            source: Source::System,
            timestamp: presence.received,
            correlation_id: None,
            reliability: Reliability::Guaranteed,
            streamed: true,
            kept: Kept::Event,
            rejected: None,
            message_key: None,
        }
    }

    fn command<'a>(&'a self, command: &Command<'a>) -> SynapEvent<'a> {
        SynapEvent {
            sequence: command.sequence,
            id: Uuid::from_u128(command.sequence.0.into()),
            event_type: "devices.command.requested".into(),
            subject_id: Uuid::nil(),
            subject_type: "device",
            device: Some(command.device),
            topic: None,
            data: "{}".into(),
            metadata: "{}".into(),
            user_id: "owner",
            source: Source::System,
            timestamp: command.received,
            correlation_id: Some(command.id),
            reliability: Reliability::Guaranteed,
            streamed: true,
            kept: Kept::Event,
            rejected: None,
            message_key: None,
        }
    }

    fn measure(&self, _: &Publication<'_>, _: &SynapEvent<'_>, _: &mut Measurements) {}

    fn guarantees(&self, _: &str) -> bool {
        false
    }

    fn event_type<'a>(&'a self, topic: &'a str) -> &'a str {
        topic.split('/').next().unwrap_or_default()
    }

    fn names_device(&self, topic: &str) -> bool {
        topic.starts_with("devices/")
    }

    fn sequence(&self, id: Uuid) -> Sequence {
        Sequence(u64::try_from(id.as_u128()).unwrap_or(u64::MAX))
    }
}

/// A journal of small segments and little memory.
pub fn open_journal(directory: &Path) -> Journal {
    let mut options = JournalOptions::default();
    options.log.segment_bytes = 32 << 10;
    options.memory.tail = 8 << 10;
    Journal::open(directory, options).unwrap().0
}

/// A journal that keeps two small segments or so, and nothing in memory.
pub fn open_forgetful_journal(directory: &Path) -> Journal {
    let mut options = JournalOptions::default();
    options.log = LogOptions { segment_bytes: 4 << 10, retain_bytes: 8 << 10, ..options.log };
    options.memory.tail = 0;
    let journal = Journal::open(directory, options).unwrap().0;
    journal.start_retention();
    journal
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
        origin: Origin::Plain,
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
    start_from(sources(journal), options)
}

/// What streams of a journal are made of.
fn sources(journal: &Journal) -> Sources {
    Sources { journal: journal.clone(), mapper: Arc::new(TestMapper), epochs: Epochs::of(journal), retained: None }
}

fn start_from(sources: Sources, options: &StreamOptions) -> (Streams, CancellationToken) {
    let streams = Streams::new(sources, options);
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
    /// An event of a snapshot, by its number.
    State(Sequence),
    Gap(serde_json::Value),
    /// Anything else that has a name.
    Told(String, serde_json::Value),
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
        Some(name) => Block::Told(name.to_owned(), data),
        None if sequence.is_none() => {
            let id: Uuid = data["id"].as_str().unwrap().parse().unwrap();
            Block::State(TestMapper.sequence(id))
        }
        None => {
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
    open_with(streams, Subscription { filter, start, ..Subscription::default() }, stop).await
}

/// Opens a stream of any kind and reads its first message.
async fn open_with(
    streams: &Streams,
    subscription: Subscription,
    stop: &CancellationToken,
) -> (String, std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>>) {
    let mut stream = Box::pin(streams.open(subscription, stop.clone()));
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
async fn a_client_that_waits_costs_little() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let (streams, stop) = start(&journal, 0);
    let stream = streams.open(Subscription::default(), stop);
    assert!(size_of_val(&stream) < 2048, "{} bytes", size_of_val(&stream));
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
