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
#[derive(Clone, Copy)]
struct Stored {
    sequence: Sequence,
    last_event: Option<Uuid>,
    known_through: Sequence,
}

/// Finds out, and sets the database's cursor to it.
pub async fn resume(connection: &mut PgConnection, origin: &Origin, key: Key) -> Result<Resumed, WriteError> {
    let journal = origin.journal.id();
    let start = origin.journal.oldest().previous();
    let end = origin.journal.watermark(Watermark::Appended);
    let Some(stored) = read_cursor(connection, journal).await? else {
        // The table may have been filled before the cursor was lost. Its key would tell.
        let known_through = if key == Key::Missing { end } else { Sequence::ZERO };
        let resumed = Resumed { position: start, known_through };
        begin(connection, journal, resumed).await?;
        return Ok(resumed);
    };
    let Stored { sequence: at, last_event, known_through } = stored;
    let resumed = if at > end {
        tracing::error!(stored = %at, %end,
            "the database has events beyond the journal's end: the journal was restored from an older copy; \
             writing again what it holds, leaving out what the table has");
        Resumed { position: start, known_through: known_through.max(at) }
    } else if !is_borne_out(origin, stored).await? {
        tracing::error!(stored = %at, event = ?last_event,
            "the journal does not have the last event that the database has from it: it was restored from an older \
             copy and has gone on, or is damaged; writing again what it holds, leaving out what the table has");
        Resumed { position: start, known_through: known_through.max(end) }
    } else if at < start {
        tracing::error!(after = %at, before = %start.next(),
            "the journal no longer holds records that the database does not have: they are lost to the table");
        Resumed { position: start, known_through }
    } else {
        return Ok(Resumed { position: at, known_through });
    };
    move_cursor(connection, journal, at, resumed).await?;
    Ok(resumed)
}

async fn read_cursor(connection: &mut PgConnection, journal: Uuid) -> Result<Option<Stored>, sqlx::Error> {
    let row: Option<(i64, Option<Uuid>, i64)> =
        sqlx::query_as("select sequence, last_event, known_through from mqtt.writer_cursor where journal = $1")
            .bind(journal)
            .fetch_optional(connection)
            .await?;
    let sequence = |number: i64| Sequence(number.max(0).cast_unsigned());
    Ok(row.map(|(at, last_event, known)| Stored { sequence: sequence(at), last_event, known_through: sequence(known) }))
}

/// Makes the cursor of a journal that the database does not know.
async fn begin(connection: &mut PgConnection, journal: Uuid, at: Resumed) -> Result<(), WriteError> {
    let others: i64 = sqlx::query_scalar("select count(*) from mqtt.writer_cursor").fetch_one(&mut *connection).await?;
    if others > 0 {
        tracing::warn!(%journal, others,
            "the database knows other journals, but not this one. That is so where bridges share it; where the data \
             directory was replaced, events that the old journal had and the table does not are lost");
    }
    if at.position > Sequence::ZERO {
        tracing::warn!(before = %at.position.next(),
            "the database does not know this journal, and the journal's first records have been removed already: they \
             are not written to the table");
    }
    sqlx::query("insert into mqtt.writer_cursor (journal, sequence, known_through) values ($1, $2, $3)")
        .bind(journal)
        .bind(at.position.0.cast_signed())
        .bind(at.known_through.0.cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves the cursor without storing anything.
async fn move_cursor(
    connection: &mut PgConnection,
    journal: Uuid,
    from: Sequence,
    to: Resumed,
) -> Result<(), WriteError> {
    let sql = "update mqtt.writer_cursor set sequence = $3, known_through = $4, last_event = null, updated_at = now()
         where journal = $1 and sequence = $2";
    let update = sqlx::query(sql)
        .bind(journal)
        .bind(from.0.cast_signed())
        .bind(to.position.0.cast_signed())
        .bind(to.known_through.0.cast_signed());
    match update.execute(connection).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(WriteError::Overtaken),
    }
}

/// Whether the journal's last event at or before the cursor is the one that was stored. One that
/// the journal no longer holds, or that was never told, speaks for itself.
async fn is_borne_out(origin: &Origin, stored: Stored) -> Result<bool, WriteError> {
    let Some(expected) = stored.last_event else { return Ok(true) };
    let (journal, mapper, at) = (origin.journal.clone(), origin.mapper.clone(), stored.sequence);
    let found = tokio::task::spawn_blocking(move || last_event(&journal, &*mapper, at))
        .await
        .map_err(|_| ReadError::Cancelled)?
        .map_err(ReadError::from)?;
    Ok(found.is_none_or(|found| found == expected))
}

/// The id of the last event at or before a position: of the records that the feed makes rows of.
/// Blocks.
fn last_event(journal: &Journal, mapper: &dyn EventMapper, at: Sequence) -> std::io::Result<Option<Uuid>> {
    let mut before = at.next();
    while let Some(batches) = journal.read_before(before)? {
        for batch in batches.iter().rev() {
            for record in (0..batch.len()).rev().filter_map(|index| batch.get(index)) {
                if record.sequence().is_none_or(|sequence| sequence > at) {
                    continue;
                }
                match record {
                    Record::Publication { publication, .. } => return Ok(Some(mapper.map(&publication).id)),
                    Record::Presence(presence) => return Ok(Some(mapper.announce(&presence).id)),
                    Record::Command(command) => return Ok(Some(mapper.command(&command).id)),
                    Record::State(_) | Record::Event(_) | Record::Mark { .. } => {}
                }
            }
        }
        let Some(first) = batches.first() else { break };
        before = first.first();
    }
    Ok(None)
}
