//! Where a session goes on: what the database says, as far as the journal bears it out.
//!
//! | the database | the journal | the session |
//! | --- | --- | --- |
//! | knows the cursor and the last event | has that event there | goes on behind it |
//! | knows another journal only | is new, or its directory was | begins with the oldest record |
//! | is behind, restored from an older copy | has what is missing | goes on behind the cursor |
//! | is behind | has removed some of it | says what is lost, begins with the oldest record |
//! | is ahead, or had another event there | was restored from an older copy | looks at every record it holds, leaving out what the table has |
//!
//! Nothing is passed over or stored again without a line in the log.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{error::WriteError, schema::Key, store::Origin};
use crate::{
    journal::{Journal, ReadError, Record, Watermark},
    types::{EventMapper, Sequence},
};

/// Where to go on.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// The last record that is not needed any more.
    pub position: Sequence,
    /// Events up to here may be in the table.
    pub known_through: Sequence,
}

/// The cursor of a journal as the database has it.
struct Stored {
    sequence: Sequence,
    last_event: Option<Uuid>,
}

/// Finds out, and sets the database's cursor to it.
pub async fn resume(connection: &mut PgConnection, origin: &Origin, key: Key) -> Result<Resumed, WriteError> {
    let start = origin.journal.oldest().previous();
    let end = origin.journal.watermark(Watermark::Appended);
    let Some(stored) = read_cursor(connection, origin.journal.id()).await? else {
        begin(connection, origin.journal.id(), start).await?;
        // The table may have been filled before the cursor was lost; its key would tell.
        let known_through = if key == Key::Missing { end } else { Sequence::ZERO };
        return Ok(Resumed { position: start, known_through });
    };
    let at = stored.sequence;
    if at > end {
        tracing::error!(stored = %at, %end,
            "the database has events beyond the journal's end: the journal was restored from an older copy; \
             writing again what it holds, leaving out what the table has");
    } else if !is_borne_out(origin, &stored).await? {
        tracing::error!(stored = %at, event = ?stored.last_event,
            "the journal does not have the last event that the database has from it: it was restored from an older \
             copy and has gone on, or is damaged; writing again what it holds, leaving out what the table has");
    } else if at < start {
        tracing::error!(after = %at, before = %start.next(),
            "the journal no longer holds records that the database does not have: they are lost to the table");
        go_back(connection, origin.journal.id(), at, start).await?;
        return Ok(Resumed { position: start, known_through: Sequence::ZERO });
    } else {
        return Ok(Resumed { position: at, known_through: Sequence::ZERO });
    }
    go_back(connection, origin.journal.id(), at, start).await?;
    Ok(Resumed { position: start, known_through: end.max(at) })
}

async fn read_cursor(connection: &mut PgConnection, journal: Uuid) -> Result<Option<Stored>, sqlx::Error> {
    let row: Option<(i64, Option<Uuid>)> =
        sqlx::query_as("select sequence, last_event from mqtt.writer_cursor where journal = $1")
            .bind(journal)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(sequence, last_event)| Stored { sequence: Sequence(sequence.max(0).cast_unsigned()), last_event }))
}

/// Makes the cursor of a journal that the database does not know.
async fn begin(connection: &mut PgConnection, journal: Uuid, start: Sequence) -> Result<(), WriteError> {
    let others: i64 = sqlx::query_scalar("select count(*) from mqtt.writer_cursor").fetch_one(&mut *connection).await?;
    if others > 0 {
        tracing::warn!(%journal, others,
            "the database knows other journals, but not this one. That is so where bridges share it; where the data \
             directory was replaced, events that the old journal had and the table does not are lost");
    }
    if start > Sequence::ZERO {
        tracing::warn!(before = %start.next(),
            "the database does not know this journal, and the journal's first records have been removed already: they \
             are not written to the table");
    }
    sqlx::query("insert into mqtt.writer_cursor (journal, sequence) values ($1, $2)")
        .bind(journal)
        .bind(start.0.cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves the cursor to where it is to begin again.
async fn go_back(connection: &mut PgConnection, journal: Uuid, from: Sequence, to: Sequence) -> Result<(), WriteError> {
    let sql = "update mqtt.writer_cursor set sequence = $3, last_event = null, updated_at = now()
         where journal = $1 and sequence = $2";
    let update = sqlx::query(sql).bind(journal).bind(from.0.cast_signed()).bind(to.0.cast_signed());
    match update.execute(connection).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(WriteError::Overtaken),
    }
}

/// Whether the journal's last event at or before the cursor is the one that was stored. One that
/// the journal no longer holds, or that was never told, speaks for itself.
async fn is_borne_out(origin: &Origin, stored: &Stored) -> Result<bool, WriteError> {
    let Some(expected) = stored.last_event else { return Ok(true) };
    let (journal, mapper, at) = (origin.journal.clone(), origin.mapper.clone(), stored.sequence);
    let found = tokio::task::spawn_blocking(move || last_event(&journal, &*mapper, at))
        .await
        .map_err(|_| ReadError::Cancelled)?
        .map_err(ReadError::from)?;
    Ok(found.is_none_or(|found| found == expected))
}

/// The id of the last event at or before a position. Blocks.
fn last_event(journal: &Journal, mapper: &dyn EventMapper, at: Sequence) -> std::io::Result<Option<Uuid>> {
    let mut before = at.next();
    while let Some(batches) = journal.read_before(before)? {
        for batch in batches.iter().rev() {
            for record in (0..batch.len()).rev().filter_map(|index| batch.get(index)) {
                if let Record::Publication { publication, .. } = record
                    && publication.sequence <= at
                {
                    return Ok(Some(mapper.map(&publication).id));
                }
            }
        }
        let Some(first) = batches.first() else { break };
        before = first.first();
    }
    Ok(None)
}
