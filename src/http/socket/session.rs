//! One connection, from its first message to its end. What messages ask for is done in [`super::answer`].

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    super::{
        direct::Alarm,
        mqtt::Arrival,
        places::Place,
        routes::Context,
        watchers::{Watching, Who},
        writing::write_all,
    },
    window::Window,
};
use crate::{
    auth::web::Caller,
    limits,
    stream::{Attempt, Client, Form},
    websocket::{
        Violation,
        message::{self, Message, MessageDecoder},
    },
};

/// Bytes that are read at once; on the stack, and for a moment.
const READ_BYTES: usize = 4096;

/// The status of a Close frame that tells that the credentials are over (RFC 6455 section 7.4.2: private use): come
/// again with new ones, and resume.
pub const UNAUTHORIZED: u16 = 4401;

/// See the module.
pub struct Session {
    socket: TcpStream,
    decoder: MessageDecoder,
    may_compress: bool,
    pub(super) context: Context,
    pub(super) caller: Caller,
    /// Of the caller, if it is one that ends.
    end: Option<BoxFuture<'static, ()>>,
    pub(super) who: Who,
    /// While there is a stream.
    pub(super) watching: Option<Watching>,
    /// Held as long as the connection lasts.
    _place: Option<Arc<Place>>,
    pub(super) stream: Option<Box<Client>>,
    pub(super) window: Option<Window>,
    /// Commands whose answers are waited for.
    pub(super) commands: Option<Box<JoinSet<Vec<u8>>>>,
    /// When the client was last heard.
    heard: Instant,
    /// When it is looked at next.
    due: Instant,
    alarm: Alarm,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Why it is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the client has closed it")]
    Closed(Vec<u8>),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the bridge is shutting down")]
    Shutdown,
    #[error("the credentials have expired, or were revoked")]
    Unauthorized,
    #[error("nothing was heard of the client")]
    Silent,
    #[error("the journal cannot be read")]
    Unreadable,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What happens next.
enum Happening {
    Readable,
    Body(Option<Bytes>),
    /// A command has been answered; nothing, where the last one has been.
    Answered(Option<Vec<u8>>),
    /// The stream may have something to say.
    Changed,
    Due,
    Stop,
    CallerOver,
}

impl Session {
    pub fn new(
        socket: TcpStream,
        context: Context,
        caller: Caller,
        who: Who,
        arrival: Option<Arrival>,
        may_compress: bool,
    ) -> Self {
        let now = Instant::now();
        let due = now + context.services.streams.heartbeat();
        Self {
            socket,
            decoder: MessageDecoder::new(limits::SOCKET_MESSAGE_BYTES, may_compress),
            may_compress,
            due,
            alarm: Alarm::new(due),
            stop: Box::pin(context.stop.clone().cancelled_owned()),
            context,
            end: caller.end(),
            caller,
            who,
            watching: None,
            _place: arrival.map(|arrival| arrival.place),
            stream: None,
            window: None,
            commands: None,
            heard: now,
        }
    }

    /// How a stream is written that begins with such a window: as it is, unless each of its messages has to be
    /// looked at.
    pub(super) const fn form(&self, has_window: bool) -> Form {
        if self.may_compress || has_window { Form::Lines } else { Form::Messages }
    }

    /// Serves the client until either side has enough; `early` is what came behind its handshake.
    pub async fn run(mut self, early: Vec<u8>) {
        let Err(over) = self.converse(early).await else { return };
        tracing::debug!(peer = ?self.who.peer, reason = %over, "a WebSocket of the stream is over");
        let mut last = Vec::new();
        match &over {
            Over::Closed(payload) => message::write_closed(payload, &mut last),
            Over::Violation(violation) => message::write_close(violation.close_code(), &over.to_string(), &mut last),
            Over::Shutdown => message::write_close(1001, &over.to_string(), &mut last),
            Over::Unauthorized => message::write_close(UNAUTHORIZED, &over.to_string(), &mut last),
            Over::Silent => message::write_close(1008, &over.to_string(), &mut last),
            Over::Unreadable => message::write_close(1011, &over.to_string(), &mut last),
            Over::Io(_) => return,
        }
        // Whether it takes that is its own business.
        if self.write(&last).await.is_ok() {
            let _ = timeout(limits::HTTP_DRAIN, self.socket.shutdown()).await;
        }
    }

    async fn converse(&mut self, mut early: Vec<u8>) -> Result<(), Over> {
        let (messages, decoded) = self.decode(&mut early);
        drop(early);
        self.take(messages).await?;
        decoded?;
        loop {
            match self.next().await {
                Happening::Readable => self.read().await?,
                Happening::Body(Some(body)) => self.send(&body).await?,
                Happening::Body(None) if self.stream.as_ref().is_some_and(|stream| stream.is_told()) => {
                    (self.stream, self.watching) = (None, None);
                }
                Happening::Body(None) => {
                    let is_stopping = self.context.stop.is_cancelled();
                    return Err(if is_stopping { Over::Shutdown } else { Over::Unreadable });
                }
                Happening::Answered(Some(answer)) if answer.is_empty() => {}
                Happening::Answered(Some(answer)) => self.say(&answer).await?,
                Happening::Answered(None) => self.commands = None,
                Happening::Changed => {}
                Happening::Due => self.look_after().await?,
                Happening::Stop => return Err(Over::Shutdown),
                Happening::CallerOver => return Err(Over::Unauthorized),
            }
        }
    }

