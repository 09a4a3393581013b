//! Where a session begins: what the database says, as far as the journal bears it out.
//!
//! | the database | the journal | the session |
//! | --- | --- | --- |
//! | knows the mark and the last event | has that event there | settles what is behind the mark |
//! | does not know the journal | is new, or older than the database | settles all it holds, where anything waits |
//! | is behind, restored from an older copy | has events that it does not | settles, and says how many the table lacks |
//! | is ahead, or had another event there | was restored from an older copy | says so, settles all it holds |
//!
//! Nothing is left out of the stream or shown again without a line in the log.

use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::{
    error::{ImportError, within},
    settle::{Mark, Settled},
};
use crate::{
    journal::{Journal, ReadError, Reader, Record, Slice, Step, Watermark},
    limits,
    types::Sequence,
};

/// The mark as the database has it.
struct Stored {
    sequence: Sequence,
    last: Option<(Sequence, Uuid)>,
}

/// Finds out, and settles what the journal has.
pub async fn resume(session: &mut PgListener, journal: &Journal) -> Result<Mark, ImportError> {
    let start = journal.oldest().previous();
    let end = journal.watermark(Watermark::Durable);
    let Some(stored) = read(session, journal.id()).await? else {
        let begin = if is_waiting(session).await? { start } else { end };
        let mut mark = begin_at(session, journal.id(), begin).await?;
        settle_behind(session, journal, &mut mark, end).await?;
        return Ok(mark);
    };
    let mut mark = Mark { journal: journal.id(), sequence: stored.sequence };
    if let Some((sequence, event)) = stored.last
        && sequence > start
        && !has(journal, sequence, event).await?
    {
        tracing::error!(%sequence, %event,
            "the journal does not have the last event of another writer that it had taken over: it was restored from an \
             older copy, or is damaged; events of other writers since then are in the table and not in the stream");
        return again(session, journal, mark, start, end).await;
    }
    if mark.sequence > end {
        return again(session, journal, mark, start, end).await;
    }
    if mark.sequence < start {
        if is_waiting(session).await? {
            tracing::warn!(after = %mark.sequence, before = %start.next(),
            "the journal no longer holds records that the database does not know of: events of other writers may come to \
             the stream twice");
        }
        return again(session, journal, mark, start, end).await;
    }
    let (found, settled) = settle_behind(session, journal, &mut mark, end).await?;
    if settled < found {
        tracing::warn!(
            events = found - settled,
            "the stream has shown events of other writers that the database does not have: it has gone back, to an older \
             copy or to a server that had not yet followed"
        );
    }
    Ok(mark)
}

/// Settles all that the journal holds.
async fn again(
    session: &mut PgListener,
    journal: &Journal,
    mut mark: Mark,
    start: Sequence,
    end: Sequence,
) -> Result<Mark, ImportError> {
    mark.settle(session, Settled { through: start, ..Settled::default() }).await?;
    settle_behind(session, journal, &mut mark, end).await?;
    Ok(mark)
}

async fn read(session: &mut PgListener, journal: Uuid) -> Result<Option<Stored>, ImportError> {
    let query = sqlx::query_as::<_, (i64, Option<i64>, Option<Uuid>)>(
        "select sequence, last_sequence, last_event from mqtt.importer where journal = $1",
    );
    let row = within(limits::TIMESCALE_TIMEOUT, query.bind(journal).fetch_optional(session)).await?;
    let sequence = |number: i64| Sequence(number.max(0).cast_unsigned());
    Ok(row.map(|(at, last, event)| Stored { sequence: sequence(at), last: last.map(sequence).zip(event) }))
}

async fn is_waiting(session: &mut PgListener) -> Result<bool, ImportError> {
    let query = sqlx::query_scalar("select exists (select from mqtt.arrivals)");
    within(limits::TIMESCALE_TIMEOUT, query.fetch_one(session)).await
}

async fn begin_at(session: &mut PgListener, journal: Uuid, sequence: Sequence) -> Result<Mark, ImportError> {
    let query = sqlx::query("insert into mqtt.importer (journal, sequence) values ($1, $2)")
        .bind(journal)
        .bind(sequence.0.cast_signed());
    within(limits::TIMESCALE_TIMEOUT, query.execute(session)).await?;
    Ok(Mark { journal, sequence })
}

/// Whether the journal has this event at this place. What cannot be read is not there.
async fn has(journal: &Journal, sequence: Sequence, event: Uuid) -> Result<bool, ImportError> {
    let mut reader = journal.reader(sequence.previous(), Watermark::Durable);
    let slice = next(&mut reader, sequence).await?;
    let record = slice.as_ref().and_then(|slice| slice.batch().find(sequence));
    Ok(matches!(record, Some(Record::Event(found)) if found.id == event))
}

/// Takes out of the queue what the journal has between the mark and `end`. Returns how many events that are,
/// and how many of them the queue had.
async fn settle_behind(
    session: &mut PgListener,
    journal: &Journal,
    mark: &mut Mark,
    end: Sequence,
) -> Result<(u64, u64), ImportError> {
    let mut reader = journal.reader(mark.sequence, Watermark::Durable);
    let (mut found, mut settled) = (0, 0);
    let (mut numbers, mut ids, mut last) = (Vec::new(), Vec::new(), None);
    loop {
        let slice = next(&mut reader, end).await?;
        for record in slice.iter().flat_map(Slice::records) {
            if let Record::Event(event) = record {
                numbers.push(event.arrival);
                ids.push(event.id);
                last = Some((event.sequence, event.id));
            }
        }
        let at_end = slice.is_none();
        if at_end || numbers.len() >= limits::IMPORT_BATCH_ROWS as usize {
            let through = reader.position().max(mark.sequence);
            found += numbers.len() as u64;
            settled += mark.settle(session, Settled { through, last, numbers: &numbers, ids: &ids }).await?;
            numbers.clear();
            ids.clear();
        }
        if at_end {
            return Ok((found, settled));
        }
    }
}

/// The next records at or before `end`; none behind the last of them. Lost ones are told of.
async fn next(reader: &mut Reader, end: Sequence) -> Result<Option<Slice>, ReadError> {
    while reader.position() < end {
        match reader.step() {
            Step::Slice(slice) => return Ok(Some(slice)),
            Step::CaughtUp => return Ok(None),
            Step::Disk => match reader.read_disk_async().await {
                Ok(Some(slice)) => return Ok(Some(slice)),
                Ok(None) => {}
                Err(error) if error.is_loss() => {
                    tracing::error!(%error, "events of other writers among them may come to the stream twice");
                }
                Err(error) => return Err(error),
            },
        }
    }
    Ok(None)
}
