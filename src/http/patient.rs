//! A connection that is given up when its other end takes nothing for too long.
//!
//! The time runs only while there is something to write and no room for any of it, so an idle connection costs
//! no timer, and a slow one is left alone as long as it moves. What waits for a client that does not read is
//! bounded anyway; this bounds for how long.
//!
//! It also gives back what was read before it was known which HTTP comes, and tells whether anything waits to be
//! written (`handover`).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::handover::Handover;

/// See the module.
pub struct Patient<S> {
    io: S,
    /// What comes before what is read.
    early: Bytes,
    handover: Arc<Handover>,
    patience: Duration,
    /// Runs since there was no room.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// A connection whose other end may take nothing for `patience`; `early` was read from it.
    pub const fn new(io: S, early: Bytes, handover: Arc<Handover>, patience: Duration) -> Self {
        Self { io, early, handover, patience, stalled: None }
    }

    /// The connection itself.
    pub fn into_inner(self) -> S {
        self.io
    }

    fn wait<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.handover.set_stalled(false);
            }
            return written;
        }
        self.handover.set_stalled(true);
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.early.len().min(buffer.remaining());
        buffer.put_slice(self.early.get(..length).unwrap_or_default());
        self.early.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, data);
        self.wait(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, data);
        self.wait(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn only_an_end_that_takes_nothing_is_given_up() {
        const PATIENCE: Duration = Duration::from_millis(600);
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = Patient::new(near, Bytes::new(), Arc::default(), PATIENCE);
        let begun = tokio::time::Instant::now();
        let reading = tokio::spawn(async move {
            // Slowly, but steadily.
            for _ in 0..8 {
                sleep(PATIENCE / 5).await;
                far.read_exact(&mut [0; 2]).await.unwrap();
            }
            far
        });
        patient.write_all(&[0; 18]).await.unwrap();
        let _far = reading.await.unwrap();
        assert!(begun.elapsed() > PATIENCE);
        // An idle one has no deadline.
        sleep(2 * PATIENCE).await;
        patient.write_all(&[0; 2]).await.unwrap();
        assert_eq!(patient.write_all(&[0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
