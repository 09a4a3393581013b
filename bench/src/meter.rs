//! What a run costs the server and the load generator.

use anyhow::Result;

use crate::process::Process;

/// Watches the server and this process during a run.
#[derive(Debug)]
pub struct Meter {
    server: Option<(Process, f64)>,
    own_cpu: f64,
    usage: Usage,
}

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor seconds of the load generator.
    pub own_cpu_seconds: f64,
    /// Processor seconds of the server.
    pub server_cpu_seconds: Option<f64>,
    /// Resident bytes of the server before publishing and at most during the run.
    pub server_resident_bytes: Option<(u64, u64)>,
}

impl Meter {
    /// Starts watching.
    ///
    /// # Errors
    /// When the server's process is not there.
    pub fn start(server: Option<Process>) -> Result<Self> {
        let mut usage = Usage::default();
        let server = match server {
            None => None,
            Some(process) => {
                let resident = process.resident_bytes()?;
                usage.server_resident_bytes = Some((resident, resident));
                let cpu = process.cpu_seconds()?;
                Some((process, cpu))
            }
        };
        Ok(Self { server, own_cpu: Process::own().cpu_seconds()?, usage })
    }

    /// Looks at the server, and gives its resident bytes. One that is gone shows in its connections; its last figures
    /// stay.
    pub fn sample(&mut self) -> Option<u64> {
        let (process, cpu_before) = self.server.as_ref()?;
        let resident = process.resident_bytes().ok();
        if let (Some(resident), Some((_, most))) = (resident, &mut self.usage.server_resident_bytes) {
            *most = resident.max(*most);
        }
        if let Ok(cpu) = process.cpu_seconds() {
            self.usage.server_cpu_seconds = Some(cpu - cpu_before);
        }
        resident
    }

    /// The costs up to the last sample.
    #[must_use]
    pub fn finish(mut self) -> Usage {
        self.usage.own_cpu_seconds = Process::own().cpu_seconds().map_or(0.0, |cpu| cpu - self.own_cpu);
        self.usage
    }
}
