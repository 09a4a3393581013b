//! What a start finds on disk, and what it repairs.
//!
//! Only the newest segment can have a torn end. It is cut at the last whole record and sealed;
//! writing goes on in a new segment. Whether unreadable bytes are a torn end or damage is told
//! by the marks behind them: a mark that says "durable up to here" about the hole means that
//! the hole was whole once. Damage is reported and left in place, never cut.

use std::{sync::Arc, time::Instant};

use uuid::Uuid;

use super::{
    log::OpenError,
    record::{Record, RecordError},
    segment::{Damage, SEGMENT_HEADER_BYTES, Segment},
    storage::Storage,
};
use crate::types::Sequence;

/// What a start found.
#[derive(Debug)]
pub struct Recovery {
    /// Identity of the journal; new when the directory was empty.
    pub journal: Uuid,
    /// The first sequence that may be used: above every record and every reservation.
    pub next: Sequence,
    /// The last whole record.
    pub last: Sequence,
    /// Bytes that were cut off the end.
    pub torn_bytes: u64,
    /// Unreadable bytes in the newest segment that had been durable.
    pub damage: Vec<Damage>,
    /// Segments found.
    pub segments: usize,
    /// Time it took.
    pub duration: std::time::Duration,
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
        next: Sequence(1),
        last: Sequence::ZERO,
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
    for (at, name) in names.iter().enumerate() {
        let file = storage.open(name).map_err(io("open a segment"))?;
        match Segment::open(file).map_err(io("read a segment"))? {
            Some(segment) if segments.first().is_some_and(|first| first.header.journal != segment.header.journal) => {
                return Err(OpenError::Mixed { file: name.clone() });
            }
            Some(segment) => segments.push(segment),
            // The header is synced before any record is written, so a last file without one,
            // too short to hold any record's worth of bytes, never held anything.
            None if at + 1 == names.len() && never_used(storage, name)? => {
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
        let read = file.read_at(&mut buffer, offset).map_err(io("read a segment"))?;
        if buffer.iter().take(read).any(|&byte| byte != 0) {
            return Ok(false);
        }
        if read < buffer.len() {
            return Ok(true);
        }
        offset += read as u64;
    }
}

/// A stretch of unreadable bytes in the newest segment.
struct Hole {
    offset: u64,
    after: Sequence,
    before: Sequence,
}

fn recover_newest(segment: &Segment, recovery: &mut Recovery) -> Result<(), OpenError> {
    let mut ceiling = segment.header.ceiling;
    let (mut offset, mut last) = (SEGMENT_HEADER_BYTES, segment.header.base.previous());
    let (mut synced, mut holes) = (Sequence::ZERO, Vec::new());
    let mut end;
    loop {
        let scanned = segment
            .scan(offset, &mut last, |record| {
                if let Record::Mark { ceiling: reserved, durable } = record {
                    ceiling = ceiling.max(*reserved);
                    synced = synced.max(*durable);
                }
            })
            .map_err(io("read the newest segment"))?;
        end = scanned.end;
        match scanned.stop {
            None => break,
            Some(error @ RecordError::Unknown { .. }) => {
                return Err(OpenError::Newer { file: segment.header.file_name(), error });
            }
            Some(_) => {}
        }
        let Some((resume, before)) = segment.resume_behind(end, last).map_err(io("read the newest segment"))? else {
            break;
        };
        holes.push(Hole { offset: end, after: last, before });
        offset = resume;
    }
    cut_torn_end(segment, holes, synced, &mut end, &mut last, recovery);
    recovery.torn_bytes = segment.written_behind(end).map_err(io("read the newest segment"))?;
    segment.seal(end).map_err(io("seal the newest segment"))?;
    recovery.last = last;
    recovery.next = last.next().max(ceiling);
    Ok(())
}

/// Splits holes into damage (a later mark vouches for what was there) and the torn end, which
/// starts at the first hole that nothing vouches for.
fn cut_torn_end(
    segment: &Segment,
    holes: Vec<Hole>,
    synced: Sequence,
    end: &mut u64,
    last: &mut Sequence,
    recovery: &mut Recovery,
) {
    for hole in holes {
        if hole.after >= synced {
            (*end, *last) = (hole.offset, hole.after);
            return;
        }
        recovery.damage.push(Damage {
            segment: segment.header.file_name(),
            offset: hole.offset,
            after: hole.after,
            before: hole.before,
        });
    }
}
