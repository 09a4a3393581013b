//! `GET /api/series`: from the measurements where routes have made some, and before those out of the
//! `data` of events, so that whatever a pod has stored can be asked for.

use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};

use super::{layout::SubjectId, query::QueryError, schema::EventsTable};
use crate::types::{Bucket, Micros, SeriesQuery, subject_id};

/// By the subject's index. `date_bin` is PostgreSQL's own, and so does without TimescaleDB. Greatest
/// among arrays of time and value is the last value. Numbers that no `float8` can hold are none.
fn statement(table: &EventsTable) -> String {
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

/// As [`statement`], of rows that are numbers already. The metric is named by its path.
const MEASURED: &str = "
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

/// A role that may not read them gets what events say.
const MAY_MEASURE: &str = "select coalesce(has_table_privilege(to_regclass('mqtt.measurements'), 'select'), false)";

/// The first measurement of the span, in microseconds.
const FIRST_MEASURED: &str = "select (extract(epoch from min(time)) * 1000000)::int8 from mqtt.measurements
    where device = $1 and metric = $2 and time >= $3::text::timestamptz and time < $4::text::timestamptz";

/// The buckets that have a value, by time. The bucket in which measurements begin is of them alone.
pub async fn buckets(
    session: &mut PgConnection,
    table: &EventsTable,
    query: &SeriesQuery,
) -> Result<Vec<Bucket>, QueryError> {
    let Some(first) = first_measured(session, query).await? else { return of_events(session, table, query).await };
    let boundary = Micros::saturating(first.get().div_euclid(query.width) * query.width);
    let mut buckets = Vec::new();
    if boundary > query.from {
        buckets = of_events(session, table, &SeriesQuery { to: boundary, ..query.clone() }).await?;
    }
    let rows = sqlx::query(MEASURED)
        .bind(format!("{} microseconds", query.width))
        .bind(&query.device)
        .bind(query.path.join("."))
        .bind(query.from.max(boundary).to_string())
        .bind(query.to.to_string())
        .fetch_all(session)
        .await?;
    for row in &rows {
        buckets.push(bucket(row)?);
    }
    Ok(buckets)
}

async fn first_measured(session: &mut PgConnection, query: &SeriesQuery) -> Result<Option<Micros>, QueryError> {
    if !sqlx::query_scalar::<_, bool>(MAY_MEASURE).fetch_one(&mut *session).await? {
        return Ok(None);
    }
    let first: Option<i64> = sqlx::query_scalar(FIRST_MEASURED)
        .bind(&query.device)
        .bind(query.path.join("."))
        .bind(query.from.to_string())
        .bind(query.to.to_string())
        .fetch_one(session)
        .await?;
    Ok(first.map(Micros::saturating))
}

async fn of_events(
    session: &mut PgConnection,
    table: &EventsTable,
    query: &SeriesQuery,
) -> Result<Vec<Bucket>, QueryError> {
    let rows = sqlx::query(AssertSqlSafe(statement(table)))
        .bind(format!("{} microseconds", query.width))
        .bind(&query.path)
        .bind(subject_id(&query.device).to_string())
        .bind(query.from.to_string())
        .bind(query.to.to_string())
        .fetch_all(session)
        .await?;
    Ok(rows.iter().map(bucket).collect::<Result<_, _>>()?)
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
