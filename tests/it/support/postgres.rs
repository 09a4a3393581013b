//! The programs of the PostgreSQL that `SYNAP_TEST_DATABASE_URL` names, for servers of a test's own.
//! It must run on this machine.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use sqlx::{Connection, PgConnection};

/// Where the programs are.
pub struct Programs(PathBuf);

impl Programs {
    /// Asks the server.
    pub async fn find() -> Self {
        let url = std::env::var("SYNAP_TEST_DATABASE_URL")
            .expect("SYNAP_TEST_DATABASE_URL names a TimescaleDB; `scripts/timescaledb up` prints one");
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let path: String = sqlx::query_scalar("select setting from pg_config where name = 'BINDIR'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let path = PathBuf::from(path);
        assert!(path.join("initdb").exists(), "SYNAP_TEST_DATABASE_URL names a server on another machine");
        Self(path)
    }

    /// The words of a command that runs one of them as the user that servers run as: PostgreSQL refuses to
    /// run as root.
    pub fn words(&self, program: &str) -> Vec<String> {
        let program = self.0.join(program).to_str().unwrap().to_owned();
        if !is_root() {
            return vec![program];
        }
        let owner = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/tmp", "LC_ALL=C"];
        owner.into_iter().map(str::to_owned).chain([program]).collect()
    }

    /// Such a command.
    pub fn command(&self, program: &str) -> Command {
        let words = self.words(program);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Gives a directory to the user that servers run as.
pub fn own(path: &Path) {
    if is_root() {
        assert!(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(path).status().unwrap().success());
    }
}
