//! One client: a cursor, a filter, and the loop that asks for what follows.
//!
//! The connection that carries it asks for the next body only once it has room. Between two
//! bodies a client is its cursor: no events, no place in a file, no turn at the disk.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Filter, Shared,
    chunk::Body,
    frame::{self, GapReason},
    shown::Candidate,
    source::{Next, Source},
    window::Pull,
};
use crate::{
    journal::{ReadError, Slice, Watermark},
    types::{LastEventId, Sequence},
};

/// Longest part of a foreign id that a gap event repeats, in characters.
const REPEATED_ID: usize = 64;

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the event after this one. An id of another journal, or ahead of this one, gives a
    /// gap, and then everything that is kept: none of it can have been seen under that id.
    After(LastEventId),
    /// As with an id of another journal: the client has one that is no id of any.
    Unknown(String),
}

/// A client of the stream.
pub struct Client {
    shared: Arc<Shared>,
    filter: Filter,
    /// Everything wanted up to here was sent, or a gap told that it was not.
    cursor: Sequence,
    /// The cursor at the last heartbeat.
    announced: Sequence,
    /// What it is sent before any event.
    greeting: Option<Bytes>,
    /// When it gets a comment, unless it gets something else before.
    heartbeat: Instant,
    window: watch::Receiver<Sequence>,
    stop: CancellationToken,
}

impl Client {
    pub fn new(shared: Arc<Shared>, filter: Filter, start: Start, stop: CancellationToken) -> Self {
        shared.clients.send_modify(|clients| *clients += 1);
        let visible = shared.journal.watermark(Watermark::Visible);
        let epoch = shared.journal.epoch();
        let (cursor, foreign) = match start {
            Start::Now => (visible, None),
            Start::After(id) if id.epoch == epoch && id.sequence <= visible => (id.sequence, None),
            Start::After(id) => (shared.journal.oldest().previous(), Some(id.to_string())),
            Start::Unknown(text) => (shared.journal.oldest().previous(), Some(text)),
        };
        let mut greeting = frame::connected(Uuid::new_v4(), shared.id(cursor));
        if let Some(text) = foreign {
            let repeated: String = text.chars().take(REPEATED_ID).collect();
            shared.statistics.gaps.fetch_add(1, Ordering::Relaxed);
            frame::gap(GapReason::UnknownEpoch, &repeated, shared.id(cursor.next()), &mut greeting);
        }
        Self {
            filter,
            cursor,
            announced: cursor,
            greeting: Some(greeting.into()),
            heartbeat: Instant::now() + shared.heartbeat,
            window: shared.window.watch(),
            stop,
            shared,
        }
    }

    /// The bodies to write, one after the other.
    pub fn into_bodies(self) -> impl Stream<Item = Bytes> + Send + 'static {
        stream::unfold(self, |mut client| async {
            let stop = client.stop.clone();
            let body = stop.run_until_cancelled(client.next()).await?;
            body.map(|body| (body, client))
        })
    }

    /// The next body; none when the journal cannot be read.
    async fn next(&mut self) -> Option<Bytes> {
        let body = match self.greeting.take() {
            Some(greeting) => greeting,
            None => self.next_events().await.unwrap_or_else(|error| {
                tracing::error!(%error, "a stream client is sent away: it will come back and resume");
                None
            })?,
        };
        self.heartbeat = Instant::now() + self.shared.heartbeat;
        self.shared.statistics.bytes_sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        Some(body)
    }

    /// Waits for events, or for the time of a heartbeat.
    async fn next_events(&mut self) -> Result<Option<Bytes>, ReadError> {
        let shared = Arc::clone(&self.shared);
        let mut body = Body::default();
        // Made where the window does not reach, for this body only.
        let mut source = None;
        loop {
            self.window.mark_unchanged();
            match shared.window.pull(self.cursor) {
                Pull::Chunk(chunk) => {
                    self.cursor = chunk.collect(self.cursor, &self.filter, &mut body);
                    source = None;
                    if self.cursor < chunk.last() {
                        return Ok(Some(body.into_bytes()));
                    }
                }
                Pull::CaughtUp(_) | Pull::Behind if self.is_silent(&body) => {
                    return Ok(Some(self.heartbeat()));
                }
                Pull::CaughtUp(end) => {
                    self.cursor = self.cursor.max(end);
                    if !body.is_empty() {
                        return Ok(Some(body.into_bytes()));
                    }
                    tokio::select! {
                        _ = self.window.changed() => {}
                        () = sleep_until(self.heartbeat) => {}
                    }
                }
                Pull::Behind => {
                    let source = source.get_or_insert_with(|| Source::new(&shared.journal, self.cursor));
                    if self.replay(source, &mut body).await? {
                        return Ok(Some(body.into_bytes()));
                    }
                }
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Reads on in the journal, or waits for it to go on. Says whether the body should be sent.
    async fn replay(&mut self, source: &mut Source<'_>, body: &mut Body) -> Result<bool, ReadError> {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed.
        let permit = shared.replays.acquire().await.map_err(|_| ReadError::Cancelled)?;
        let next = source.advance().await?;
        match next {
            Next::Records(slice) => Ok(self.encode(&slice, body)),
            Next::Lost(reason) => {
                let requested = shared.id(self.cursor).to_string();
                self.cursor = source.position();
                shared.statistics.gaps.fetch_add(1, Ordering::Relaxed);
                let oldest = shared.id(self.cursor.next());
                body.append_always(|out| frame::gap(reason, &requested, oldest, out));
                Ok(true)
            }
            Next::CaughtUp => {
                drop(permit);
                self.cursor = source.position();
                if !body.is_empty() {
                    return Ok(true);
                }
                tokio::select! {
                    changed = source.changed() => changed?,
                    _ = self.window.changed() => {}
                    () = sleep_until(self.heartbeat) => {}
                }
                Ok(false)
            }
        }
    }

    /// Encodes what the client wants of a slice; says whether there was no room for all of it.
    fn encode(&mut self, slice: &Slice, body: &mut Body) -> bool {
        for record in slice.records() {
            let Some(candidate) = Candidate::of(&record) else { continue };
            if self.filter.matches_topic(candidate.topic()) {
                let event = candidate.event(&*self.shared.mapper);
                if event.streamed() && self.filter.matches_event(&event) {
                    if !body.append(|out| frame::event(&event, self.shared.id(event.sequence()), out)) {
                        return true;
                    }
                    self.shared.statistics.replayed.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.cursor = candidate.sequence();
        }
        self.cursor = slice.last();
        false
    }

    fn is_silent(&self, body: &Body) -> bool {
        body.is_empty() && Instant::now() >= self.heartbeat
    }

    fn heartbeat(&mut self) -> Bytes {
        // Events that the filter passed over need not be looked at again after a reconnect.
        let passed_over = self.cursor > self.announced;
        self.announced = self.cursor;
        frame::heartbeat(passed_over.then(|| self.shared.id(self.cursor))).into()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.clients.send_modify(|clients| *clients -= 1);
    }
}
