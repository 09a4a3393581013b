//! Streams for callers that come to an end: the stream ends with its caller, and says so.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::{future::BoxFuture, stream};

use crate::stream::Client;

/// A stream and the end of its caller.
struct Mortal {
    client: Client,
    end: BoxFuture<'static, ()>,
    is_over: bool,
}

/// A body that ends when `end` comes, with the word of the stream that it has.
pub fn body(client: Client, end: BoxFuture<'static, ()>) -> Body {
    let mortal = Mortal { client, end, is_over: false };
    Body::from_stream(stream::unfold(mortal, |mut mortal| async {
        mortal.next().await.map(|body| (Ok::<_, Infallible>(body), mortal))
    }))
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
