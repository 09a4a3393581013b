//! Encoded events, ready to be written to any client. They lie as server-sent events without names, which most
//! clients take as they are; the other forms are made of the same JSON.

use std::ops::Range;

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
        frame::end(AS_ENCODED, &mut self.frames);
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

    /// Adds what `filter` wants of the events after `cursor` and up to `limit` to `body`, as far as it has room.
    /// Returns the cursor behind what was added or passed over.
    pub fn collect(&self, cursor: Sequence, limit: Sequence, filter: &Filter, form: Form, body: &mut Body) -> Sequence {
        let entries = self.after(cursor);
        let within = entries.partition_point(|entry| entry.sequence <= limit);
        let entries = entries.get(..within).unwrap_or_default();
        if form == AS_ENCODED {
            self.share(cursor, entries, filter, body)
        } else {
            self.copy(cursor, entries, filter, form, body)
        }
    }

    /// Adds events as they are: those that lie side by side at once, and the first of them without a copy.
    fn share(&self, cursor: Sequence, entries: &[Entry], filter: &Filter, body: &mut Body) -> Sequence {
        let mut reached = cursor;
        let mut run = 0..0;
        for entry in entries {
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
        frame::begin(form, id, self.names.get(entry.event_type.clone()).unwrap_or_default(), out);
        out.extend_from_slice(frame.get(entry.json..frame.len() - BEHIND_JSON).unwrap_or_default());
        frame::end(form, out);
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
