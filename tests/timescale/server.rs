//! A PostgreSQL of a test's own, with its own settings, from the programs of the server that
//! `SYNAP_TEST_DATABASE_URL` names; that one must run on this machine.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use super::{
    postgres::{Programs, own},
    support::eventually,
};

/// A server that ends, and is forgotten, with this value.
pub struct TestServer {
    home: tempfile::TempDir,
    process: Child,
    port: u16,
}

impl TestServer {
    /// Makes a server with these lines added to its `postgresql.conf`. `prepare` may put more
    /// into its data directory.
    pub async fn start(settings: &str, prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let programs = Programs::find().await;
        own(home.path());
        let data = home.path().join("data");
        let mut initdb = programs.command("initdb");
        initdb.args(["-U", "synap", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let written = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        let ours = format!(
            "{written}\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n{settings}\n"
        );
        fs::write(data.join("postgresql.conf"), ours).unwrap();
        prepare(&data);
        own(home.path());
        let log = File::create(home.path().join("log")).unwrap();
        let mut postgres = programs.command("postgres");
        let process = postgres.arg("-D").arg(&data).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut server = Self { home, process, port };
        eventually("the server listens", async || {
            assert_eq!(server.process.try_wait().unwrap(), None, "{}", server.log());
            server.connect().await.is_some()
        })
        .await;
        server
    }

    /// How to reach it, without verification where it wants TLS.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port).username("synap").database("postgres")
    }

    /// Its port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// Lets it read its settings and certificates again.
    pub async fn reload(&self) {
        own(self.home.path());
        let mut connection = self.connect().await.unwrap();
        sqlx::query("select pg_reload_conf()").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn connect(&self) -> Option<PgConnection> {
        self.options().connect().await.ok()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // PostgreSQL's immediate shutdown, which takes its children along.
        let _gone = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ended = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log());
        }
    }
}
