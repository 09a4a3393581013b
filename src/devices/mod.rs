//! What is known of each device: a consumer of the journal that keeps the last value of every
//! scalar a device has sent, when it was heard, by which client, and whether that is connected.
//!
//! One task ([`Devices::run`]) follows the journal at `durable` and writes what has changed to the
//! state store every few seconds, with the sequence it is complete up to: after a crash the rest is
//! read again from the journal, so counts stay exact. Questions look at memory and, for the rest, at
//! the store (`table`).
//!
//! It also keeps what mapping must know of records that lie further back (`lessons`).
//!
//! It holds no cursor: where retention or damage has taken records it had not read, it goes on with
//! the next. When the store fails, devices stay in memory, are right, and are not there after a
//! restart as they were; the log says so once.

mod connections;
mod leaves;
mod lessons;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    journal::{Consumer, Journal, ReadError, Reader, Record, Slice, StateError, StateStore, Step, Watermark},
    limits,
    types::{DeviceState, EventMapper, LastValue, Sequence},
};
use lessons::Lessons;
pub use lessons::RecallError;
use table::Table;

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// The store cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The bridge is shutting down.
    #[error("reading was cancelled")]
    Cancelled,
}

/// Answers what is known. Cheap to clone.
#[derive(Clone)]
pub struct Devices(Arc<Shared>);

struct Shared {
    journal: Journal,
    mapper: Arc<dyn EventMapper>,
    table: Mutex<Table>,
    lessons: Mutex<Lessons>,
    /// How far `table` is.
    position: watch::Sender<Sequence>,
    /// Rings when somebody waits for it.
    asked: tokio::sync::Notify,
}

/// Devices by name, and whether there are more behind them.
pub type Found = (Vec<(String, DeviceState)>, bool);

impl Shared {
    /// In steps, so that neither memory nor the time that others wait for the table grows with the page.
    fn page(&self, mut after: String, limit: usize, metrics: bool) -> Result<Found, StateError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        loop {
            let step = limits::DEVICES_STEP.min(limit.saturating_sub(found.len()));
            // One more than wanted tells whether there are more.
            let mut read = self.table.lock().behind(&after, step + 1)?;
            let has_more = read.len() > step;
            read.truncate(step);
            for (name, mut state) in read {
                if !metrics {
                    (state.metrics, state.retained_topics) = (None, None);
                }
                bytes += size(&state);
                name.clone_into(&mut after);
                found.push((name, state));
            }
            if !has_more || found.len() >= limit || bytes >= limits::DEVICES_PAGE_BYTES {
                return Ok((found, has_more));
            }
        }
    }
}

/// About what a device's metrics and topics take as JSON, which is what can be large of it.
fn size(state: &DeviceState) -> usize {
    const FRAME: usize = 64;
    let text = |last: &LastValue| last.value.as_str().map_or(0, str::len);
    let metrics = state.metrics.iter().flatten().map(|(path, last)| FRAME + path.len() + text(last)).sum::<usize>();
    metrics + state.retained_topics.iter().flatten().map(|topic| topic.len()).sum::<usize>()
}

impl Devices {
    /// What the store has; [`Devices::run`] goes on from there. The mapper knows then what it knew in the life before:
    /// nobody may map anything earlier. Blocks.
    ///
    /// # Errors
    /// [`RecallError`]
    pub fn open(journal: Journal, mapper: Arc<dyn EventMapper>, store: Arc<StateStore>) -> Result<Self, RecallError> {
        let lessons = Mutex::new(Lessons::recall(&journal, &*mapper, Arc::clone(&store))?);
        let start = store.position(Consumer::Devices)?;
        let (position, table) = (watch::Sender::new(start), Mutex::new(Table::new(store, start)));
        Ok(Self(Arc::new(Shared { journal, mapper, table, lessons, position, asked: tokio::sync::Notify::new() })))
    }

    /// The last record that it has passed.
    #[must_use]
    pub fn position(&self) -> Sequence {
        *self.0.position.borrow()
    }

