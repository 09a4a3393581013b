//! `GET /api/series` from the table: values are read out of `data`, so that whatever a pod has
//! stored can be asked for.

use sqlx::{PgPool, Row, postgres::PgRow};

use super::query::QueryError;
use crate::types::{Bucket, Micros, SeriesQuery, subject_id};

/// By the subject's index. `date_bin` is PostgreSQL's own, and so does without TimescaleDB. Greatest
/// among arrays of time and value is the last value. Numbers that no `float8` can hold are none.
const BUCKETS: &str = "
    select (extract(epoch from start) * 1000000)::int8 as start, count(*) as count, avg(value) as average,
           min(value) as minimum, max(value) as maximum,
           (max(array[extract(epoch from timestamp)::float8, value]))[2] as last
    from (
        select timestamp, date_bin($1::text::interval, timestamp, 'epoch'::timestamptz) as start,
               case when jsonb_typeof(data #> $2) = 'number' and abs((data #>> $2)::numeric) < 1e300
                    then (data #>> $2)::numeric::float8 end as value
        from events
        where subject_type = 'device' and subject_id = $3
          and timestamp >= $4::text::timestamptz and timestamp < $5::text::timestamptz
    ) as values
    where value is not null
    group by values.start
    order by values.start";

/// The buckets that have a value, by time.
pub async fn buckets(pool: &PgPool, query: &SeriesQuery) -> Result<Vec<Bucket>, QueryError> {
    let rows = sqlx::query(BUCKETS)
        .bind(format!("{} microseconds", query.width))
        .bind(&query.path)
        .bind(subject_id(&query.device).to_string())
        .bind(query.from.to_string())
        .bind(query.to.to_string())
        .fetch_all(pool)
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
