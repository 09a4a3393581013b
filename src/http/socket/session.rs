//! One connection, from its first message to its end. What messages ask for is done in [`super::answer`].

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use super::{super::routes::Context, window::Window};
use crate::{
    auth::web::Caller,
    limits,
    stream::Client,
    types::Peer,
    websocket::{
        Violation,
        message::{self, Message, MessageDecoder},
    },
};

/// Bytes that are read at once; on the stack, and for a moment.
const READ_BYTES: usize = 4096;

/// What the last message of a stream begins with.
const END: &[u8] = br#"{"type":"end""#;

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
    peer: Option<Peer>,
    pub(super) stream: Option<Box<Client>>,
    pub(super) window: Option<Window>,
    /// Whether the stream has said why it is over.
    pub(super) is_told: bool,
    /// When the client was last heard.
    heard: Instant,
    /// When it is looked at next.
    due: Instant,
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
    Due,
    Stop,
    CallerOver,
}

impl Session {
    pub fn new(socket: TcpStream, context: Context, caller: Caller, peer: Option<Peer>, may_compress: bool) -> Self {
        let now = Instant::now();
        Self {
            socket,
            decoder: MessageDecoder::new(limits::SOCKET_MESSAGE_BYTES, may_compress),
            may_compress,
            due: now + context.services.streams.heartbeat(),
            context,
            end: caller.end(),
            caller,
            peer,
            stream: None,
            window: None,
            is_told: false,
            heard: now,
        }
    }

    /// Serves the client until either side has enough; `early` is what came behind its handshake.
    pub async fn run(mut self, early: Bytes) {
        let Err(over) = self.converse(early).await else { return };
        tracing::debug!(peer = ?self.peer, reason = %over, "a WebSocket of the stream is over");
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

    async fn converse(&mut self, early: Bytes) -> Result<(), Over> {
        let mut early = early.to_vec();
        let (messages, decoded) = self.decode(&mut early);
        drop(early);
        self.take(messages).await?;
        decoded?;
        loop {
            match self.next().await {
                Happening::Readable => self.read().await?,
                Happening::Body(Some(body)) => self.send(&body).await?,
                Happening::Body(None) if self.is_told => {
                    self.stream = None;
                }
                Happening::Body(None) => {
                    let is_stopping = self.context.stop.is_cancelled();
                    return Err(if is_stopping { Over::Shutdown } else { Over::Unreadable });
                }
                Happening::Due => self.look_after().await?,
                Happening::Stop => return Err(Over::Shutdown),
                Happening::CallerOver => return Err(Over::Unauthorized),
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let Self { socket, stream, window, context, due, end, .. } = self;
        let may_send = window.as_ref().is_none_or(Window::has_room);
        let body = async {
            match stream.as_mut().filter(|_| may_send) {
                Some(client) => client.next().await,
                None => std::future::pending().await,
            }
        };
        let end = async {
            match end {
                Some(end) => end.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = context.stop.cancelled() => Happening::Stop,
            () = end => Happening::CallerOver,
            // What is wrong with it, reading says.
            _ = socket.readable() => Happening::Readable,
            body = body => Happening::Body(body),
            () = sleep_until(*due) => Happening::Due,
        }
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
                    let answer = Box::pin(self.answer(&text)).await;
                    message::write_text(&answer, self.may_compress, &mut out);
                }
                Message::Ping(payload) => message::write_pong(&payload, &mut out),
                Message::Pong => continue,
                Message::Close(payload) => return Err(Over::Closed(payload)),
            }
            self.write(&out).await?;
        }
        Ok(())
    }

    /// Writes what the stream says, a message each.
    async fn send(&mut self, body: &[u8]) -> Result<(), Over> {
        let mut out = Vec::with_capacity(body.len() + body.len() / 16);
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(window) = &mut self.window {
                window.note(line);
            }
            self.is_told = line.starts_with(END);
            message::write_text(line, self.may_compress, &mut out);
        }
        self.write(&out).await
    }

    /// Writes as slowly as the client reads, as long as it does.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            let written = timeout(limits::HTTP_WRITE_TIMEOUT, self.socket.write(bytes)).await;
            let written = written.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
            if written == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
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
