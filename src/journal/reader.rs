//! Reading from any position: from memory while the reader keeps up, from disk when not.
//!
//! A reader is a position and nothing else that matters; dropping it loses nothing. Reading
//! never takes the committer's time: it clones `Arc`s under the front's mutex, or reads files.

use std::{io, sync::Arc};

use tokio::sync::watch;

use super::{
    appender::Shared,
    batch::Batch,
    log::Segments,
    record::Record,
    segment::{Damage, Segment, SegmentRead},
    segment_header::SEGMENT_HEADER_BYTES,
    tail::TailRead,
    watermark::Watermark,
};
use crate::types::{Micros, Sequence};

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("cannot read the journal: {0}")]
    Io(#[from] io::Error),
    /// Records are lost. The reader stands behind the damage: the next call goes on there.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Retention has removed records that this reader had not reached; it held no cursor. The
    /// next call goes on with the oldest that is kept. Never said to a reader at
    /// [`Sequence::ZERO`], which stands for "whatever there is".
    #[error("records after {after} and before {before} are not kept any more")]
    Retired {
        /// The last record that the reader has passed.
        after: Sequence,
        /// The first that may still be there.
        before: Sequence,
    },
    /// The thread that reads was cancelled: the runtime is shutting down.
    #[error("reading was cancelled")]
    Cancelled,
}

impl ReadError {
    /// Whether records are lost, and the reader stands behind them: the next call goes on there.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Retired { .. })
    }
}

/// The part of a batch behind one sequence.
#[derive(Debug, Clone)]
pub struct Slice {
    batch: Arc<Batch>,
    after: Sequence,
}

impl Slice {
    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.batch.after(self.after)
    }

    /// The batch it is part of.
    #[must_use]
    pub const fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// Whether the record with this sequence is here, if it is anywhere.
    #[must_use]
    pub fn covers(&self, sequence: Sequence) -> bool {
        (self.batch.first()..=self.batch.last()).contains(&sequence)
    }

    /// The last record's sequence.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.batch.last()
    }
}

/// What one step of a reader found.
#[derive(Debug)]
pub enum Step {
    /// Records; the reader stands behind them.
    Slice(Slice),
    /// They are on disk: call [`Reader::read_disk`], which blocks.
    Disk,
    /// None below the watermark.
    CaughtUp,
}

impl Step {
    pub(super) fn at(found: TailRead, after: Sequence) -> Self {
        match found {
            TailRead::Batch(batch) => Self::Slice(Slice { batch, after }),
            TailRead::Disk => Self::Disk,
            TailRead::CaughtUp => Self::CaughtUp,
        }
    }
}

/// A place on disk to go on from.
struct Place {
    segment: Arc<Segment>,
    offset: u64,
}

