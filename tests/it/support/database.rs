//! A TimescaleDB database for one test alone.

use std::net::SocketAddr;

use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::eventually;

/// The server that the tests may use, as `scripts/timescaledb up` prints it.
const SERVER: &str = "SYNAP_TEST_DATABASE_URL";

/// A database that goes with this value.
pub struct Database {
    server: Url,
    name: String,
    /// Connections for the test's own questions.
    pub pool: PgPool,
}

/// A row of `events`, as far as the tests compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `id`.
    pub id: String,
    /// `timestamp`, in microseconds since the epoch.
    pub micros: i64,
    /// `type`.
    pub event_type: String,
    /// `data`.
    pub data: serde_json::Value,
    /// `metadata`.
    pub metadata: serde_json::Value,
}

impl Database {
    /// Makes an empty database with TimescaleDB in it.
    pub async fn create() -> Self {
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} is not set; run scripts/test, or export {SERVER}=$(scripts/timescaledb up)")
        });
        let server = Url::parse(&server).unwrap();
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        execute(&server, format!("create database {name}")).await;
        let pool = PgPool::connect_lazy(url(&server, &name).as_str()).unwrap();
        sqlx::query("create extension if not exists timescaledb").execute(&pool).await.unwrap();
        Self { server, name, pool }
    }

    /// Where the bridge finds it.
    pub fn url(&self) -> String {
        url(&self.server, &self.name).into()
    }

    /// The same through a proxy.
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        let mut url = url(&self.server, &self.name);
        url.set_host(Some(&proxy.ip().to_string())).unwrap();
        url.set_port(Some(proxy.port())).unwrap();
        url.into()
    }

    /// The server's own address.
    pub fn address(&self) -> SocketAddr {
        self.server.socket_addrs(|| Some(5432)).unwrap()[0]
    }

    /// How many rows `events` has; 0 while there is no such table.
    pub async fn count(&self) -> usize {
        let count = sqlx::query_scalar::<_, i64>("select count(*) from events").fetch_one(&self.pool).await;
        count.map_or(0, |count| usize::try_from(count).unwrap())
    }

    /// Waits until `events` has at least this many rows, and returns all in the journal's order.
    pub async fn rows(&self, count: usize) -> Vec<Row> {
        eventually(&format!("{count} rows"), async || (self.count().await >= count).then_some(())).await;
        let rows: Vec<(String, i64, String, String, String)> = sqlx::query_as(
            "select id::text, (extract(epoch from timestamp) * 1000000)::bigint, type, data::text, coalesce(metadata, 'null')::text \
             from events order by (metadata->>'sequence')::bigint, id",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let row = |(id, micros, event_type, data, metadata): (String, i64, String, String, String)| Row {
            id,
            micros,
            event_type,
            data: serde_json::from_str(&data).unwrap(),
            metadata: serde_json::from_str(&metadata).unwrap(),
        };
        rows.into_iter().map(row).collect()
    }
}

fn url(server: &Url, database: &str) -> Url {
    let mut url = server.clone();
    url.set_path(database);
    url
}

async fn execute(server: &Url, sql: String) {
    let mut connection = PgConnection::connect(server.as_str()).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("drop database {} with (force)", self.name));
        let drop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&server, sql));
        };
        if std::thread::spawn(drop).join().is_err() {
            eprintln!("the database {} is left over", self.name);
        }
    }
}
