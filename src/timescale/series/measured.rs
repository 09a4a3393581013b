//! Buckets of measurements, from rows and rollups together.

use sqlx::PgConnection;

use super::{
    bucket,
    due::{Source, due},
    interval,
    stretches::{Level, divide, whole_minutes},
};
use crate::{
    timescale::query::QueryError,
    types::{Bucket, Micros, SeriesQuery},
};

/// As from events, of rows that are numbers already. The metric is named by its path.
const OF_ROWS: &str = "
    select (extract(epoch from start) * 1000000)::int8 as start, count(*) as count, avg(value) as average,
           min(value) as minimum, max(value) as maximum,
           (max(array[extract(epoch from time)::float8, value]))[2] as last
    from (
        select time, date_bin($1::text::interval, time, 'epoch'::timestamptz) as start, value
        from mqtt.measurements
        where device = $2 and metric = $3 and time >= $4::text::timestamptz and time < $5::text::timestamptz
    ) as values
    group by values.start
    order by values.start";

/// Rows of `stretch` by the minute, in the form of rollups. The span again, so that chunks are left out at once.
macro_rules! rows_by_minute {
    () => {
        "select date_bin('1 minute', time, 'epoch'::timestamptz) as at, count(*) as count, sum(value) as sum,
                min(value) as min, max(value) as max,
                (max(array[extract(epoch from time)::float8, value]))[2] as last
         from mqtt.measurements
         where device = $2 and metric = $3 and time >= stretch.first and time < stretch.behind
           and time >= $4::text::timestamptz and time < $5::text::timestamptz
         group by 1"
    };
}

macro_rules! rollups {
    ($table:literal) => {
        concat!(
            "select bucket as at, count, sum, min, max, last from ",
            $table,
            " where device = $2 and metric = $3 and bucket >= stretch.first and bucket < stretch.behind
              and bucket >= $4::text::timestamptz and bucket < $5::text::timestamptz"
        )
    };
}

macro_rules! of_stretches {
    ($level:literal, $($sql:tt)*) => {
        concat!("select piece.* from stretch cross join lateral (", $($sql)*, ") as piece where level = ", $level)
    };
}

/// From what each stretch is answered by. Pieces do not overlap, so that the last value is that of the last piece.
const OF_STRETCHES: &str = concat!(
    "with stretch as materialized (
        select * from unnest($6::int4[], $7::text[]::timestamptz[], $8::text[]::timestamptz[]) as stretch (level, first, behind)
    ), piece as (",
    of_stretches!("0", rows_by_minute!()),
    " union all ",
    of_stretches!(
        "1",
        concat!(
            "select distinct on (at) at, count, sum, min, max, last
             from (select *, true as is_rows from (",
            rows_by_minute!(),
            ") as rows union all select *, false from (",
            rollups!("mqtt.measurements_1m"),
            ") as rollups) as either order by at, count desc, is_rows desc"
        )
    ),
    " union all ",
    of_stretches!("2", rollups!("mqtt.measurements_1m")),
    " union all ",
    of_stretches!("3", rollups!("mqtt.measurements_1h")),
    ")
    select (extract(epoch from start) * 1000000)::int8 as start, sum(count)::int8 as count,
           sum(sum) / sum(count)::float8 as average, min(min) as minimum, max(max) as maximum,
           (max(array[extract(epoch from at)::float8, last]))[2] as last
    from (select piece.*, date_bin($1::text::interval, at, 'epoch'::timestamptz) as start from piece) as pieces
    group by pieces.start
    order by pieces.start"
);

/// The first measurement of the span, in microseconds.
const FIRST_ROW: &str = "select (extract(epoch from min(time)) * 1000000)::int8 from mqtt.measurements
    where device = $1 and metric = $2 and time >= $3::text::timestamptz and time < $4::text::timestamptz";

/// Of measurements and rollups, which may be older.
const FIRST: &str = "select (extract(epoch from least(
        (select min(time) from mqtt.measurements
         where device = $1 and metric = $2 and time >= $3::text::timestamptz and time < $4::text::timestamptz),
        (select min(bucket) from mqtt.measurements_1m
         where device = $1 and metric = $2 and bucket >= $5::text::timestamptz and bucket < $6::text::timestamptz)
    )) * 1000000)::int8";

/// When what was measured begins in the span; none where there is nothing.
pub async fn first(
    session: &mut PgConnection,
    source: Source,
    query: &SeriesQuery,
) -> Result<Option<Micros>, QueryError> {
    if source == Source::Events {
        return Ok(None);
    }
    let minutes = whole_minutes(&(query.from.get()..query.to.get()));
    let has_rollups = source.has_rollups() && !minutes.is_empty();
    let mut question = sqlx::query_scalar::<_, Option<i64>>(if has_rollups { FIRST } else { FIRST_ROW })
        .bind(&query.device)
        .bind(query.path.join("."))
        .bind(query.from.to_string())
        .bind(query.to.to_string());
    if has_rollups {
        question = question.bind(time(minutes.start)).bind(time(minutes.end));
    }
    Ok(question.fetch_one(session).await?.map(Micros::saturating))
}

/// The buckets that have a value, by time.
pub async fn buckets(
    session: &mut PgConnection,
    source: Source,
    query: &SeriesQuery,
) -> Result<Vec<Bucket>, QueryError> {
    let span = query.from.get()..query.to.get();
    let stretches = match source.has_rollups() {
        true => divide(span.clone(), query.width, &due(session, source, &span).await?),
        false => Vec::new(),
    };
    let is_of_rows = stretches.iter().all(|(level, _)| *level == Level::Rows);
    let mut question = sqlx::query(if is_of_rows { OF_ROWS } else { OF_STRETCHES })
        .bind(interval(query.width))
        .bind(&query.device)
        .bind(query.path.join("."))
        .bind(query.from.to_string())
        .bind(query.to.to_string());
    if !is_of_rows {
        question = question
            .bind(stretches.iter().map(|(level, _)| *level as i32).collect::<Vec<_>>())
            .bind(stretches.iter().map(|(_, stretch)| time(stretch.start)).collect::<Vec<_>>())
            .bind(stretches.iter().map(|(_, stretch)| time(stretch.end)).collect::<Vec<_>>());
    }
    let rows = question.fetch_all(session).await?;
    Ok(rows.iter().map(bucket).collect::<Result<_, _>>()?)
}

/// Times go as text, as in all queries.
fn time(micros: i64) -> String {
    Micros::saturating(micros).to_string()
}
