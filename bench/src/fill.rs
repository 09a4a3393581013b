//! What a broker must have again after a restart: persistent sessions with subscriptions, and
//! retained messages.
//!
//! [`fill`] leaves them over MQTT, many connections at a time, and returns when everything is
//! acknowledged. [`check`] looks whether it is there.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::{io::AsyncWriteExt, task::JoinSet, time::timeout};

use crate::{
    codec::{DISCONNECT, Session, retain, subscribe},
    dial::{Connection, Target},
};

/// Connections at work at once.
const WORKERS: u64 = 200;

/// Connections that publish retained messages.
const PUBLISHERS: u64 = 10;

/// Unacknowledged messages of one of them, if the broker takes as many.
const IN_FLIGHT: u16 = 1000;

/// Bytes of a retained message.
const PAYLOAD_BYTES: usize = 100;

/// One of so many sessions is looked at.
const SAMPLE: u64 = 100;

/// Retained messages that do not arrive for this long do not come.
const QUIET: Duration = Duration::from_secs(10);

/// How much of what.
#[derive(Args, Clone, Copy, Debug)]
pub struct Contents {
    /// Sessions.
    #[arg(long, default_value_t = 100_000)]
    sessions: u64,
    /// Subscriptions of each.
    #[arg(long, default_value_t = 10)]
    subscriptions: u64,
    /// Retained messages.
    #[arg(long, default_value_t = 1_000_000)]
    retained: u64,
}

/// Leaves everything.
///
/// # Errors
/// The first connection that fails.
pub async fn fill(target: &Target, contents: Contents) -> Result<()> {
    let persistent = Arc::new(persistent(target));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let target = Arc::clone(&persistent);
        workers.spawn(async move {
            for session in (worker..contents.sessions).step_by(WORKERS as usize) {
                let mut connection = target.connect(worker as usize, &client_id(session)).await?;
                if contents.subscriptions > 0 {
                    connection.subscribe(&filters(session, contents.subscriptions), 1).await?;
                }
                connection.stream.write_all(DISCONNECT).await?;
                connection.stream.shutdown().await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    for publisher in 0..PUBLISHERS {
        let connection = target.connect(publisher as usize, &format!("fill-{publisher}")).await?;
        let numbers = (publisher..contents.retained).step_by(PUBLISHERS as usize);
        workers.spawn(async move { publish(connection, numbers).await.context("publish retained messages") });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// Publishes with the window full, until all is acknowledged.
async fn publish(mut connection: Connection, mut numbers: impl Iterator<Item = u64>) -> Result<()> {
    let window = IN_FLIGHT.min(connection.receive_maximum);
    let (mut next_id, mut in_flight, mut out) = (0_u16, 0_u16, Vec::new());
    loop {
        for number in numbers.by_ref().take((window - in_flight).into()) {
            retain(&mut out, connection.version, next_id + 1, &topic(number), &[b'.'; PAYLOAD_BYTES]);
            next_id = (next_id + 1) % window;
            in_flight += 1;
        }
        if in_flight == 0 {
            return Ok(connection.stream.write_all(DISCONNECT).await?);
        }
        connection.stream.write_all(&out).await?;
        connection.stream.flush().await?;
        out.clear();
        connection.inbox.fill(&mut connection.stream).await?;
        let mut refused = false;
        let drained = connection.inbox.drain(|packet| {
            let (_, success) = packet.acknowledgement()?;
            refused |= !success;
            in_flight -= 1;
            Ok(())
        });
        drained.map_err(io::Error::from)?;
        ensure!(!refused, "the broker refused a message");
    }
}

/// Looks whether everything is there.
///
/// # Errors
/// When something is missing.
pub async fn check(target: &Target, contents: Contents) -> Result<()> {
    let persistent = persistent(target);
    for session in (0..contents.sessions).step_by(SAMPLE as usize) {
        let mut connection = persistent.connect(0, &client_id(session)).await?;
        ensure!(connection.session_present, "session {} is not there", client_id(session));
        connection.stream.write_all(DISCONNECT).await?;
        connection.stream.shutdown().await?;
    }
    let mut found = 0;
    let mut connection = target.connect(0, "check").await?;
    let mut packet = Vec::new();
    subscribe(&mut packet, connection.version, 1, &["state/#".to_owned()], 0);
    connection.stream.write_all(&packet).await?;
    connection.stream.flush().await?;
    while found < contents.retained {
        let read = timeout(QUIET, connection.inbox.fill(&mut connection.stream)).await;
        read.with_context(|| format!("of {} retained messages only {found} are there", contents.retained))??;
        let drained = connection.inbox.drain(|packet| {
            found += u64::from(packet.is_retained());
            Ok(())
        });
        drained.map_err(io::Error::from)?;
    }
    Ok(())
}

fn persistent(target: &Target) -> Target {
    let mut target = target.clone();
    target.session = Session::Persistent;
    target
}

fn client_id(session: u64) -> String {
    format!("device-{session}")
}

fn topic(number: u64) -> String {
    format!("state/site-{}/device-{number}", number % 1000)
}

/// Half of them with a wildcard; none matches a retained message.
fn filters(session: u64, count: u64) -> Vec<String> {
    let site = session % 1000;
    let filter = |number: u64| match number % 2 {
        0 => format!("site-{site}/device-{session}/command-{number}"),
        _ => format!("site-{site}/device-{session}/+/setting-{number}"),
    };
    (0..count).map(filter).collect()
}
