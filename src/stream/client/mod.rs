//! One client: a cursor, a filter, and the loop that asks for what follows.
//!
//! The connection that carries it asks for the next body only once it has room. Between two
//! bodies a client is its cursor: no events, no place in a file, no turn at the disk. Asking may be given up at
//! any point and begun again ([`Client::next`] is cancel safe): what has been gathered stays here. A client that
//! keeps up is asked with [`Client::try_next`], which never waits.
//!
//! `live` gives every event, or drops the oldest; `newest` gives what is current by topic, at the start and in
//! turns.

mod live;
mod newest;

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Filter, Form, Mode, Shared, Start, Subscription,
    chunk::Body,
    frame::{self, EndReason, Gap, GapReason},
};
use crate::{
    journal::{ReadError, Watermark},
    types::{LastEventId, Sequence},
};
use newest::{Snapshot, Turns};

/// Longest part of a foreign id that a gap event repeats, in characters.
const REPEATED_ID: usize = 64;

/// What a client has to say at once.
pub enum Attempt {
    /// Whole events, or a sign of life.
    Body(Bytes),
    /// Nothing, until [`Client::changed`] or [`Client::heartbeat`].
    Nothing,
    /// What has to be waited for, with [`Client::next`].
    Wait,
}

/// A client of the stream.
pub struct Client {
    shared: Arc<Shared>,
    filter: Filter,
    form: Form,
    /// Everything wanted up to here was gathered, or a gap told that it was not.
    cursor: Sequence,
    /// The cursor when the last body was taken.
    handed: Sequence,
    /// Where it began.
    start: Sequence,
    /// Nothing behind this is wanted.
    until: Sequence,
    /// The cursor at the last heartbeat.
    announced: Sequence,
    /// What has been gathered for the next write.
    body: Body,
    /// Whether `body` has what a stream begins with, and nothing yet that would have to wait.
    is_new: bool,
    has_ended: bool,
    /// Whether it has said why it ended.
    is_told: bool,
    /// Whether it had all of the window when it last looked there.
    has_caught_up: bool,
    /// When it gets a sign of life, unless it gets something else before.
    heartbeat: Instant,
    silence: std::time::Duration,
    window: watch::Receiver<Sequence>,
    pace: Pace,
    /// While the newest event of each topic is being sent.
    snapshot: Option<Box<Snapshot>>,
    stop: CancellationToken,
}

/// What becomes of events when it does not keep up.
enum Pace {
    /// They wait.
    Guaranteed,
    /// The oldest are dropped.
    BestEffort(Dropped),
    /// Only the newest of each topic count.
    Latest(Box<Turns>),
}

/// Events that were dropped and not told of.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    count: u64,
    /// The cursor before the first of them.
    after: Sequence,
}

impl Client {
    /// A client from now on.
    pub(super) fn new(shared: Arc<Shared>, subscription: Subscription, stop: CancellationToken) -> Self {
        shared.clients.send_modify(|clients| *clients += 1);
        let Subscription { filter, start, mode, form, snapshot, until, heartbeat } = subscription;
        let visible = shared.journal.watermark(Watermark::Visible);
        let snapshot = (snapshot && start == Start::Now).then(Box::default);
        let silence = heartbeat.unwrap_or(shared.heartbeat);
        let mut client = Self {
            filter,
            form,
            cursor: visible,
            handed: visible,
            start: visible,
            until,
            announced: visible,
            body: Body::default(),
            is_new: true,
            has_ended: false,
            is_told: false,
            has_caught_up: false,
            heartbeat: Instant::now() + silence,
            silence,
            window: shared.window.watch(),
            pace: match mode {
                Mode::Guaranteed => Pace::Guaranteed,
                Mode::BestEffort => Pace::BestEffort(Dropped::default()),
                Mode::Latest { interval } => Pace::Latest(Box::new(Turns::new(&shared, interval))),
            },
            snapshot,
            stop,
            shared,
        };
        let foreign = client.begin_at(start, visible);
        let at = client.snapshot.is_none().then(|| client.here());
        client.body.append_always(|out| frame::connected(form, Uuid::new_v4(), at, out));
        client.tell_foreign(foreign);
        client
    }

    /// Moves the cursor to where a client asks for; its id where that is none of this journal's.
    fn begin_at(&mut self, start: Start, visible: Sequence) -> Option<String> {
        let (cursor, foreign) = match start {
            Start::Now => (Some(visible), None),
            Start::After(id) => match self.shared.epochs.resolve(id, visible) {
                Some(sequence) => (Some(sequence), None),
                None => (None, Some(id.to_string())),
            },
            Start::Unknown(text) => (None, Some(text)),
        };
        self.cursor = cursor.unwrap_or_else(|| self.shared.journal.oldest().previous());
        (self.handed, self.start, self.announced) = (self.cursor, self.cursor, self.cursor);
        foreign
    }

    fn tell_foreign(&mut self, foreign: Option<String>) {
        if let Some(text) = foreign {
            let requested: String = text.chars().take(REPEATED_ID).collect();
            self.tell_gap(GapReason::UnknownEpoch, &requested, None);
        }
    }

