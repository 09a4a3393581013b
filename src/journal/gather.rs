//! Small appends, put together once they are on disk.
//!
//! A client that says little appends a record or two at a time, and each such [`Batch`] takes some 200 bytes besides
//! its records, for as long as the [`tail`](super::tail) keeps it: with ten thousand devices, more than the records
//! themselves. So the committer makes one batch of many small ones that follow each other. Only of those that are
//! durable: watermarks move by whole batches, so none must lie within one.
//!
//! The committer's alone. Whoever holds one of the small batches goes on with it; readers find the same records with
//! the same sequences in the one that has taken its place.

use std::sync::Arc;

use super::batch::Batch;

/// Bytes above which a batch is left as it is.
const SMALL_BYTES: usize = 2 << 10;

/// Bytes that are put together: few enough that a reader who needs one record does not hold much.
const GATHERED_BYTES: usize = 32 << 10;

/// Small batches in a row that wait for more.
#[derive(Default)]
pub struct Gathering {
    batches: Vec<Arc<Batch>>,
    bytes: usize,
}

/// Batches in a row, and the one to take their place.
pub struct Gathered {
    /// In order; two at least.
    pub of: Vec<Arc<Batch>>,
    /// All their records.
    pub batch: Arc<Batch>,
}

impl Gathering {
    /// Takes batches that have become durable, in order; each time that there are enough, `done` gets them.
    pub fn add(&mut self, durable: &[Arc<Batch>], mut done: impl FnMut(Gathered)) {
        for batch in durable {
            let bytes = batch.as_bytes().len();
            if bytes > SMALL_BYTES {
                self.finish(&mut done);
                continue;
            }
            self.batches.push(Arc::clone(batch));
            self.bytes += bytes;
            if self.bytes >= GATHERED_BYTES {
                self.finish(&mut done);
            }
        }
    }

    fn finish(&mut self, done: &mut impl FnMut(Gathered)) {
        self.bytes = 0;
        let of = std::mem::take(&mut self.batches);
        if of.len() > 1
            && let Some(batch) = Batch::gathered(&of)
        {
            done(Gathered { of, batch: Arc::new(batch) });
        }
    }
}
