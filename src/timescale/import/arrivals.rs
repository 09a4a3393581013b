//! What waits in `mqtt.arrivals`, as records for the journal.
//!
//! Read in the order of its numbers, lowest first. A row whose writer has seen another's row has the
//! higher number, and any snapshot that has it has both: so no event overtakes one that it may follow from.

use std::time::Duration;

use sqlx::{
    Row,
    postgres::{PgListener, PgRow},
};
use uuid::Uuid;

use super::error::{ImportError, within};
use crate::{
    journal::{BatchBuilder, Record},
    limits,
    types::{Micros, PodEvent, Sequence},
};

/// Each row by itself, so that no plan reads the whole table; what is too large stays in the server.
/// Values are taken as text and times as numbers: what another program has put there must not
/// stop all that follows.
const SELECT: &str = r#"
with waiting as (
    select a.number, a.id, extract(epoch from clock_timestamp() - a.noted_at)::float8 as waited, e.*
    from (select number, id, "timestamp", noted_at from mqtt.arrivals order by number limit $1) a
    left join lateral (
        select "timestamp", type::text, subject_id::text, subject_type::text, user_id::text, source::text,
            correlation_id::text, data, metadata,
            octet_length(coalesce(data::text, '')) + octet_length(coalesce(metadata::text, ''))
            + octet_length(concat(type, subject_id, subject_type, user_id, source)) as bytes
        from events where events.id = a.id and events."timestamp" = a."timestamp" limit 1
    ) e on true
), sized as (
    select *, bytes > $2 as omitted, sum(least(bytes, $2)) over (order by number) - least(bytes, $2) as before from waiting
)
select number, id, waited, bytes::int8, omitted,
    case when isfinite("timestamp") then (extract(epoch from "timestamp") * 1000000)::int8
        when "timestamp" > now() then 9223372036854775807 else -9223372036854775807 end as micros,
    case when omitted then left(type, $4) else type end as type,
    case when omitted then left(subject_id, $4) else subject_id end as subject_id,
    case when omitted then left(subject_type, $4) else subject_type end as subject_type,
    case when omitted then left(user_id, $4) else user_id end as user_id,
    case when omitted then left(source, $4) else source end as source,
    correlation_id,
    case when not omitted then data::text end as data,
    case when not omitted then metadata::text end as metadata,
    case when not omitted then metadata->>'topic' end as topic
from sized where before is null or before < $3 order by number"#;

/// Entries that were read together, and the records of them.
#[derive(Default)]
pub struct Arrivals {
    /// Their numbers.
    pub numbers: Vec<i64>,
    /// The ids of their rows, in the same order.
    pub ids: Vec<Uuid>,
    /// What of them is for the journal.
    pub records: BatchBuilder,
    /// The id in the last record.
    pub last: Option<Uuid>,
    /// How long the first has waited.
    pub waited: Duration,
    pub counts: Counts,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub imported: u64,
    pub omitted: u64,
    pub vanished: u64,
}

/// Reads the lowest entries, as many as one batch holds.
pub async fn read(session: &mut PgListener) -> Result<Arrivals, ImportError> {
    let query = sqlx::query(SELECT)
        .bind(limits::IMPORT_BATCH_ROWS)
        .bind(limits::MAXIMUM_IMPORTED_BYTES)
        .bind(limits::IMPORT_BATCH_BYTES)
        .bind(limits::OMITTED_TEXT_CHARACTERS);
    let rows = within(limits::TIMESCALE_TIMEOUT, query.fetch_all(session)).await?;
    let mut arrivals = Arrivals::default();
    for row in &rows {
        arrivals.push(row)?;
    }
    let Counts { omitted, vanished, .. } = arrivals.counts;
    if omitted > 0 {
        tracing::warn!(
            events = omitted,
            maximum = limits::MAXIMUM_IMPORTED_BYTES,
            "events of other writers are too large for streams, which show them without data and metadata"
        );
    }
    if vanished > 0 {
        tracing::info!(rows = vanished, "rows of other writers were gone again before the stream could have them");
    }
    Ok(arrivals)
}

impl Arrivals {
    fn push(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let (number, id) = (row.try_get("number")?, row.try_get("id")?);
        if self.numbers.is_empty() {
            self.waited = Duration::try_from_secs_f64(row.try_get("waited")?).unwrap_or_default();
        }
        self.numbers.push(number);
        self.ids.push(id);
        let Some(bytes) = row.try_get::<Option<i64>, _>("bytes")? else {
            self.counts.vanished += 1;
            return Ok(());
        };
        let omitted: bool = row.try_get("omitted")?;
        let marker = omitted
            .then(|| format!("{{\"omitted\":{{\"bytes\":{bytes},\"maximum\":{}}}}}", limits::MAXIMUM_IMPORTED_BYTES));
        let text = |column| row.try_get::<Option<&str>, _>(column);
        let event = PodEvent {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            arrival: number,
            id,
            event_type: text("type")?.unwrap_or_default(),
            subject_id: text("subject_id")?.unwrap_or_default(),
            subject_type: text("subject_type")?.unwrap_or_default(),
            topic: text("topic")?,
            data: text("data")?.or(marker.as_deref()).unwrap_or("{}"),
            metadata: text("metadata")?,
            user_id: text("user_id")?.unwrap_or_default(),
            source: text("source")?,
            timestamp: Micros::saturating(row.try_get("micros")?),
            correlation_id: text("correlation_id")?.and_then(|id| Uuid::try_parse(id).ok()),
        };
        self.records.push(&Record::Event(event));
        self.last = Some(id);
        self.counts.imported += 1;
        self.counts.omitted += u64::from(omitted);
        Ok(())
    }
}
