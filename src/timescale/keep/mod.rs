//! Keeps what should be kept: old events and measurements go, or are compressed, as the configuration says.
//!
//! | the table | `retention` | `compress_after` |
//! | --- | --- | --- |
//! | a hypertable, community licence | a retention policy | a compression policy |
//! | a hypertable, Apache licence | `drop_chunks`, from here | not possible, and said so |
//! | a plain table | DELETE in batches, from here | not possible, and said so |
//!
//! `events` and `measurements` say what there is of each; one that fails does not keep the other from being looked
//! after. `measurements` has an order to keep between values and rollups.
//!
//! One task, [`Keeper::run`], with a session of its own for as long as a run takes: at the start, and
//! then about every hour. Of several bridges one runs at a time, by an advisory lock of the
//! session. Policies are looked at as often, so that the configuration stays the truth. A failure
//! is told once for each reason and tried again; nothing else waits for it. What is not possible is no
//! failure, which health would show for ever: it is said once.

mod events;
mod expire;
mod measurements;
mod policies;
mod relation;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

pub use self::measurements::KeepMeasurements;
use super::{
    error::{WriteError, within},
    inspect::inspect,
    licence::TimescaleDb,
    pause::jittered,
    schema::{pending, resolve},
    settings::Settings,
};
use crate::limits;

/// Key of the advisory lock: "synapmqt" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"synapmqt");

/// How long what is stored is kept, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Age at which events go; none: never.
    pub retention: Option<Duration>,
    /// Age at which they are compressed; none: never.
    pub compress_after: Option<Duration>,
    /// Measurements.
    pub measurements: KeepMeasurements,
}

impl Keep {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Why events are not kept as the configuration says; none where they are, as far as the server can.
#[derive(Clone, Debug, Default)]
pub struct Shortfall(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    has_run: bool,
    shortfall: Option<String>,
}

impl Shortfall {
    /// Whether it is known yet, and if so, why.
    #[must_use]
    pub fn known(&self) -> Option<Option<String>> {
        let state = self.0.lock();
        state.has_run.then(|| state.shortfall.clone())
    }

    fn set(&self, shortfall: Option<String>) {
        *self.0.lock() = State { has_run: true, shortfall };
    }
}

/// The task.
pub struct Keeper {
    settings: Settings,
    shortfall: Shortfall,
}

impl Keeper {
    /// A keeper of the writer's table.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, shortfall: Shortfall::default() }
    }

    /// Why it does not work, for health.
    #[must_use]
    pub fn shortfall(&self) -> Shortfall {
        self.shortfall.clone()
    }

    /// Works until `stop` is cancelled. Dropping the future loses nothing.
    pub async fn run(self, stop: CancellationToken) {
        let (mut failures, mut told, mut impossible) = (0_u32, Vec::new(), Vec::new());
        loop {
            let Some(outcome) = stop.run_until_cancelled(self.once(&mut impossible)).await else { return };
            let pause = match outcome {
                Ok(()) => {
                    failures = 0;
                    told.clear();
                    limits::KEEP_INTERVAL
                }
                Err(error) => {
                    self.failed(&error, &mut told);
                    failures += 1;
                    let doubled = limits::KEEP_RETRY * 2_u32.saturating_pow(failures.min(16) - 1);
                    doubled.min(limits::KEEP_INTERVAL)
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(jittered(pause, 10))).await.is_none() {
                return;
            }
        }
    }

    /// `told` is what was said to be impossible.
    async fn once(&self, told: &mut Vec<String>) -> Result<(), WriteError> {
        let mut connection = within(limits::TIMESCALE_CONNECT_TIMEOUT, self.settings.connect()).await?;
        let kept = within(limits::KEEP_TIMEOUT, keep(&mut connection, &self.settings)).await?;
        connection.close().await?;
        let Some(impossible) = kept else { return Ok(()) };
        self.shortfall.set(None);
        if impossible != *told {
            impossible.iter().for_each(|what| tracing::warn!("{what}"));
            *told = impossible;
        }
        Ok(())
    }

    fn failed(&self, error: &WriteError, told: &mut Vec<String>) {
        let reason = error.about("keep events as the configuration says");
        // Without a session, or before the tables are made, the writer says what is the matter.
        if !matches!(error, WriteError::Store(_) | WriteError::Timeout(_)) {
            tracing::debug!(error = reason, "events are not looked after yet");
            return;
        }
        if !told.contains(&reason) && told.len() < limits::TIMESCALE_TOLD_REASONS {
            tracing::warn!("{reason}");
            told.push(reason.clone());
        }
        self.shortfall.set(Some(reason));
    }
}

/// One run; gives back what this server cannot do, or nothing where another bridge is at it.
pub(super) async fn keep(
    connection: &mut PgConnection,
    settings: &Settings,
) -> Result<Option<Vec<String>>, WriteError> {
    let is_ours: bool =
        sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await?;
    if !is_ours {
        tracing::debug!("another bridge looks after the events");
        return Ok(None);
    }
    let kept = keep_alone(connection, settings).await;
    // It would end with the session; a caller may go on with it.
    let unlocked = sqlx::query("select pg_advisory_unlock($1)").bind(LOCK).execute(connection).await;
    let kept = kept?;
    unlocked?;
    Ok(Some(kept))
}

async fn keep_alone(connection: &mut PgConnection, settings: &Settings) -> Result<Vec<String>, WriteError> {
    let name = resolve(connection, settings.table.as_deref()).await?;
    if !pending(connection, &name).await?.is_empty() {
        return Err(WriteError::Unprepared);
    }
    let table = inspect(connection, &name).await?;
    let lock_timeout = ("lock_timeout", &*format!("{}ms", limits::KEEP_LOCK_TIMEOUT.as_millis()));
    settings.prepare(connection, &[lock_timeout]).await?;
    let extension = TimescaleDb::detect(connection).await?;
    let of_events = events::keep(connection, &table, extension.as_ref(), settings.keep).await;
    let of_measurements = measurements::keep(connection, extension.as_ref(), settings.keep).await?;
    let mut impossible = of_events?;
    impossible.extend(of_measurements);
    Ok(impossible)
}

/// Says that `key` has no effect, where it is set.
fn uncompressed(key: &str, wanted: Option<Duration>, table: &str, is_plain: bool) -> Vec<String> {
    let reason = if is_plain {
        "it is a plain table"
    } else {
        "TimescaleDB here is the Apache-licensed edition, which has no compression"
    };
    let shortfall = || format!("`{key}` has no effect on `{table}`: {reason}");
    wanted.map(|_| shortfall()).into_iter().collect()
}
