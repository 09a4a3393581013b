//! Sessions for queries, apart from the writer's: a small pool that connects when first asked.
//!
//! A query asks for a session and gets the table's form with it, which is looked at once and
//! again after a failure, for tables can be converted while the bridge runs.

use std::sync::Arc;

use parking_lot::Mutex;
use sqlx::{PgPool, Postgres, pool::PoolConnection, postgres::PgPoolOptions};

use super::{
    error::WriteError,
    inspect::inspect,
    query::QueryError,
    schema::{EventsTable, resolve},
    settings::Settings,
};
use crate::limits;

/// Opens sessions for queries. Cheap to clone; all clones are one pool.
#[derive(Clone)]
pub struct Readers {
    settings: Arc<Settings>,
    pool: PgPool,
    table: Arc<Mutex<Option<Arc<EventsTable>>>>,
}

impl Readers {
    /// Sessions with the writer's database.
    pub fn new(settings: &Settings) -> Self {
        let settings = Arc::new(settings.clone());
        let user = Arc::clone(&settings);
        let pool = PgPoolOptions::new()
            .max_connections(limits::QUERY_CONNECTIONS)
            .acquire_timeout(limits::QUERY_TIMEOUT)
            .after_connect(move |connection, _| {
                let user = Arc::clone(&user);
                let timeout = format!("{}ms", limits::QUERY_TIMEOUT.as_millis());
                Box::pin(async move { user.prepare(connection, &[("statement_timeout", &timeout)]).await })
            })
            .connect_lazy_with(settings.database.clone());
        Self { settings, pool, table: Arc::default() }
    }

    /// A session, and the table to ask.
    pub async fn session(&self) -> Result<(PoolConnection<Postgres>, Arc<EventsTable>), WriteError> {
        if self.settings.password.is_some() {
            self.pool.set_connect_options(self.settings.options()?);
        }
        let mut session = self.pool.acquire().await?;
        let known = self.table.lock().clone();
        if let Some(table) = known {
            return Ok((session, table));
        }
        let name = resolve(&mut session, self.settings.table.as_deref()).await?;
        let table = Arc::new(inspect(&mut session, &name).await?);
        *self.table.lock() = Some(Arc::clone(&table));
        Ok((session, table))
    }

    /// Lets the next query look at the table again, if it was the database that failed.
    pub fn failed(&self, error: &QueryError) {
        if matches!(error, QueryError::Database(_)) {
            *self.table.lock() = None;
        }
    }
}
