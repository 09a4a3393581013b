//! What goes wrong, and when: chosen by chance from a seed.

use super::cluster::Death;
use crate::support::{Random, chaos::CommitCut};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of the bridge.
    BridgeDies,
    /// kill -9 of the server.
    ServerDies(Death),
    /// Both at once.
    BothDie,
    /// Connections to the server end somewhere in what is sent to it, most likely in a COPY.
    CutInCopy,
    /// They end at a COMMIT.
    CutAtCommit(CommitCut),
    /// They carry nothing for a while, then end.
    Stall,
    /// The server ends the bridge's sessions, a few times.
    BackendsTerminated,
    /// No room on the server's disk.
    DiskFull,
    /// The server is replaced by an older copy of itself while the bridge runs.
    ServerSetBack,
    /// And while it does not.
    ServerSetBackUnseen,
    /// The bridge's data directory is replaced by an older copy of itself: the server is ahead.
    JournalSetBack,
}

impl Fault {
    /// All of them.
    const ALL: [Self; 15] = [
        Self::BridgeDies,
        Self::ServerDies(Death::All),
        Self::ServerDies(Death::Postmaster),
        Self::ServerDies(Death::Backend),
        Self::BothDie,
        Self::CutInCopy,
        Self::CutAtCommit(CommitCut::Before),
        Self::CutAtCommit(CommitCut::Within),
        Self::CutAtCommit(CommitCut::After),
        Self::Stall,
        Self::BackendsTerminated,
        Self::DiskFull,
        Self::ServerSetBack,
        Self::ServerSetBackUnseen,
        Self::JournalSetBack,
    ];
}

/// So many faults: all of them in some order, then all of them in another one, and so on.
pub fn plan(random: &mut Random, rounds: u64) -> Vec<Fault> {
    let mut plan = Vec::new();
    while (plan.len() as u64) < rounds {
        let mut faults = Fault::ALL.to_vec();
        while !faults.is_empty() {
            let chosen = random.between(0, faults.len() as u64 - 1);
            plan.push(faults.swap_remove(usize::try_from(chosen).unwrap()));
        }
    }
    plan.truncate(usize::try_from(rounds).unwrap());
    plan
}

/// As many rounds as it takes for each to happen once.
pub const ROUNDS: u64 = Fault::ALL.len() as u64;
