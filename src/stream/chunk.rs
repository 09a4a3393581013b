//! Encoded events, ready to be written to any client.

use std::ops::Range;

use bytes::Bytes;

use super::{
    filter::Filter,
    frame,
    shown::{Device, Shown},
};
use crate::{
    limits,
    types::{LastEventId, Sequence},
};

/// One event of a chunk: where its frame and its names lie.
#[derive(Debug)]
struct Entry {
    sequence: Sequence,
    frame: Range<usize>,
    topic: Option<Range<usize>>,
    event_type: Range<usize>,
    device: Option<Device<Range<usize>>>,
}

/// Events in the order of their sequences, encoded once for all clients. Immutable.
#[derive(Debug)]
pub struct Chunk {
    frames: Bytes,
    names: String,
    entries: Vec<Entry>,
}

/// What has been collected for one write to one client: whole events, as few copies as can be.
#[derive(Debug, Default)]
pub struct Body {
    /// The first run of events, shared with its chunk.
    shared: Bytes,
    /// Everything, once there is more than that.
    own: Vec<u8>,
}

/// Encodes events into a chunk.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    frames: Vec<u8>,
    names: String,
    entries: Vec<Entry>,
}

impl ChunkBuilder {
    /// Adds an event, which is later than those before it.
    pub fn push(&mut self, event: &Shown<'_>, id: LastEventId) {
        let start = self.frames.len();
        frame::event(event, id, &mut self.frames);
        let entry = Entry {
            sequence: event.sequence(),
            frame: start..self.frames.len(),
            topic: event.topic().map(|topic| self.name(topic)),
            event_type: self.name(event.event_type()),
            device: event.device().map(|device| device.map(|device| self.name(device))),
        };
        self.entries.push(entry);
    }

    fn name(&mut self, name: &str) -> Range<usize> {
        let start = self.names.len();
        self.names.push_str(name);
        start..self.names.len()
    }

    /// Whether it should be handed over before it takes more.
    pub const fn is_full(&self) -> bool {
        self.frames.len() >= limits::STREAM_CHUNK_BYTES
    }

    /// The chunk so far, unless there is nothing in it; the builder is empty again.
    pub fn take(&mut self) -> Option<Chunk> {
        let Self { mut frames, mut names, mut entries } = std::mem::take(self);
        frames.shrink_to_fit();
        names.shrink_to_fit();
        entries.shrink_to_fit();
        (!entries.is_empty()).then(|| Chunk { frames: frames.into(), names, entries })
    }
}

impl Chunk {
    /// How many events it has.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last event's sequence.
    pub fn last(&self) -> Sequence {
        self.entries.last().map_or(Sequence::ZERO, |entry| entry.sequence)
    }

    /// Memory it takes, in bytes.
    pub const fn footprint(&self) -> usize {
        self.frames.len() + self.names.len() + self.entries.capacity() * size_of::<Entry>() + size_of::<Self>()
    }

    /// Adds what `filter` wants of the events after `cursor` to `body`, as far as it has room.
    /// Returns the cursor behind what was added or passed over.
    pub fn collect(&self, cursor: Sequence, filter: &Filter, body: &mut Body) -> Sequence {
        let first = self.entries.partition_point(|entry| entry.sequence <= cursor);
        let mut reached = cursor;
        let mut run = 0..0;
        for entry in self.entries.get(first..).unwrap_or_default() {
            if self.is_wanted(entry, filter) {
                if !body.has_room(run.len() + entry.frame.len(), run.is_empty()) {
                    break;
                }
                if run.end != entry.frame.start || run.is_empty() {
                    body.push(self.frames.slice(run));
                    run = entry.frame.start..entry.frame.start;
                }
                run.end = entry.frame.end;
            }
            reached = entry.sequence;
        }
        body.push(self.frames.slice(run));
        reached
    }

    fn is_wanted(&self, entry: &Entry, filter: &Filter) -> bool {
        let name = |range: &Range<usize>| self.names.get(range.clone()).unwrap_or_default();
        filter.is_empty()
            || filter.matches(
                entry.topic.as_ref().map(name),
                name(&entry.event_type),
                entry.device.clone().map(|device| device.map(|range| name(&range))),
            )
    }
}

impl Body {
    /// Whether nothing has been collected.
    pub const fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.own.is_empty()
    }

    const fn len(&self) -> usize {
        if self.own.is_empty() { self.shared.len() } else { self.own.len() }
    }

    /// Whether `more` bytes may still be added. The first event always may, however large.
    const fn has_room(&self, more: usize, is_first: bool) -> bool {
        (self.is_empty() && is_first) || self.len() + more <= limits::STREAM_BODY_BYTES
    }

    fn push(&mut self, run: Bytes) {
        if run.is_empty() {
            return;
        }
        if self.is_empty() {
            self.shared = run;
        } else {
            self.own().extend_from_slice(&run);
        }
    }

    /// Adds what `write` appends, unless there is no room for it; says whether it was added.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let own = self.own();
        let before = own.len();
        write(own);
        if before > 0 && own.len() > limits::STREAM_BODY_BYTES {
            own.truncate(before);
            return false;
        }
        true
    }

    /// Adds what `write` appends, which is short.
    pub fn append_always(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.own());
    }

    fn own(&mut self) -> &mut Vec<u8> {
        if self.own.is_empty() {
            self.own.extend_from_slice(&std::mem::take(&mut self.shared));
        }
        &mut self.own
    }

    /// What was collected.
    pub fn into_bytes(self) -> Bytes {
        if self.own.is_empty() { self.shared } else { self.own.into() }
    }
}
