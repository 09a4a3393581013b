//! What rows cost the database's server and the bridge.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{meter::Meter, process::Process, report::mib};

/// Whether this program's own session is what costs the database, or only looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    /// It works.
    Works,
    /// It looks, which does not count.
    Looks,
}

/// What the database and a bridge use meanwhile.
#[derive(Debug)]
pub struct Watch {
    bridge: Meter,
    /// The server, this program's own process in it, and what both have used before; none where the server is
    /// on another machine.
    database: Option<(Process, Process, f64)>,
    observer: Observer,
    /// How many rows there were, and the bridge's resident bytes then.
    trail: Vec<(u64, u64)>,
}

impl Watch {
    /// Starts watching the server of a session, and a bridge.
    ///
    /// # Errors
    /// When the server does not answer or the bridge is not there.
    pub async fn start(connection: &mut PgConnection, bridge: Option<Process>, observer: Observer) -> Result<Self> {
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await?;
        let own = Process::new(pid.cast_unsigned());
        let mut watch = Self { bridge: Meter::start(bridge)?, database: None, observer, trail: Vec::new() };
        if own.is_called("postgres") {
            let server = own.parent()?;
            watch.database = Some((server, own, 0.0));
            let before = watch.database_seconds().unwrap_or_default();
            watch.database = watch.database.map(|(server, own, _)| (server, own, before));
        }
        Ok(watch)
    }

    /// Looks at the bridge's memory, when there are so many rows.
    pub fn sample(&mut self, rows: u64) {
        self.trail.extend(self.bridge.sample().filter(|_| rows > 0).map(|resident| (rows, resident)));
    }

    /// The bridge's memory when there were so many rows, or more.
    fn mib_at(&self, rows: u64) -> Option<f64> {
        self.trail.iter().find(|(there, _)| *there >= rows).map(|(_, resident)| mib(*resident))
    }

    /// What the server has used since then.
    fn database_seconds(&self) -> Option<f64> {
        let (server, own, before) = self.database.as_ref()?;
        let looking = if self.observer == Observer::Looks { own.cpu_seconds().ok()? } else { 0.0 };
        Some(server.family_cpu_seconds().ok()? - looking - before)
    }

    /// The costs, of so many rows.
    #[must_use]
    pub fn finish(mut self, rows: u64) -> Value {
        self.sample(rows);
        let seconds = self.database_seconds();
        let at = [1, rows / 4, rows / 2, rows].map(|rows| self.mib_at(rows.max(1)));
        let usage = self.bridge.finish();
        json!({
            "database_cpu_seconds": seconds,
            "rows_per_database_cpu_second": seconds.map(|seconds| rows as f64 / seconds),
            "server_cpu_seconds": usage.server_cpu_seconds,
            "server_mib_first": at[0],
            "server_mib_quarter": at[1],
            "server_mib_half": at[2],
            "server_mib_last": at[3],
            "server_mib": usage.server_resident_bytes.map(|(_, most)| mib(most)),
        })
    }
}