/// A position in the journal that moves forward.
pub struct Reader {
    shared: Arc<Shared>,
    segments: Segments,
    watch: watch::Receiver<Sequence>,
    position: Sequence,
    place: Option<Place>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, segments: Segments, after: Sequence, watermark: Watermark) -> Self {
        let watch = shared.watch(watermark);
        Self { shared, segments, watch, position: after, place: None }
    }

    /// The last record that it has passed.
    #[must_use]
    pub const fn position(&self) -> Sequence {
        self.position
    }

    /// Goes on after `position` instead.
    pub fn seek(&mut self, position: Sequence) {
        self.position = position;
        self.place = None;
    }

    /// The next records if they are in memory.
    pub fn step(&mut self) -> Step {
        let limit = *self.watch.borrow_and_update();
        if self.position >= limit {
            return Step::CaughtUp;
        }
        match self.shared.find_after(self.position) {
            TailRead::Batch(batch) if batch.first() > limit => Step::CaughtUp,
            TailRead::Batch(batch) => {
                // Watermarks move by whole batches, and small ones become one behind all of them.
                debug_assert!(batch.last() <= limit || batch.last() <= *self.watch.borrow());
                let slice = Slice { after: self.position, batch };
                self.position = slice.last();
                self.place = None;
                Step::Slice(slice)
            }
            TailRead::Disk => Step::Disk,
            TailRead::CaughtUp => Step::CaughtUp,
        }
    }

    /// The next records from disk; none when there are none below the watermark. Blocks for
    /// as long as the disk takes.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read_disk(&mut self) -> Result<Option<Slice>, ReadError> {
        let visible = *self.watch.borrow();
        let limit = visible.min(self.shared.on_disk());
        while self.position < limit {
            let Some(place) = self.take_place()? else {
                self.position = limit;
                break;
            };
            match place.segment.read(place.offset, self.position, limit)? {
                SegmentRead::Records(batch, end) => {
                    let slice = Slice { after: self.position, batch: Arc::new(batch) };
                    self.position = slice.last();
                    self.place = Some(Place { offset: end, ..place });
                    return Ok(Some(slice));
                }
                SegmentRead::End => self.pass_end(&place.segment, None, limit)?,
                SegmentRead::Damaged { offset, resume: None } => {
                    self.pass_end(&place.segment, Some(offset), limit)?;
                }
                SegmentRead::Damaged { offset, resume: Some((resume, before)) } => {
                    let segment = Arc::clone(&place.segment);
                    self.place = Some(Place { offset: resume, ..place });
                    self.pass(before, || damage(&segment, offset))?;
                }
            }
        }
        Ok(None)
    }

    /// The next records, from wherever they are; waits for them. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn next(&mut self) -> Result<Slice, ReadError> {
        loop {
            match self.step() {
                Step::Slice(slice) => return Ok(slice),
                Step::CaughtUp => self.changed().await?,
                Step::Disk => {
                    if let Some(slice) = self.read_disk_async().await? {
                        return Ok(slice);
                    }
                }
            }
        }
    }

    /// Waits until the watermark has moved since the last step. Cancel safe.
    ///
    /// # Errors
    /// `Cancelled` when the journal is gone.
    pub async fn changed(&mut self) -> Result<(), ReadError> {
        self.watch.changed().await.map_err(|_| ReadError::Cancelled)
    }

    /// As [`Reader::read_disk`], on a thread that may block. Cancel safe: the reader moves only
    /// when this returns.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read_disk_async(&mut self) -> Result<Option<Slice>, ReadError> {
        let mut reader = Self {
            shared: Arc::clone(&self.shared),
            segments: Arc::clone(&self.segments),
            watch: self.watch.clone(),
            position: self.position,
            place: self.place.as_ref().map(|place| Place { segment: Arc::clone(&place.segment), offset: place.offset }),
        };
        let (reader, result) = tokio::task::spawn_blocking(move || {
            let result = reader.read_disk();
            (reader, result)
        })
        .await
        .map_err(|_| ReadError::Cancelled)?;
        (self.position, self.place) = (reader.position, reader.place);
        result
    }

    /// The next records, from memory or from disk, without those that are lost; none when there are no more yet. Cancel
    /// safe, as [`Reader::read_disk_async`].
    ///
    /// # Errors
    /// [`ReadError`], of which none [is a loss](ReadError::is_loss).
    pub async fn next_kept(&mut self) -> Result<Option<Slice>, ReadError> {
        loop {
            match self.step() {
                Step::Slice(slice) => return Ok(Some(slice)),
                Step::CaughtUp => return Ok(None),
                Step::Disk => match self.read_disk_async().await {
                    Ok(Some(slice)) => return Ok(Some(slice)),
                    Ok(None) => {}
                    Err(error) if error.is_loss() => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// As [`Journal::oldest`](super::Journal::oldest).
    #[must_use]
    pub fn oldest(&self) -> Sequence {
        oldest(&self.segments)
    }

    fn take_place(&mut self) -> Result<Option<Place>, ReadError> {
        if let Some(place) = self.place.take() {
            return Ok(Some(place));
        }
        let segment = {
            let segments = self.segments.read();
            let behind = segments.partition_point(|segment| segment.header.base <= self.position.next());
            match segments.get(behind.saturating_sub(1)) {
                Some(segment) => Arc::clone(segment),
                None => return Ok(None),
            }
        };
        if self.position == Sequence::ZERO {
            self.position = segment.header.previous;
        }
        if self.position < segment.header.previous {
            return Err(self.pass_retired(&segment));
        }
        let after = self.position;
        let (offset, _) = segment.seek(|header| header.sequence <= after)?;
        Ok(Some(Place { segment, offset }))
    }

    fn segment_behind(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let at = segments.partition_point(|other| other.header.base <= segment.header.base);
        segments.get(at).map(Arc::clone)
    }

    /// Moves on from the last readable record of a segment, behind which there may be damage.
    fn pass_end(&mut self, segment: &Arc<Segment>, damaged_at: Option<u64>, limit: Sequence) -> Result<(), ReadError> {
        let next = self.segment_behind(segment).filter(|next| next.header.base <= limit);
        let Some(next) = next else {
            // Numbers that are missing up to here were never used, or refused, if not damaged.
            let before = if damaged_at.is_some() { limit.next() } else { self.position.next() };
            let result = self.pass(before, || damage(segment, damaged_at.unwrap_or_default()));
            self.position = limit;
            return result;
        };
        let base = next.header.base;
        if self.position >= next.header.previous {
            self.position = self.position.max(base.previous());
            self.place = Some(Place { segment: next, offset: SEGMENT_HEADER_BYTES });
            return Ok(());
        }
        if self.segments.read().first().is_some_and(|first| first.header.base > segment.header.base) {
            return Err(self.pass_retired(&next));
        }
        self.place = Some(Place { segment: next, offset: SEGMENT_HEADER_BYTES });
        self.pass(base, || damage(segment, damaged_at.unwrap_or_else(|| segment.length())))
    }

    /// Moves to just before `before`, and says what is lost in between, if anything is.
    fn pass(&mut self, before: Sequence, damage: impl FnOnce() -> (String, u64)) -> Result<(), ReadError> {
        let after = self.position;
        self.position = after.max(before.previous());
        if self.position == after {
            return Ok(());
        }
        let (segment, offset) = damage();
        Err(Damage { segment, offset, after, before }.into())
    }

    /// Moves to the start of what is kept.
    fn pass_retired(&mut self, oldest: &Arc<Segment>) -> ReadError {
        let (after, before) = (self.position, oldest.header.previous.next());
        self.position = oldest.header.base.previous();
        self.place = Some(Place { segment: Arc::clone(oldest), offset: SEGMENT_HEADER_BYTES });
        ReadError::Retired { after, before }
    }
}

fn damage(segment: &Segment, offset: u64) -> (String, u64) {
    (segment.header.file_name(), offset)
}

/// The oldest record that can be read, or the next to come when there is none. No record that
/// was ever written and is gone lies at or above it.
pub(super) fn oldest(segments: &Segments) -> Sequence {
    segments.read().first().map_or(Sequence::ZERO, |segment| segment.header.previous).next()
}

/// The nearest records below `before`, in order; none when there are none. Some of a batch may
/// lie at `before` or above. Blocks for as long as the disk takes.
pub(super) fn read_before(
    segments: &Segments,
    shared: &Shared,
    mut before: Sequence,
) -> io::Result<Option<Vec<Arc<Batch>>>> {
    if let Some(batch) = shared.find_before(before) {
        return Ok(Some(vec![batch]));
    }
    loop {
        let segment = {
            let segments = segments.read();
            let behind = segments.partition_point(|segment| segment.header.base < before);
            match behind.checked_sub(1).and_then(|at| segments.get(at)) {
                Some(segment) => Arc::clone(segment),
                None => return Ok(None),
            }
        };
        let (batches, damaged) = segment.read_before(before)?;
        if damaged {
            tracing::warn!(segment = segment.header.file_name(), "damaged records are missing from what is read back");
        }
        if !batches.is_empty() {
            return Ok(Some(batches.into_iter().map(Arc::new).collect()));
        }
        before = segment.header.base;
    }
}

/// A position close before the first record that was received at `time` or later.
pub(super) fn position_at(segments: &Segments, time: Micros) -> io::Result<Sequence> {
    let segment = {
        let segments = segments.read();
        let behind = segments.partition_point(|segment| segment.header.created < time);
        segments.get(behind.saturating_sub(1)).map(Arc::clone)
    };
    let Some(segment) = segment else { return Ok(Sequence::ZERO) };
    let (_, before) = segment.seek(|header| header.received < time)?;
    Ok(before.map_or(segment.header.base, |header| header.sequence).previous())
}
