//! `GET /api/consumers`: what the parts know of themselves, put together.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    devices::Devices,
    http::{ConsumersUnavailable, Overview},
    journal::{Clock, Journal, ReadError, Record, Slice, SystemClock, Watermark},
    stream::Streams,
    telemetry::Health,
    timescale::{ImportStatistics, Statistics},
    types::{ConsumerInfo, ConsumersInfo, DatabaseInfo, ImportInfo, JournalInfo, Micros, Sequence},
};

/// The parts that are asked.
pub struct Consumers {
    /// What there is to read.
    pub journal: Journal,
    /// Bytes that it may have.
    pub maximum_bytes: u64,
    /// One that reads without holding records back.
    pub devices: Devices,
    /// The way into the database, where there is one.
    pub writer: Option<Arc<Statistics>>,
    /// The way back, where that is wanted.
    pub importer: Option<Arc<ImportStatistics>>,
    /// What browsers see.
    pub streams: Streams,
    /// How everything is doing.
    pub health: Health,
}

impl Overview for Consumers {
    fn consumers(&self) -> BoxFuture<'_, Result<ConsumersInfo, ConsumersUnavailable>> {
        Box::pin(async move { self.look().await.map_err(|error| ConsumersUnavailable(error.into())) })
    }
}

impl Consumers {
    async fn look(&self) -> Result<ConsumersInfo, ReadError> {
        let mut cursors = self.journal.cursors();
        cursors.push(("devices", self.devices.position()));
        cursors.sort_unstable();
        let durable = self.journal.watermark(Watermark::Durable);
        let mut consumers = Vec::with_capacity(cursors.len());
        for (name, position) in cursors {
            consumers.push(self.consumer(name, position, durable).await?);
        }
        Ok(ConsumersInfo {
            journal: JournalInfo {
                appended: self.journal.watermark(Watermark::Appended).0,
                durable: durable.0,
                oldest: self.journal.oldest().0,
                bytes: self.journal.bytes(),
                maximum_bytes: self.maximum_bytes,
            },
            consumers,
            database: self.writer.as_deref().map(database),
            import: self.importer.as_deref().map(import),
            stream_clients: self.streams.clients(),
            health: self.health.snapshot(),
        })
    }

    async fn consumer(
        &self,
        name: &'static str,
        position: Sequence,
        durable: Sequence,
    ) -> Result<ConsumerInfo, ReadError> {
        let waiting_since = if position < durable { self.received_after(position).await? } else { None };
        let waited = waiting_since.map_or(0, |since| SystemClock.now().get().saturating_sub(since.get()).max(0));
        Ok(ConsumerInfo {
            name,
            position: position.0,
            lag_records: durable.0.saturating_sub(position.0),
            waiting_since,
            lag_seconds: waited as f64 / 1e6,
        })
    }

    /// When the first message behind a position was received.
    async fn received_after(&self, position: Sequence) -> Result<Option<Micros>, ReadError> {
        let mut reader = self.journal.reader(position, Watermark::Durable);
        // Between two messages there may be records of sessions, and places that are damaged; a look does not go far.
        for _ in 0..LOOKS {
            let Some(slice) = reader.next_kept().await? else { break };
            if let Some(received) = first_received(&slice) {
                return Ok(Some(received));
            }
        }
        Ok(None)
    }
}

const LOOKS: usize = 4;

fn first_received(slice: &Slice) -> Option<Micros> {
    slice.records().find_map(|record| match record {
        Record::Publication { publication, .. } => Some(publication.received),
        _ => None,
    })
}

fn database(writer: &Statistics) -> DatabaseInfo {
    DatabaseInfo {
        connected: writer.connected(),
        error: writer.last_error(),
        events: writer.rows(),
        measurements: writer.measurements(),
        dead_letters: writer.dead_letters(),
        repeats: writer.repeats(),
    }
}

fn import(importer: &ImportStatistics) -> ImportInfo {
    ImportInfo {
        connected: importer.connected(),
        standby: importer.standby(),
        error: importer.last_error(),
        lag_seconds: importer.lag().as_secs_f64(),
        imported: importer.imported(),
    }
}
