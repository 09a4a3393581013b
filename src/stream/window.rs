//! The latest events, encoded, in memory: what clients that keep up are served from.
//!
//! Written by the hub alone. Invariant: of the events after `start` and up to `end`, every one
//! that is streamed at all is in a chunk. The lock is held to clone an `Arc`.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::chunk::{Chunk, Extra};
use crate::types::Sequence;

/// Chunks at the end that are looked at one by one.
const NEAR: usize = 2;

struct Inner {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    start: Sequence,
    end: Sequence,
}

impl Inner {
    /// Where the first chunk lies that has something behind `cursor`. Most clients need the last one.
    fn first_behind(&self, cursor: Sequence) -> usize {
        let near = self.chunks.len().saturating_sub(NEAR);
        let is_passed = |chunk: &Arc<Chunk>| chunk.last() <= cursor;
        if near.checked_sub(1).and_then(|at| self.chunks.get(at)).is_none_or(is_passed) {
            return near + self.chunks.range(near..).take_while(|chunk| is_passed(chunk)).count();
        }
        self.chunks.partition_point(is_passed)
    }
}

/// See the module.
pub struct Window {
    inner: Mutex<Inner>,
    capacity: usize,
    /// What the chunks hold beside `bytes`.
    extra: Extra,
    end: watch::Sender<Sequence>,
}

/// What the window has for a cursor.
pub enum Pull {
    /// A chunk with later events.
    Chunk {
        chunk: Arc<Chunk>,
        /// Whether there is no later one.
        is_last: bool,
    },
    /// Nothing later: the cursor may move up to here.
    CaughtUp(Sequence),
    /// The window begins later: the journal has what comes next.
    Behind,
}

impl Window {
    /// An empty window that keeps about `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let (start, end) = (Sequence::ZERO, Sequence::ZERO);
        let inner = Mutex::new(Inner { chunks: VecDeque::new(), bytes: 0, start, end });
        Self { inner, capacity, extra: Extra::default(), end: watch::Sender::new(end) }
    }

    /// Where its chunks add up what they hold in other forms.
    pub const fn extra(&self) -> &Extra {
        &self.extra
    }

    /// Forgets everything and begins anew after `position`.
    pub fn restart(&self, position: Sequence) {
        let chunks = {
            let mut inner = self.inner.lock();
            (inner.start, inner.end, inner.bytes) = (position, position, 0);
            std::mem::take(&mut inner.chunks)
        };
        drop(chunks);
        self.end.send_replace(position);
    }

    /// Adds the events of the records up to `end`; none of them may be streamed at all.
    pub fn push(&self, chunk: Option<Chunk>, end: Sequence) {
        let mut inner = self.inner.lock();
        debug_assert!(inner.end <= end && chunk.as_ref().is_none_or(|chunk| inner.end < chunk.last()));
        inner.end = end;
        let Some(chunk) = chunk else { return };
        inner.bytes += chunk.footprint();
        inner.chunks.push_back(Arc::new(chunk));
        while inner.bytes + self.extra.bytes() > self.capacity && inner.chunks.len() > 1 {
            let Some(oldest) = inner.chunks.pop_front() else { break };
            inner.bytes -= oldest.footprint();
            inner.start = oldest.last();
        }
        drop(inner);
        self.end.send_replace(end);
    }

    /// What follows `cursor`.
    pub fn pull(&self, cursor: Sequence) -> Pull {
        let inner = self.inner.lock();
        if cursor < inner.start {
            return Pull::Behind;
        }
        let at = inner.first_behind(cursor);
        inner.chunks.get(at).map_or(Pull::CaughtUp(inner.end), |chunk| Pull::Chunk {
            chunk: Arc::clone(chunk),
            is_last: at + 1 == inner.chunks.len(),
        })
    }

    /// Everything that follows `cursor`, where the window reaches back that far.
    pub fn after(&self, cursor: Sequence) -> Vec<Arc<Chunk>> {
        let inner = self.inner.lock();
        if cursor < inner.start {
            return Vec::new();
        }
        let at = inner.first_behind(cursor);
        inner.chunks.range(at..).map(Arc::clone).collect()
    }

    /// Changes whenever a cursor may have more to pull.
    pub fn watch(&self) -> watch::Receiver<Sequence> {
        self.end.subscribe()
    }
}
