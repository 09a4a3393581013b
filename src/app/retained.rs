//! Lets streams ask the broker for retained messages.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    mqtt::Broker,
    stream::{RetainedMessages, RetainedPage},
    types::Sequence,
};

/// The broker's retained messages.
pub struct Retained(pub Arc<Broker>);

impl RetainedMessages for Retained {
    fn page(&self, after: Option<String>, before: Sequence) -> BoxFuture<'_, Option<RetainedPage>> {
        Box::pin(async move {
            let page = self.0.retained_before(before, after).await.ok()?;
            Some(RetainedPage { messages: page.messages, next: page.next })
        })
    }
}
