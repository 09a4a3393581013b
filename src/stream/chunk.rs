//! Encoded events, ready to be written to any client. They lie as server-sent events without names; named ones, and
//! messages of WebSockets, are made of the same JSON for the first client that takes them, and shared with all
//! others. What they take is added up ([`Extra`]) and counts as the window's.

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{
    filter::Filter,
    frame::{self, Form},
    shown::{Device, Shown},
};
use crate::{
    limits,
    types::{LastEventId, Sequence},
};

/// The form that events are kept in.
const AS_ENCODED: Form = Form::Sse { named: false };

/// What stands around the id in that form.
const AROUND_ID: (usize, usize) = ("id: ".len(), "\ndata: ".len());

/// What stands behind the JSON.
const BEHIND_JSON: usize = "\n\n".len();

/// One event of a chunk: where its frame and its names lie.
#[derive(Debug)]
struct Entry {
    sequence: Sequence,
    frame: Range<usize>,
    /// Where the event's JSON begins in `frame`.
    json: usize,
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
    named: OnceLock<Encoded>,
    messages: OnceLock<Encoded>,
    extra: Extra,
}

/// Bytes that chunks hold in other forms than their first, over all chunks that somebody still has.
#[derive(Clone, Debug, Default)]
pub struct Extra(Arc<AtomicUsize>);

/// All events of a chunk in another form.
#[derive(Debug)]
struct Encoded {
    frames: Bytes,
    /// Where each entry's frame ends.
    ends: Vec<usize>,
    extra: Extra,
}

