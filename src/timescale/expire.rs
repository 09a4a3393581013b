//! Takes old events away where no policy of TimescaleDB can.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};

use super::{error::WriteError, policies::interval, schema::EventsTable};
use crate::limits;

/// Drops the chunks of a hypertable that hold nothing younger than `age`.
pub async fn drop_chunks(
    connection: &mut PgConnection,
    table: &EventsTable,
    schema: &str,
    age: Duration,
) -> Result<(), WriteError> {
    let sql = format!(
        "select count(*) from {schema}.drop_chunks('{}', older_than => now() - interval '{}')",
        table.name,
        interval(age)
    );
    let chunks: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?;
    if chunks > 0 {
        tracing::info!(chunks, table = table.name, older_than = interval(age), "dropped chunks of old events");
    }
    Ok(())
}

/// Deletes the rows of a plain table that are older than `age`, in transactions of their own, with
/// pauses for others between them.
pub async fn delete(connection: &mut PgConnection, table: &EventsTable, age: Duration) -> Result<(), WriteError> {
    let (name, age, rows) = (&table.name, interval(age), limits::KEEP_DELETE_ROWS);
    let sql = format!(
        "delete from {name} where ctid = any (array(
             select ctid from {name} where timestamp < now() - interval '{age}' limit {rows}))"
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
        tracing::info!(rows = deleted, table = name, older_than = age, "deleted old events");
    }
    Ok(())
}
