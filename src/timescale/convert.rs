//! Makes a hypertable of a plain table that the pod has made, in one transaction.
//!
//! The plan is made by looking, and shown; the work looks again under the lock that it takes, so
//! that what it does is what the table is by then. A bridge that writes meanwhile waits for the
//! lock, or gives up and tries again; its cursor and its rows stay together either way. Rows are
//! counted before and after: on any difference, as on any error, nothing has happened.
//!
//! What stands in the way is named and never removed here: other programs rely on it.

use std::fmt;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    error::WriteError,
    layout::Form,
    licence::TimescaleDb,
    schema::{EventsTable, TableKind},
};
use crate::limits;

/// Days that a chunk may span, the pod's own first.
const CHUNK_DAYS: [i64; 3] = [1, 7, 30];

/// Why a table was not converted. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The table cannot be looked at.
    #[error(transparent)]
    Inspect(#[from] WriteError),
    /// The server refused, or went away.
    #[error("the table was not converted, and nothing has changed: {0}")]
    Server(#[from] sqlx::Error),
    /// Others used the table for too long.
    #[error(
        "the table was not converted, and nothing has changed: others have used it without a pause for {} s; \
         pg_stat_activity shows them",
        limits::CONVERT_LOCK_TIMEOUT.as_secs()
    )]
    Busy,
    /// Something stands in the way.
    #[error("the table was not converted: what stands in the way is named above")]
    Obstacles,
    /// The rows did not all arrive.
    #[error("the table was not converted, and nothing has changed: it had {before} rows and would have {after}")]
    Rows {
        /// Rows of the plain table.
        before: i64,
        /// Rows of the hypertable.
        after: i64,
    },
}

/// What converting the table takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    table: String,
    rows: i64,
    bytes: i64,
    chunks: i64,
    chunk_days: i64,
    key: Vec<Index>,
    has_new_key: bool,
    kept: Vec<Index>,
    added: Vec<&'static [&'static str]>,
    makes_extension: bool,
    obstacles: Vec<Obstacle>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Index {
    name: String,
    columns: String,
    is_constraint: bool,
}

/// Something that stands in the way, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Obstacle {
    what: String,
    remedy: String,
}

/// Indexes that the table should have (docs/decisions/0004), besides its key.
const fn wanted(form: Form) -> [&'static [&'static str]; 3] {
    match form {
        Form::Subjects => [&["subject_type", "subject_id", "timestamp"], &["type", "timestamp"], &["timestamp"]],
        Form::Aggregates => {
            [&["aggregate_type", "aggregate_id", "timestamp"], &["event_type", "timestamp"], &["timestamp"]]
        }
    }
}

impl Conversion {
    /// Looks at what there is; none where the table is a hypertable already.
    ///
    /// # Errors
    /// [`ConvertError`]
    pub async fn plan(connection: &mut PgConnection, table: &EventsTable) -> Result<Option<Self>, ConvertError> {
        if table.kind == TableKind::Hypertable {
            return Ok(None);
        }
        let (rows, bytes): (i64, i64) = sqlx::query_as(AssertSqlSafe(format!(
            "select count(*), pg_total_relation_size('{0}') from {0}",
            table.name
        )))
        .fetch_one(&mut *connection)
        .await?;
        let (chunk_days, chunks) = chunks(connection, table).await?;
        let extension = TimescaleDb::detect(connection).await?;
        let mut plan = Self {
            table: table.name.clone(),
            rows,
            bytes,
            chunks,
            chunk_days,
            key: Vec::new(),
            has_new_key: false,
            kept: Vec::new(),
            added: wanted(table.layout.form).to_vec(),
            makes_extension: extension.is_none(),
            obstacles: obstacles(connection, table).await?,
        };
        if extension.is_none() && !is_available(connection).await? {
            plan.obstacles.push(Obstacle {
                what: "the server does not offer the extension timescaledb".to_owned(),
                remedy: "install TimescaleDB on the server, and add it to shared_preload_libraries".to_owned(),
            });
        }
        plan.look_at_indexes(connection).await?;
        Ok(Some(plan))
    }

