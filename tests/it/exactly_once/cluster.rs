//! A PostgreSQL with TimescaleDB that the test may kill, fill, and set back.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use super::disk::Disk;
use crate::support::{
    eventually,
    postgres::{Programs, own},
    process::Process,
};

/// Small, so that a start after a crash is short; but as durable as any.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
shared_buffers = 64MB
min_wal_size = 16MB
max_wal_size = 64MB
max_connections = 50
jit = off
";

/// How a server dies without warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// All of its processes at once, as in a power cut.
    All,
    /// The postmaster alone; the others end when they notice.
    Postmaster,
    /// One that serves a bridge; the postmaster ends the others and begins again by itself.
    Backend,
}

pub struct Cluster {
    // Ends before its disk does.
    server: Option<Process>,
    disk: Disk,
    home: tempfile::TempDir,
    programs: Programs,
    port: u16,
}

impl Cluster {
    /// Makes one, and starts it.
    pub async fn create() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (disk, programs) = (Disk::create(home.path()).await, Programs::find().await);
        own(home.path());
        own(&disk.outside("."));
        let mut words = programs.words("initdb");
        let options = "-U synap -A trust -E UTF8 --locale=C --no-sync --no-instructions --wal-segsize=1 -D";
        words.extend(options.split(' ').map(str::to_owned));
        words.push(disk.inside("data").to_str().unwrap().to_owned());
        Process::start(disk.command(&words)).success().await;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = disk.outside("data/postgresql.conf");
        let written = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{written}\nport = {port}{SETTINGS}")).unwrap();
        let mut cluster = Self { server: None, disk, home, programs, port };
        cluster.start().await;
        cluster
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Where a bridge finds it at this address.
    pub fn url_at(address: SocketAddr) -> String {
        format!("postgres://synap@{address}/postgres")
    }

    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port).username("synap").database("postgres")
    }

    /// A session of the test's own.
    pub async fn session(&self) -> PgConnection {
        eventually("a session with the server", async || self.options().connect().await.ok()).await
    }

    /// Starts it, and waits until it answers. One that cannot start yet is started again: the processes of its
    /// last life may not have ended.
    pub async fn start(&mut self) {
        eventually("the server's start", async || {
            if self.server.as_mut().is_none_or(Process::has_ended) {
                self.launch();
            }
            let session = self.options().connect().await.ok()?;
            session.close().await.ok()
        })
        .await;
    }

    fn launch(&mut self) {
        let mut words = self.programs.words("postgres");
        words.extend(["-D".to_owned(), self.disk.inside("data").to_str().unwrap().to_owned()]);
        self.server = Some(Process::start(self.disk.command(&words)));
    }

    /// Kills it with SIGKILL.
    pub async fn die(&mut self, death: Death) {
        let server = self.server.as_mut().expect("the server was started");
        let processes = children(server.id());
        match death {
            Death::All => {
                server.kill();
                kill(&processes);
            }
            Death::Postmaster => server.kill(),
            Death::Backend => {
                let mut session = self.options().connect().await.unwrap();
                let sql =
                    "select pid from pg_stat_activity where application_name like 'synap-mqtt%' order by pid limit 1";
                let backend: Option<i32> = sqlx::query_scalar(sql).fetch_optional(&mut session).await.unwrap();
                kill(&Vec::from_iter(backend.map(|pid| pid.to_string())));
            }
        }
    }

    /// Ends the sessions of bridges.
    pub async fn terminate_backends(&self) {
        let mut session = self.session().await;
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'synap-mqtt%'";
        sqlx::query(sql).execute(&mut session).await.unwrap();
    }

    /// Takes a copy while it runs.
    pub async fn back_up(&self) -> PathBuf {
        let copy = self.home.path().join("copy");
        let _none = fs::remove_dir_all(&copy);
        let mut command = self.programs.command("pg_basebackup");
        command.args(["-h", "127.0.0.1", "-U", "synap", "-c", "fast", "-X", "stream", "--no-sync", "-p"]);
        command.arg(self.port.to_string()).arg("-D").arg(&copy);
        Process::start(command).success().await;
        copy
    }

    /// Puts a copy in the place of what a dead server has left.
    pub fn restore(&self, copy: &Path) {
        let data = self.disk.outside("data");
        fs::remove_dir_all(&data).unwrap();
        assert!(Command::new("cp").arg("-a").args([copy, &*data]).status().unwrap().success());
        fs::remove_dir_all(copy).unwrap();
    }

    /// Takes all room on its disk.
    pub fn fill_disk(&self) {
        self.disk.fill();
    }

    /// Gives it back, and starts the server where it has given up.
    pub async fn free_disk(&mut self) {
        self.disk.free();
        self.start().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Otherwise some would live on for a moment, and keep the disk.
        if let Some(server) = &mut self.server {
            let processes = children(server.id());
            server.kill();
            kill(&processes);
        }
    }
}

fn children(process: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

fn kill(processes: &[String]) {
    if !processes.is_empty() {
        // Those that have ended already are none to kill.
        let _ended = Command::new("kill").arg("-KILL").args(processes).output();
    }
}
