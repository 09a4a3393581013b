//! A WebSocket as a stream of bytes: what is read is the payload of binary frames, what is
//! written becomes binary frames.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    decoder::{Control, Decoder, Violation},
    frame::{self, Opcode},
};

/// Bytes of MQTT that one frame holds at most: as much as is copied at a time.
const FRAME_BYTES: usize = 16 << 10;

/// Close frame with the status 1000, the normal end.
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

/// The server's side of a WebSocket whose handshake is done. One task reads and writes.
///
/// Pings are answered and a Close frame is returned by whoever polls next, reader or writer; only
/// the last ping is (RFC 6455 section 5.5.3), so a flood of them takes no memory. Reading ends
/// behind the peer's Close frame. Shutting down sends one.
#[derive(Debug)]
pub struct WebSocket<S> {
    io: S,
    /// What was read behind the handshake and is not decoded yet.
    early: Bytes,
    decoder: Decoder,
    reading: Reading,
    /// Frames on their way, from `sent` on; empty means no allocation.
    out: Vec<u8>,
    sent: usize,
    /// Payload of the Pong to send next.
    pong: Option<Vec<u8>>,
    closing: Closing,
}

/// What reading has come to.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Open,
    /// The peer sent a Close frame.
    Closed,
    /// The peer broke the protocol.
    Broken(Violation),
}

/// What has become of our Close frame.
#[derive(Debug)]
enum Closing {
    /// Not asked for.
    No,
    /// To be sent behind what is on its way, with this payload.
    Due(Vec<u8>),
    /// Nothing may be sent any more.
    Done,
}

impl<S> WebSocket<S> {
    /// A WebSocket on `io`; `early` is what came behind the client's handshake.
    pub fn new(io: S, early: Bytes) -> Self {
        // An empty one may still hold on to the buffer that it was cut from.
        let early = if early.is_empty() { Bytes::new() } else { early };
        Self {
            io,
            early,
            decoder: Decoder::default(),
            reading: Reading::Open,
            out: Vec::new(),
            sent: 0,
            pong: None,
            closing: Closing::No,
        }
    }

    /// The connection below.
    pub const fn get_ref(&self) -> &S {
        &self.io
    }

    /// Bytes that are held for the peer.
    #[cfg(test)]
    pub fn buffered(&self) -> usize {
        self.early.len() + self.out.capacity() + self.pong.as_ref().map_or(0, Vec::capacity)
    }

    /// The same WebSocket on a connection that `change` has made of the one below.
    pub fn map<T>(self, change: impl FnOnce(S) -> T) -> WebSocket<T> {
        let Self { io, early, decoder, reading, out, sent, pong, closing } = self;
        WebSocket { io: change(io), early, decoder, reading, out, sent, pong, closing }
    }

    /// Decodes what `raw` holds, in place; returns how much of it is MQTT.
    fn take_in(&mut self, raw: &mut [u8]) -> usize {
        let (pong, closing, reading) = (&mut self.pong, &mut self.closing, &mut self.reading);
        let (kept, decoded) = self.decoder.decode(raw, |control| match control {
            Control::Ping(payload) => *pong = Some(payload),
            Control::Close(payload) => {
                *reading = Reading::Closed;
                if let Closing::No = closing {
                    *closing = Closing::Due(payload.into_iter().take(NORMAL_CLOSURE.len()).collect());
                }
            }
        });
        if let Err(violation) = decoded {
            self.reading = Reading::Broken(violation);
            if let Closing::No = self.closing {
                self.closing = Closing::Due(violation.close_code().to_be_bytes().to_vec());
            }
        }
        kept
    }

    /// Frames what is due. False when nothing is.
    fn stage_control(&mut self) -> bool {
        if let Some(payload) = self.pong.take() {
            if !matches!(self.closing, Closing::Done) {
                frame::encode(Opcode::Pong, &payload, &mut self.out);
            }
            return true;
        }
        match std::mem::replace(&mut self.closing, Closing::Done) {
            Closing::Due(payload) => {
                frame::encode(Opcode::Close, &payload, &mut self.out);
                true
            }
            other => {
                self.closing = other;
                false
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Ready when everything that is on its way or due has been handed to the connection below.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.sent += written,
                }
            }
            (self.out, self.sent) = (Vec::new(), 0);
            if !self.stage_control() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends an answer to a control frame as far as it goes now. Should it fail, the next write
    /// finds out; waiting for a peer that does not read is the writer's business.
    fn answer_control(&mut self, cx: &mut Context<'_>) {
        let is_due = self.pong.is_some() || matches!(self.closing, Closing::Due(_));
        if is_due && let Poll::Ready(Ok(())) = self.poll_send(cx) {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.reading {
                Reading::Open => {}
                Reading::Closed => return Poll::Ready(Ok(())),
                Reading::Broken(violation) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
            }
            let start = buffer.filled().len();
            if this.early.is_empty() {
                ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
            } else {
                let length = this.early.len().min(buffer.remaining());
                buffer.put_slice(this.early.get(..length).unwrap_or_default());
                this.early.advance(length);
                if this.early.is_empty() {
                    this.early = Bytes::new();
                }
            }
            let raw = buffer.filled_mut().get_mut(start..).unwrap_or_default();
            if raw.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let kept = this.take_in(raw);
            buffer.set_filled(start + kept);
            this.answer_control(cx);
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if let Closing::Done = this.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let payload = data.get(..FRAME_BYTES).unwrap_or(data);
        if !payload.is_empty() {
            frame::encode(Opcode::Binary, payload, &mut this.out);
            // Accepted, whatever comes of it now: what is left goes with the next call.
            if let Poll::Ready(Err(error)) = this.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(payload.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Closing::No = this.closing {
            this.closing = Closing::Due(NORMAL_CLOSURE.to_vec());
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
