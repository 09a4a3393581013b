//! One batch, one transaction: the cursor by compare-and-set, then the rows.
//!
//! The cursor moves first, which locks its row: a second writer waits for the outcome, then
//! finds the cursor elsewhere and writes nothing. So every record is stored once, whatever
//! becomes of connections and commits.
//!
//! The normal path is a bare COPY into the table. Only when the table refuses a row is the
//! batch stored again in parts, through a temporary table that lets rows be skipped which the
//! table has already, and halved until the refused rows stand alone.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};
use uuid::Uuid;

use super::{
    error::{WriteError, is_about_a_row, within},
    rows::{COLUMNS, RowBatch},
    statistics::Stored,
};
use crate::{
    journal::{Journal, Record, Step, Watermark},
    limits,
    types::{EventMapper, Sequence},
};

/// Bytes handed to the connection at once: it copies them, and the server may begin.
const CHUNK_BYTES: usize = 64 << 10;

/// A constraint that is checked at commit would refuse a row when it is too late to tell which.
const BEGIN_PARTS: &str =
    "set constraints all immediate; create temporary table incoming_events (like events) on commit drop";

/// Where dead letters come from: the journal has the publication, the mapper the event.
pub struct Origin {
    pub journal: Journal,
    pub mapper: Arc<dyn EventMapper>,
}

/// Stores a batch whose records follow the cursor as it should be in the database.
pub async fn store(connection: &mut PgConnection, origin: &Origin, batch: &RowBatch) -> Result<Stored, WriteError> {
    match within(limits::TIMESCALE_TIMEOUT, store_whole(connection, origin, batch)).await {
        Err(WriteError::Store(error)) if is_about_a_row(&error) => {
            tracing::debug!(%error, rows = batch.len(), "storing a batch in parts");
            store_in_parts(connection, origin, batch).await
        }
        outcome => outcome,
    }
}

async fn store_whole(connection: &mut PgConnection, origin: &Origin, batch: &RowBatch) -> Result<Stored, WriteError> {
    let mut transaction = begin(connection, origin, batch).await?;
    let mut stored = Stored::default();
    if batch.len() > 0 {
        stored.rows = copy(&mut transaction, "events", batch.copy_data()).await?;
    }
    transaction.commit().await?;
    Ok(stored)
}

/// Begins a transaction in which the cursor is where it will be once the batch is stored.
async fn begin<'c>(
    connection: &'c mut PgConnection,
    origin: &Origin,
    batch: &RowBatch,
) -> Result<PgTransaction<'c>, WriteError> {
    let mut transaction = connection.begin().await?;
    advance(&mut transaction, origin.journal.id(), batch.after(), batch.through()).await?;
    Ok(transaction)
}

/// Moves the cursor of a journal, if it stands where it should.
pub async fn advance(
    connection: &mut PgConnection,
    journal: Uuid,
    from: Sequence,
    to: Sequence,
) -> Result<(), WriteError> {
    let sql = "update mqtt.writer_cursor set sequence = $3, updated_at = now() where journal = $1 and sequence = $2";
    let update = sqlx::query(sql).bind(journal).bind(from.0.cast_signed()).bind(to.0.cast_signed());
    match update.execute(connection).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(WriteError::Overtaken),
    }
}

async fn copy(connection: &mut PgConnection, table: &str, data: [&[u8]; 3]) -> Result<u64, sqlx::Error> {
    let mut copy = connection.copy_in_raw(&format!("copy {table} ({COLUMNS}) from stdin (format binary)")).await?;
    for piece in data {
        for chunk in piece.chunks(CHUNK_BYTES) {
            copy.send(chunk).await?;
        }
    }
    copy.finish().await
}

async fn store_in_parts(
    connection: &mut PgConnection,
    origin: &Origin,
    batch: &RowBatch,
) -> Result<Stored, WriteError> {
    let mut transaction = begin(connection, origin, batch).await?;
    sqlx::raw_sql(BEGIN_PARTS).execute(&mut *transaction).await?;
    let mut stored = Stored::default();
    let mut parts = vec![(0, batch.len())];
    while let Some((start, end)) = parts.pop() {
        let part = store_part(&mut transaction, batch, start, end);
        match within(limits::TIMESCALE_TIMEOUT, async { Ok(part.await) }).await? {
            Ok(rows) => {
                stored.rows += rows;
                stored.known_rows += (end - start) as u64 - rows;
            }
            Err(error) if !is_about_a_row(&error) => return Err(error.into()),
            Err(error) if end - start == 1 => {
                if let Some(sequence) = batch.sequence(start) {
                    set_aside(&mut transaction, origin, sequence, &error).await?;
                    stored.dead_letters += 1;
                }
            }
            Err(_) => {
                let middle = start + (end - start) / 2;
                parts.extend([(middle, end), (start, middle)]);
            }
        }
    }
    transaction.commit().await?;
    Ok(stored)
}

/// Stores some rows, or leaves the transaction as it was. Returns how many were new.
async fn store_part(
    transaction: &mut PgTransaction<'_>,
    batch: &RowBatch,
    start: usize,
    end: usize,
) -> Result<u64, sqlx::Error> {
    let insert = format!("insert into events ({COLUMNS}) select {COLUMNS} from incoming_events on conflict do nothing");
    let mut savepoint = transaction.begin().await?;
    let result = async {
        copy(&mut savepoint, "incoming_events", batch.copy_data_of(start, end)).await?;
        let inserted = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut *savepoint).await?.rows_affected();
        sqlx::raw_sql("truncate incoming_events").execute(&mut *savepoint).await?;
        Ok(inserted)
    }
    .await;
    match result {
        Ok(inserted) => savepoint.commit().await.map(|()| inserted),
        Err(error) => savepoint.rollback().await.and(Err(error)),
    }
}

/// Keeps a publication that the table refused.
async fn set_aside(
    connection: &mut PgConnection,
    origin: &Origin,
    sequence: Sequence,
    reason: &sqlx::Error,
) -> Result<(), WriteError> {
    let mut reader = origin.journal.reader(sequence.previous(), Watermark::Durable);
    let slice = loop {
        match reader.step() {
            Step::Slice(slice) => break Some(slice),
            Step::Disk => match reader.read_disk_async().await {
                Ok(Some(slice)) => break Some(slice),
                Ok(None) => {}
                Err(error) if error.is_loss() => break None,
                Err(error) => return Err(error.into()),
            },
            Step::CaughtUp => break None,
        }
    };
    let record = slice.as_ref().and_then(|slice| slice.batch().find(sequence));
    let Some(Record::Publication { publication, .. }) = record else {
        tracing::error!(%sequence, %reason, "the table refused an event, and the journal does not have it any more");
        return Ok(());
    };
    let mut event = Vec::new();
    origin.mapper.map(&publication).write_json(&mut event);
    tracing::warn!(%sequence, topic = publication.topic, %reason, "the table refused an event; it is in mqtt.dead_letters");
    sqlx::query(
        "insert into mqtt.dead_letters (journal, sequence, received_at, topic, client_id, payload, reason, event)
         values ($1, $2, $3::text::timestamptz, $4, $5, $6, $7, $8) on conflict do nothing",
    )
    .bind(origin.journal.id())
    .bind(sequence.0.cast_signed())
    .bind(publication.received.to_string())
    .bind(publication.topic)
    .bind(publication.client_id)
    .bind(publication.payload)
    .bind(reason.to_string())
    .bind(String::from_utf8_lossy(&event))
    .execute(connection)
    .await?;
    Ok(())
}
