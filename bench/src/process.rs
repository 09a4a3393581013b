//! Memory and processor time of a process, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// `USER_HZ`, the unit of times in `/proc/PID/stat`; 100 on every architecture Linux shows it to
/// (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    directory: String,
}

impl Process {
    /// The process with this id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { directory: format!("/proc/{pid}") }
    }

    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self { directory: "/proc/self".to_owned() }
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("{}/status", self.directory)).context("read the process's memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("parse the process's memory")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("parse the process's memory")?;
        Ok(kib * 1024)
    }

    /// User and system time of all its threads since its start, in seconds.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("{}/stat", self.directory)).context("read the process's times")?;
        // The second field, a name in parentheses, may itself hold blanks.
        let (_, fields) = stat.rsplit_once(')').context("parse the process's times")?;
        let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_and_time_can_be_read() {
        let own = Process::own();
        let before = own.resident_bytes().unwrap();
        let ballast = vec![1_u8; 64 << 20];
        assert!(own.resident_bytes().unwrap() >= before + ballast.len() as u64 / 2);
        assert!(own.cpu_seconds().unwrap() >= 0.0);
    }
}
