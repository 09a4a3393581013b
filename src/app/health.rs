//! Tells health what parts know that do not report it themselves.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    journal::{AppendError, Journal},
    timescale::{ImportStatistics, Shortfall, Statistics},
    types::HealthReporter,
};

/// How often the parts are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Tells whether the journal accepts records, until `stop` fires.
pub async fn watch_journal(journal: Journal, health: HealthReporter, stop: CancellationToken) {
    every_interval(stop, || match journal.check() {
        Ok(()) => health.ready(),
        Err(error @ AppendError::Failed) => health.failed(error),
        Err(error) => health.degraded(error),
    })
    .await;
}

/// Tells whether the database takes events, until `stop` fires.
pub async fn watch_timescale(statistics: Arc<Statistics>, health: HealthReporter, stop: CancellationToken) {
    every_interval(stop, || match statistics.last_error() {
        None if statistics.connected() => health.ready(),
        None => false,
        Some(error) => health.degraded(error),
    })
    .await;
}

/// Tells whether events of other writers reach the journal, until `stop` fires. Where another bridge
/// takes them over, that is as it should be.
pub async fn watch_import(statistics: Arc<ImportStatistics>, health: HealthReporter, stop: CancellationToken) {
    every_interval(stop, || match statistics.last_error() {
        None if statistics.connected() || statistics.standby() => health.ready(),
        None => false,
        Some(error) => health.degraded(error),
    })
    .await;
}

/// Tells whether events are kept as the configuration says, until `stop` fires.
pub async fn watch_retention(shortfall: Shortfall, health: HealthReporter, stop: CancellationToken) {
    every_interval(stop, || match shortfall.known() {
        None => false,
        Some(None) => health.ready(),
        Some(Some(reason)) => health.degraded(reason),
    })
    .await;
}

async fn every_interval(stop: CancellationToken, mut look: impl FnMut() -> bool) {
    let mut interval = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        look();
    }
}
