//! What a start finds on disk, and what it repairs.
//!
//! Only the newest segment can have a torn end. It is cut at the last whole record and sealed;
//! writing goes on in a new segment. Whether unreadable bytes are a torn end or damage is told
//! by the marks behind them: a mark that says "durable up to here" about the hole means that
//! the hole was whole once. Damage is reported and left in place, never cut. Older segments are
//! not looked at beyond their headers: a reader finds what is wrong in them when it gets there.

use std::{sync::Arc, time::Instant};

use uuid::Uuid;

use super::{
    log::OpenError,
    record::{Header, Record, RecordError, Salt},
    segment::{Damage, Segment},
    segment_header::SEGMENT_HEADER_BYTES,
    storage::{Storage, is_full},
};
use crate::types::{Micros, Sequence};

const READ: &str = "read a segment";

/// What a start found.
#[derive(Debug)]
pub struct Recovery {
    /// Identity of the journal; new when the directory was empty.
    pub journal: Uuid,
    /// The first sequence that may be used: above every record and every reservation.
    pub next: Sequence,
    /// The last whole record.
    pub last: Sequence,
    /// No record is younger.
    pub latest: Micros,
    /// Bytes that were cut off the end.
    pub torn_bytes: u64,
    /// Unreadable bytes in the newest segment that had been durable.
    pub damage: Vec<Damage>,
    /// Segments found.
    pub segments: usize,
    /// Time it took.
    pub duration: std::time::Duration,
    /// What header checksums start from.
    pub(super) salt: Salt,
}

const fn io(action: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Io { action, source }
}

/// Lists, checks and repairs the segments.
///
/// # Errors
/// [`OpenError`]
pub fn recover(storage: &dyn Storage) -> Result<(Vec<Arc<Segment>>, Recovery), OpenError> {
    let started = Instant::now();
    let segments = open_segments(storage)?;
    let mut recovery = Recovery {
        journal: segments.first().map_or_else(Uuid::new_v4, |segment| segment.header.journal),
        salt: segments.first().map_or_else(|| Salt(Uuid::new_v4().as_fields().0), |segment| segment.header.salt),
        next: Sequence(1),
        last: Sequence::ZERO,
        latest: Micros::MIN,
        torn_bytes: 0,
        damage: Vec::new(),
        segments: segments.len(),
        duration: std::time::Duration::ZERO,
    };
    if let Some(newest) = segments.last() {
        recover_newest(newest, &mut recovery)?;
    }
    recovery.duration = started.elapsed();
    Ok((segments.into_iter().map(Arc::new).collect(), recovery))
}

fn open_segments(storage: &dyn Storage) -> Result<Vec<Segment>, OpenError> {
    let mut names = storage.list().map_err(io("list the segments"))?;
    names.retain(|name| name.ends_with(".journal"));
    names.sort_unstable();
    let mut segments: Vec<Segment> = Vec::new();
    for name in &names {
        let file = storage.open(name).map_err(io("open a segment"))?;
        match Segment::open(file).map_err(io(READ))? {
            Some(segment) if segments.first().is_some_and(|first| first.header.journal != segment.header.journal) => {
                return Err(OpenError::Mixed { file: name.clone() });
            }
            Some(segment) if segment.header.file_name() == *name => segments.push(segment),
            Some(_) => return Err(OpenError::Foreign { file: name.clone() }),
            // The header is synced before any record is written: without one, and with nothing
            // behind it, this never held anything. Were it otherwise, the next segment would
            // know what came before it.
            None if never_used(storage, name)? => {
                storage.remove(name).map_err(io("remove an unfinished segment"))?;
                storage.sync_directory().map_err(io("sync"))?;
            }
            None => return Err(OpenError::Foreign { file: name.clone() }),
        }
    }
    Ok(segments)
}

/// Whether there is nothing behind the place of the header.
fn never_used(storage: &dyn Storage, name: &str) -> Result<bool, OpenError> {
    let file = storage.open(name).map_err(io("open a segment"))?;
    let mut buffer = vec![0; 64 << 10];
    let mut offset = SEGMENT_HEADER_BYTES;
    loop {
        let read = file.read_at(&mut buffer, offset).map_err(io(READ))?;
        if buffer.iter().take(read).any(|&byte| byte != 0) {
            return Ok(false);
        }
        if read < buffer.len() {
            return Ok(true);
        }
        offset += read as u64;
    }
}

/// What a scan of the newest segment has found so far.
struct Findings {
    ceiling: Sequence,
    /// What marks vouch for.
    synced: Sequence,
    last: Sequence,
    latest: Micros,
}

/// A stretch of unreadable bytes.
struct Hole {
    offset: u64,
    /// The sequence before it, by records and marks.
    after: Sequence,
    before: Sequence,
    /// The last record before it, and its time.
    last: (Sequence, Micros),
}

fn recover_newest(segment: &Segment, recovery: &mut Recovery) -> Result<(), OpenError> {
    let file = || segment.header.file_name();
    let header = &segment.header;
    let mut found =
        Findings { ceiling: header.ceiling, synced: Sequence::ZERO, last: header.previous, latest: header.created };
    let (mut offset, mut after) = (SEGMENT_HEADER_BYTES, header.base.previous());
    let mut holes = Vec::new();
    loop {
        let scanned = segment.scan(offset, &mut after, |header, record| found.add(header, record)).map_err(io(READ))?;
        let hole = |before| Hole { offset: scanned.end, after, before, last: (found.last, found.latest) };
        match scanned.stop {
            Some(error @ RecordError::Unknown { .. }) => return Err(OpenError::Newer { file: file(), error }),
            Some(_) => {}
            None => {
                holes.push(hole(after));
                break;
            }
        }
        let Some((resume, before)) = segment.resume_behind(scanned.end, after).map_err(io(READ))? else {
            holes.push(hole(after));
            break;
        };
        holes.push(hole(before));
        offset = resume;
    }
    // The last hole is the unwritten space behind everything.
    let torn = holes.iter().position(|hole| hole.after >= found.synced).unwrap_or(holes.len() - 1);
    let damage = |hole: &Hole| Damage { segment: file(), offset: hole.offset, after: hole.after, before: hole.before };
    recovery.damage = holes.iter().take(torn).map(damage).collect();
    let end = &holes[torn];
    (recovery.last, recovery.latest) = end.last;
    recovery.next = end.after.next().max(found.ceiling);
    recovery.torn_bytes = segment.written_behind(end.offset).map_err(io(READ))?;
    repair(segment, end.offset, found.synced, end.after)
}

/// Cuts the torn end off, and makes durable what no mark vouches for.
fn repair(segment: &Segment, end: u64, synced: Sequence, last: Sequence) -> Result<(), OpenError> {
    segment.seal(end).map_err(io("seal the newest segment"))?;
    if synced >= last {
        return Ok(());
    }
    let rewritten = segment.seek(|header| header.sequence <= synced).and_then(|(from, _)| segment.rewrite(from));
    match rewritten {
        // On a file system that copies on write: these bytes then stay as sure as they were.
        Err(error) if is_full(&error) => Ok(()),
        result => result.map_err(io("write the newest segment")),
    }
}

impl Findings {
    fn add(&mut self, header: &Header, record: &Record<'_>) {
        if let Record::Mark { ceiling, durable } = record {
            self.ceiling = self.ceiling.max(*ceiling);
            self.synced = self.synced.max(*durable);
        } else {
            self.last = header.sequence;
            self.latest = self.latest.max(header.received);
        }
    }
}
