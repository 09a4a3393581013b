//! Buckets of measurements, from rows and rollups together.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    bucket,
    due::{Source, due},
    interval,
    stretches::{Level, Stretch, divide, whole_hours, whole_minutes},
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

/// Rows by the minute, in the form of rollups.
fn rows_by_minute(from: &str, to: &str) -> String {
    format!(
        "select date_bin('1 minute', time, 'epoch'::timestamptz) as at, count(*) as count, sum(value) as sum,
                min(value) as min, max(value) as max,
                (max(array[extract(epoch from time)::float8, value]))[2] as last
         from mqtt.measurements
         where device = $2 and metric = $3 and time >= timestamptz '{from}' and time < timestamptz '{to}'
         group by 1"
    )
}

fn rollups(table: &str, from: &str, to: &str) -> String {
    format!(
        "select bucket as at, count, sum, min, max, last from mqtt.{table}
         where device = $2 and metric = $3 and bucket >= timestamptz '{from}' and bucket < timestamptz '{to}'"
    )
}

/// What answers for a stretch. Its bounds are part of the statement, so that only the chunks that it lies in are
/// planned for: of a year there are hundreds.
fn piece((level, stretch): &Stretch) -> String {
    let [from, to] = [stretch.start, stretch.end].map(|micros| Micros::saturating(micros).to_string());
    match level {
        Level::Rows => rows_by_minute(&from, &to),
        Level::Minutes => rollups("measurements_1m", &from, &to),
        Level::Hours => rollups("measurements_1h", &from, &to),
        Level::Either => minutes_of_either(&from, &to),
        Level::EitherHours => {
            let minutes = minutes_of_either(&from, &to);
            let hours = format!(
                "select date_bin('1 hour', at, 'epoch'::timestamptz) as at, sum(count)::int8 as count, sum(sum) as sum,
                        min(min) as min, max(max) as max, (max(array[extract(epoch from at)::float8, last]))[2] as last
                 from ({minutes}) as minutes group by 1"
            );
            either(&hours, &rollups("measurements_1h", &from, &to))
        }
    }
}

fn minutes_of_either(from: &str, to: &str) -> String {
    either(&rows_by_minute(from, to), &rollups("measurements_1m", from, to))
}

/// Of each time what counts more values; where both count the same, what is computed now.
fn either(computed: &str, kept: &str) -> String {
    format!(
        "select distinct on (at) at, count, sum, min, max, last
         from (select *, true as is_computed from ({computed}) as computed
               union all select *, false from ({kept}) as kept) as both_of
         order by at, count desc, is_computed desc"
    )
}

/// From what each stretch is answered by. They do not overlap, so that the last value is that of the last piece.
fn of_stretches(stretches: &[Stretch]) -> String {
    let pieces: Vec<_> = stretches.iter().map(|stretch| format!("({})", piece(stretch))).collect();
    format!(
        "select (extract(epoch from start) * 1000000)::int8 as start, sum(count)::int8 as count,
                sum(sum) / sum(count)::float8 as average, min(min) as minimum, max(max) as maximum,
                (max(array[extract(epoch from at)::float8, last]))[2] as last
         from (
             select piece.*, date_bin($1::text::interval, at, 'epoch'::timestamptz) as start from ({}) as piece
         ) as pieces
         group by pieces.start
         order by pieces.start",
        pieces.join(" union all ")
    )
}

/// The first measurement of the span, in microseconds.
const FIRST_ROW: &str = "select (extract(epoch from min(time)) * 1000000)::int8 from mqtt.measurements
    where device = $1 and metric = $2 and time >= $3::text::timestamptz and time < $4::text::timestamptz";

/// Of measurements and rollups, which may be older, those of hours most of all.
const FIRST: &str = "select (extract(epoch from least(
        (select min(time) from mqtt.measurements
         where device = $1 and metric = $2 and time >= $3::text::timestamptz and time < $4::text::timestamptz),
        (select min(bucket) from mqtt.measurements_1m
         where device = $1 and metric = $2 and bucket >= $5::text::timestamptz and bucket < $6::text::timestamptz),
        (select min(bucket) from mqtt.measurements_1h
         where device = $1 and metric = $2 and bucket >= $7::text::timestamptz and bucket < $8::text::timestamptz)
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
        let hours = whole_hours(&(query.from.get()..query.to.get()), query.width);
        for bound in [minutes.start, minutes.end, hours.start, hours.end] {
            question = question.bind(Micros::saturating(bound).to_string());
        }
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
    let rows = if is_of_rows {
        sqlx::query(OF_ROWS)
            .bind(interval(query.width))
            .bind(&query.device)
            .bind(query.path.join("."))
            .bind(query.from.to_string())
            .bind(query.to.to_string())
            .fetch_all(session)
            .await?
    } else {
        sqlx::query(AssertSqlSafe(of_stretches(&stretches)))
            .bind(interval(query.width))
            .bind(&query.device)
            .bind(query.path.join("."))
            // It is another one for each question.
            .persistent(false)
            .fetch_all(session)
            .await?
    };
    Ok(rows.iter().map(bucket).collect::<Result<_, _>>()?)
}