    async fn next(&mut self) -> Happening {
        tokio::task::consume_budget().await;
        let may_send = self.window.as_ref().is_none_or(Window::has_room);
        // A client that takes everything at once is heard nevertheless.
        let due = self.due;
        if let Some(happening) = poll_fn(|cx| Poll::Ready(self.happened(cx, due))).await {
            return happening;
        }
        match self.stream.as_mut().filter(|_| may_send).map(|stream| stream.try_next()) {
            Some(Attempt::Body(body)) => Happening::Body(Some(body)),
            // Boxed: it is much larger than all else, and seldom.
            Some(Attempt::Wait) => Box::pin(self.wait_for_stream()).await,
            Some(Attempt::Nothing) => self.wait(true).await,
            None => self.wait(false).await,
        }
    }

    /// What has happened beside the stream; at `due`, that may have something to say.
    fn happened(&mut self, cx: &mut std::task::Context<'_>, due: Instant) -> Option<Happening> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Some(Happening::Stop);
        }
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return Some(Happening::CallerOver);
        }
        // What is wrong with it, reading says.
        if self.socket.poll_read_ready(cx).is_ready() {
            return Some(Happening::Readable);
        }
        if let Some(commands) = &mut self.commands
            && let Poll::Ready(answered) = commands.poll_join_next(cx)
        {
            // One that has failed has been told of as far as it can be.
            return Some(Happening::Answered(answered.map(Result::unwrap_or_default)));
        }
        if self.alarm.poll(cx, due).is_pending() {
            return None;
        }
        Some(if self.due <= Instant::now() { Happening::Due } else { Happening::Changed })
    }

    /// Waits for anything; for something new in the stream where that has nothing to say.
    async fn wait(&mut self, for_stream: bool) -> Happening {
        let mut stream = self.stream.take();
        let heartbeat = stream.as_ref().filter(|_| for_stream).map(|stream| stream.heartbeat());
        let due = heartbeat.map_or(self.due, |heartbeat| heartbeat.min(self.due));
        let happening = {
            let changed = async {
                match stream.as_mut().filter(|_| for_stream) {
                    Some(stream) => stream.changed().await,
                    None => std::future::pending().await,
                }
            };
            let mut changed = pin!(changed);
            poll_fn(|cx| {
                if changed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Happening::Changed);
                }
                self.happened(cx, due).map_or(Poll::Pending, Poll::Ready)
            })
            .await
        };
        self.stream = stream;
        happening
    }

    /// Waits for anything, and for what the stream has to look for.
    async fn wait_for_stream(&mut self) -> Happening {
        let (mut stream, due) = (self.stream.take(), self.due);
        let happening = {
            let body = async {
                match stream.as_mut() {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            let mut body = pin!(body);
            poll_fn(|cx| {
                if let Some(happening) = self.happened(cx, due) {
                    return Poll::Ready(happening);
                }
                body.as_mut().poll(cx).map(Happening::Body)
            })
            .await
        };
        self.stream = stream;
        happening
    }

    async fn read(&mut self) -> Result<(), Over> {
        let (messages, decoded) = {
            let mut buffer = [0; READ_BYTES];
            let read = match self.socket.try_read(&mut buffer) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.decode(buffer.get_mut(..read).unwrap_or_default())
        };
        self.heard = Instant::now();
        self.take(messages).await?;
        decoded?;
        Ok(())
    }

    fn decode(&mut self, raw: &mut [u8]) -> (Vec<Message>, Result<(), Violation>) {
        let mut messages = Vec::new();
        let decoded = self.decoder.decode(raw, |message| messages.push(message));
        (messages, decoded)
    }

    async fn take(&mut self, messages: Vec<Message>) -> Result<(), Over> {
        for message in messages {
            let mut out = Vec::new();
            match message {
                Message::Text(text) => {
                    if let Some(answer) = Box::pin(self.answer(&text)).await {
                        message::write_text(&answer, self.may_compress, &mut out);
                    }
                }
                Message::Ping(payload) => message::write_pong(&payload, &mut out),
                Message::Pong => continue,
                Message::Close(payload) => return Err(Over::Closed(payload)),
            }
            self.write(&out).await?;
        }
        Ok(())
    }

    async fn say(&mut self, message: &[u8]) -> Result<(), Over> {
        let mut out = Vec::new();
        message::write_text(message, self.may_compress, &mut out);
        self.write(&out).await
    }

    /// Writes what the stream says: as it is, or a message for each line.
    async fn send(&mut self, body: &[u8]) -> Result<(), Over> {
        if self.stream.as_ref().is_none_or(|stream| stream.form() == Form::Messages) {
            return self.write(body).await;
        }
        let mut out = Vec::with_capacity(body.len() + body.len() / 16);
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(window) = &mut self.window {
                window.note(line);
            }
            message::write_text(line, self.may_compress, &mut out);
        }
        self.write(&out).await
    }

    /// Writes as slowly as the client reads, as long as it does.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        Ok(write_all(&self.socket, bytes, self.context.patience).await?)
    }

    /// Pings a client that has been silent, and gives up one that does not answer.
    async fn look_after(&mut self) -> Result<(), Over> {
        let interval = self.context.services.streams.heartbeat();
        self.due = Instant::now() + interval;
        let silence = self.heard.elapsed();
        if silence > interval * limits::SOCKET_PINGS {
            return Err(Over::Silent);
        }
        let mut out = Vec::new();
        message::write_ping(&mut out);
        self.write(&out).await
    }
}
