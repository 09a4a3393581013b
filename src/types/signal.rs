//! A wake-up that many may ring and one task waits for.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;

/// Wakes the one task that waits on it. Rings between two waits are merged into one, so the
/// waiter must look at everything the signal may stand for.
#[derive(Debug, Default)]
pub struct Signal {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    /// A signal that has not rung.
    #[must_use]
    pub const fn new() -> Self {
        Self { rung: AtomicBool::new(false), waker: AtomicWaker::new() }
    }

    /// Wakes the waiter, now or at its next wait.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready once the signal has rung since the last time this was ready.
    pub fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rung.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until the signal rings. Cancel safe: a ring is consumed only when this returns.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }
}
