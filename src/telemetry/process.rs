//! Memory, CPU and file descriptors of this process, from Linux' `/proc`. Elsewhere, or where
//! `/proc` is not mounted, these gauges are absent.

use std::fs;

use metrics::gauge;

/// Clock ticks a second in `/proc/self/stat`: USER_HZ, part of Linux' ABI and 100 on every
/// architecture that Rust's standard library supports.
const USER_HZ: f64 = 100.0;

/// Records how the process is doing now.
pub(super) fn record() {
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes) {
        gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
        gauge!("process_cpu_seconds_total").set(seconds);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // One of them is this listing.
        gauge!("process_open_fds").set(descriptors.count().saturating_sub(1) as f64);
    }
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the command name, which may hold spaces
/// and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / USER_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\nVmData: 1 kB\n"), Some(2_097_152.0));
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }
}
