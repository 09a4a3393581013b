//! One batch, one transaction: the cursor by compare-and-set, then the rows.
//!
//! The transaction says that it is the bridge's, so that its rows are not taken for another writer's (`import`).
//! The cursor moves first, which locks its row: a second writer waits for the outcome, then
//! finds the cursor elsewhere and writes nothing. So every record is stored once, whatever
//! becomes of connections and commits.
//!
//! The normal path is a bare COPY into the table. Only when the table refuses a row, or may have
//! it already, is the batch stored with care (`care`): through a temporary table, leaving out rows that
//! the table has, and halved until the refused ones stand alone. When the server cannot take so
//! much in one transaction, the batch becomes several, each with the cursor at its own end.

mod care;

use std::sync::Arc;

use care::store_with_care;
pub use care::{insert_new, prepare_incoming};
use sqlx::{Connection, PgConnection, PgTransaction};

use super::{
    error::{WriteError, is_about_a_row, is_too_much, within},
    repeats,
    rows::{Part, RowBatch},
    schema::EventsTable,
    statistics::Stored,
    table::Table,
};
use crate::{
    journal::Journal,
    limits,
    types::{EventMapper, Sequence},
};

/// Bytes handed to the connection at once: it copies them, and the server may begin.
const CHUNK_BYTES: usize = 64 << 10;

/// Where dead letters come from: the journal has the publication, the mapper the event.
pub struct Origin {
    pub journal: Journal,
    pub mapper: Arc<dyn EventMapper>,
}

/// The table, and what it may have already.
#[derive(Clone, Debug)]
pub struct Known {
    /// Where rows go.
    pub table: EventsTable,
    /// Events up to here may have been stored before.
    pub through: Sequence,
    /// Whether minutes with new measurements must be noted, for the bridge's own rollups.
    pub own_rollups: bool,
}

impl Known {
    /// The name of a table, as SQL writes it.
    fn name(&self, table: Table) -> &str {
        match table {
            Table::Events => &self.table.name,
            Table::Measurements => "mqtt.measurements",
            Table::DeadLetters => "mqtt.dead_letters",
        }
    }

    /// The columns of its rows, in the order of `RowBatch`.
    fn columns(&self, table: Table) -> String {
        match table {
            Table::Events => self.table.layout.column_list(),
            Table::Measurements => "time, device, metric, value, event".to_owned(),
            Table::DeadLetters => {
                "journal, sequence, received_at, topic, client_id, payload, reason, event, qos, retain, \
                 guaranteed, properties"
                    .to_owned()
            }
        }
    }
}

/// Stores a batch whose records follow the cursor as it should be in the database.
pub async fn store(
    connection: &mut PgConnection,
    origin: &Origin,
    known: &Known,
    batch: &RowBatch,
) -> Result<Stored, WriteError> {
    let mut stored = Stored::default();
    let (mut parts, mut told) = (vec![batch.whole()], false);
    while let Some(part) = parts.pop() {
        match (store_part(connection, origin, known, part).await, part.halves()) {
            (Ok(more), _) => stored += more,
            (Err(WriteError::Store(error)), Some([first, second])) if is_too_much(&error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, rows = part.len(), "too much for one transaction: storing in parts");
                }
                parts.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(stored)
}

async fn store_part(
    connection: &mut PgConnection,
    origin: &Origin,
    known: &Known,
    part: Part<'_>,
) -> Result<Stored, WriteError> {
    // COPY does not go together with row-level security.
    if part.after() < known.through || known.table.has_policies {
        return store_with_care(connection, origin, known, part).await;
    }
    match within(limits::TIMESCALE_TIMEOUT, store_bare(connection, origin, known, part)).await {
        Err(WriteError::Store(error)) if is_about_a_row(&error) => {
            tracing::debug!(%error, rows = part.len(), "storing with care");
            store_with_care(connection, origin, known, part).await
        }
        outcome => outcome,
    }
}

async fn store_bare(
    connection: &mut PgConnection,
    origin: &Origin,
    known: &Known,
    part: Part<'_>,
) -> Result<Stored, WriteError> {
    let mut transaction = begin(connection, origin, part).await?;
    let mut stored = Stored::default();
    let repeats = repeats::find(&mut transaction, part).await?;
    stored.repeats = repeats.len() as u64;
    let part = part.without(&repeats);
    for table in Table::ALL {
        if let Some(data) = part.copy_data(table) {
            stored.add(table, copy(&mut transaction, known, table, known.name(table), data).await?);
        }
    }
    note_minutes(&mut transaction, known, part).await?;
    transaction.commit().await?;
    Ok(stored)
}

/// Notes that the rollups of these minutes are to be computed again. The last thing that a
/// transaction does: other bridges wait for the same minute.
async fn note_minutes(connection: &mut PgConnection, known: &Known, part: Part<'_>) -> Result<(), sqlx::Error> {
    let minutes = part.minutes();
    if !known.own_rollups || minutes.is_empty() {
        return Ok(());
    }
    let sql = "insert into mqtt.measurements_touched (bucket, version)
         select to_timestamp(minute * 60), txid_current() from unnest($1::bigint[]) as minute
         on conflict (bucket) do update set version = excluded.version";
    sqlx::query(sql).bind(minutes).execute(connection).await?;
    Ok(())
}

/// Begins a transaction in which the cursor is where it will be once the part is stored.
async fn begin<'c>(
    connection: &'c mut PgConnection,
    origin: &Origin,
    part: Part<'_>,
) -> Result<PgTransaction<'c>, WriteError> {
    let mut transaction = connection.begin().await?;
    let sql = "update mqtt.writer_cursor set sequence = $3, last_event = coalesce($4, last_event), updated_at = now()
         where journal = $1 and sequence = $2 returning set_config('mqtt.writer', 'bridge', true)";
    let update = sqlx::query(sql)
        .bind(origin.journal.id())
        .bind(part.after().0.cast_signed())
        .bind(part.through().0.cast_signed())
        .bind(part.last().map(|(_, id)| id));
    match update.execute(&mut *transaction).await?.rows_affected() {
        1 => Ok(transaction),
        _ => Err(WriteError::Overtaken),
    }
}

async fn copy(
    connection: &mut PgConnection,
    known: &Known,
    table: Table,
    into: &str,
    data: Vec<&[u8]>,
) -> Result<u64, sqlx::Error> {
    let statement = format!("copy {into} ({}) from stdin (format binary)", known.columns(table));
    let mut copy = connection.copy_in_raw(&statement).await?;
    // Pieces may be single rows.
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    for bytes in data.into_iter().flat_map(|piece| piece.chunks(CHUNK_BYTES)) {
        if chunk.len() + bytes.len() > CHUNK_BYTES {
            copy.send(chunk.as_slice()).await?;
            chunk.clear();
        }
        chunk.extend_from_slice(bytes);
    }
    copy.send(chunk.as_slice()).await?;
    copy.finish().await
}
