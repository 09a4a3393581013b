//! Turns on the processor for what takes long on purpose: deriving keys from passwords.
//!
//! Half of the processor's cores at most are at it, on blocking threads, in the order of asking.
//! So a flood of passwords makes only those wait who have one to check. How many wait is bounded
//! by the connections that may be in their handshake, and how long by the handshake's time.

use std::{sync::Arc, thread};

use tokio::sync::Semaphore;

/// Turns.
#[derive(Clone, Debug)]
pub(super) struct Derivations(Arc<Semaphore>);

impl Default for Derivations {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }
}

impl Derivations {
    /// What `work` makes, when it is its turn; none when the process is ending. Cancel safe: who
    /// goes away before gives up the turn, and work that has begun keeps it to its end.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let working = tokio::task::spawn_blocking(move || {
            let made = work();
            drop(turn);
            made
        });
        working.await.ok()
    }
}
