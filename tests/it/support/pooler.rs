//! pgbouncer between the bridge and the server of `SYNAP_TEST_DATABASE_URL`.

use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;

use super::{
    eventually,
    postgres::{Programs, own},
    process::Process,
};

/// Where `scripts/timescaledb` puts it, from the server's programs.
const PROGRAM: &str = "../../../../sbin/pgbouncer";

/// The pooler; ends with this value.
pub struct Pooler {
    /// Where it listens.
    pub address: SocketAddr,
    programs: Programs,
    home: TempDir,
    process: Process,
}

impl Pooler {
    /// Starts one in front of a server. Where sessions are shared, they take turns at each transaction.
    pub async fn start(server: SocketAddr, user: &str, mode: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = |name: &str| home.path().join(name);
        std::fs::write(file("users"), format!("\"{user}\" \"\"\n")).unwrap();
        let settings = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\nserver_round_robin = 1\n\
             max_prepared_statements = 200\n",
            server.ip(),
            server.port(),
            address.port(),
            file("users").display()
        );
        std::fs::write(file("settings"), settings).unwrap();
        own(home.path());
        let programs = Programs::find().await;
        let process = launch(&programs, &home);
        let pooler = Self { address, programs, home, process };
        pooler.listens().await;
        pooler
    }

    /// Ends it without warning, and starts it again.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.programs, &self.home);
        self.listens().await;
    }

    async fn listens(&self) {
        eventually("the pooler listens", async || tokio::net::TcpStream::connect(self.address).await.ok()).await;
    }
}

fn launch(programs: &Programs, home: &TempDir) -> Process {
    let mut command = programs.command(PROGRAM);
    command.arg(home.path().join("settings"));
    Process::start(command)
}