/// The frames of a chunk's events in one form.
#[derive(Clone, Copy)]
enum Frames<'a> {
    First(&'a Chunk),
    Other(&'a Encoded),
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
        frame::begin(AS_ENCODED, Some(id), event.event_type(), &mut self.frames);
        let json = self.frames.len() - start;
        frame::event_json(event, &mut self.frames);
        frame::end(AS_ENCODED, start, &mut self.frames);
        let entry = Entry {
            sequence: event.sequence(),
            frame: start..self.frames.len(),
            json,
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
    pub fn take(&mut self, extra: &Extra) -> Option<Chunk> {
        let Self { mut frames, mut names, mut entries } = std::mem::take(self);
        frames.shrink_to_fit();
        names.shrink_to_fit();
        entries.shrink_to_fit();
        let (named, messages, extra) = (OnceLock::new(), OnceLock::new(), extra.clone());
        (!entries.is_empty()).then(|| Chunk { frames: frames.into(), names, entries, named, messages, extra })
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

    /// Adds what `filter` wants of the events after `cursor` and up to `limit` to `body`, as far as it has room.
    /// Returns the cursor behind what was added or passed over.
    pub fn collect(&self, cursor: Sequence, limit: Sequence, filter: &Filter, form: Form, body: &mut Body) -> Sequence {
        let first = self.entries.partition_point(|entry| entry.sequence <= cursor);
        let end = self.entries.partition_point(|entry| entry.sequence <= limit).max(first);
        let frames = match form {
            AS_ENCODED => Frames::First(self),
            Form::Sse { .. } => Frames::Other(self.named.get_or_init(|| self.encode(form))),
            Form::Messages => Frames::Other(self.messages.get_or_init(|| self.encode(form))),
            // For clients that are looked after one message at a time anyway.
            Form::Lines => {
                return self.copy(cursor, self.entries.get(first..end).unwrap_or_default(), filter, form, body);
            }
        };
        self.share(cursor, first..end, filter, frames, body)
    }

    fn encode(&self, form: Form) -> Encoded {
        let mut frames = Vec::with_capacity(self.frames.len() + self.frames.len() / 8);
        let mut ends = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            self.write(entry, form, true, &mut frames);
            ends.push(frames.len());
        }
        frames.shrink_to_fit();
        Encoded::new(frames, ends, self.extra.clone())
    }

    /// Adds events as they are: those that lie side by side at once, and the first of them without a copy.
    fn share(
        &self,
        cursor: Sequence,
        places: Range<usize>,
        filter: &Filter,
        frames: Frames<'_>,
        body: &mut Body,
    ) -> Sequence {
        let mut reached = cursor;
        let mut run = 0..0;
        for (at, entry) in self.entries.iter().enumerate().take(places.end).skip(places.start) {
            if self.is_wanted(entry, filter) {
                let frame = frames.range(at);
                if !body.has_room(run.len() + frame.len(), run.is_empty()) {
                    break;
                }
                if run.end != frame.start || run.is_empty() {
                    body.push(frames.slice(run));
                    run = frame.start..frame.start;
                }
                run.end = frame.end;
            }
            reached = entry.sequence;
        }
        body.push(frames.slice(run));
        reached
    }

    /// Adds events in another form.
    fn copy(&self, cursor: Sequence, entries: &[Entry], filter: &Filter, form: Form, body: &mut Body) -> Sequence {
        let mut reached = cursor;
        for entry in entries {
            if self.is_wanted(entry, filter) && !body.append(|out| self.write(entry, form, true, out)) {
                break;
            }
            reached = entry.sequence;
        }
        reached
    }

    /// Adds the event at `sequence`, if it is here and wanted; false when there is no room.
    pub fn add(&self, sequence: Sequence, filter: &Filter, form: Form, with_id: bool, body: &mut Body) -> bool {
        let found = self.after(sequence.previous()).first().filter(|entry| entry.sequence == sequence);
        found
            .filter(|entry| self.is_wanted(entry, filter))
            .is_none_or(|entry| body.append(|out| self.write(entry, form, with_id, out)))
    }

    /// Passes over the first `most` events that `filter` wants after `cursor`: the cursor behind them, and how
    /// many they were.
    pub fn pass_over(&self, cursor: Sequence, filter: &Filter, most: usize) -> (Sequence, usize) {
        let (mut reached, mut passed) = (cursor, 0);
        for entry in self.after(cursor) {
            let is_wanted = self.is_wanted(entry, filter);
            if is_wanted && passed == most {
                break;
            }
            passed += usize::from(is_wanted);
            reached = entry.sequence;
        }
        (reached, passed)
    }

    /// The first event after `cursor`; what comes later than everything where there is none.
    pub fn first_after(&self, cursor: Sequence) -> Sequence {
        self.after(cursor).first().map_or(Sequence(u64::MAX), |entry| entry.sequence)
    }

    fn after(&self, cursor: Sequence) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.sequence <= cursor);
        self.entries.get(first..).unwrap_or_default()
    }

    fn write(&self, entry: &Entry, form: Form, with_id: bool, out: &mut Vec<u8>) {
        let frame = self.frames.get(entry.frame.clone()).unwrap_or_default();
        let (before_id, behind_id) = AROUND_ID;
        let id = frame.get(before_id..entry.json.saturating_sub(behind_id)).unwrap_or_default();
        let id = with_id.then(|| std::str::from_utf8(id).unwrap_or_default());
        let start = out.len();
        frame::begin(form, id, self.names.get(entry.event_type.clone()).unwrap_or_default(), out);
        out.extend_from_slice(frame.get(entry.json..frame.len() - BEHIND_JSON).unwrap_or_default());
        frame::end(form, start, out);
    }

    fn is_wanted(&self, entry: &Entry, filter: &Filter) -> bool {
        let name = |range: &Range<usize>| self.names.get(range.clone()).unwrap_or_default();
        filter.is_open()
            || filter.matches(
                entry.topic.as_ref().map(name),
                name(&entry.event_type),
                entry.device.clone().map(|device| device.map(|range| name(&range))),
            )
    }
}

impl Extra {
    /// How many they are.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Encoded {
    fn new(frames: Vec<u8>, ends: Vec<usize>, extra: Extra) -> Self {
        let encoded = Self { frames: frames.into(), ends, extra };
        encoded.extra.0.fetch_add(encoded.footprint(), Ordering::Relaxed);
        encoded
    }

    fn footprint(&self) -> usize {
        self.frames.len() + self.ends.len() * size_of::<usize>()
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        self.extra.0.fetch_sub(self.footprint(), Ordering::Relaxed);
    }
}

impl Frames<'_> {
    /// Where the frame of an entry lies.
    fn range(self, at: usize) -> Range<usize> {
        match self {
            Self::First(chunk) => chunk.entries.get(at).map_or(0..0, |entry| entry.frame.clone()),
            Self::Other(encoded) => {
                let end = |at: usize| encoded.ends.get(at).copied().unwrap_or_default();
                at.checked_sub(1).map_or(0, end)..end(at)
            }
        }
    }

    fn slice(self, range: Range<usize>) -> Bytes {
        match self {
            Self::First(chunk) => chunk.frames.slice(range),
            Self::Other(encoded) => encoded.frames.slice(range),
        }
    }
}

impl Body {
    /// Whether nothing has been collected.
    pub const fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.own.is_empty()
    }

    /// Bytes collected.
    pub const fn len(&self) -> usize {
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
