//! The tables: made by forward-only migrations, then looked at, for a pod may have its own.
//!
//! Once they are made, a start only reads here: what makes them needs rights that the bridge's
//! role should not keep (docs/database.md).

use sqlx::{
    PgConnection, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::error::WriteError;

/// Columns that rows are written to.
const REQUIRED: [&str; 9] =
    ["id", "timestamp", "type", "subject_id", "subject_type", "data", "metadata", "source", "user_id"];

/// The book of migrations, apart from any that the pod's own programs keep.
const BOOK: &str = "mqtt.migrations";

/// What the table `events` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsTable {
    /// How it stores its rows.
    pub kind: TableKind,
    /// How it tells that it has a row already.
    pub key: Key,
}

/// How a table stores its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A hypertable.
    Hypertable,
    /// A plain table in a database that has TimescaleDB: the pod's own, made before.
    Plain,
    /// A plain table, for the database has no TimescaleDB.
    WithoutTimescale,
}

/// The unique key that events have in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// (`id`).
    Id,
    /// (`id`, `timestamp`).
    IdAndTime,
    /// None: the table would take a row twice.
    Missing,
}

/// Applies what is missing of the migrations.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), WriteError> {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(vec![
        migration(1, "bookkeeping", include_str!("../../migrations/0001_bookkeeping.sql")),
        migration(2, "events", include_str!("../../migrations/0002_events.sql")),
        migration(3, "lineage", include_str!("../../migrations/0003_lineage.sql")),
        migration(6, "measurements", include_str!("../../migrations/0006_measurements.sql")),
        migration(16, "letters_and_keys", include_str!("../../migrations/0016_letters_and_keys.sql")),
    ]);
    migrator.dangerous_set_table_name(BOOK);
    // A newer version may have been here before; its migrations are none of our business.
    migrator.set_ignore_missing(true);
    // "If not exists" asks for the right to create even where nothing is left to create.
    if !exists(connection, "to_regnamespace('mqtt')").await? {
        migrator.create_schema("mqtt");
    } else if all_applied(connection, &migrator).await? {
        return Ok(());
    }
    // `run` is generic in a way that makes the future of every caller lose `Send`.
    Ok(migrator.run_direct(None, connection, false).await?)
}

async fn all_applied(connection: &mut PgConnection, migrator: &Migrator) -> Result<bool, sqlx::Error> {
    if !exists(connection, "to_regclass('mqtt.migrations')").await? {
        return Ok(false);
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from mqtt.migrations where success").fetch_all(connection).await?;
    let is_applied = |migration: &Migration| {
        applied.iter().any(|(version, checksum)| *version == migration.version && *checksum == *migration.checksum)
    };
    Ok(migrator.iter().all(is_applied))
}

async fn exists(connection: &mut PgConnection, name: &'static str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select {name} is not null"))).fetch_one(connection).await
}

/// Whether the bridge keeps the rollups of measurements itself.
pub async fn has_own_rollups(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    exists(connection, "to_regclass('mqtt.measurements_touched')").await
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
    Ok(EventsTable { kind: kind(connection).await?, key: key(connection).await? })
}

async fn kind(connection: &mut PgConnection) -> Result<TableKind, sqlx::Error> {
    if !exists(connection, "to_regclass('timescaledb_information.hypertables')").await? {
        return Ok(TableKind::WithoutTimescale);
    }
    // By names: this role need not be allowed to look into every schema that has a hypertable.
    let hypertable: bool = sqlx::query_scalar(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join timescaledb_information.hypertables h
         on h.hypertable_schema = n.nspname and h.hypertable_name = c.relname where c.oid = to_regclass('events'))",
    )
    .fetch_one(connection)
    .await?;
    Ok(if hypertable { TableKind::Hypertable } else { TableKind::Plain })
}

async fn key(connection: &mut PgConnection) -> Result<Key, sqlx::Error> {
    let keys: Vec<Vec<String>> = sqlx::query_scalar(
        "select array(select attname::text from pg_attribute where attrelid = indrelid
             and attnum = any((indkey::int2[])[0:indnkeyatts - 1]) order by attname)
         from pg_index where indrelid = to_regclass('events') and indisunique and indisvalid and indimmediate
         and indpred is null and indexprs is null",
    )
    .fetch_all(connection)
    .await?;
    let has = |columns: &[&str]| keys.iter().any(|key| key == columns);
    Ok(match () {
        () if has(&["id"]) => Key::Id,
        () if has(&["id", "timestamp"]) => Key::IdAndTime,
        () => Key::Missing,
    })
}

impl EventsTable {
    /// Tells the operator what was found.
    pub fn report(self) {
        match self.kind {
            TableKind::Hypertable => tracing::info!("events go to the hypertable `events`"),
            TableKind::Plain => tracing::info!(
                "events go to the plain table `events` that was there already; create_hypertable would make it \
                 a hypertable once its key contains `timestamp`"
            ),
            TableKind::WithoutTimescale => tracing::warn!(
                "events go to a plain table: this database does not have the extension timescaledb; queries and \
                 retention over long times will suffer"
            ),
        }
        if self.key == Key::Missing {
            tracing::warn!(
                "the table `events` has no unique key of `id`, or of `id` and `timestamp`: events that were stored \
                 before are looked for row by row when the writer has to go back"
            );
        }
    }
}
