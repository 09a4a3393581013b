//! A bridge that vanishes without a word, in the middle of a COPY: the server must not keep its session, and
//! with it the lock on the cursor, for the hours of the system's defaults.

use std::{fs, time::Duration};

use super::{
    import_support::RunningImporter,
    support::{TestDatabase, TestJournal, eventually},
};

/// Longest silence before the server asks.
const SILENCE: Duration = Duration::from_secs(15);

/// In `/proc/net/tcp` (proc(5)): times are hundredths of seconds.
const KEEPALIVE_TIMER: u8 = 2;

/// The timer of the server's end of a connection on this machine, and when it fires.
fn timer(server: u16, client: u16) -> (u8, Duration) {
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':').unwrap().1, 16).unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let socket = fields.into_iter().find(|fields| port(fields[1]) == server && port(fields[2]) == client);
    let (kind, when) = socket.expect("the connection is listed")[5].split_once(':').unwrap();
    let hundredths = u64::from_str_radix(when, 16).unwrap();
    (u8::from_str_radix(kind, 16).unwrap(), Duration::from_millis(hundredths * 10))
}

#[tokio::test]
async fn the_server_asks_whether_a_silent_bridge_is_there() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let bridge = RunningImporter::start(&journal, &database).await;
    journal.publish_numbers(10).await;
    bridge.writer.catch_up().await;
    let pool = database.pool();
    let sessions: Vec<(String, i32, i32)> = sqlx::query_as(
        "select application_name, inet_server_port(), client_port from pg_stat_activity
         where datname = current_database() and application_name like 'synap-mqtt%'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(sessions.len(), 2, "one writes, one imports: {sessions:?}");
    for (name, server, client) in sessions {
        let [server, client] = [server, client].map(|port| u16::try_from(port).unwrap());
        // Another timer runs while an answer is on its way.
        eventually(&format!("the server would ask {name}"), async || {
            let (kind, when) = timer(server, client);
            kind == KEEPALIVE_TIMER && when <= SILENCE
        })
        .await;
    }
    bridge.stop().await;
    pool.close().await;
    database.drop().await;
}
