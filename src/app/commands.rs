//! Lets the HTTP server give commands through the broker, and ask for them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::publishing::refusal;
use crate::{
    config::CommandsSettings,
    http::{Commander, PublishRefusal},
    mqtt::{CommandError, CommandSettings, Commands},
    types::{CommandInfo, CommandPage, CommandRequest, CommandTold},
};

/// The broker.
pub struct ByHttp(pub Commands);

/// Commands as configured.
pub fn settings(settings: &CommandsSettings) -> CommandSettings {
    CommandSettings {
        topic: settings.topic.as_str().to_owned(),
        response_topic: settings.response_topic.as_str().to_owned(),
        expiry: settings.expiry,
    }
}

impl Commander for ByHttp {
    fn request(&self, request: CommandRequest) -> BoxFuture<'_, Result<CommandTold, PublishRefusal>> {
        Box::pin(async move { self.0.request(request).await.map_err(why) })
    }

    fn settled(&self, id: Uuid, wait: Duration) -> BoxFuture<'_, Result<Option<CommandInfo>, PublishRefusal>> {
        Box::pin(async move { self.0.settled(id, wait).await.map_err(why) })
    }

    fn find(&self, id: Uuid) -> BoxFuture<'_, Result<Option<CommandInfo>, PublishRefusal>> {
        Box::pin(async move { self.0.find(id).await.map_err(why) })
    }

    fn of_device<'a>(&'a self, device: &'a str, limit: usize) -> BoxFuture<'a, Result<CommandPage, PublishRefusal>> {
        Box::pin(async move { self.0.of_device(device, limit).await.map_err(why) })
    }
}

fn why(error: CommandError) -> PublishRefusal {
    let words = error.to_string();
    match error {
        CommandError::Publish(error) => refusal(error),
        CommandError::Device | CommandError::Topic(..) | CommandError::OwnAnswer(_) => PublishRefusal::Invalid(words),
        CommandError::KeyReused => PublishRefusal::KeyReused(words),
        CommandError::InProgress => PublishRefusal::InProgress(words),
        CommandError::TooMany => PublishRefusal::TooMany(words),
        CommandError::Unavailable => PublishRefusal::Unavailable(words),
    }
}
