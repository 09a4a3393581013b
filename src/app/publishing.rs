//! Lets the HTTP server publish through the broker.

use futures_util::future::BoxFuture;

use crate::{
    http::{PublishRefusal, Publisher},
    mqtt::{PublishError, Publishing},
    types::{PublishRequest, Published},
};

/// The broker.
pub struct ByHttp(pub Publishing);

impl Publisher for ByHttp {
    fn publish(&self, request: PublishRequest) -> BoxFuture<'_, Result<Published, PublishRefusal>> {
        Box::pin(async move { self.0.publish(request).await.map_err(refusal) })
    }
}

/// Why, in words for whoever asked.
pub fn refusal(error: PublishError) -> PublishRefusal {
    let why = error.to_string();
    match error {
        PublishError::Topic | PublishError::Qos(_) | PublishError::Retain | PublishError::PayloadFormat => {
            PublishRefusal::Invalid(why)
        }
        PublishError::Reserved | PublishError::NotAuthorized => PublishRefusal::Forbidden(why),
        PublishError::TooLarge(_) => PublishRefusal::TooLarge(why),
        PublishError::KeyReused => PublishRefusal::KeyReused(why),
        PublishError::InProgress => PublishRefusal::InProgress(why),
        PublishError::Full | PublishError::Unavailable(_) => PublishRefusal::Unavailable(why),
    }
}
