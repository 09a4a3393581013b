//! An event stream on a socket of its own: what is left of an HTTP connection once its answer is an event stream
//! (`handover`).
//!
//! One task a client. A client that keeps up costs one look into the window and one write for each event, or for
//! all events that wait; its body is shared with all clients that want the same. An idle one holds no buffer, no
//! reader, and no more of a task than it takes to wait for whichever comes first: an event, the time of a sign of
//! life, the end of its connection, the end of the bridge. The answer's body ends with the connection
//! (RFC 9112 section 6.3), so that events need no frames around them.

use std::{
    fmt::Write,
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{HeaderMap, response::Parts};
use futures_util::future::BoxFuture;
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{handover::Watched, places::Place, watchers::Watching, writing::write_all};
use crate::stream::{Attempt, Client};

/// Bytes that are read at once of what a client has no reason to say.
const IGNORED_BYTES: usize = 512;

/// See the module.
pub struct Direct {
    socket: TcpStream,
    client: Client,
    /// Of the caller, if it is one that ends; the stream ends with it, and says so.
    end: Option<BoxFuture<'static, ()>>,
    /// Held as the next.
    _watching: Watching,
    patience: Duration,
    alarm: Alarm,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Held as long as the connection lasts.
    _place: Arc<Place>,
}

/// A time that mostly moves on, in one timer that is then set again no more often than it fires.
pub struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// One that is set to `due`.
    pub fn new(due: Instant) -> Self {
        Self(Box::pin(sleep_until(due)))
    }

    /// Ready when `due` has come.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        if due < self.0.deadline() {
            self.0.as_mut().reset(due);
        }
        while self.0.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl Direct {
    /// A stream whose answer has not been written.
    pub fn new(
        socket: TcpStream,
        watched: Watched,
        place: Arc<Place>,
        patience: Duration,
        stop: CancellationToken,
    ) -> Self {
        let Watched { client, watching, end } = watched;
        let alarm = Alarm::new(client.heartbeat());
        Self {
            socket,
            client,
            end,
            _watching: watching,
            patience,
            alarm,
            stop: Box::pin(stop.cancelled_owned()),
            _place: place,
        }
    }

    /// Answers, and sends what the stream says until it is over or its client has gone.
    pub async fn run(mut self, head: Parts) -> io::Result<()> {
        let mut first = written(&head);
        drop(head);
        // Waits for nothing: it begins with a greeting.
        let greeting = Box::pin(self.client.next()).await.unwrap_or_default();
        first.extend_from_slice(&greeting);
        self.write(&first).await?;
        drop((first, greeting));
        loop {
            // Also where it always has something to say.
            if self.end.is_some() && poll_fn(|cx| Poll::Ready(is_over(&mut self.end, cx))).await {
                self.revoke();
            }
            let body = match self.client.try_next() {
                Attempt::Body(body) => body,
                Attempt::Nothing => {
                    if !self.wait().await? {
                        return Ok(());
                    }
                    continue;
                }
                // Boxed: it is much larger than all else, and seldom.
                Attempt::Wait => match Box::pin(self.next()).await? {
                    Some(body) => body,
                    None => return Ok(()),
                },
            };
            self.write(&body).await?;
            tokio::task::consume_budget().await;
        }
    }

    /// Waits until there may be something to say; false when the bridge stops.
    async fn wait(&mut self) -> io::Result<bool> {
        let Self { socket, client, alarm, stop, end, .. } = self;
        let due = client.heartbeat();
        let woken = {
            let mut changed = pin!(client.changed());
            poll_fn(|cx| {
                if is_over(end, cx) {
                    return Poll::Ready(Ok(Woken::CallerOver));
                }
                if changed.as_mut().poll(cx).is_ready() || alarm.poll(cx, due).is_ready() {
                    return Poll::Ready(Ok(Woken::Changed));
                }
                if stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(Woken::Stop));
                }
                poll_gone(socket, cx).map(Err)
            })
            .await?
        };
        if matches!(woken, Woken::CallerOver) {
            self.revoke();
        }
        Ok(!matches!(woken, Woken::Stop))
    }

    /// What has to be waited for; none when the stream is over.
    async fn next(&mut self) -> io::Result<Option<bytes::Bytes>> {
        let Self { socket, client, end, .. } = self;
        tokio::select! {
            biased;
            () = poll_fn(|cx| if is_over(end, cx) { Poll::Ready(()) } else { Poll::Pending }) => {}
            body = client.next() => return Ok(body),
            error = poll_fn(|cx| poll_gone(socket, cx)) => return Err(error),
        }
        self.revoke();
        Ok(self.client.next().await)
    }

    /// Ends the stream because its caller is over.
    fn revoke(&mut self) {
        self.end = None;
        self.client.revoke();
    }

    /// Writes; gives up a client that takes nothing.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all(&self.socket, bytes, self.patience).await
    }
}

/// What a wait has ended with.
enum Woken {
    Changed,
    CallerOver,
    Stop,
}

fn is_over(end: &mut Option<BoxFuture<'static, ()>>, cx: &mut Context<'_>) -> bool {
    end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready())
}

/// Ready when the client has closed its connection. What it says before is ignored: it has asked for a stream, which
/// has no end.
fn poll_gone(socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Error> {
    loop {
        match socket.poll_read_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) => {}
        }
        match socket.try_read(&mut [0; IGNORED_BYTES]) {
            Ok(0) => return Poll::Ready(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(error),
        }
    }
}

/// The head of an answer whose body ends with the connection.
fn written(head: &Parts) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\n", head.status);
    if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "date: {date}\r\n");
    }
    text.push_str("connection: close\r\n");
    let mut bytes = text.into_bytes();
    append_headers(&head.headers, &mut bytes);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn append_headers(headers: &HeaderMap, bytes: &mut Vec<u8>) {
    for (name, value) in headers {
        // No value has a line end: `HeaderValue` takes none.
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
}
