//! Which rows a role may ask for a series, and for which minutes no rollup answers yet.
//!
//! The bridge's own rollups have a list of the minutes that were written to. TimescaleDB's continuous
//! aggregates have logs of their own, kept for its refreshes; where a version keeps them elsewhere,
//! every minute counts as due, which costs time and changes no answer.

use std::ops::Range;

use sqlx::{Connection, PgConnection};

use super::stretches::{MINUTE, has_rollups, unite, whole_minutes};
use crate::types::SeriesQuery;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing that was measured.
    Events,
    /// Measurements.
    Measurements,
    /// And the bridge's own rollups.
    OwnRollups,
    /// And continuous aggregates.
    Aggregates,
}

impl Source {
    /// Whether there are rollups to ask.
    pub const fn has_rollups(self) -> bool {
        matches!(self, Self::OwnRollups | Self::Aggregates)
    }
}

/// A role that may not read something gets what the rest says.
const MAY: &str = "
    with relations (name) as (values ('measurements'), ('measurements_1m'), ('measurements_1h'), ('measurements_touched')),
    may as (
        select name, coalesce(has_table_privilege(to_regclass('mqtt.' || name), 'select'), false) as read,
               to_regclass('mqtt.' || name) is not null as there
        from relations
    )
    select (select read from may where name = 'measurements') as measurements,
           (select bool_and(read) from may where name in ('measurements_1m', 'measurements_1h')) as rollups,
           (select read from may where name = 'measurements_touched') as touched,
           (select there from may where name = 'measurements_touched') as own";

/// Consecutive minutes, in microseconds.
const TOUCHED: &str = "
    select min(minute) * 60000000, (max(minute) + 1) * 60000000
    from (
        select minute, minute - row_number() over (order by minute) as island
        from (
            select extract(epoch from bucket)::int8 / 60 as minute from mqtt.measurements_touched
            where bucket >= to_timestamp($1::int8 / 1000000) and bucket < to_timestamp($2::int8 / 1000000)
        ) as touched
    ) as islands
    group by island";

/// What its refreshes have still to do, of rows and of the minutes that hours are made of. A refresh leaves all
/// behind its end to be done.
const INVALID: &str = "
    with aggregate as (
        select mat_hypertable_id, raw_hypertable_id from _timescaledb_catalog.continuous_agg
        where user_view_schema = 'mqtt' and user_view_name in ('measurements_1m', 'measurements_1h')
    ), invalid (first, last) as (
        select lowest_modified_value, greatest_modified_value
        from _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
        where hypertable_id in (select raw_hypertable_id from aggregate)
        union all
        select lowest_modified_value, greatest_modified_value
        from _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
        where materialization_id in (select mat_hypertable_id from aggregate)
    )
    select greatest(first, $1::int8), least(last, $2::int8 - 1) + 1 from invalid where last >= $1 and first < $2";

/// What can be asked for this question.
pub async fn source(session: &mut PgConnection, query: &SeriesQuery) -> Result<Source, sqlx::Error> {
    let (measurements, rollups, touched, own): (bool, bool, bool, bool) =
        sqlx::query_as(MAY).fetch_one(session).await?;
    Ok(match () {
        () if !measurements => Source::Events,
        () if !rollups || !has_rollups(query.width) => Source::Measurements,
        () if own && touched => Source::OwnRollups,
        () if own => Source::Measurements,
        () => Source::Aggregates,
    })
}

/// The minutes of the span for which rollups do not answer, in microseconds, rising.
pub async fn due(
    session: &mut PgConnection,
    source: Source,
    span: &Range<i64>,
) -> Result<Vec<Range<i64>>, sqlx::Error> {
    let minutes = whole_minutes(span);
    let sql = match source {
        Source::Events | Source::Measurements => return Ok(Vec::new()),
        Source::OwnRollups => TOUCHED,
        Source::Aggregates => INVALID,
    };
    let mut attempt = session.begin().await?;
    let found: Result<Vec<(i64, i64)>, _> =
        sqlx::query_as(sql).bind(minutes.start).bind(minutes.end).fetch_all(&mut *attempt).await;
    match found {
        Ok(found) => {
            attempt.commit().await?;
            Ok(unite(found.into_iter().map(|(start, end)| start..end).collect()))
        }
        Err(error) if source == Source::Aggregates && error.as_database_error().is_some() => {
            attempt.rollback().await?;
            tracing::debug!(%error, "what continuous aggregates have still to do is not known");
            Ok(vec![minutes])
        }
        Err(error) => Err(error),
    }
}

const _: () = assert!(MINUTE == 60_000_000, "the statements count on it");
