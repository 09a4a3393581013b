//! What the process tells about itself: log, metrics, health.
//!
//! Log and recorder are set up once by `main`, before anything else runs; the recorder's
//! [`Metrics::upkeep`] is a task of `app`. Rooms log through `tracing` and count through
//! `metrics`, whose handles they take once, never per message. A failure to record is never
//! an error of the one who records.

pub mod health;
pub mod log;
pub mod names;
mod process;

use std::time::{Duration, SystemTime};

use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub use health::{Gate, Health};

/// Upper bounds of the buckets of every time, in seconds: from an fsync on a good disk to a
/// COPY on a bad one.
const SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often samples of histograms are folded into their buckets: until then each takes 8 bytes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The process's metrics, to be read.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of this process and describes every metric.
    ///
    /// # Errors
    /// When the process has a recorder already.
    pub fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .install_recorder()?;
        names::describe();
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        gauge!("process_start_time_seconds").set(started.as_secs_f64());
        Ok(Self(handle))
    }

    /// All metrics in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        process::record();
        self.0.render()
    }

    /// Keeps the memory of histograms bounded while nobody reads them. Never ends; cancel safe.
    pub async fn upkeep(self) {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_description_and_buckets() {
        let metrics = Metrics::install().unwrap();
        assert!(Metrics::install().is_err());
        metrics::counter!("synap_mqtt_messages_dropped_total", "reason" => "quota").increment(3);
        metrics::histogram!("synap_mqtt_journal_fsync_seconds").record(0.000_3);
        let text = metrics.render();
        for line in [
            "# HELP synap_mqtt_messages_dropped_total Messages not stored or not delivered, by `reason`",
            "# TYPE synap_mqtt_messages_dropped_total counter",
            "synap_mqtt_messages_dropped_total{reason=\"quota\"} 3",
            "# TYPE synap_mqtt_journal_fsync_seconds histogram",
            "synap_mqtt_journal_fsync_seconds_bucket{le=\"0.00025\"} 0",
            "synap_mqtt_journal_fsync_seconds_bucket{le=\"0.0005\"} 1",
            "# TYPE process_resident_memory_bytes gauge",
            "# TYPE process_start_time_seconds gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }
}
