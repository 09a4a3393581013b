//! Takes old rows away where no policy of TimescaleDB does.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{policies::interval, relation::Relation};
use crate::{limits, timescale::error::WriteError};

/// Drops the chunks of a hypertable that hold nothing younger than `age`, nor anything that is held.
pub async fn drop_chunks(
    connection: &mut PgConnection,
    relation: &Relation<'_>,
    schema: &str,
    age: Duration,
) -> Result<(), WriteError> {
    let (name, cutoff) = (relation.name, relation.cutoff(age));
    let chunks =
        |function| AssertSqlSafe(format!("select count(*) from {schema}.{function}('{name}', older_than => {cutoff})"));
    let mut transaction = connection.begin().await?;
    if relation.held_from.is_some() {
        // What is held must not change between the look and the drop, so nobody writes meanwhile; but only where
        // there is something to drop.
        let old: i64 = sqlx::query_scalar(chunks("show_chunks")).fetch_one(&mut *transaction).await?;
        if old == 0 {
            return Ok(transaction.commit().await?);
        }
        sqlx::raw_sql(AssertSqlSafe(format!("lock table {name} in share mode"))).execute(&mut *transaction).await?;
    }
    let dropped: i64 = sqlx::query_scalar(chunks("drop_chunks")).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    if dropped > 0 {
        let (rows, older_than) = (relation.rows, interval(age));
        tracing::info!(chunks = dropped, table = name, older_than, "dropped chunks of old {rows}");
    }
    Ok(())
}

/// Deletes the rows of a plain table that are older than `age`, in transactions of their own, with
/// pauses for others between them. A statement sees in one snapshot what is held and what there is.
pub async fn delete(connection: &mut PgConnection, relation: &Relation<'_>, age: Duration) -> Result<(), WriteError> {
    let (name, time, cutoff, rows) = (relation.name, relation.time, relation.cutoff(age), limits::KEEP_DELETE_ROWS);
    let sql = format!(
        "delete from {name} where ctid = any (array(select ctid from {name} where {time} < {cutoff} limit {rows}))"
    );
    let mut deleted = 0;
    loop {
        let batch = sqlx::query(AssertSqlSafe(&*sql)).execute(&mut *connection).await?.rows_affected();
        deleted += batch;
        if batch < rows {
            break;
        }
        tokio::time::sleep(limits::KEEP_DELETE_PAUSE).await;
    }
    if deleted > 0 {
        let older_than = interval(age);
        tracing::info!(rows = deleted, table = name, older_than, "deleted old {}", relation.rows);
    }
    Ok(())
}
