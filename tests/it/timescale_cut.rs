//! TimescaleDB goes away at every bad moment and comes back: devices notice nothing, nothing is
//! lost and nothing is there twice.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::support::{
    Random,
    bridge::{Bridge, Setup},
    chaos::{ChaosProxy, Direction},
    database::{Database, Row},
    eventually,
    raw_mqtt::{Publish, Version, kind},
};

/// A device that publishes numbers at QoS 1 as fast as they are acknowledged.
async fn publish_all(bridge: &Bridge, count: usize, acknowledged: &AtomicU64) {
    const BURST: usize = 200;
    let mut client = bridge.client(Version::V5, "device").await;
    for start in (0..count).step_by(BURST) {
        let numbers = start..(start + BURST).min(count);
        let encode = |number: usize| {
            let id = u16::try_from(number - start + 1).unwrap();
            Publish::new("cut/numbers", format!("{{\"number\":{number},\"padding\":\"{:0200}\"}}", 0), 1, id)
                .encode(Version::V5)
        };
        client.send(&numbers.clone().flat_map(encode).collect::<Vec<_>>()).await;
        for _ in numbers {
            let puback = client.expect(kind::PUBACK).await;
            assert_eq!(puback.reason(), 0, "{puback:?}");
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn state(bridge: &Bridge) -> Option<String> {
    let health: Value = reqwest::get(bridge.url("/readyz")).await.ok()?.json().await.ok()?;
    Some(health["components"]["timescale"]["state"].as_str()?.to_owned())
}

async fn wait_for(bridge: &Bridge, wanted: &str) {
    eventually(&format!("timescale {wanted}"), async || (state(bridge).await? == wanted).then_some(())).await;
}

fn numbers(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.data["number"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_anywhere_loses_and_repeats_nothing() {
    const COUNT: usize = 40_000;
    let mut random = Random::new();
    let database = Database::create().await;
    let proxy = ChaosProxy::to(database.address()).await;
    let bridge = Setup::default().timescale(&database.url_through(proxy.address)).start().await;
    wait_for(&bridge, "ready").await;

    let acknowledged = AtomicU64::new(0);
    let chaos = async {
        for round in 0..12 {
            // Bytes towards the server: within COPY data. Bytes back: between COMMIT and its answer.
            let (direction, bytes) = match round % 3 {
                0 | 1 => (Direction::ToServer, random.between(1, 400_000)),
                _ => (Direction::ToClient, random.between(1, 400)),
            };
            proxy.cut_after(direction, usize::try_from(bytes).unwrap());
            proxy.is_cut().await;
            if round % 4 == 3 {
                // Long enough for the bridge to notice and to say so.
                wait_for(&bridge, "degraded").await;
            }
            proxy.restore();
        }
    };
    tokio::join!(publish_all(&bridge, COUNT, &acknowledged), chaos);

    let rows = database.rows(COUNT).await;
    assert_eq!(numbers(&rows), (0..COUNT as u64).collect::<Vec<_>>());
    wait_for(&bridge, "ready").await;
    bridge.finish(&["timescale"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_database_holds_up_no_device() {
    const COUNT: usize = 5_000;
    let database = Database::create().await;
    let proxy = ChaosProxy::to(database.address()).await;
    let bridge = Setup::default().timescale(&database.url_through(proxy.address)).start().await;
    wait_for(&bridge, "ready").await;

    let acknowledged = AtomicU64::new(0);
    let stall = async {
        let some = async || (acknowledged.load(Ordering::Relaxed) > 1000).then_some(());
        eventually("a thousand acknowledgements", some).await;
        proxy.stall();
    };
    tokio::join!(publish_all(&bridge, COUNT, &acknowledged), stall);
    assert!(database.count().await < COUNT, "the stall came too late to prove anything");
    // What was held back is cut off; the bridge cannot know how much of it was committed.
    proxy.cut();
    proxy.restore();
    assert_eq!(numbers(&database.rows(COUNT).await), (0..COUNT as u64).collect::<Vec<_>>());
    bridge.finish(&["timescale"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_late_gets_everything() {
    const COUNT: usize = 3_000;
    let database = Database::create().await;
    let proxy = ChaosProxy::to(database.address()).await;
    proxy.cut();
    let mut bridge = Setup::default().timescale(&database.url_through(proxy.address)).listening().await;
    wait_for(&bridge, "degraded").await;
    publish_all(&bridge, COUNT, &AtomicU64::new(0)).await;
    // Also over a restart of the bridge.
    bridge.terminate().await;
    bridge.restart().await;
    assert_eq!(database.count().await, 0);
    proxy.restore();
    assert_eq!(numbers(&database.rows(COUNT).await), (0..COUNT as u64).collect::<Vec<_>>());
    bridge.finish(&["timescale"]).await;
}
