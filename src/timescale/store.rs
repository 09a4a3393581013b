//! One batch, one transaction: the cursor by compare-and-set, then the rows.
//!
//! The transaction says that it is the bridge's, so that its rows are not taken for another writer's (`import`).
//! The cursor moves first, which locks its row: a second writer waits for the outcome, then
//! finds the cursor elsewhere and writes nothing. So every record is stored once, whatever
//! becomes of connections and commits.
//!
//! The normal path is a bare COPY into the table. Only when the table refuses a row, or may have
//! it already, is the batch stored with care: through a temporary table, leaving out rows that
//! the table has, and halved until the refused ones stand alone. When the server cannot take so
//! much in one transaction, the batch becomes several, each with the cursor at its own end.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};

use super::{
    error::{WriteError, is_about_a_row, is_too_much, within},
    repeats,
    rows::{Part, RowBatch},
    schema::{EventsTable, Key},
    statistics::Stored,
    table::Table,
};
use crate::{
    journal::{Journal, Record, Step, Watermark},
    limits,
    types::{EventMapper, Sequence},
};

/// Bytes handed to the connection at once: it copies them, and the server may begin.
const CHUNK_BYTES: usize = 64 << 10;

/// Before rows are told from those that the tables have. A constraint that is checked at commit would refuse a row
/// when it is too late to tell which; and for whoever notes other writers' rows, these are not theirs.
const BEGIN_WITH_CARE: &str = "set constraints all immediate; set local mqtt.writer = 'bridge'";

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
    for piece in data {
        for chunk in piece.chunks(CHUNK_BYTES) {
            copy.send(chunk).await?;
        }
    }
    copy.finish().await
}

async fn store_with_care(
    connection: &mut PgConnection,
    origin: &Origin,
    known: &Known,
    part: Part<'_>,
) -> Result<Stored, WriteError> {
    // The whole takes as long as it needs, a silent server is found out by each step.
    const STEP: std::time::Duration = limits::TIMESCALE_TIMEOUT;
    let mut transaction = within(STEP, begin(connection, origin, part)).await?;
    within(STEP, async { Ok(prepare_incoming(&mut transaction, known).await?) }).await?;
    let repeats = within(STEP, async { Ok(repeats::find(&mut transaction, part).await?) }).await?;
    let (mut stored, mut is_first) = (Stored { repeats: repeats.len() as u64, ..Stored::default() }, true);
    let mut pieces = vec![part.without(&repeats)];
    while let Some(piece) = pieces.pop() {
        let result = within(STEP, async { Ok(insert_new(&mut transaction, known, piece, is_first).await) }).await?;
        is_first = false;
        match (result, piece.halves()) {
            (Ok(inserted), _) => {
                stored.known_rows += piece.events().saturating_sub(inserted.rows);
                stored += inserted;
            }
            (Err(error), _) if !is_about_a_row(&error) => return Err(error.into()),
            (Err(_), Some([first, second])) => pieces.extend([second, first]),
            (Err(error), None) => {
                if let Some((sequence, _)) = piece.last() {
                    within(STEP, set_aside(&mut transaction, origin, sequence, &error)).await?;
                    stored.dead_letters += 1;
                }
            }
        }
    }
    within(STEP, async { Ok(transaction.commit().await?) }).await?;
    Ok(stored)
}

/// Makes the tables that rows go through one by one. They last as long as the session: new ones for each
/// transaction would wear out the catalogue where every row takes this way.
pub async fn prepare_incoming(connection: &mut PgConnection, known: &Known) -> Result<(), sqlx::Error> {
    let mut sql = BEGIN_WITH_CARE.to_owned();
    for table in Table::ALL {
        let (incoming, name) = (table.incoming(), known.name(table));
        sql.extend(["; create temporary table if not exists ", incoming, " (like ", name, ") on commit delete rows"]);
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Stores the rows that the tables do not have, or leaves the transaction as it was. Returns
/// how many there were. `is_first` says that none went this way in this transaction before.
pub async fn insert_new(
    transaction: &mut PgTransaction<'_>,
    known: &Known,
    piece: Part<'_>,
    is_first: bool,
) -> Result<Stored, sqlx::Error> {
    let mut savepoint = transaction.begin().await?;
    let result = async {
        let mut stored = Stored::default();
        for table in Table::ALL {
            if let Some(data) = piece.copy_data(table) {
                stored.add(table, insert_new_rows(&mut savepoint, known, table, data, is_first).await?);
            }
        }
        note_minutes(&mut savepoint, known, piece).await?;
        Ok(stored)
    }
    .await;
    match result {
        Ok(inserted) => savepoint.commit().await.map(|()| inserted),
        Err(error) => savepoint.rollback().await.and(Err(error)),
    }
}

async fn insert_new_rows(
    connection: &mut PgConnection,
    known: &Known,
    table: Table,
    data: Vec<&[u8]>,
    is_first: bool,
) -> Result<u64, sqlx::Error> {
    let (name, columns, incoming) = (known.name(table), known.columns(table), table.incoming());
    // Without the columns of the key, a conflict with any other unique key would lose the row.
    let unless_known = match (table, known.table.key) {
        (Table::Measurements, _) => "on conflict (device, metric, time, event) do nothing".to_owned(),
        (Table::DeadLetters, _) => "on conflict (journal, sequence, received_at) do nothing".to_owned(),
        (Table::Events, Key::Id) => "on conflict (id) do nothing".to_owned(),
        (Table::Events, Key::IdAndTime) => "on conflict (id, timestamp) do nothing".to_owned(),
        (Table::Events, Key::Missing) => {
            format!("where not exists (select from {name} as known where known.id = {incoming}.id)")
        }
    };
    let insert = format!("insert into {name} ({columns}) select {columns} from {incoming} {unless_known}");
    if !is_first {
        sqlx::raw_sql(AssertSqlSafe(format!("truncate {incoming}"))).execute(&mut *connection).await?;
    }
    copy(connection, known, table, incoming, data).await?;
    Ok(sqlx::raw_sql(AssertSqlSafe(insert)).execute(connection).await?.rows_affected())
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
    if let Some(Record::Presence(presence)) = record {
        // A dead letter is a message that can be mapped anew.
        let device = presence.device;
        tracing::error!(%sequence, device, %reason, "the table refused an event of a device's connection, and does not have it");
        return Ok(());
    }
    let Some(Record::Publication { publication, .. }) = record else {
        tracing::error!(%sequence, %reason, "the table refused an event, and the journal does not have it any more");
        return Ok(());
    };
    let mut event = Vec::new();
    origin.mapper.map(&publication).write_json(&mut event);
    tracing::warn!(%sequence, topic = publication.topic, %reason, "the table refused an event; it is in mqtt.dead_letters");
    sqlx::query(
        "insert into mqtt.dead_letters (journal, sequence, received_at, topic, client_id, payload, reason, event, qos,
             retain, guaranteed, properties)
         values ($1, $2, $3::text::timestamptz, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing",
    )
    .bind(origin.journal.id())
    .bind(sequence.0.cast_signed())
    .bind(publication.received.to_string())
    .bind(publication.topic)
    .bind(publication.client_id)
    .bind(publication.payload)
    .bind(reason.to_string())
    .bind(String::from_utf8_lossy(&event))
    .bind(i16::from(u8::from(publication.qos)))
    .bind(publication.retain)
    .bind(publication.guaranteed)
    .bind(publication.properties.as_bytes())
    .execute(connection)
    .await?;
    Ok(())
}
