//! `GET /api/series`: from the measurements and their rollups where routes have made some, and before
//! those out of the `data` of events, so that whatever a pod has stored can be asked for.
//!
//! A question is answered in one snapshot: rows, rollups, and which rollups are due belong together.
//! `stretches` says what answers for which part of the span, `due` which minutes no rollup answers
//! for yet, `measured` puts the parts together.

mod due;
mod measured;
mod stretches;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use super::{layout::SubjectId, query::QueryError, schema::EventsTable};
use crate::types::{Bucket, Micros, SeriesQuery, subject_id};

/// All that is asked of one question sees the same rows.
const ONE_SNAPSHOT: &str = "begin isolation level repeatable read, read only";

/// By the subject's index. `date_bin` is PostgreSQL's own, and so does without TimescaleDB. Greatest
/// among arrays of time and value is the last value. Numbers that no `float8` can hold are none.
fn of_events_sql(table: &EventsTable) -> String {
    let subject = match table.layout.subject_id {
        SubjectId::Text => "$3::text",
        SubjectId::Uuid => "$3::text::uuid",
    };
    format!(
        "
    select (extract(epoch from start) * 1000000)::int8 as start, count(*) as count, avg(value) as average,
           min(value) as minimum, max(value) as maximum,
           (max(array[extract(epoch from timestamp)::float8, value]))[2] as last
    from (
        select timestamp, date_bin($1::text::interval, timestamp, 'epoch'::timestamptz) as start,
               case when jsonb_typeof(data #> $2) = 'number' and abs((data #>> $2)::numeric) < 1e300
                    then (data #>> $2)::numeric::float8 end as value
        from {}
        where subject_type = 'device' and subject_id = {subject}
          and timestamp >= $4::text::timestamptz and timestamp < $5::text::timestamptz
    ) as values
    where value is not null
    group by values.start
    order by values.start",
        table.layout.relation(&table.name)
    )
}

/// The buckets that have a value, by time. The bucket in which measurements begin is of them alone.
pub async fn buckets(
    session: &mut PgConnection,
    table: &EventsTable,
    query: &SeriesQuery,
) -> Result<Vec<Bucket>, QueryError> {
    let mut snapshot = session.begin_with(ONE_SNAPSHOT).await?;
    let source = due::source(&mut snapshot, query).await?;
    let Some(first) = measured::first(&mut snapshot, source, query).await? else {
        return of_events(&mut snapshot, table, query).await;
    };
    let boundary = Micros::saturating(first.get().div_euclid(query.width) * query.width);
    let mut buckets = Vec::new();
    if boundary > query.from {
        buckets = of_events(&mut snapshot, table, &SeriesQuery { to: boundary, ..query.clone() }).await?;
    }
    let measured = SeriesQuery { from: query.from.max(boundary), ..query.clone() };
    buckets.extend(measured::buckets(&mut snapshot, source, &measured).await?);
    Ok(buckets)
}

async fn of_events(
    session: &mut PgConnection,
    table: &EventsTable,
    query: &SeriesQuery,
) -> Result<Vec<Bucket>, QueryError> {
    let rows = sqlx::query(AssertSqlSafe(of_events_sql(table)))
        .bind(interval(query.width))
        .bind(&query.path)
        .bind(subject_id(&query.device).to_string())
        .bind(query.from.to_string())
        .bind(query.to.to_string())
        .fetch_all(session)
        .await?;
    Ok(rows.iter().map(bucket).collect::<Result<_, _>>()?)
}

/// A width in microseconds, as SQL writes it.
fn interval(width: i64) -> String {
    format!("{width} microseconds")
}

fn bucket(row: &PgRow) -> Result<Bucket, sqlx::Error> {
    Ok(Bucket {
        start: Micros::saturating(row.try_get("start")?),
        count: row.try_get::<i64, _>("count")?.unsigned_abs(),
        average: row.try_get("average")?,
        minimum: row.try_get("minimum")?,
        maximum: row.try_get("maximum")?,
        last: row.try_get("last")?,
    })
}
