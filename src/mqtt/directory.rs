//! What sessions there are, for people who ask: a page at a time, in the order of client identifiers. And what is
//! retained, for streams that begin with it.
//!
//! Three places know something of a session: its living half, the connection ([`super::presence`]), and
//! the ledger, which is the dispatcher's. The first two are looked at here, in the time of whoever asks;
//! the dispatcher is sent a [`Question`] and answers it between two slices of the journal, so that nothing
//! on the way of a message takes a lock for this. What comes out was true of each session at some moment
//! while the answer was made. Where no dispatcher runs, there is no answer.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    Broker,
    codec::ProtocolVersion,
    commands::table::{Known, Room},
    dispatch::Dispatch,
    ledger::Account,
    mailbox::Mailbox,
    session::{Session, SessionId},
};
use crate::{
    journal::OwnedRecord,
    limits,
    types::{CommandPage, Micros, Sequence, SessionInfo, SessionPage, SessionQuery},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The dispatcher is not there, or ends.
    #[error("the dispatcher does not answer")]
    Unavailable,
}

/// What only the dispatcher knows.
pub enum Question {
    /// What the ledger has of sessions, in the order in which they are asked for.
    Sessions { sessions: Vec<SessionId>, answer: oneshot::Sender<Vec<Option<Recorded>>> },
    /// Retained messages behind a topic that are older than a record.
    Retained { after: Option<String>, before: Sequence, answer: oneshot::Sender<RetainedPage> },
    /// Whether there is room for a command to a device, and whether the name of its request is known.
    CommandRoom { key: Option<String>, device: String, answer: oneshot::Sender<Room> },
    /// A command.
    Command { id: Uuid, answer: oneshot::Sender<Option<Known>> },
    /// The newest commands of a device.
    Commands { device: String, limit: usize, answer: oneshot::Sender<CommandPage> },
}

/// Some retained messages, by topic.
#[derive(Clone, Debug, Default)]
pub struct RetainedPage {
    /// The messages.
    pub messages: Vec<Arc<OwnedRecord>>,
    /// The topic behind which there may be more.
    pub next: Option<String>,
}

/// What is on record of a session.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    since: Micros,
    expiry: u32,
    expires_at: Option<Micros>,
    in_flight: Option<u64>,
}

/// The way to the dispatcher.
#[derive(Default)]
pub struct Directory(Mutex<Option<mpsc::Sender<Question>>>);

impl Directory {
    /// Where questions come out from now on.
    pub fn open(&self) -> mpsc::Receiver<Question> {
        let (sender, receiver) = mpsc::channel(limits::SESSION_QUESTIONS);
        *self.0.lock() = Some(sender);
        receiver
    }

    /// Asks the dispatcher.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, DirectoryError> {
        let sender = self.0.lock().clone().ok_or(DirectoryError::Unavailable)?;
        let (answer, answered) = oneshot::channel();
        sender.send(question(answer)).await.map_err(|_| DirectoryError::Unavailable)?;
        answered.await.map_err(|_| DirectoryError::Unavailable)
    }
}

impl Dispatch {
    /// Answers from the ledger and the retained messages. Whoever asked may have gone.
    pub(super) fn answer(&self, question: Question) {
        match question {
            Question::Sessions { sessions, answer } => {
                let recorded = |id: &SessionId| self.ledger.get(*id).map(Recorded::of);
                drop(answer.send(sessions.iter().map(recorded).collect()));
            }
            Question::Retained { after, before, answer } => {
                let (messages, next) = self.retained.older_than(before, after.as_deref(), limits::RETAINED_STEP);
                drop(answer.send(RetainedPage { messages, next: next.map(Into::into) }));
            }
            Question::CommandRoom { key, device, answer } => {
                let _ = answer.send(self.commands.room(key.as_deref(), &device));
            }
            Question::Command { id, answer } => drop(answer.send(self.commands.known(id))),
            Question::Commands { device, limit, answer } => drop(answer.send(self.commands.page(&device, limit))),
        }
    }
}

impl Recorded {
    fn of(account: &Account) -> Self {
        Self {
            since: account.since,
            expiry: account.expiry,
            expires_at: account.expires_at(),
            in_flight: in_flight(account, &account.session.mailbox.lock()),
        }
    }
}

/// Messages sent and not acknowledged, as far as acknowledgements are on record; unknown where the queue is
/// not kept. Those given to other members of a shared subscription make it a little too low.
pub fn in_flight(account: &Account, mailbox: &Mailbox) -> Option<u64> {
    let queue = &account.queue;
    let unacknowledged = (queue.next() - queue.base()).saturating_sub(queue.beyond().len() as u64);
    account.tracked.then(|| unacknowledged.saturating_sub(mailbox.waiting() as u64))
}

