//! Streams for callers that come to an end: the stream ends with its caller, and says so.

use axum::body::Bytes;
use futures_util::{Stream, future::BoxFuture, stream};

use crate::stream::Client;

/// A stream and the end of its caller.
struct Mortal {
    client: Client,
    end: BoxFuture<'static, ()>,
    is_over: bool,
}

/// What a client gets until `end` comes, and the word of the stream that it has.
pub fn bodies(client: Client, end: BoxFuture<'static, ()>) -> impl Stream<Item = Bytes> {
    let mortal = Mortal { client, end, is_over: false };
    stream::unfold(mortal, |mut mortal| async { mortal.next().await.map(|body| (body, mortal)) })
}

impl Mortal {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.is_over {
            tokio::select! {
                biased;
                () = &mut self.end => {
                    self.is_over = true;
                    self.client.revoke();
                }
                body = self.client.next() => return body,
            }
        }
        self.client.next().await
    }
}
