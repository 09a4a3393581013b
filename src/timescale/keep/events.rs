//! The table of events.

use sqlx::PgConnection;

use super::{
    Keep, expire, policies,
    relation::{Ages, Relation},
    uncompressed,
};
use crate::timescale::{
    error::WriteError,
    licence::TimescaleDb,
    schema::{EventsTable, TableKind},
};

/// Looks after it; gives back what this server cannot do.
pub async fn keep(
    connection: &mut PgConnection,
    table: &EventsTable,
    extension: Option<&TimescaleDb>,
    keep: Keep,
) -> Result<Vec<String>, WriteError> {
    let segments = format!("user_id, {}", table.layout.form.subject_type());
    let relation = Relation {
        name: &table.name,
        rows: "events",
        time: "timestamp",
        // As the pod's own script has it.
        compressed_by: [&segments, "timestamp desc"],
        held_from: None,
    };
    let is_plain = table.kind != TableKind::Hypertable;
    match extension.filter(|_| !is_plain) {
        Some(TimescaleDb { licence, schema }) if licence.is_community() => {
            let ages = Ages { retention: keep.retention, compress_after: keep.compress_after };
            policies::reconcile(connection, &relation, schema, ages).await?;
            return Ok(Vec::new());
        }
        Some(TimescaleDb { schema, .. }) => {
            if let Some(age) = keep.retention {
                expire::drop_chunks(connection, &relation, schema, age).await?;
            }
        }
        None => {
            if let Some(age) = keep.retention {
                expire::delete(connection, &relation, age).await?;
            }
        }
    }
    Ok(uncompressed("timescale.compress_after", keep.compress_after, relation.name, is_plain))
}
