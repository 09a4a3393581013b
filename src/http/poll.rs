//! The stream an answer at a time: for clients that can neither keep a response open nor speak WebSocket.
//!
//! An answer is one body of the stream, or the whole snapshot that was asked for: what there is behind `after`, or
//! what comes first within `wait`. Its `lastEventId` is the next question's `after`; nothing is lost between
//! the two, since a client is nothing but its cursor. It is written as it is gathered, so that a snapshot of any
//! size costs one body; where it cannot be finished, the connection is broken off.

use std::io;

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use futures_util::{future::BoxFuture, stream};

use super::{
    routes::Context,
    watchers::{Transport, Watching, Who},
};
use crate::{
    auth::web::Caller,
    stream::{Client, Subscription},
};

/// What a message that only moves the position begins with.
const POSITION: &str = r#"{"type":"position""#;

/// Answers with what comes next, as long as the caller is not over; `who` is the caller as one who watches.
pub fn answer(context: &Context, subscription: Subscription, caller: &Caller, who: &Who) -> Response {
    let watching = context.watchers.enter(who, Transport::LongPoll, subscription.mode, &subscription.filter);
    let client = context.services.streams.client(subscription, context.stop.clone());
    let poll = Poll { client, end: caller.end(), _watching: watching, part: Part::Greeting, has_messages: false };
    let headers = [(header::CONTENT_TYPE, "application/json"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Body::from_stream(stream::try_unfold(poll, Poll::next))).into_response()
}

struct Poll {
    client: Client,
    /// Of the caller.
    end: Option<BoxFuture<'static, ()>>,
    _watching: Watching,
    part: Part,
    has_messages: bool,
}

/// What comes next of the answer.
enum Part {
    Greeting,
    Messages,
    End,
}

impl Poll {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let mut out = String::new();
        match self.part {
            Part::Greeting => {
                out.push_str("{\"messages\":[");
                // `connected` is for streams; what may stand behind it is a gap.
                let greeting = self.client.next().await.unwrap_or_default();
                let greeting = String::from_utf8_lossy(&greeting);
                self.add(greeting.split_once('\n').map_or("", |(_, rest)| rest), &mut out);
                self.part = Part::Messages;
            }
            Part::Messages => {}
            Part::End => return Ok(None),
        }
        match self.wait().await {
            Some(body) => self.add(&String::from_utf8_lossy(&body), &mut out),
            None if self.client.has_snapshot_ahead() => {
                return Err(io::Error::other("the bridge or its caller ends in the middle of a snapshot"));
            }
            None => {}
        }
        if !self.client.has_snapshot_ahead() {
            out.push_str(&format!("],\"lastEventId\":\"{}\"}}", self.client.position()));
            self.part = Part::End;
        }
        Ok(Some((out.into(), self)))
    }

    /// The next body; none when the stream or its caller ends.
    async fn wait(&mut self) -> Option<Bytes> {
        let Some(end) = &mut self.end else { return self.client.next().await };
        tokio::select! {
            biased;
            () = end => None,
            body = self.client.next() => body,
        }
    }

    /// Adds messages, a line each, to the array.
    fn add(&mut self, lines: &str, out: &mut String) {
        for line in lines.lines().filter(|line| !line.starts_with(POSITION)) {
            if std::mem::replace(&mut self.has_messages, true) {
                out.push(',');
            }
            out.push_str(line);
        }
    }
}
