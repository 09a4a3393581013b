//! Dead letters, for the command line.

use std::sync::Arc;

use anyhow::Context;

use super::{database, routes};
use crate::{
    config::Settings,
    limits,
    mapping::{Mapper, RouteTable},
    timescale::{EventStore, Replayed, replay_dead_letters},
    types::{DeadLetter, DeadLetterQuery, TopicFilter},
};

const NO_DATABASE: &str = "dead letters are kept in the database, and `timescale.url` names none; without one, refused publications are \
     events whose metadata has `rejected`";

/// Shows the dead letters of topics that match, the last received first.
///
/// # Errors
/// When there is no database, when it does not answer, or as `show` says.
pub async fn list(
    settings: &Settings,
    filter: &TopicFilter,
    mut show: impl FnMut(&DeadLetter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let store = EventStore::new(&database(settings)?.context(NO_DATABASE)?);
    let mut query = DeadLetterQuery { limit: limits::MAXIMUM_DEAD_LETTERS_PAGE, cursor: None };
    loop {
        let page = store.dead_letters(&query).await?;
        page.dead_letters.iter().filter(|letter| filter.matches(&letter.topic)).try_for_each(&mut show)?;
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(());
        }
    }
}

/// Maps the dead letters of topics that match by the routes as they are now, and stores what
/// they become.
///
/// # Errors
/// When there is no database, when it does not answer, or when the routes cannot be compiled.
pub async fn replay(settings: &Settings, filter: &TopicFilter) -> anyhow::Result<Replayed> {
    let database = database(settings)?.context(NO_DATABASE)?;
    let routes: Arc<RouteTable> = routes::compile(settings)?.into();
    let mapper = |journal| -> Arc<dyn crate::types::EventMapper> {
        Arc::new(Mapper::new(Arc::clone(&routes), journal, &settings.pod.user_id))
    };
    Ok(replay_dead_letters(&database, filter, mapper).await?)
}
