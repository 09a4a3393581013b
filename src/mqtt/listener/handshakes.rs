//! Connections that are not let in yet: so many, and no more.
//!
//! A connection that says nothing costs its peer nothing, so a flood of them must not keep others
//! out. Where there are too many, the oldest makes room: a client that means it is through in a
//! few round trips, and a silent one becomes the oldest.

use std::{collections::BTreeMap, sync::Arc};

use metrics::{Gauge, gauge};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The connections of one listener that are in their handshake.
#[derive(Clone, Debug)]
pub struct Handshakes {
    maximum: usize,
    waiting: Arc<Mutex<Queue>>,
    /// Of all listeners.
    depth: Gauge,
}

#[derive(Debug, Default)]
struct Queue {
    entered: u64,
    /// By the order of their coming.
    waiting: BTreeMap<u64, CancellationToken>,
}

/// A connection's place among those in their handshake, until it is dropped.
#[derive(Debug)]
pub struct Handshake {
    number: u64,
    pushed_out: CancellationToken,
    all: Handshakes,
}

impl Handshakes {
    /// At most `maximum`, which is 1 at least.
    pub fn new(maximum: usize) -> Self {
        Self { maximum, waiting: Arc::default(), depth: gauge!("synap_mqtt_handshakes") }
    }

    /// Takes a connection in; whether the oldest had to make room for it.
    pub fn enter(&self) -> (Handshake, bool) {
        let mut queue = self.waiting.lock();
        let oldest = (queue.waiting.len() >= self.maximum).then(|| queue.waiting.pop_first()).flatten();
        queue.entered += 1;
        let number = queue.entered;
        let pushed_out = CancellationToken::new();
        queue.waiting.insert(number, pushed_out.clone());
        drop(queue);
        let has_pushed = oldest.is_some();
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        self.depth.increment(1.0);
        (Handshake { number, pushed_out, all: self.clone() }, has_pushed)
    }
}

impl Handshake {
    /// The step's outcome, or none when the connection must make room.
    pub async fn run<F: Future>(&self, step: F) -> Option<F::Output> {
        self.pushed_out.run_until_cancelled(step).await
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.waiting.lock().waiting.remove(&self.number);
        self.all.depth.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let handshakes = Handshakes::new(2);
        let (first, pushed) = handshakes.enter();
        assert!(!pushed);
        let (second, pushed) = handshakes.enter();
        assert!(!pushed);
        let (third, pushed) = handshakes.enter();
        assert!(pushed);
        assert_eq!(first.run(pending::<()>()).await, None);
        assert_eq!(second.run(ready(2)).await, Some(2));
        // One that has ended leaves its place.
        drop(second);
        let (_fourth, pushed) = handshakes.enter();
        assert!(!pushed);
        assert_eq!(third.run(ready(3)).await, Some(3));
        drop(first);
        assert_eq!(handshakes.waiting.lock().waiting.len(), 2);
    }
}