impl Broker {
    /// One page of sessions.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn session_page(&self, query: &SessionQuery) -> Result<SessionPage, DirectoryError> {
        let (mut page, mut is_last) = self.after(query.cursor.as_deref(), usize::from(query.limit));
        if query.filters {
            let within = within(&page, limits::SESSIONS_PAGE_BYTES);
            is_last &= within == page.len();
            page.truncate(within);
        }
        let next_cursor = page.last().filter(|_| !is_last).map(|session| session.client_id.as_str().to_owned());
        Ok(SessionPage { sessions: self.describe(&page, query.filters).await?, next_cursor })
    }

    /// The session of a client, with its filters.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn session(&self, client_id: &str) -> Result<Option<SessionInfo>, DirectoryError> {
        let found: Vec<_> = self.sessions.of_client(client_id).into_iter().collect();
        Ok(self.describe(&found, true).await?.pop())
    }

    /// Retained messages behind a topic, by topic, that are older than a record: as many as are found among the next
    /// [`limits::RETAINED_STEP`].
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn retained_before(
        &self,
        before: Sequence,
        after: Option<String>,
    ) -> Result<RetainedPage, DirectoryError> {
        self.directory.ask(|answer| Question::Retained { after, before, answer }).await
    }

    /// Since when a client is connected, if it is.
    #[must_use]
    pub fn connected_since(&self, client_id: &str) -> Option<Micros> {
        let session = self.sessions.of_client(client_id)?;
        session.presence.lock().as_ref().map(|presence| presence.since)
    }

    /// The first sessions behind a client identifier, and whether there are no others.
    fn after(&self, cursor: Option<&str>, limit: usize) -> (Vec<Arc<Session>>, bool) {
        let mut sessions = self.sessions.all();
        sessions.retain(|session| cursor.is_none_or(|cursor| session.client_id.as_str() > cursor));
        let is_last = sessions.len() <= limit;
        if !is_last {
            sessions.select_nth_unstable_by(limit, |one, other| one.client_id.cmp(&other.client_id));
            sessions.truncate(limit);
        }
        sessions.sort_unstable_by(|one, other| one.client_id.cmp(&other.client_id));
        (sessions, is_last)
    }

    async fn describe(&self, sessions: &[Arc<Session>], filters: bool) -> Result<Vec<SessionInfo>, DirectoryError> {
        let ids = sessions.iter().map(|session| session.id).collect();
        let recorded = self.directory.ask(|answer| Question::Sessions { sessions: ids, answer }).await?;
        let described = |(session, recorded): (&Arc<Session>, Option<Recorded>)| self.info(session, recorded, filters);
        Ok(sessions.iter().zip(recorded).map(described).collect())
    }

    fn info(&self, session: &Session, recorded: Option<Recorded>, filters: bool) -> SessionInfo {
        let presence = session.presence.lock().clone();
        let (subscriptions, filters) = {
            let known = session.subscriptions.lock();
            (known.len(), filters.then(|| known.iter().map(ToString::to_string).collect::<Vec<_>>()))
        };
        let filters = filters.map(|mut filters| {
            filters.sort_unstable();
            filters
        });
        let told = presence.as_ref().map(|presence| presence.in_flight());
        let mailbox = session.mailbox.lock();
        SessionInfo {
            client_id: session.client_id.as_str().to_owned(),
            user: session.owner().map(|owner| owner.to_string()),
            connected: presence.is_some(),
            since: presence.as_ref().map(|presence| presence.since).or(recorded.map(|recorded| recorded.since)),
            peer: presence.as_ref().map(|presence| presence.peer.to_string()),
            protocol_version: presence.as_ref().map(|presence| version_name(presence.version)),
            keep_alive: presence.as_ref().map(|presence| keep_alive(presence.silence)),
            session_expiry_interval: recorded.map(|recorded| recorded.expiry),
            expires_at: recorded.and_then(|recorded| recorded.expires_at).filter(|_| presence.is_none()),
            subscriptions,
            filters,
            queued_messages: mailbox.waiting(),
            queued_bytes: mailbox.bytes(),
            in_flight: told.or(recorded.and_then(|recorded| recorded.in_flight)),
            dropped: mailbox.dropped(),
            // A session that is younger has had none before.
            dropped_since: self.started,
        }
    }
}

/// How many sessions it takes for this many bytes of filters; at least one.
fn within(sessions: &[Arc<Session>], bytes: usize) -> usize {
    let mut left = bytes;
    let fits = |session: &&Arc<Session>| {
        let fits = left > 0;
        left = left.saturating_sub(session.subscriptions.lock().iter().map(|filter| filter.len()).sum());
        fits
    };
    sessions.iter().take_while(fits).count()
}

pub(super) const fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}

/// In seconds: silence is allowed for one and a half times as long (MQTT 5.0 section 3.1.2.10).
fn keep_alive(silence: Option<Duration>) -> u16 {
    silence.map_or(0, |silence| u16::try_from(silence.as_millis() * 2 / 3 / 1000).unwrap_or(u16::MAX))
}
