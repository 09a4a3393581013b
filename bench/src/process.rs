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
        self.seconds(2)
    }

    /// The same with that of its children, also of those that have ended.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn family_cpu_seconds(&self) -> Result<f64> {
        let pid = fs::read_link(&self.directory).unwrap_or_else(|_| self.directory.clone().into());
        let pid = pid.file_name().and_then(|name| name.to_str()).context("name the process")?;
        let children =
            fs::read_to_string(format!("{}/task/{pid}/children", self.directory)).context("find children")?;
        let child = |id: &str| Some(Self::new(id.parse().ok()?).cpu_seconds().unwrap_or_default());
        Ok(self.seconds(4)? + children.split_whitespace().filter_map(child).sum::<f64>())
    }

    /// Its parent.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn parent(&self) -> Result<Self> {
        let parent = self.stat()?.get(1).and_then(|id| id.parse().ok()).context("parse the process's parent")?;
        Ok(Self::new(parent))
    }

    /// Whether its program has this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        fs::read_to_string(format!("{}/comm", self.directory)).is_ok_and(|comm| comm.trim() == name)
    }

    /// The sum of the first times of user, system, ended children's user and ended children's system.
    fn seconds(&self, times: usize) -> Result<f64> {
        let ticks: f64 = self.stat()?.iter().skip(11).take(times).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Fields of `/proc/PID/stat` behind the name, which may itself hold blanks.
    fn stat(&self) -> Result<Vec<String>> {
        let stat = fs::read_to_string(format!("{}/stat", self.directory)).context("read the process's state")?;
        let (_, fields) = stat.rsplit_once(')').context("parse the process's state")?;
        Ok(fields.split_whitespace().map(str::to_owned).collect())
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

    #[test]
    fn children_count_with_their_parent() {
        let busy = ["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done"];
        let own = Process::own();
        let before = own.family_cpu_seconds().unwrap();
        let mut child = std::process::Command::new("sh").args(busy).spawn().unwrap();
        assert_eq!(Process::new(child.id()).parent().unwrap(), Process::new(std::process::id()));
        assert!(child.wait().unwrap().success());
        assert!(own.family_cpu_seconds().unwrap() > before);
    }
}
