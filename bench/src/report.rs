//! What a run showed, for people and for `bench/run`.

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    load::{Books, Latency, latency},
    meter::Usage,
    plan::Plan,
};

/// The figures of one run. Latencies are in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Messages written by publishers.
    pub sent: u64,
    /// Messages acknowledged to publishers with success.
    pub acknowledged: u64,
    /// Messages acknowledged with a failure code.
    pub refused: u64,
    /// First arrivals over all receivers.
    pub delivered: u64,
    /// Messages owed to a receiver (acknowledged; at QoS 0 sent) that did not arrive.
    pub lost: u64,
    /// Arrivals beyond the first.
    pub duplicated: u64,
    /// First arrivals after a later message of the same publisher.
    pub out_of_order: u64,
    /// Arrivals that no publisher of the run sent.
    pub foreign: u64,
    /// Connections that broke, and why.
    pub broken: Vec<String>,
    /// Whether the run kept every promise of its QoS.
    pub ok: bool,
    /// Acknowledged messages per second until the last acknowledgement; QoS 0 has none.
    pub acknowledged_per_second: Option<f64>,
    /// First arrivals per second until the last.
    pub delivered_per_second: f64,
    /// Send to arrival; a run without receivers has none.
    pub end_to_end: Option<Percentiles>,
    /// Send to PUBACK or PUBCOMP; QoS 0 has none.
    pub acknowledgement: Option<Percentiles>,
    /// Processor seconds of the load generator.
    pub own_cpu_seconds: f64,
    /// Processor seconds of the server.
    pub server_cpu_seconds: Option<f64>,
    /// Resident MiB of the server before publishing.
    pub server_mib_before: Option<f64>,
    /// Most resident MiB of the server during the run.
    pub server_mib: Option<f64>,
}

/// Milliseconds, to 1 %.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// 99 % are below.
    pub p99: f64,
    /// 99.9 % are below.
    pub p999: f64,
    /// All are at or below.
    pub max: f64,
}

impl Percentiles {
    fn of<'a>(all: impl Iterator<Item = &'a Latency>) -> Result<Self> {
        let mut sum = latency()?;
        for one in all {
            sum.add(one)?;
        }
        let at = |quantile| sum.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: sum.max() as f64 / 1000.0 })
    }
}

impl Report {
    /// The figures of a run's books.
    ///
    /// # Errors
    /// When histograms cannot be added up.
    pub fn new(plan: &Plan, books: &Books, usage: Usage) -> Result<Self> {
        let Books { ledgers, tallies, start_ns, broken } = books;
        let per_second = |count: u64, last_ns: Option<u64>| {
            let seconds = last_ns.unwrap_or_default().saturating_sub(*start_ns) as f64 / 1e9;
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        let mut report = Self {
            sent: ledgers.iter().map(|ledger| ledger.sent).sum(),
            acknowledged: ledgers.iter().map(|ledger| ledger.acknowledged.len()).sum(),
            refused: ledgers.iter().map(|ledger| ledger.refused).sum(),
            delivered: tallies.iter().flat_map(|tally| &tally.delivered).map(|set| set.len()).sum(),
            lost: books.lost(plan),
            duplicated: tallies.iter().map(|tally| tally.duplicated).sum(),
            out_of_order: tallies.iter().map(|tally| tally.out_of_order).sum(),
            foreign: tallies.iter().map(|tally| tally.foreign).sum(),
            broken: broken.clone(),
            own_cpu_seconds: usage.own_cpu_seconds,
            server_cpu_seconds: usage.server_cpu_seconds,
            server_mib_before: usage.server_resident_bytes.map(|(before, _)| mib(before)),
            server_mib: usage.server_resident_bytes.map(|(_, most)| mib(most)),
            ..Self::default()
        };
        if plan.qos > 0 {
            let last_ns = ledgers.iter().map(|ledger| ledger.last_ns).max();
            report.acknowledged_per_second = Some(per_second(report.acknowledged, last_ns));
            report.acknowledgement = Some(Percentiles::of(ledgers.iter().map(|ledger| &ledger.latency))?);
        }
        if !tallies.is_empty() {
            report.end_to_end = Some(Percentiles::of(tallies.iter().map(|tally| &tally.latency))?);
        }
        report.delivered_per_second = per_second(report.delivered, tallies.iter().map(|tally| tally.last_ns).max());
        let complete = plan.qos == 0 || (report.lost == 0 && report.acknowledged == report.sent);
        let exactly_once = plan.qos < 2 || report.duplicated == 0;
        report.ok = complete && exactly_once && report.broken.is_empty();
        Ok(report)
    }
}

/// Bytes in MiB.
#[must_use]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Prints figures as one line of JSON with further fields, each `KEY=VALUE`.
///
/// # Errors
/// When a label has no `=`.
pub fn print_json(labels: &[String], mut figures: serde_json::Value) -> Result<()> {
    let fields = figures.as_object_mut().context("figures are an object")?;
    for label in labels {
        let (key, text) = label.split_once('=').with_context(|| format!("--label {label} has no ="))?;
        ensure!(fields.insert(key.to_owned(), text.into()).is_none(), "--label {key} is a figure's name");
    }
    println!("{figures}");
    Ok(())
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999, max } = self;
        write!(f, "p50 {p50:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: fmt::Arguments<'_>| writeln!(f, "{name:<18}{value}");
        row("sent", format_args!("{}", self.sent))?;
        if let (Some(per_second), Some(latency)) = (self.acknowledged_per_second, self.acknowledgement) {
            row("acknowledged", format_args!("{} ({per_second:.0}/s), {} refused", self.acknowledged, self.refused))?;
            row("after", format_args!("{latency}"))?;
        }
        if let Some(latency) = self.end_to_end {
            row("delivered", format_args!("{} ({:.0}/s)", self.delivered, self.delivered_per_second))?;
            row("after", format_args!("{latency}"))?;
            row("lost", format_args!("{}", self.lost))?;
            row("duplicated", format_args!("{}", self.duplicated))?;
            row("out of order", format_args!("{}", self.out_of_order))?;
            row("foreign", format_args!("{}", self.foreign))?;
        }
        row("load generator", format_args!("{:.2} CPU s", self.own_cpu_seconds))?;
        if let (Some(cpu), Some(before), Some(most)) =
            (self.server_cpu_seconds, self.server_mib_before, self.server_mib)
        {
            row("server", format_args!("{cpu:.2} CPU s, {before:.1} MiB before, {most:.1} MiB at most"))?;
        }
        for broken in &self.broken {
            row("broken", format_args!("{broken}"))?;
        }
        row("promises kept", format_args!("{}", if self.ok { "yes" } else { "NO" }))
    }
}
