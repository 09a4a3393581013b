//! `table`: reads the JSON lines of `bench/run` from standard input and prints one Markdown
//! table, the median of each figure per scenario and server, with ratios against the first
//! baseline of the scenario.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result};
use serde_json::Value;

/// Servers that others are compared with.
const BASELINES: [&str; 4] = ["mosquitto", "bare COPY", "in order", "nchan"];

/// Figure that a scenario is about, its unit and decimals.
const HEADLINES: [(&str, &str, usize); 11] = [
    ("delivered_per_second", "messages/s", 0),
    ("acknowledged_per_second", "messages/s", 0),
    ("bytes_per_connection", "bytes/connection", 0),
    ("connections_per_second", "connections/s", 0),
    ("seconds_to_listen", "s", 2),
    ("server_mib", "MiB", 1),
    ("end_to_end/p99", "ms, p99", 2),
    ("rows_per_second", "rows/s", 0),
    ("deliveries_per_second", "deliveries/s", 0),
    ("replayed_per_second", "events/s", 0),
    ("seconds_to_catch_up", "s", 2),
];

/// Further columns: title, figure, decimals. Those that no run has a figure for are left out.
const COLUMNS: [(&str, &str, usize); 18] = [
    ("acknowledged/s", "acknowledged_per_second", 0),
    ("p50 ms", "end_to_end/p50", 2),
    ("p99 ms", "end_to_end/p99", 2),
    ("ack p99 ms", "acknowledgement/p99", 2),
    ("CPU s", "server_cpu_seconds", 2),
    ("CPU s/million", "cpu_seconds_per_million", 2),
    ("B/delivery", "bytes_per_delivery", 0),
    ("first ms", "first_event_ms", 1),
    ("MiB", "server_mib", 1),
    ("MiB at row 1", "server_mib_first", 1),
    ("MiB at 1/4", "server_mib_quarter", 1),
    ("MiB at 1/2", "server_mib_half", 1),
    ("MiB at the last", "server_mib_last", 1),
    ("DB CPU s", "database_cpu_seconds", 2),
    ("rows/DB CPU s", "rows_per_database_cpu_second", 0),
    ("lag", "lag", 0),
    ("lost", "lost", 0),
    ("duplicated", "duplicated", 0),
];

/// The runs of one server in one scenario.
struct Group {
    scenario: String,
    server: String,
    runs: Vec<Value>,
}

impl Group {
    /// The median over the runs that have the figure.
    fn median(&self, figure: &str) -> Option<f64> {
        let path = format!("/{figure}");
        let mut all: Vec<f64> = self.runs.iter().filter_map(|run| run.pointer(&path)?.as_f64()).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    fn cell(&self, figure: &str, decimals: usize) -> String {
        self.median(figure).map_or_else(String::new, |value| format!("{value:.decimals$}"))
    }

    fn headline(&self) -> (&'static str, &'static str, usize) {
        let wanted = self.runs.first().and_then(|run| run.get("headline")?.as_str());
        HEADLINES.into_iter().find(|(figure, ..)| Some(*figure) == wanted).unwrap_or(HEADLINES[0])
    }

    fn kept_promises(&self) -> bool {
        self.runs.iter().all(|run| run.get("ok") == Some(&Value::Bool(true)))
    }
}

fn main() -> Result<()> {
    print(&read(io::stdin().lock())?, &mut io::stdout().lock())
}

fn read(lines: impl BufRead) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for line in lines.lines() {
        let run: Value = serde_json::from_str(&line?).context("read a result")?;
        let text = |key: &str| run.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let (scenario, server) = (text("scenario"), text("server"));
        match groups.iter_mut().find(|group| group.scenario == scenario && group.server == server) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { scenario, server, runs: vec![run] }),
        }
    }
    Ok(groups)
}

fn print(groups: &[Group], out: &mut impl Write) -> Result<()> {
    let has_figure = |(_, figure, _): &&(&str, &str, usize)| groups.iter().any(|group| group.median(figure).is_some());
    let columns: Vec<_> = COLUMNS.iter().filter(has_figure).collect();
    write!(out, "| scenario | server | figure | ratio |")?;
    columns.iter().try_for_each(|(title, ..)| write!(out, " {title} |"))?;
    writeln!(out, " promises kept |\n| --- | --- | ---: | ---: |{} --- |", " ---: |".repeat(columns.len()))?;
    for group in groups {
        let (figure, unit, decimals) = group.headline();
        let baseline = groups
            .iter()
            .find(|other| other.scenario == group.scenario && BASELINES.contains(&other.server.as_str()))
            .and_then(|other| other.median(figure));
        let ratio = match (group.median(figure), baseline) {
            (Some(value), Some(baseline)) if baseline > 0.0 => format!("{:.2}", value / baseline),
            _ => String::new(),
        };
        let Group { scenario, server, .. } = group;
        write!(out, "| {scenario} | {server} | {} {unit} | {ratio} |", group.cell(figure, decimals))?;
        columns.iter().try_for_each(|(_, figure, decimals)| write!(out, " {} |", group.cell(figure, *decimals)))?;
        writeln!(out, " {} |", if group.kept_promises() { "yes" } else { "**no**" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let lines = r#"{"scenario":"s","server":"synap-mqtt","delivered_per_second":300.0,"ok":true}
{"scenario":"s","server":"mosquitto","delivered_per_second":90.0,"ok":true}
{"scenario":"s","server":"mosquitto","delivered_per_second":100.0,"ok":true}
{"scenario":"s","server":"mosquitto","delivered_per_second":5000.0,"ok":false}"#;
        let mut out = Vec::new();
        print(&read(lines.as_bytes()).unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("| s | synap-mqtt | 300 messages/s | 3.00 |"), "{text}");
        assert!(text.contains("| s | mosquitto | 100 messages/s | 1.00 |"), "{text}");
        assert!(!text.contains("MiB"), "no run has that figure: {text}");
        assert!(text.lines().nth(3).is_some_and(|line| line.ends_with("**no** |")), "{text}");
    }
}