    /// Whether it can be done.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        self.obstacles.is_empty()
    }

    async fn look_at_indexes(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let indexes: Vec<(String, String, Vec<String>, bool, bool, bool)> = sqlx::query_as(
            "select quote_ident(c.relname), pg_get_indexdef(i.indexrelid),
                 array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality as k (number, place)
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                     where k.place <= i.indnkeyatts order by k.place),
                 i.indisunique, i.indpred is null and i.indexprs is null,
                 exists (select from pg_constraint where conindid = i.indexrelid and conrelid = i.indrelid)
             from pg_index i join pg_class c on c.oid = i.indexrelid
             where i.indrelid = to_regclass($1) order by c.relname",
        )
        .bind(&self.table)
        .fetch_all(connection)
        .await?;
        for (name, definition, columns, is_unique, is_plain, is_constraint) in indexes {
            let index = Index { name, columns: columns.join(", "), is_constraint };
            let has_time = columns.iter().any(|column| column == "timestamp");
            match () {
                () if is_unique && is_plain && columns == ["id"] => self.key.push(index),
                () if is_unique && !has_time => self.obstacles.push(Obstacle {
                    what: format!("the unique index {} ({}) is without `timestamp`", index.name, index.columns),
                    remedy: format!("drop it, if the pod can do without: it is `{definition}`"),
                }),
                () => {
                    self.has_new_key |= is_unique && is_plain && columns == ["id", "timestamp"];
                    if is_plain {
                        self.added.retain(|wanted| columns != *wanted);
                    }
                    self.kept.push(index);
                }
            }
        }
        Ok(())
    }

    /// Does it, for as long as it takes. Returns how many rows the hypertable has.
    ///
    /// # Errors
    /// [`ConvertError`]; nothing has changed then.
    pub async fn carry_out(connection: &mut PgConnection, table: &EventsTable) -> Result<i64, ConvertError> {
        let mut transaction = connection.begin().await?;
        match Self::convert(&mut transaction, table).await {
            Ok(rows) => {
                transaction.commit().await?;
                Ok(rows)
            }
            Err(error) => {
                // At once: the lock keeps everyone out.
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    async fn convert(connection: &mut PgConnection, table: &EventsTable) -> Result<i64, ConvertError> {
        // Rows that move are no news to the trigger that notes other writers' rows.
        let begin = format!(
            "set local statement_timeout = 0; set local mqtt.writer = 'bridge'; set local lock_timeout = '{}ms'; lock table {} in access exclusive mode",
            limits::CONVERT_LOCK_TIMEOUT.as_millis(),
            table.name
        );
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await.map_err(busy)?;
        let Some(plan) = Self::plan(connection, table).await? else { return Err(ConvertError::Obstacles) };
        if !plan.is_possible() {
            return Err(ConvertError::Obstacles);
        }
        for statement in plan.statements() {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(busy)?;
        }
        let schema = TimescaleDb::detect(connection).await?.map_or_else(|| "public".to_owned(), |found| found.schema);
        let convert = format!(
            "select {schema}.create_hypertable('{}', 'timestamp', chunk_time_interval => interval '{} days',
             create_default_indexes => false, migrate_data => true)",
            plan.table, plan.chunk_days
        );
        sqlx::raw_sql(AssertSqlSafe(convert)).execute(&mut *connection).await.map_err(busy)?;
        let count = AssertSqlSafe(format!("select count(*) from {}", plan.table));
        let after: i64 = sqlx::query_scalar(count).fetch_one(&mut *connection).await?;
        if after != plan.rows {
            return Err(ConvertError::Rows { before: plan.rows, after });
        }
        Ok(after)
    }

    /// What makes the plain table ready.
    fn statements(&self) -> Vec<String> {
        let table = &self.table;
        let mut statements = Vec::new();
        if self.makes_extension {
            statements.push("create extension if not exists timescaledb".to_owned());
        }
        for Index { name, is_constraint, .. } in &self.key {
            statements.push(match is_constraint {
                true => format!("alter table {table} drop constraint {name}"),
                false => format!("drop index {}{name}", schema_of(table)),
            });
        }
        if !self.has_new_key {
            statements.push(format!("alter table {table} add primary key (id, timestamp)"));
        }
        for columns in &self.added {
            statements.push(format!("create index on {table} ({})", columns.join(", ")));
        }
        statements
    }
}

/// The schema in front of a name, with its dot.
fn schema_of(table: &str) -> &str {
    table.rfind('.').and_then(|dot| table.get(..=dot)).unwrap_or_default()
}

fn busy(error: sqlx::Error) -> ConvertError {
    // SQLSTATE 55P03: lock not available.
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code == "55P03" => ConvertError::Busy,
        _ => ConvertError::Server(error),
    }
}