    /// Goes on elsewhere: as a new client with the same subscription would, without its greeting.
    pub fn resume(&mut self, id: LastEventId) {
        let visible = self.shared.journal.watermark(Watermark::Visible);
        self.snapshot = None;
        (self.has_ended, self.is_told, self.has_caught_up) = (false, false, false);
        self.body = Body::default();
        match &mut self.pace {
            Pace::Latest(turns) => turns.begin_anew(),
            Pace::BestEffort(dropped) => *dropped = Dropped::default(),
            Pace::Guaranteed => {}
        }
        let foreign = self.begin_at(Start::After(id), visible);
        self.tell_foreign(foreign);
        self.is_new = !self.body.is_empty();
    }

    /// Wants other events: with a guaranteed stream that is past its snapshot, exactly those behind its position.
    pub fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
        if matches!(self.pace, Pace::Guaranteed) && self.snapshot.is_none() && !self.is_new && !self.has_ended {
            self.body = Body::default();
            self.cursor = self.handed;
            self.has_caught_up = false;
        }
    }

    /// What it wants.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Ends it because its client may not see it any more. What it has not got yet waits for whoever resumes.
    pub fn revoke(&mut self) {
        self.body = Body::default();
        self.cursor = self.handed;
        self.snapshot = None;
        self.is_new = false;
        self.finish(EndReason::Unauthorized);
    }

    /// Whether the newest event of each topic is still on its way.
    #[must_use]
    pub const fn has_snapshot_ahead(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The id with which a client resumes that has got all bodies so far.
    #[must_use]
    pub fn position(&self) -> LastEventId {
        self.shared.id(self.handed)
    }

    /// The id of the cursor.
    fn here(&self) -> LastEventId {
        self.shared.id(self.cursor)
    }

    /// The bodies to write, one after the other.
    pub fn into_bodies(self) -> impl Stream<Item = Bytes> + Send + 'static {
        stream::unfold(self, |mut client| async { client.next().await.map(|body| (body, client)) })
    }

    /// The next body, whole events in the form that was asked for; none when the stream has ended, is stopped, or
    /// the journal cannot be read. Waits until there is something to say, at most for the time of a heartbeat.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        let stop = self.stop.clone();
        self.has_caught_up = false;
        if !(self.has_ended && self.body.is_empty()) {
            let gathered = stop.run_until_cancelled(self.gather()).await?;
            if let Err(error) = gathered {
                tracing::error!(%error, "a stream client is sent away: it will come back and resume");
                self.has_ended = true;
            }
        }
        if self.body.is_empty() {
            return None;
        }
        Some(self.hand_over())
    }

    /// Ends when [`Client::try_next`] may have more to say, other than a sign of life. Cancel safe.
    pub async fn changed(&mut self) {
        // The window, which holds the other end, is not dropped before its clients.
        let _ = self.window.changed().await;
        // Whoever is told of a change looks for it.
        self.has_caught_up = false;
    }

    /// When it is to get a sign of life.
    #[must_use]
    pub const fn heartbeat(&self) -> Instant {
        self.heartbeat
    }

    /// Whether the stream is over and its last message says why.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.is_told
    }

    /// What the stream says, in which form.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// The body, which is not empty.
    fn hand_over(&mut self) -> Bytes {
        let body = std::mem::take(&mut self.body).into_bytes();
        self.handed = self.cursor;
        self.heartbeat = Instant::now() + self.silence;
        self.shared.statistics.bytes_sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        body
    }

    /// Fills the body until it should be written.
    async fn gather(&mut self) -> Result<(), ReadError> {
        if std::mem::take(&mut self.is_new) || self.has_ended {
            return Ok(());
        }
        if self.snapshot.is_some() && self.gather_snapshot().await? {
            return Ok(());
        }
        match self.pace {
            Pace::Latest(_) => self.gather_newest().await,
            Pace::Guaranteed | Pace::BestEffort(_) => self.gather_events().await,
        }
    }

    fn is_silent(&self) -> bool {
        self.body.is_empty() && Instant::now() >= self.heartbeat
    }

    fn add_heartbeat(&mut self) {
        // Events that the filter passed over need not be looked at again after a reconnect.
        let passed_over = self.cursor > self.announced;
        self.announced = self.cursor;
        let (form, at) = (self.form, self.here());
        self.body.append_always(|out| frame::heartbeat(form, at, passed_over, out));
    }

    /// Tells that what was asked for as `requested` is missing up to the cursor.
    fn tell_gap(&mut self, reason: GapReason, requested: &str, count: Option<u64>) {
        self.shared.statistics.gaps.fetch_add(1, Ordering::Relaxed);
        let (form, oldest) = (self.form, self.shared.id(self.cursor.next()));
        self.body.append_always(|out| frame::gap(form, &Gap { reason, requested, oldest, count }, out));
    }

    /// Tells that records behind the cursor are lost, and where the stream goes on; a client that is to get
    /// everything and had its chance resumes by itself.
    fn tell_lost(&mut self, reason: GapReason, position: Sequence) {
        let is_late = reason == GapReason::Retention && self.cursor > self.start;
        if is_late && matches!(self.pace, Pace::Guaranteed) && self.snapshot.is_none() {
            return self.finish(EndReason::Behind);
        }
        let requested = self.here().to_string();
        self.cursor = position;
        self.tell_gap(reason, &requested, None);
    }

    fn finish(&mut self, reason: EndReason) {
        (self.has_ended, self.is_told) = (true, true);
        let (form, at) = (self.form, self.here());
        self.body.append_always(|out| frame::finish(form, at, reason, out));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.clients.send_modify(|clients| *clients -= 1);
    }
}
