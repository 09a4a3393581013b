//! Looks at the table that events go to: whose columns it has, how it stores rows, and what
//! tells one row from another. Any role that may use the table may look.

use sqlx::PgConnection;

use super::{
    error::WriteError,
    layout::{Form, Layout, SubjectId},
    schema::{EventsTable, Key, TableKind},
};

/// A column, as far as it matters to whoever writes rows.
struct Column {
    name: String,
    is_uuid: bool,
    /// Whether a row must have a value there, and the table gives none itself.
    needs_value: bool,
}

/// What the table `name` is.
pub async fn inspect(connection: &mut PgConnection, name: &str) -> Result<EventsTable, WriteError> {
    let layout = layout(connection, name).await?;
    let has_policies =
        sqlx::query_scalar("select row_security_active($1)").bind(name).fetch_one(&mut *connection).await?;
    Ok(EventsTable {
        name: name.to_owned(),
        kind: kind(connection, name).await?,
        key: key(connection, name).await?,
        has_policies,
        layout,
    })
}

async fn layout(connection: &mut PgConnection, table: &str) -> Result<Layout, WriteError> {
    let columns: Vec<(String, bool, bool)> = sqlx::query_as(
        "select attname::text as name, atttypid = 'uuid'::regtype as is_uuid,
             attnotnull and not atthasdef and attidentity = '' as needs_value
         from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped order by attnum",
    )
    .bind(table)
    .fetch_all(&mut *connection)
    .await?;
    let column = |(name, is_uuid, needs_value)| Column { name, is_uuid, needs_value };
    let columns: Vec<Column> = columns.into_iter().map(column).collect();
    let find = |name: &str| columns.iter().find(|column| column.name == name);
    let is_older = find("subject_id").is_none() && find("aggregate_id").is_some();
    let form = if is_older { Form::Aggregates } else { Form::Subjects };
    let missing: Vec<&str> = form.columns().iter().copied().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(WriteError::Columns { table: table.to_owned(), columns: missing.join(", ") });
    }
    let unknown = |column: &&Column| column.needs_value && !form.columns().contains(&&*column.name);
    let unfilled: Vec<&str> = columns.iter().filter(unknown).map(|column| &*column.name).collect();
    if !unfilled.is_empty() {
        return Err(WriteError::Unfilled { table: table.to_owned(), columns: unfilled.join(", ") });
    }
    let is_uuid = find(form.subject_id()).is_some_and(|column| column.is_uuid);
    Ok(Layout {
        form,
        subject_id: if is_uuid { SubjectId::Uuid } else { SubjectId::Text },
        subject_types: if is_older { subject_types(connection, table, form).await? } else { None },
        correlated: find("correlation_id").is_some_and(|column| column.is_uuid),
    })
}

/// The texts that a constraint of the column of subjects' types alone names.
async fn subject_types(
    connection: &mut PgConnection,
    table: &str,
    form: Form,
) -> Result<Option<std::sync::Arc<[String]>>, sqlx::Error> {
    let named: Vec<String> = sqlx::query_scalar(
        "select (regexp_matches(pg_get_constraintdef(c.oid), '''([^'']*)''::text', 'g'))[1]
         from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
         where c.conrelid = to_regclass($1) and c.contype = 'c' and a.attname = $2",
    )
    .bind(table)
    .bind(form.subject_type())
    .fetch_all(connection)
    .await?;
    Ok((!named.is_empty()).then(|| named.into()))
}

/// How a table stores its rows.
pub async fn kind(connection: &mut PgConnection, table: &str) -> Result<TableKind, sqlx::Error> {
    let has_timescale: bool =
        sqlx::query_scalar("select to_regclass('timescaledb_information.hypertables') is not null")
            .fetch_one(&mut *connection)
            .await?;
    if !has_timescale {
        return Ok(TableKind::WithoutTimescale);
    }
    // By names: this role need not be allowed to look into every schema that has a hypertable.
    let hypertable: bool = sqlx::query_scalar(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join timescaledb_information.hypertables h
         on h.hypertable_schema = n.nspname and h.hypertable_name = c.relname where c.oid = to_regclass($1))",
    )
    .bind(table)
    .fetch_one(connection)
    .await?;
    Ok(if hypertable { TableKind::Hypertable } else { TableKind::Plain })
}

async fn key(connection: &mut PgConnection, table: &str) -> Result<Key, sqlx::Error> {
    let keys: Vec<Vec<String>> = sqlx::query_scalar(
        "select array(select attname::text from pg_attribute where attrelid = indrelid
             and attnum = any((indkey::int2[])[0:indnkeyatts - 1]) order by attname)
         from pg_index where indrelid = to_regclass($1) and indisunique and indisvalid and indimmediate
         and indpred is null and indexprs is null",
    )
    .bind(table)
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
    /// What it is, in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let table = &*self.name;
        match (self.kind, self.layout.form) {
            (TableKind::Hypertable, Form::Subjects) => format!("events go to the hypertable `{table}`"),
            (TableKind::Hypertable, Form::Aggregates) => format!(
                "events go to the hypertable `{table}` of an older pod: types as event_type, subjects as aggregates"
            ),
            (TableKind::Plain, _) => format!(
                "events go to the plain table `{table}` that was there already; `synap-mqtt migrate --convert-events` \
                 shows what making it a hypertable takes, and does it"
            ),
            (TableKind::WithoutTimescale, _) => format!(
                "events go to a plain table, `{table}`: this database does not have the extension timescaledb; queries \
                 and retention over long times will suffer"
            ),
        }
    }

    /// Tells the operator what was found.
    pub fn report(&self) {
        let (table, description) = (&*self.name, self.describe());
        if self.kind == TableKind::WithoutTimescale {
            tracing::warn!("{description}");
        } else {
            tracing::info!("{description}");
        }
        if self.key == Key::Missing {
            tracing::warn!(
                "the table `{table}` has no unique key of `id`, or of `id` and `timestamp`: events that were stored \
                 before are looked for row by row when the writer has to go back"
            );
        }
        if self.has_policies {
            tracing::info!(
                "row-level security decides which rows of `{table}` this role may write: they go through a temporary \
                 table, which costs some speed"
            );
        }
    }
}
