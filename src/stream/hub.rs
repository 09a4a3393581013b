//! The hub: one task that follows the journal and encodes each event once, for all clients,
//! while there are any. It waits for nobody: a client that does not keep up with the window
//! reads the journal. On damage or failure of the disk the window begins anew behind it, and the
//! clients find out by themselves.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::sync::watch;

use super::{
    Shared,
    chunk::ChunkBuilder,
    shown::Candidate,
    source::{Next, Source},
};
use crate::{
    journal::{ReadError, Slice, Step, Watermark},
    types::Sequence,
};

/// Pause after a failure of the disk.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Runs for ever; may be cancelled anywhere.
pub async fn run(shared: &Shared) {
    let mut clients = shared.clients.subscribe();
    while reaches(&mut clients, |clients| clients > 0).await {
        tokio::select! {
            result = follow(shared) => if let Err(error) = result {
                tracing::error!(%error, "the event stream cannot follow the journal; trying again");
                tokio::time::sleep(FAILURE_PAUSE).await;
            },
            _ = reaches(&mut clients, |clients| clients == 0) => {}
        }
        // Nobody is served from a window that stands still.
        shared.window.restart(Sequence(u64::MAX));
        if *clients.borrow() == 0 {
            shared.replayed.clear();
        }
    }
}

/// Waits until the number of clients is such; false when it cannot change any more.
async fn reaches(clients: &mut watch::Receiver<usize>, such: impl Fn(usize) -> bool) -> bool {
    clients.wait_for(|clients| such(*clients)).await.is_ok()
}

async fn follow(shared: &Shared) -> Result<(), ReadError> {
    let mut source = Source::new(&shared.journal, shared.journal.watermark(Watermark::Visible));
    shared.window.restart(source.position());
    loop {
        match source.advance().await? {
            Next::Records(slice) => encode_waiting(shared, &mut source, slice).await,
            Next::CaughtUp => source.changed().await?,
            Next::Lost(_) => shared.window.restart(source.position()),
        }
    }
}

/// Encodes `slice` and what waits in memory behind it.
async fn encode_waiting(shared: &Shared, source: &mut Source<'_>, mut slice: Slice) {
    let mut builder = ChunkBuilder::default();
    loop {
        for record in slice.records() {
            let Some(candidate) = Candidate::of(&record) else { continue };
            let event = candidate.event(&*shared.mapper);
            if event.streamed() {
                builder.push(&event, shared.id(event.sequence()));
            }
            if builder.is_full() {
                hand_over(shared, &mut builder, candidate.sequence());
                tokio::task::yield_now().await;
            }
        }
        match source.step() {
            Step::Slice(next) => slice = next,
            Step::Disk | Step::CaughtUp => return hand_over(shared, &mut builder, source.position()),
        }
    }
}

fn hand_over(shared: &Shared, builder: &mut ChunkBuilder, end: Sequence) {
    let chunk = builder.take(shared.window.extra());
    let events = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
    shared.statistics.encoded.fetch_add(events, Ordering::Relaxed);
    shared.window.push(chunk, end);
}