/// The shortest span of a chunk with which the rows take few enough of them, and how many.
async fn chunks(connection: &mut PgConnection, table: &EventsTable) -> Result<(i64, i64), sqlx::Error> {
    let mut found = (CHUNK_DAYS[0], 0);
    for days in CHUNK_DAYS {
        let sql = format!(
            "select count(distinct floor(extract(epoch from timestamp) / ({days} * 86400))) from {}",
            table.name
        );
        found = (days, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?);
        if found.1 <= limits::CONVERT_CHUNKS {
            break;
        }
    }
    Ok(found)
}

async fn is_available(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // The loader's setting exists only where the server has preloaded it; to create the extension
    // elsewhere would end the session.
    let sql = "select current_setting('timescaledb.disable_load', true) is not null
        and exists (select from pg_available_extensions where name = 'timescaledb')";
    sqlx::query_scalar(sql).fetch_one(connection).await
}

async fn obstacles(connection: &mut PgConnection, table: &EventsTable) -> Result<Vec<Obstacle>, sqlx::Error> {
    let mut obstacles = Vec::new();
    let keys: Vec<(String, String, String)> = sqlx::query_as(
        "select conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) from pg_constraint
         where contype = 'f' and confrelid = to_regclass($1) and conparentid = 0 order by 1, 2",
    )
    .bind(&table.name)
    .fetch_all(&mut *connection)
    .await?;
    for (referrer, name, definition) in keys {
        obstacles.push(Obstacle {
            what: format!(
                "{referrer} refers to it by `id` alone, which no key of a hypertable is: {name}, {definition}"
            ),
            remedy: format!(
                "`alter table {referrer} drop constraint {name};` its column keeps its values, and the database no \
                 longer checks them; what the constraint does on delete is then up to the pod"
            ),
        });
    }
    let (is_owner, owner): (bool, String) = sqlx::query_as(
        "select pg_has_role(relowner, 'USAGE'), pg_get_userbyid(relowner)::text from pg_class where oid = to_regclass($1)",
    )
    .bind(&table.name)
    .fetch_one(&mut *connection)
    .await?;
    if !is_owner {
        obstacles.push(Obstacle {
            what: format!("it belongs to the role {owner}"),
            remedy: "run this with DATABASE_URL naming that role".to_owned(),
        });
    }
    let sql = format!("select count(*) from {} where timestamp is null or id is null", table.name);
    let without: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?;
    if without > 0 {
        obstacles.push(Obstacle {
            what: format!("{without} rows have no `id` or no `timestamp`"),
            remedy: "give them one, or delete them".to_owned(),
        });
    }
    Ok(obstacles)
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |index: &Index| format!("{} ({})", index.name, index.columns);
        let names = |indexes: &[Index]| indexes.iter().map(name).collect::<Vec<_>>().join("; ");
        let none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        let added: Vec<_> = self.added.iter().map(|columns| format!("({})", columns.join(", "))).collect();
        writeln!(f, "`{}` becomes a hypertable on `timestamp`", self.table)?;
        writeln!(f, "  rows      {}, {} MiB with indexes", self.rows, self.bytes >> 20)?;
        writeln!(f, "  chunks    {} of {} day(s)", self.chunks, self.chunk_days)?;
        let old = none(names(&self.key));
        let made = if self.has_new_key { "which is there" } else { "a new primary key" };
        writeln!(f, "  key       dropped: {old}; then (id, timestamp), {made}")?;
        writeln!(f, "  indexes   added: {}; kept: {}", none(added.join(", ")), none(names(&self.kept)))?;
        if self.makes_extension {
            writeln!(f, "  extension timescaledb is created")?;
        }
        writeln!(f, "  one transaction; whoever reads or writes `{}` waits for its end", self.table)?;
        for Obstacle { what, remedy } in &self.obstacles {
            writeln!(f, "in the way: {what}\n  what can be done: {remedy}")?;
        }
        Ok(())
    }
}
