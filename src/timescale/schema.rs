//! The tables: made by forward-only migrations, then looked at, for a pod may have its own.

use sqlx::{
    PgConnection, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::error::WriteError;

/// Columns that rows are written to.
const REQUIRED: [&str; 9] =
    ["id", "timestamp", "type", "subject_id", "subject_type", "data", "metadata", "source", "user_id"];

/// What the table `events` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsTable {
    /// A hypertable.
    Hypertable,
    /// A plain table in a database that has TimescaleDB: the pod's own, made before.
    Plain,
    /// A plain table, for the server has no TimescaleDB.
    WithoutTimescale,
}

/// Applies what is missing of the migrations. Their book is `mqtt.migrations`, apart from any
/// that the pod's own programs keep.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), WriteError> {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(vec![
        migration(1, "bookkeeping", include_str!("../../migrations/0001_bookkeeping.sql")),
        migration(2, "events", include_str!("../../migrations/0002_events.sql")),
    ]);
    migrator.create_schema("mqtt");
    migrator.dangerous_set_table_name("mqtt.migrations");
    // A newer version may have been here before; its migrations are none of our business.
    migrator.set_ignore_missing(true);
    // `run` is generic in a way that makes the future of every caller lose `Send`.
    Ok(migrator.run_direct(None, connection, false).await?)
}

/// Looks at the table `events`.
pub async fn inspect(connection: &mut PgConnection) -> Result<EventsTable, WriteError> {
    let missing: Vec<String> = sqlx::query_scalar(
        "select name from unnest($1::text[]) as name where not exists (select from pg_attribute
         where attrelid = to_regclass('events') and attname = name and not attisdropped)",
    )
    .bind(&REQUIRED[..])
    .fetch_all(&mut *connection)
    .await?;
    if !missing.is_empty() {
        return Err(WriteError::Columns(missing.join(", ")));
    }
    let timescale: bool = sqlx::query_scalar("select to_regclass('timescaledb_information.hypertables') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !timescale {
        return Ok(EventsTable::WithoutTimescale);
    }
    let hypertable: bool = sqlx::query_scalar(
        "select exists (select from timescaledb_information.hypertables
         where format('%I.%I', hypertable_schema, hypertable_name)::regclass = 'events'::regclass)",
    )
    .fetch_one(connection)
    .await?;
    Ok(if hypertable { EventsTable::Hypertable } else { EventsTable::Plain })
}

impl EventsTable {
    /// Tells the operator what was found.
    pub fn report(self) {
        match self {
            Self::Hypertable => tracing::info!("events go to the hypertable `events`"),
            Self::Plain => tracing::info!(
                "events go to the plain table `events` that was there already; create_hypertable would make it \
                 a hypertable once its key contains `timestamp`"
            ),
            Self::WithoutTimescale => tracing::warn!(
                "events go to a plain table: this PostgreSQL has no TimescaleDB, or this user may not create the \
                 extension; queries and retention over long times will suffer"
            ),
        }
    }
}
