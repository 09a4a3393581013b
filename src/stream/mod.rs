//! The event stream: any number of clients, each a cursor over the journal.
//!
//! There is no hand-over from replay to live, because neither exists: a client only ever asks
//! for the next events after its cursor. They come from the [`window`] of encoded events in
//! memory, which the [`hub`] task fills, and where the window does not reach back far enough,
//! from the journal (`client`). So no event is seen twice and none is missed, whoever is slow.
//!
//! What differs between clients is what becomes of one that does not keep up ([`Mode`]), and whether what is
//! current comes first (`current`). Transports differ in the [`Form`] of what is said and in nothing else.
//!
//! Invariants: a client's cursor only rises; everything it wants at or below the cursor was
//! sent to it, or a `gap` event said that it was not; a client that does not read holds one body of
//! [`limits::STREAM_BODY_BYTES`] and nothing else. On failure of the disk the stream ends, and
//! the client resumes where it was.

mod chunk;
mod client;
mod current;
mod epochs;
mod filter;
mod frame;
mod history;
mod hub;
mod replayed;
mod shown;
mod source;
mod subscription;
#[cfg(test)]
pub(crate) mod tests;
mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use client::{Attempt, Client};
pub use epochs::Epochs;
pub use filter::{DeviceName, Filter};
pub use frame::Form;
pub use history::{History, HistoryError};
pub use subscription::{Mode, Start, Subscription};

use crate::{
    journal::{Journal, OwnedRecord, Watermark},
    limits,
    types::{EventMapper, LastEventId, Sequence},
};

/// Share of the window's bytes that are kept of what was read from the journal, beside it.
const REPLAYED_DIVISOR: usize = 4;

/// How streams behave.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Encoded events kept in memory for all clients together, in bytes.
    pub window: usize,
    /// Silence after which a client gets a comment.
    pub heartbeat: Duration,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self::within(limits::MEMORY)
    }
}

impl StreamOptions {
    /// The defaults, with the window as its share of the memory budget, in bytes.
    #[must_use]
    pub fn within(memory: u64) -> Self {
        let window = limits::scaled(memory, limits::share::STREAM_WINDOW);
        Self { window: usize::try_from(window).unwrap_or(usize::MAX), heartbeat: limits::STREAM_HEARTBEAT }
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct StreamStatistics {
    encoded: AtomicU64,
    bytes_sent: AtomicU64,
    replayed: AtomicU64,
    gaps: AtomicU64,
    dropped: AtomicU64,
}

impl StreamStatistics {
    /// Events encoded for all clients together.
    #[must_use]
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Events encoded for clients that were behind.
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Bytes handed to clients.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// `gap` events sent.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Events that clients of best effort did not get because they were slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What streams are made of.
#[derive(Clone)]
pub struct Sources {
    /// Where events are.
    pub journal: Journal,
    /// What makes events of what was published.
    pub mapper: Arc<dyn EventMapper>,
    /// Which ids are valid.
    pub epochs: Epochs,
    /// What is retained although the journal does not have it any more.
    pub retained: Option<Arc<dyn RetainedMessages>>,
}

/// Where retained messages are asked for.
pub trait RetainedMessages: Send + Sync {
    /// Some of those behind a topic, by topic, that are older than a record; none when there is no answer.
    fn page(&self, after: Option<String>, before: Sequence) -> BoxFuture<'_, Option<RetainedPage>>;
}

/// See [`RetainedMessages`].
#[derive(Clone, Debug, Default)]
pub struct RetainedPage {
    /// The messages, by topic.
    pub messages: Vec<Arc<OwnedRecord>>,
    /// The topic behind which there may be more.
    pub next: Option<String>,
}

/// All streams of one journal. Cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

/// What hub and clients share.
struct Shared {
    journal: Journal,
    mapper: Arc<dyn EventMapper>,
    heartbeat: Duration,
    window: window::Window,
    replayed: replayed::Replayed,
    current: current::Current,
    epochs: Epochs,
    retained: Option<Arc<dyn RetainedMessages>>,
    /// How many clients there are.
    clients: watch::Sender<usize>,
    /// Held while a client reads and encodes journal records of its own.
    replays: Semaphore,
    statistics: StreamStatistics,
}

impl Shared {
    fn id(&self, sequence: Sequence) -> LastEventId {
        self.epochs.id(sequence)
    }
}

impl Streams {
    /// Streams of the events that `sources` have.
    #[must_use]
    pub fn new(sources: Sources, options: &StreamOptions) -> Self {
        let Sources { journal, mapper, epochs, retained } = sources;
        Self(Arc::new(Shared {
            journal,
            mapper,
            epochs,
            retained,
            heartbeat: options.heartbeat,
            window: window::Window::new(options.window),
            replayed: replayed::Replayed::new(options.window / REPLAYED_DIVISOR),
            current: current::Current::default(),
            clients: watch::Sender::new(0),
            replays: Semaphore::new(limits::STREAM_REPLAYS),
            statistics: StreamStatistics::default(),
        }))
    }

    /// The hub: runs until `stop`. Clients wait for it, so there must be exactly one.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(hub::run(&self.0)).await;
    }

    /// A stream for one client: bodies to write one after the other. It ends when `stop` fires or the journal cannot be read.
    pub fn open(
        &self,
        subscription: Subscription,
        stop: CancellationToken,
    ) -> impl Stream<Item = Bytes> + Send + use<> {
        self.client(subscription, stop).into_bodies()
    }

    /// As [`Streams::open`], for a transport that changes what it asks for.
    #[must_use]
    pub fn client(&self, subscription: Subscription, stop: CancellationToken) -> Client {
        Client::new(Arc::clone(&self.0), subscription, stop)
    }

    /// Whether a client that resumes from here has got all that it asks for.
    #[must_use]
    pub fn is_over(&self, subscription: &Subscription) -> bool {
        let Start::After(id) = subscription.start else { return false };
        let visible = self.0.journal.watermark(Watermark::Visible);
        self.0.epochs.resolve(id, visible).is_some_and(|sequence| sequence >= subscription.until)
    }

    /// Silence after which a client gets a sign of life.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.0.heartbeat
    }

    /// The id of a record.
    #[must_use]
    pub fn id(&self, sequence: Sequence) -> LastEventId {
        self.0.id(sequence)
    }

    /// The record that an id stands for, if it is one of this journal.
    #[must_use]
    pub fn resolve(&self, id: LastEventId) -> Option<Sequence> {
        self.0.epochs.resolve(id, self.0.journal.watermark(Watermark::Visible))
    }

    /// Clients now.
    #[must_use]
    pub fn clients(&self) -> usize {
        *self.0.clients.borrow()
    }

    /// Counters since the start.
    #[must_use]
    pub fn statistics(&self) -> &StreamStatistics {
        &self.0.statistics
    }
}