    /// Follows the journal until `stop` is cancelled, then to what is durable by then.
    pub async fn run(self, stop: CancellationToken) {
        let mut reader = self.0.journal.reader(*self.0.position.borrow(), Watermark::Durable);
        let mut checkpointed = Instant::now();
        loop {
            let is_last = stop.is_cancelled();
            if let Err(error) = self.catch_up(&mut reader).await {
                if matches!(error, ReadError::Cancelled) {
                    return;
                }
                tracing::error!(%error, "what devices say cannot be read; trying again");
            }
            if is_last || checkpointed.elapsed() >= limits::DEVICES_CHECKPOINT_INTERVAL || self.0.table.lock().is_full()
            {
                self.checkpoint().await;
                checkpointed = Instant::now();
            }
            if is_last {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(limits::DEVICES_INTERVAL) => {}
                () = self.0.asked.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn catch_up(&self, reader: &mut Reader) -> Result<(), ReadError> {
        loop {
            let slice = match reader.step() {
                Step::Slice(slice) => Some(slice),
                Step::CaughtUp => return Ok(()),
                Step::Disk => match reader.read_disk_async().await {
                    Ok(slice) => slice,
                    Err(error) if error.is_loss() => {
                        tracing::warn!(%error, "some of what devices said is not known");
                        None
                    }
                    Err(error) => return Err(error),
                },
            };
            if let Some(slice) = slice {
                self.take(&slice);
            }
            self.0.position.send_replace(reader.position());
            if self.0.table.lock().is_full() {
                self.checkpoint().await;
            }
            tokio::task::yield_now().await;
        }
    }

    fn take(&self, slice: &Slice) {
        let mut table = self.0.table.lock();
        // What one client sends in a row mostly has one topic.
        let mut last = ("", false);
        for record in slice.records() {
            let publication = match record {
                Record::Publication { publication, .. } => {
                    self.0.mapper.learn(&publication);
                    publication
                }
                Record::Presence(presence) => {
                    table.note(&presence);
                    continue;
                }
                Record::State(_) | Record::Event(_) | Record::Command(_) | Record::Mark { .. } => continue,
            };
            if publication.topic != last.0 {
                last = (publication.topic, self.0.mapper.names_device(publication.topic));
            }
            if last.1 {
                table.take(&publication, &self.0.mapper.map(&publication));
            }
        }
    }

    async fn checkpoint(&self) {
        let position = *self.0.position.borrow();
        let lessons = self.0.lessons.lock().changes(&*self.0.mapper, position);
        let (store, changes) = {
            let mut table = self.0.table.lock();
            (table.store(), table.changes(position))
        };
        if lessons.is_none() && changes.is_none() {
            return;
        }
        let write = move || {
            lessons.map_or(Ok(()), |lessons| store.commit(Consumer::Lessons, lessons, position))?;
            changes.map_or(Ok(()), |changes| store.commit(Consumer::Devices, changes, position))
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => self.0.table.lock().written(),
            Ok(Err(error)) => {
                tracing::error!(%error, "what is known of devices cannot be stored; it is read from the journal after a restart");
                self.0.table.lock().fail();
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    }

    /// The first devices behind a name, by name, with their metrics and topics where `metrics` is wanted, and whether
    /// there are more: as many as `limit`, 1 or more, or as [`limits::DEVICES_PAGE_BYTES`] has room for.
    ///
    /// # Errors
    /// [`DevicesError`]
    pub async fn behind(&self, name: Option<String>, limit: usize, metrics: bool) -> Result<Found, DevicesError> {
        self.catch_up_for_question().await;
        let shared = Arc::clone(&self.0);
        let look = move || shared.page(name.unwrap_or_default(), limit, metrics);
        Ok(tokio::task::spawn_blocking(look).await.map_err(|_| DevicesError::Cancelled)??)
    }

    /// One device, if anything is known of it.
    ///
    /// # Errors
    /// [`DevicesError`]
    pub async fn get(&self, name: String) -> Result<Option<DeviceState>, DevicesError> {
        self.catch_up_for_question().await;
        let shared = Arc::clone(&self.0);
        let look = move || shared.table.lock().get(&name);
        Ok(tokio::task::spawn_blocking(look).await.map_err(|_| DevicesError::Cancelled)??)
    }

    /// Whoever has seen an acknowledgement finds what was acknowledged; while a long backlog is read,
    /// patience ends, and what is known so far is the answer.
    async fn catch_up_for_question(&self) {
        let durable = self.0.journal.watermark(Watermark::Durable);
        let mut position = self.0.position.subscribe();
        if *position.borrow() < durable {
            self.0.asked.notify_one();
            // Either way there is an answer.
            let _late = timeout(limits::DEVICES_PATIENCE, position.wait_for(|position| *position >= durable)).await;
        }
    }
}
