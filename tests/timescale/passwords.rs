//! Passwords in files, and what is said of wrong ones.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sqlx::AssertSqlSafe;
use synap_mqtt::timescale::{EventStore, PasswordSource, Settings};

use super::{
    roles::documented,
    server::TestServer,
    support::{Log, TestDatabase, TestJournal, eventually, stored_numbers},
};

/// Everyone comes in but the bridge, which must know its password.
const HBA: &str = "host all bridge 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

/// A server, a database whose tables are made, and the bridge's role with a password.
async fn start(journal: &TestJournal) -> (TestServer, TestDatabase) {
    let server = TestServer::start("", |data| fs::write(data.join("pg_hba.conf"), HBA).unwrap()).await;
    let database = TestDatabase::create_on(server.options()).await;
    let owner = journal.write_to(&database);
    eventually("the tables are there", async || owner.statistics.connected()).await;
    owner.stop().await;
    let pool = database.pool();
    let grants = documented("grant connect", "bridge", &database);
    let sql = format!("create role bridge login password 'right: \\'; {grants}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    pool.close().await;
    (server, database)
}

fn settings(database: &TestDatabase, password: PasswordSource) -> Settings {
    let mut settings = database.settings_as("bridge");
    settings.password = Some(password);
    settings
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Waits until the server has refused `count` passwords.
async fn refused(server: &TestServer, count: usize) {
    let refusals = || server.log().matches("password authentication failed").count();
    eventually("repeated attempts", async || refusals() >= count).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_once_and_the_right_one_is_found_in_its_file_later() {
    let (journal, home) = (TestJournal::open(), tempfile::tempdir().unwrap());
    let (server, database) = start(&journal).await;
    let (file, log) = (home.path().join("password"), Log::start());
    let settings = settings(&database, PasswordSource::File(file.clone()));
    journal.publish_numbers(300).await;
    let writer = journal.write_with(settings.clone());
    eventually("the missing file is told", async || writer.statistics.last_error().is_some()).await;
    write(&file, "wrong\n");
    refused(&server, 4).await;
    let store = EventStore::new(&settings);
    assert!(store.events(&super::query::any(10)).await.is_err());
    write(&file, "right: \\\n");
    writer.catch_up().await;
    assert_eq!(store.events(&super::query::any(10)).await.unwrap().events.len(), 10);
    writer.stop().await;
    log.assert_said(&[
        "cannot read the database's password from",
        "cannot connect: password authentication failed for user",
        "events go to a plain table",
    ]);
    let pool = database.pool();
    assert_eq!(stored_numbers(&pool).await, (0..300).collect::<Vec<_>>());
    pool.close().await;
}

#[tokio::test]
async fn a_passfile_is_read_as_postgresql_s_own_clients_read_it() {
    let (journal, home) = (TestJournal::open(), tempfile::tempdir().unwrap());
    let (server, database) = start(&journal).await;
    let (file, log) = (home.path().join("pgpass"), Log::start());
    let port = server.port();
    write(
        &file,
        &format!("# the pod's\nelsewhere:*:*:bridge:wrong\n127.0.0.1:{port}:{}:bridge:right\\: \\\\\n", database.name),
    );
    let settings = settings(&database, PasswordSource::Passfile(file));
    journal.publish_numbers(300).await;
    let writer = journal.write_with(settings);
    writer.catch_up().await;
    writer.stop().await;
    log.assert_said(&["events go to a plain table"]);
    let pool = database.pool();
    assert_eq!(stored_numbers(&pool).await, (0..300).collect::<Vec<_>>());
    pool.close().await;
}

#[tokio::test]
async fn a_role_or_a_database_that_is_unknown_is_told_once_with_where_to_look() {
    let server = TestServer::start("", |_| {}).await;
    for (role, name, said) in [
        ("nobody_knows", None, "does not exist; `timescale.url` names the role"),
        ("synap", Some("nowhere"), "does not exist; `timescale.url` names the database"),
    ] {
        let (journal, log) = (TestJournal::open(), Log::start());
        let database = TestDatabase::create_on(server.options()).await;
        let mut settings = database.settings_as(role);
        if let Some(name) = name {
            settings.database = settings.database.database(name);
        }
        let writer = journal.write_with(settings);
        let wrong = format!("\"{}\" does not exist", name.unwrap_or(role));
        eventually("repeated attempts", async || server.log().matches(&wrong).count() >= 3).await;
        log.assert_said(&[said]);
        writer.stop().await;
    }
}
