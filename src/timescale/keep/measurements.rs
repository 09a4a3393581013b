//! Measurements and their rollups: what is finer goes first, and no value before its rollups have it.
//!
//! Rollups that the bridge computes itself: it drops chunks itself too, whatever the licence, and none that holds a
//! minute which is still to be computed. Continuous aggregates: the database has policies for all three, and
//! refreshes look back no further than their source is kept, for they would take out of a rollup
//! what is gone from there.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    Keep, expire,
    policies::{self, interval, is_of},
    relation::{Ages, Relation},
    uncompressed,
};
use crate::timescale::{
    error::WriteError,
    inspect::kind,
    licence::TimescaleDb,
    schema::{TableKind, has_own_rollups},
};

const VALUES: &str = "mqtt.measurements";
const MINUTES: &str = "mqtt.measurements_1m";
const HOURS: &str = "mqtt.measurements_1h";

/// The first minute whose rollups are to be computed.
const DUE: &str = "select min(bucket) from mqtt.measurements_touched";

/// How long measurements are kept; none: for ever. What is finer is kept no longer than what is coarser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepMeasurements {
    /// Age at which values go.
    pub retention: Option<Duration>,
    /// Age at which rollups of a minute go.
    pub retention_1m: Option<Duration>,
    /// Age at which rollups of an hour go.
    pub retention_1h: Option<Duration>,
    /// Age at which values are compressed.
    pub compress_after: Option<Duration>,
}

impl KeepMeasurements {
    /// The relations, finest first, with their ages.
    fn relations(self, held_from: Option<&'static str>) -> [(Relation<'static>, Option<Duration>); 3] {
        let relation = |name, rows, time, order| Relation {
            name,
            rows,
            time,
            // What tells rows apart must be among them.
            compressed_by: ["device, metric", order],
            held_from,
        };
        [
            (relation(VALUES, "measurements", "time", "time desc, event"), self.retention),
            (relation(MINUTES, "rollups of a minute", "bucket", "bucket desc"), self.retention_1m),
            (relation(HOURS, "rollups of an hour", "bucket", "bucket desc"), self.retention_1h),
        ]
    }
}

/// Looks after them; gives back what this server cannot do.
pub async fn keep(
    connection: &mut PgConnection,
    extension: Option<&TimescaleDb>,
    keep: Keep,
) -> Result<Vec<String>, WriteError> {
    let (keep, own_rollups) = (keep.measurements, has_own_rollups(connection).await?);
    let is_plain = kind(connection, VALUES).await? != TableKind::Hypertable;
    let community = extension.filter(|extension| extension.licence.is_community() && !is_plain);
    if own_rollups {
        for (relation, age) in keep.relations(Some(DUE)) {
            let Some(age) = age else { continue };
            match (kind(connection, relation.name).await?, extension) {
                (TableKind::Hypertable, Some(TimescaleDb { schema, .. })) => {
                    expire::drop_chunks(connection, &relation, schema, age).await?;
                }
                _ => expire::delete(connection, &relation, age).await?,
            }
        }
    }
    let Some(TimescaleDb { schema, .. }) = community else {
        return Ok(uncompressed("timescale.measurements.compress_after", keep.compress_after, VALUES, is_plain));
    };
    if !own_rollups {
        narrow_refreshes(connection, schema, MINUTES, keep.retention).await?;
        narrow_refreshes(connection, schema, HOURS, keep.retention_1m).await?;
    }
    for (relation, age) in keep.relations(None) {
        let ages = Ages {
            retention: age.filter(|_| !own_rollups),
            compress_after: keep.compress_after.filter(|_| relation.name == VALUES),
        };
        policies::reconcile(connection, &relation, schema, ages).await?;
    }
    Ok(Vec::new())
}

/// Makes the refreshes of a continuous aggregate look back no further than its source is kept. Never further than
/// before: what is gone from the source would go from the aggregate.
async fn narrow_refreshes(
    connection: &mut PgConnection,
    schema: &str,
    aggregate: &str,
    kept: Option<Duration>,
) -> Result<(), WriteError> {
    let Some(kept) = kept.map(interval) else { return Ok(()) };
    let sql = format!(
        "with wide as materialized (
             select job_id, jsonb_set(config, '{{start_offset}}', to_jsonb(text '{kept}')) as narrower
             from timescaledb_information.jobs j
             where j.proc_name = 'policy_refresh_continuous_aggregate' and {}
             and coalesce((config->>'start_offset')::interval > interval '{kept}', true)
         )
         select count(*) from wide cross join lateral {schema}.alter_job(wide.job_id, config => narrower)",
        is_of(aggregate)
    );
    let changed: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?;
    if changed > 0 {
        tracing::info!(aggregate, look_back = kept, "refreshes look back no further than measurements are kept");
    }
    Ok(())
}
