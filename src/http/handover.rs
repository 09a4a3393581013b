//! How an event stream leaves the HTTP server: once its answer is known, HTTP/1.1 has nothing more to say on its
//! connection, and what `hyper` holds for one is many times what a stream needs.
//!
//! A handler answers with a head that carries its client ([`Prepared`]). The connection's service takes that and
//! lays both down in the [`Handover`]; the connection's task then takes the socket out of `hyper`, which has
//! written nothing of the answer yet, and `direct` goes on. Only where nothing of an earlier answer is still to be
//! written, which `patient` knows. Anywhere else, HTTP/2 above all, the client's bodies are the answer's body.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    body::{Body, Bytes},
    http::{Response, header, response::Parts},
};
use futures_util::{StreamExt, future::BoxFuture};
use parking_lot::Mutex;

use super::{mortal, watchers::Watching};
use crate::stream::Client;

/// A client, on its way through the layers of the router as an extension of its answer.
#[derive(Clone)]
pub struct Prepared(Arc<Mutex<Option<Watched>>>);

/// A client, its place among those who watch, and the end of its caller, where that has one.
pub struct Watched {
    pub client: Client,
    pub watching: Watching,
    pub end: Option<BoxFuture<'static, ()>>,
}

impl Prepared {
    /// An answer without a body, yet.
    pub fn new(client: Client, watching: Watching, end: Option<BoxFuture<'static, ()>>) -> Self {
        Self(Arc::new(Mutex::new(Some(Watched { client, watching, end }))))
    }

    /// Takes the client out of an answer, where it has one.
    pub fn take<B>(response: &mut Response<B>) -> Option<Watched> {
        let watched = response.extensions_mut().remove::<Self>()?.0.lock().take();
        // The router has counted the body that there is not yet.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        watched
    }
}

/// The answer whose body is what the client gets.
pub fn as_body(watched: Watched, mut response: Response<Body>) -> Response<Body> {
    let Watched { client, watching, end } = watched;
    let hold = move |body: Bytes| {
        let _held = &watching;
        Ok::<_, std::convert::Infallible>(body)
    };
    *response.body_mut() = match end {
        Some(end) => Body::from_stream(mortal::bodies(client, end).map(hold)),
        None => Body::from_stream(client.into_bodies().map(hold)),
    };
    response
}

/// A stream that waits for its socket.
pub struct Left {
    pub head: Parts,
    pub watched: Watched,
}

/// What a connection's task and its service tell each other. See the module.
#[derive(Default)]
pub struct Handover {
    has_begun: AtomicBool,
    is_stalled: AtomicBool,
    left: Mutex<Option<Box<Left>>>,
}

impl Handover {
    /// Notes that a request has come.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// Whether any request has come.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Notes whether there was no room for all that was to be written.
    pub fn set_stalled(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Lays a stream down; gives it back where the socket cannot be taken.
    pub fn leave(&self, left: Box<Left>) -> Result<(), Box<Left>> {
        if self.is_stalled.load(Ordering::Relaxed) {
            return Err(left);
        }
        *self.left.lock() = Some(left);
        Ok(())
    }

    /// Takes up what lies there.
    pub fn take(&self) -> Option<Box<Left>> {
        self.left.lock().take()
    }
}
