//! The tables: made by forward-only migrations, then looked at, for a pod may have its own.
//!
//! Once they are made, a start only reads here: what makes them needs rights that the bridge's
//! role should not keep (docs/database.md).
//!
//! Where events go is decided here: to the table that the configuration names, else to `events`,
//! else to `events_timescale` of an older pod, else to an `events` that is made. `inspect` says
//! what it is.

use sqlx::{
    PgConnection, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::{error::WriteError, layout::Layout};

/// The book of migrations, apart from any that the pod's own programs keep.
const BOOK: &str = "mqtt.migrations";

/// The pod's table, unless the configuration names another.
pub const EVENTS: &str = "events";

/// The table of an older pod.
const OLDER: &str = "events_timescale";

/// The migration that makes [`EVENTS`].
const MAKES_EVENTS: i64 = 2;

/// What the table of events is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsTable {
    /// Its name, as SQL writes it.
    pub name: String,
    /// Its columns.
    pub layout: Layout,
    /// How it stores its rows.
    pub kind: TableKind,
    /// How it tells that it has a row already.
    pub key: Key,
    /// Whether policies decide which rows this role may write and see.
    pub has_policies: bool,
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

/// Finds the table that events go to, which may not exist yet.
///
/// # Errors
/// When the configuration names one that does not exist, or the server fails.
pub async fn resolve(connection: &mut PgConnection, configured: Option<&str>) -> Result<String, WriteError> {
    if let Some(name) = configured {
        return match name == EVENTS || is_there(connection, name).await? {
            true => Ok(name.to_owned()),
            false => Err(WriteError::NoTable(name.to_owned())),
        };
    }
    let is_older = !is_there(connection, EVENTS).await? && is_there(connection, OLDER).await?;
    Ok(if is_older { OLDER } else { EVENTS }.to_owned())
}

/// Whether there is a table of this name.
pub async fn is_there(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(name).fetch_one(connection).await
}

/// Migrations that a database whose events go to `table` needs.
fn migrator(table: &str) -> Migrator {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrations = vec![
        migration(1, "bookkeeping", include_str!("../../migrations/0001_bookkeeping.sql")),
        migration(MAKES_EVENTS, "events", include_str!("../../migrations/0002_events.sql")),
        migration(3, "lineage", include_str!("../../migrations/0003_lineage.sql")),
        migration(4, "policies", include_str!("../../migrations/0004_policies.sql")),
        migration(5, "arrivals", include_str!("../../migrations/0005_arrivals.sql")),
        migration(6, "measurements", include_str!("../../migrations/0006_measurements.sql")),
        migration(16, "letters_and_keys", include_str!("../../migrations/0016_letters_and_keys.sql")),
        migration(17, "presence_letters", include_str!("../../migrations/0017_presence_letters.sql")),
    ];
    migrations.retain(|migration| migration.version != MAKES_EVENTS || table == EVENTS);
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(BOOK);
    // A newer version may have been here before; its migrations are none of our business.
    migrator.set_ignore_missing(true);
    migrator
}

/// Applies what is missing of the migrations.
pub async fn migrate(connection: &mut PgConnection, table: &str) -> Result<(), WriteError> {
    let mut migrator = migrator(table);
    // "If not exists" asks for the right to create even where nothing is left to create.
    if !exists(connection, "to_regnamespace('mqtt')").await? {
        migrator.create_schema("mqtt");
    } else if missing(connection, &migrator).await?.is_empty() {
        return Ok(());
    }
    // `run` is generic in a way that makes the future of every caller lose `Send`.
    Ok(migrator.run_direct(None, connection, false).await?)
}

/// Versions and names of the migrations that are not applied yet.
pub async fn pending(connection: &mut PgConnection, table: &str) -> Result<Vec<(i64, String)>, WriteError> {
    Ok(missing(connection, &migrator(table)).await?)
}

async fn missing(connection: &mut PgConnection, migrator: &Migrator) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let applied: Vec<(i64, Vec<u8>)> = if exists(connection, "to_regclass('mqtt.migrations')").await? {
        sqlx::query_as("select version, checksum from mqtt.migrations where success").fetch_all(connection).await?
    } else {
        Vec::new()
    };
    let is_missing = |migration: &&Migration| {
        !applied.iter().any(|(version, checksum)| *version == migration.version && *checksum == *migration.checksum)
    };
    let named = |migration: &Migration| (migration.version, migration.description.to_string());
    Ok(migrator.iter().filter(is_missing).map(named).collect())
}

async fn exists(connection: &mut PgConnection, name: &'static str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select {name} is not null"))).fetch_one(connection).await
}

/// Whether the bridge keeps the rollups of measurements itself.
pub async fn has_own_rollups(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    exists(connection, "to_regclass('mqtt.measurements_touched')").await
}
