//! Takes out of the queue what the journal has.
//!
//! One statement moves the journal's mark, by compare-and-set, and deletes the entries: after any
//! crash either both have happened or neither.

use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::error::{ImportError, within};
use crate::{limits, types::Sequence};

/// An entry is known by number and id: a database that was restored gives numbers again.
const SETTLE: &str = "
with moved as (
    update mqtt.importer set sequence = $3, last_sequence = coalesce($4, last_sequence),
        last_event = coalesce($5, last_event), updated_at = now()
    where journal = $1 and sequence = $2 returning 1
), settled as (
    delete from mqtt.arrivals a using unnest($6::int8[], $7::uuid[]) as known (number, id)
    where a.number = known.number and a.id = known.id and exists (select from moved) returning 1
)
select (select count(*) from moved), (select count(*) from settled)";

/// The mark of a journal: no event at or before it is in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub journal: Uuid,
    pub sequence: Sequence,
}

/// Entries whose events the journal has up to `through`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settled<'a> {
    pub through: Sequence,
    /// Place and id of the last event of them, where there is one.
    pub last: Option<(Sequence, Uuid)>,
    pub numbers: &'a [i64],
    pub ids: &'a [Uuid],
}

impl Mark {
    /// Moves the mark and deletes the entries. Returns how many there were.
    pub async fn settle(&mut self, session: &mut PgListener, settled: Settled<'_>) -> Result<u64, ImportError> {
        let query = sqlx::query_as::<_, (i64, i64)>(SETTLE)
            .bind(self.journal)
            .bind(self.sequence.0.cast_signed())
            .bind(settled.through.0.cast_signed())
            .bind(settled.last.map(|(sequence, _)| sequence.0.cast_signed()))
            .bind(settled.last.map(|(_, id)| id))
            .bind(settled.numbers)
            .bind(settled.ids);
        let (moved, deleted) = within(limits::TIMESCALE_TIMEOUT, query.fetch_one(session)).await?;
        if moved != 1 {
            return Err(ImportError::Overtaken);
        }
        self.sequence = settled.through;
        Ok(deleted.cast_unsigned())
    }
}
