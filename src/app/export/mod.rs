//! Events for a file: from the database where there is one, else from the journal, or from a bridge that runs.

mod remote;

use std::io::{self, Write};

use anyhow::{Context, bail};

pub use self::remote::Server;
use super::{database, event_mapper, journal_options};
use crate::{
    config::Settings,
    journal::{Journal, OpenError},
    stream::History,
    timescale::EventStore,
    types::{EventQuery, Order},
};

/// Takes one event after the other, as JSON.
pub type Take<'a> = &'a mut dyn FnMut(&str) -> anyhow::Result<()>;

/// Hands every event over that the query asks for, oldest first, whatever its limit: from `server`, a bridge that
/// runs, else from where these settings say.
///
/// # Errors
/// When the store cannot be read to the end, or as `take` says.
pub async fn export(
    settings: &Settings,
    query: EventQuery,
    server: Option<Server<'_>>,
    take: Take<'_>,
) -> anyhow::Result<()> {
    let query = EventQuery { order: Order::OldestFirst, cursor: None, ..query };
    if let Some(server) = server {
        return remote::export(server, &query, take).await;
    }
    match database(settings)? {
        Some(database) => EventStore::each(&database, &query, take).await,
        None => from_journal(settings, query, take).await,
    }
}

/// Opens the journal as a start of the bridge does: its end is repaired, and nothing else is touched.
async fn from_journal(settings: &Settings, mut query: EventQuery, take: Take<'_>) -> anyhow::Result<()> {
    let directory = settings.data_dir.join("journal");
    if !directory.is_dir() {
        bail!(
            "there is no journal in {}: `data_dir` says where the bridge keeps it, and `timescale.url` where the database \
             is",
            directory.display()
        );
    }
    let (journal, recovery) = match Journal::open(&directory, journal_options(settings)) {
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::ResourceBusy => bail!(
            "a bridge that runs holds the journal in {}; ask it: synap-mqtt export --url http://{} …",
            directory.display(),
            settings.http.bind
        ),
        opened => opened.with_context(|| format!("open the journal in {}", directory.display()))?,
    };
    for damage in &recovery.damage {
        writeln!(io::stderr(), "synap-mqtt: a part of the journal is lost: {damage}")?;
    }
    let history = History::new(journal.clone(), event_mapper(settings, &journal)?);
    loop {
        let page = history.query(query.clone()).await?;
        page.events.iter().try_for_each(|event| take(event))?;
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    tokio::task::spawn_blocking(move || journal.close()).await.context("close the journal")
}
