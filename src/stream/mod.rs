//! The event stream: any number of clients, each a cursor over the journal.
//!
//! There is no hand-over from replay to live, because neither exists: a client only ever asks
//! for the next events after its cursor. They come from the [`window`] of encoded events in
//! memory, which the [`hub`] task fills, and where the window does not reach back far enough,
//! from the journal (`client`). So no event is seen twice and none is missed, whoever is slow.
//!
//! Invariants: a client's cursor only rises; everything it wants at or below the cursor was
//! sent to it, or a `gap` event said that it was not; a client that does not read holds one body of
//! [`limits::STREAM_BODY_BYTES`] and nothing else. On failure of the disk the stream ends, and
//! the client resumes where it was.

mod chunk;
mod client;
mod filter;
mod frame;
mod history;
mod hub;
mod shown;
mod source;
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
use futures_util::Stream;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use client::Start;
pub use filter::{DeviceName, Filter};
pub use history::{History, HistoryError};

use crate::{
    journal::Journal,
    limits,
    types::{EventMapper, LastEventId, Sequence},
};

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
}

impl StreamStatistics {
    /// Events encoded for all clients together.
    #[must_use]
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Events encoded for one client that was behind.
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
    /// How many clients there are.
    clients: watch::Sender<usize>,
    /// Held while a client reads and encodes journal records of its own.
    replays: Semaphore,
    statistics: StreamStatistics,
}

impl Shared {
    fn id(&self, sequence: Sequence) -> LastEventId {
        LastEventId { epoch: self.journal.epoch(), sequence }
    }
}

impl Streams {
    /// Streams of the events that `mapper` makes of what `journal` holds.
    #[must_use]
    pub fn new(journal: Journal, mapper: Arc<dyn EventMapper>, options: &StreamOptions) -> Self {
        Self(Arc::new(Shared {
            journal,
            mapper,
            heartbeat: options.heartbeat,
            window: window::Window::new(options.window),
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
        filter: Filter,
        start: Start,
        stop: CancellationToken,
    ) -> impl Stream<Item = Bytes> + Send + use<> {
        client::Client::new(Arc::clone(&self.0), filter, start, stop).into_bodies()
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
