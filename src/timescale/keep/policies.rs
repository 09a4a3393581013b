//! Policies of TimescaleDB under its community licence: the database itself does what they say.
//!
//! They are compared with the configuration and changed where they differ, so that any number
//! of runs is as one. `mqtt.policies` says which the bridge has made: only those go when the
//! configuration asks for none.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};

use super::relation::{Ages, Relation};
use crate::timescale::error::WriteError;

const DAY: u64 = 24 * 3600;

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Retention,
    Compression,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Compression => "compression",
        }
    }

    /// The key of the job's configuration that holds the age.
    const fn age(self) -> &'static str {
        match self {
            Self::Retention => "drop_after",
            Self::Compression => "compress_after",
        }
    }
}

/// Makes, changes and removes policies until they are what is wanted.
pub async fn reconcile(
    connection: &mut PgConnection,
    table: &Relation<'_>,
    schema: &str,
    ages: Ages,
) -> Result<(), WriteError> {
    for (kind, wanted) in [(Kind::Retention, ages.retention), (Kind::Compression, ages.compress_after)] {
        let found = find(connection, table, kind, wanted).await?;
        match (wanted, found) {
            (Some(_), Some(true)) | (None, None) => {}
            (Some(age), _) => {
                let mut transaction = connection.begin().await?;
                put(&mut transaction, table, schema, kind, age).await?;
                transaction.commit().await?;
                tracing::info!(table = table.name, policy = kind.name(), after = interval(age), "set a policy");
            }
            (None, Some(_)) => {
                let mut transaction = connection.begin().await?;
                if remove_own(&mut transaction, table, schema, kind).await? {
                    tracing::info!(table = table.name, policy = kind.name(), "removed a policy");
                }
                transaction.commit().await?;
            }
        }
    }
    Ok(())
}

/// Whether there is a policy, and whether it is the one that is wanted.
async fn find(
    connection: &mut PgConnection,
    table: &Relation<'_>,
    kind: Kind,
    wanted: Option<Duration>,
) -> Result<Option<bool>, sqlx::Error> {
    let same = match wanted {
        Some(age) => format!("(config->>'{}')::interval = interval '{}'", kind.age(), interval(age)),
        None => "false".to_owned(),
    };
    let sql = format!(
        "select {same} from timescaledb_information.jobs j where j.proc_name = 'policy_{}' and {}",
        kind.name(),
        is_of(table.name)
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(connection).await
}

/// SQL for whether a job `j` is of a hypertable, or of a continuous aggregate, under whose name or under that of
/// what it is made of a version of TimescaleDB may list it.
pub fn is_of(relation: &str) -> String {
    format!(
        "(j.hypertable_schema, j.hypertable_name) in (
             select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.oid = to_regclass('{relation}')
             union all
             select a.materialization_hypertable_schema, a.materialization_hypertable_name
             from timescaledb_information.continuous_aggregates a
             join pg_namespace n on n.nspname = a.view_schema
             join pg_class c on c.relnamespace = n.oid and c.relname = a.view_name
             where c.oid = to_regclass('{relation}'))"
    )
}

async fn put(
    transaction: &mut PgTransaction<'_>,
    table: &Relation<'_>,
    schema: &str,
    kind: Kind,
    age: Duration,
) -> Result<(), sqlx::Error> {
    if kind == Kind::Compression {
        enable_compression(transaction, table).await?;
    }
    let (name, kind, age) = (table.name, kind.name(), interval(age));
    let sql = format!(
        "select {schema}.remove_{kind}_policy('{name}', if_exists => true);
         select {schema}.add_{kind}_policy('{name}', interval '{age}');
         insert into mqtt.policies (relation, kind) values ('{name}', '{kind}') on conflict do nothing"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **transaction).await.map(drop)
}

/// What a table has already is left as it is, for chunks may be
/// compressed by it.
async fn enable_compression(transaction: &mut PgTransaction<'_>, table: &Relation<'_>) -> Result<(), sqlx::Error> {
    let is_enabled: bool = sqlx::query_scalar(
        "select coalesce(bool_or(h.compression_enabled), false) from timescaledb_information.hypertables h
         join pg_namespace n on n.nspname = h.hypertable_schema
         join pg_class c on c.relnamespace = n.oid and c.relname = h.hypertable_name where c.oid = to_regclass($1)",
    )
    .bind(table.name)
    .fetch_one(&mut **transaction)
    .await?;
    if is_enabled {
        return Ok(());
    }
    let (name, [segments, order]) = (table.name, table.compressed_by);
    let sql = format!(
        "alter table {name} set (timescaledb.compress, timescaledb.compress_segmentby = '{segments}',
         timescaledb.compress_orderby = '{order}')"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **transaction).await.map(drop)
}

/// Removes a policy if the bridge has made it.
async fn remove_own(
    transaction: &mut PgTransaction<'_>,
    table: &Relation<'_>,
    schema: &str,
    kind: Kind,
) -> Result<bool, sqlx::Error> {
    // A role that may not write there has made none.
    let sql = "select has_table_privilege('mqtt.policies', 'delete')
        and exists (select from pg_class where oid = to_regclass($1) and pg_has_role(relowner, 'usage'))";
    let may: bool = sqlx::query_scalar(sql).bind(table.name).fetch_one(&mut **transaction).await?;
    if !may {
        return Ok(false);
    }
    let delete =
        sqlx::query("delete from mqtt.policies where relation = $1 and kind = $2").bind(table.name).bind(kind.name());
    if delete.execute(&mut **transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let sql = format!("select {schema}.remove_{}_policy('{}', if_exists => true)", kind.name(), table.name);
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **transaction).await?;
    Ok(true)
}

/// A span of time as SQL writes it: in days where it is whole ones.
pub fn interval(age: Duration) -> String {
    let seconds = age.as_secs();
    if seconds.is_multiple_of(DAY) { format!("{} days", seconds / DAY) } else { format!("{seconds} seconds") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_are_written_as_days() {
        assert_eq!(interval(Duration::from_secs(90 * DAY)), "90 days");
        assert_eq!(interval(Duration::from_secs(DAY + 3600)), "90000 seconds");
    }
}
