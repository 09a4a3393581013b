//! Work that Ctrl-C and SIGTERM end in order.

use tokio::signal::unix::{SignalKind, signal};

/// What `work` gives; none where a signal came first. `work` is dropped then.
pub async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Option<T>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        done = work => done.map(Some),
    }
}

/// A runtime for a command: its own thread does the work, one beside it moves bytes.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
