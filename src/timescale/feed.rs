//! Reads the journal, maps, and encodes rows, while the batch before is being stored.
//!
//! A task of its own with exactly two buffers: one that it fills, and one that the writer
//! stores. It hands over only when asked, so whatever arrives while a batch is being stored
//! joins the next: batches are small and prompt when the table keeps up, and large when not.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{encode::Encoder, layout::Layout, rows::RowBatch, statistics::Statistics};
use crate::{
    journal::{ReadError, Reader, Record, Slice, Step},
    limits,
};

/// A journal's rows, from a position on.
pub struct Feed {
    pub reader: Reader,
    pub encoder: Encoder,
    pub statistics: Arc<Statistics>,
    /// The table's columns.
    pub layout: Layout,
    /// Bytes at which a batch is full.
    pub batch_bytes: usize,
}

/// The writer's end. Dropping it ends the feed.
pub struct Batches {
    requests: mpsc::Sender<RowBatch>,
    batches: mpsc::Receiver<RowBatch>,
}

impl Batches {
    /// The next batch, in exchange for one that is done with; none at the feed's end.
    /// Cancel safe after `give_back`, which is why they are two.
    pub async fn next(&mut self) -> Option<RowBatch> {
        self.batches.recv().await
    }

    /// Asks for the next batch with a buffer for the one after it.
    pub fn give_back(&self, used: RowBatch) {
        // One request at a time, so there is room; a feed that has ended needs none.
        let _ended = self.requests.try_send(used);
    }
}

impl Feed {
    /// Starts the feed. It ends when `stop` is cancelled and all that is durable was handed
    /// over, when the other end is dropped, or with an error.
    pub fn start(self, stop: CancellationToken) -> (Batches, tokio::task::JoinHandle<Result<(), ReadError>>) {
        let (requests, wanted) = mpsc::channel(1);
        let (ready, batches) = mpsc::channel(1);
        let task = tokio::spawn(self.run(wanted, ready, stop));
        (Batches { requests, batches }, task)
    }

    async fn run(
        mut self,
        mut wanted: mpsc::Receiver<RowBatch>,
        ready: mpsc::Sender<RowBatch>,
        stop: CancellationToken,
    ) -> Result<(), ReadError> {
        let mut batch = RowBatch::new(self.layout.clone());
        batch.begin(self.reader.position());
        loop {
            self.fill(&mut batch).await?;
            if batch.through() == batch.after() {
                tokio::select! {
                    // What is durable when `stop` is cancelled is still handed over.
                    biased;
                    changed = self.reader.changed() => changed?,
                    () = stop.cancelled() => return Ok(()),
                    () = ready.closed() => return Ok(()),
                }
                continue;
            }
            tokio::select! {
                biased;
                next = wanted.recv() => {
                    let Some(mut next) = next else { return Ok(()) };
                    next.begin(batch.through());
                    let full = std::mem::replace(&mut batch, next);
                    if ready.send(full).await.is_err() {
                        return Ok(());
                    }
                }
                changed = self.reader.changed(), if !self.is_full(&batch) => changed?,
            }
        }
    }

    fn is_full(&self, batch: &RowBatch) -> bool {
        batch.len() >= limits::TIMESCALE_BATCH_ROWS || batch.bytes() >= self.batch_bytes
    }

    /// Adds what the journal has until the batch is full; the last slice may overfill it.
    async fn fill(&mut self, batch: &mut RowBatch) -> Result<(), ReadError> {
        while !self.is_full(batch) {
            match self.reader.step() {
                Step::Slice(slice) => self.push(batch, &slice),
                Step::CaughtUp => return Ok(()),
                Step::Disk => match self.reader.read_disk_async().await {
                    Ok(slice) => {
                        if let Some(slice) = slice {
                            self.push(batch, &slice);
                        }
                        batch.reach(self.reader.position());
                    }
                    Err(error) if error.is_loss() => {
                        tracing::error!(%error, "events are lost to the table");
                        self.statistics.record_damage();
                        batch.reach(self.reader.position());
                    }
                    Err(error) => return Err(error),
                },
            }
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    fn push(&mut self, batch: &mut RowBatch, slice: &Slice) {
        for record in slice.records() {
            match record {
                Record::Publication { publication, .. } => {
                    self.encoder.push(batch, &publication);
                }
                Record::Presence(presence) => self.encoder.push_presence(batch, &presence),
                Record::Command(command) => self.encoder.push_command(batch, &command),
                Record::State(_) | Record::Event(_) | Record::Mark { .. } => {}
            }
        }
        batch.reach(slice.last());
    }
}
