//! The only wiring.

use crate::{config::Settings, telemetry::Metrics};

/// Runs the bridge until it is told to stop.
///
/// # Errors
/// When a part cannot start.
pub async fn run(_settings: Settings, _metrics: Metrics) -> anyhow::Result<()> {
    Ok(())
}
