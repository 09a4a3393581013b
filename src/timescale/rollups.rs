//! The bridge's own rollups of measurements, where the licence has no continuous aggregates.
//!
//! The writer notes which minutes it wrote to; this task computes those minutes again from the
//! rows, whole, and the hours that they lie in from the minutes. So a rollup depends on the rows
//! alone, however late or often they came. A minute is struck off only at the version at which the
//! rows were read: what is written meanwhile makes it due again.
//!
//! One runner at a time, by an advisory lock that ends with the session. A rollup that counts
//! more rows than there are is left as it is: retention has removed rows since.

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{
    error::{WriteError, within},
    settings::Settings,
};
use crate::limits;

/// Of one runner: "rollups" on a telephone's keys.
const LOCK: i64 = 7_655_787;

/// Minutes that are over, and those of clocks that are ahead.
const DUE: &str = "select extract(epoch from bucket)::bigint, version from mqtt.measurements_touched
    where bucket <= now() - interval '1 minute' or bucket > now() order by bucket limit $1";

const MINUTES: &str = "insert into mqtt.measurements_1m as kept (bucket, device, metric, count, sum, min, max, last)
    select bucket, device, metric, count(*), sum(value), min(value), max(value),
        (array_agg(value order by time desc, value desc))[1]
    from unnest($1::bigint[]) as minute, to_timestamp(minute * 1.0) as bucket
    join mqtt.measurements on time >= bucket and time < bucket + interval '1 minute'
    group by bucket, device, metric
    on conflict (device, metric, bucket) do update
    set count = excluded.count, sum = excluded.sum, min = excluded.min, max = excluded.max, last = excluded.last
    where excluded.count >= kept.count";

const HOURS: &str = "insert into mqtt.measurements_1h as kept (bucket, device, metric, count, sum, min, max, last)
    select hour, device, metric, sum(count), sum(sum), min(min), max(max),
        (array_agg(last order by bucket desc))[1]
    from (select distinct to_timestamp(minute / 3600 * 3600.0) as hour from unnest($1::bigint[]) as minute) as hours
    join mqtt.measurements_1m on bucket >= hour and bucket < hour + interval '1 hour'
    group by hour, device, metric
    on conflict (device, metric, bucket) do update
    set count = excluded.count, sum = excluded.sum, min = excluded.min, max = excluded.max, last = excluded.last
    where excluded.count >= kept.count";

const STRIKE_OFF: &str = "delete from mqtt.measurements_touched as touched
    using unnest($1::bigint[], $2::bigint[]) as done (minute, version)
    where touched.bucket = to_timestamp(done.minute * 1.0) and touched.version = done.version";

/// Computes what is due, again and again, until `stop` fires. A database that is away, or that has
/// not been prepared yet, is asked again later; the writer tells of it.
pub async fn keep_rollups(settings: Settings, stop: CancellationToken) {
    let mut told = false;
    while let Some(outcome) = stop.run_until_cancelled(session(&settings)).await {
        match outcome {
            Ok(()) => told = false,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!("{}; trying again", error.about("compute rollups of measurements"));
            }
            Err(_) => {}
        }
        let pause = tokio::time::sleep(limits::ROLLUP_INTERVAL);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// Computes what is due, if no other does, and there is anything to keep.
async fn session(settings: &Settings) -> Result<(), WriteError> {
    let mut connection = within(limits::TIMESCALE_CONNECT_TIMEOUT, settings.connect()).await?;
    let is_ours = "select to_regclass('mqtt.measurements_touched') is not null and pg_try_advisory_lock($1)";
    if sqlx::query_scalar(is_ours).bind(LOCK).fetch_one(&mut connection).await? {
        while within(limits::ROLLUP_TIMEOUT, compute(&mut connection)).await? {}
    }
    connection.close().await?;
    Ok(())
}

/// Computes the oldest that are due; false when there is none.
async fn compute(connection: &mut PgConnection) -> Result<bool, WriteError> {
    let mut transaction = connection.begin_with("begin isolation level repeatable read").await?;
    let due: Vec<(i64, i64)> = sqlx::query_as(DUE).bind(limits::ROLLUP_MINUTES).fetch_all(&mut *transaction).await?;
    let (minutes, versions): (Vec<_>, Vec<_>) = due.into_iter().unzip();
    if minutes.is_empty() {
        return Ok(false);
    }
    for sql in [MINUTES, HOURS] {
        sqlx::query(sql).bind(&minutes).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    sqlx::query(STRIKE_OFF).bind(&minutes).bind(versions).execute(connection).await?;
    Ok(true)
}
