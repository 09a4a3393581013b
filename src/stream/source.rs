//! The journal as the stream reads it: as [`Reader`], but what is missing is always told.
//! Dropping a source loses nothing.

use crate::{
    journal::{Journal, ReadError, Reader, Slice, Step, Watermark},
    stream::frame::GapReason,
    types::Sequence,
};

/// What follows a position.
pub enum Next {
    /// Records.
    Records(Slice),
    /// Nothing yet: the source stands at the watermark.
    CaughtUp,
    /// Records that should be here are lost; the source stands before the first one that can
    /// be read behind them.
    Lost(GapReason),
}

/// A position among the visible records of the journal.
pub struct Source<'a> {
    journal: &'a Journal,
    reader: Reader,
}

impl<'a> Source<'a> {
    /// A source of what follows `after`.
    pub fn new(journal: &'a Journal, after: Sequence) -> Self {
        Self { journal, reader: journal.reader(after, Watermark::Visible) }
    }

    /// The last record that it has passed.
    pub const fn position(&self) -> Sequence {
        self.reader.position()
    }

    /// Goes on behind another position.
    pub fn seek(&mut self, after: Sequence) {
        if after != self.position() {
            self.reader.seek(after);
        }
    }

    /// Moves on. Waits for the disk at most, and is then cancel safe.
    ///
    /// # Errors
    /// As the file system says.
    pub async fn advance(&mut self) -> Result<Next, ReadError> {
        match self.step() {
            Step::Slice(slice) => Ok(Next::Records(slice)),
            Step::CaughtUp => Ok(Next::CaughtUp),
            Step::Disk => self.advance_on_disk().await,
        }
    }

    /// The next records if they are in memory.
    pub fn step(&mut self) -> Step {
        let visible = self.journal.watermark(Watermark::Visible);
        let step = self.reader.step();
        if matches!(step, Step::CaughtUp) && self.position() < visible {
            // What is missing up to there was refused, or never written before a crash.
            self.reader.seek(visible);
        }
        step
    }

    /// Waits until there may be more. Cancel safe.
    ///
    /// # Errors
    /// When the journal is gone.
    pub async fn changed(&mut self) -> Result<(), ReadError> {
        self.reader.changed().await
    }

    async fn advance_on_disk(&mut self) -> Result<Next, ReadError> {
        let before = self.position();
        let mut found = self.reader.read_disk_async().await;
        if matches!(found, Err(ReadError::Damaged(_))) && self.position() <= before {
            // Damage that was passed before, seen again on the way to a position behind it.
            found = self.reader.read_disk_async().await;
        }
        match found {
            Ok(found) => {
                let next = found.as_ref().map_or(self.position().next(), |slice| slice.batch().first());
                // Sequences may have holes, so a jump alone is no loss; but where segments behind
                // `before` were removed, what was in them cannot be told from a hole.
                if next > before.next() && self.reader.oldest() > before.next() {
                    self.reader.seek(next.previous());
                    return Ok(Next::Lost(GapReason::Retention));
                }
                Ok(found.map_or(Next::CaughtUp, Next::Records))
            }
            Err(ReadError::Damaged(damage)) => {
                tracing::error!(%damage, "stream clients cannot get these events");
                if self.position() <= before {
                    // Nothing readable follows on disk: go on with what comes.
                    self.reader.seek(self.journal.watermark(Watermark::Visible).max(before));
                }
                Ok(Next::Lost(GapReason::Damage))
            }
            Err(ReadError::Retired { .. }) => Ok(Next::Lost(GapReason::Retention)),
            Err(error) => Err(error),
        }
    }
}
