//! TLS to the database: through the writer's relay, and for queries.

use std::{fs, path::Path, str::FromStr};

use sqlx::{PgPool, postgres::PgConnectOptions};
use synap_mqtt::certs::{LocalAuthority, Purpose};

use super::{
    server::TestServer,
    support::{Log, TestDatabase, TestJournal, eventually, stored_numbers},
};

const ONLY_TLS: &str = "hostssl all all 127.0.0.1/32 trust\n";

/// Puts a certificate for `name` where the server looks for its own.
fn install(certs: &LocalAuthority, name: &str, data: &Path) {
    let made = certs.issue(Purpose::Server, "server", &[name.to_owned()], data, true).unwrap();
    fs::rename(made.cert, data.join("server.crt")).unwrap();
}

/// A server that lets no one in without TLS, with a certificate for `name`.
async fn start(certs: &LocalAuthority, name: &str) -> TestServer {
    certs.make_authority(false).unwrap();
    TestServer::start("ssl = on", |data| {
        install(certs, name, data);
        fs::write(data.join("pg_hba.conf"), ONLY_TLS).unwrap();
    })
    .await
}

/// How the bridge is told to reach it.
fn verified(server: &TestServer, host: &str, ca: &Path) -> PgConnectOptions {
    let ca = ca.display();
    let url = format!("postgres://synap@{host}:{}/any?sslmode=verify-full&sslrootcert={ca}", server.port());
    PgConnectOptions::from_str(&url).unwrap()
}

/// Waits until the server has turned clients away that gave up the handshake, again and again.
async fn refused_repeatedly(server: &TestServer) {
    let refusals = || server.log().matches("could not accept SSL connection").count();
    eventually("repeated attempts", async || refusals() >= 3).await;
}

async fn assert_all_stored_over_tls(pool: &PgPool, count: i32) {
    assert_eq!(stored_numbers(pool).await, (0..count).collect::<Vec<_>>());
    let sessions: Vec<bool> = sqlx::query_scalar(
        "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'synap-mqtt'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(!sessions.is_empty() && sessions.iter().all(|tls| *tls), "{sessions:?}");
}

#[tokio::test]
async fn a_verified_server_gets_every_event_over_tls() {
    let home = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(home.path());
    let server = start(&certs, "localhost").await;
    let database = TestDatabase::create_on(server.options()).await;
    let (pool, journal) = (database.pool(), TestJournal::open());
    journal.publish_numbers(30_000).await;
    let settings = database.settings_of(verified(&server, "localhost", &certs.authority().cert));
    let writer = journal.write_with(settings.clone());
    writer.catch_up_in_spite_of_cuts(&pool).await;
    let store = synap_mqtt::timescale::EventStore::new(&settings);
    assert_eq!(store.events(&super::query::any(10)).await.unwrap().events.len(), 10);
    assert_all_stored_over_tls(&pool, 30_000).await;
    writer.stop().await;
    pool.close().await;
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused_until_its_ca_is_trusted() {
    let home = tempfile::tempdir().unwrap();
    let (certs, other) = (LocalAuthority::new(home.path().join("ca")), LocalAuthority::new(home.path().join("other")));
    other.make_authority(false).unwrap();
    let server = start(&certs, "localhost").await;
    let database = TestDatabase::create_on(server.options()).await;
    let (pool, journal, log) = (database.pool(), TestJournal::open(), Log::start());
    journal.publish_numbers(300).await;
    let trusted = home.path().join("trusted.pem");
    fs::copy(other.authority().cert, &trusted).unwrap();
    let settings = database.settings_of(verified(&server, "localhost", &trusted));
    let writer = journal.write_with(settings.clone());
    refused_repeatedly(&server).await;
    log.assert_said(&["the certificate of localhost is not accepted (no trusted CA has signed it)"]);
    assert!(!writer.statistics.connected());
    let store = synap_mqtt::timescale::EventStore::new(&settings);
    assert!(store.events(&super::query::any(10)).await.is_err());

    fs::copy(certs.authority().cert, &trusted).unwrap();
    writer.catch_up().await;
    assert_all_stored_over_tls(&pool, 300).await;
    writer.stop().await;
    pool.close().await;
}

#[tokio::test]
async fn a_server_with_another_name_is_refused_until_its_certificate_fits() {
    let home = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(home.path());
    let server = start(&certs, "db.example.org").await;
    let database = TestDatabase::create_on(server.options()).await;
    let (pool, journal, log) = (database.pool(), TestJournal::open(), Log::start());
    journal.publish_numbers(300).await;
    let writer = journal.write_with(database.settings_of(verified(&server, "127.0.0.1", &certs.authority().cert)));
    refused_repeatedly(&server).await;
    log.assert_said(&["certificate of 127.0.0.1 is not accepted (certificate not valid for name"]);
    install(&certs, "127.0.0.1", &server.data());
    server.reload().await;
    writer.catch_up().await;
    assert_all_stored_over_tls(&pool, 300).await;
    writer.stop().await;
    pool.close().await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_the_url_asks_for_it() {
    let (database, journal, log) = (TestDatabase::create().await, TestJournal::open(), Log::start());
    journal.publish_numbers(10).await;
    let mut settings = database.settings();
    settings.database = settings.database.ssl_mode(sqlx::postgres::PgSslMode::VerifyFull);
    let writer = journal.write_with(settings);
    eventually("the failure is told", async || writer.statistics.last_error().is_some()).await;
    log.assert_said(&["server does not support TLS"]);
    writer.stop().await;
    database.drop().await;
}
