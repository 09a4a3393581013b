//! What is current: the newest event of each topic, at the start of a stream ([`Snapshot`]) and, where a client
//! asks for the latest values, in turns ([`Turns`]).
//!
//! Both go along the newest events of topics ([`super::super::current`]) behind the cursor, up to a fixed end, in
//! the order of the journal. A topic that changes meanwhile has a newer one behind that end, among the changes or
//! in the next turn; so nothing is missed. A snapshot then leaves the older one out, and costs a client no memory.
//! A turn has noted the places when it began, and sends it nevertheless: a topic that changes faster than a slow
//! client reads would never be shown otherwise.
//!
//! Where the journal does not reach back, a snapshot also has retained messages, which outlive it. Those come
//! first.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Client, Pace};
use crate::{
    journal::{ReadError, Slice, Watermark},
    stream::{
        Shared,
        frame::{self, GapReason},
        shown::{Candidate, Shown},
        source::{Next, Source},
        window::Pull,
    },
    types::Sequence,
};

/// When the latest values are sent.
pub struct Turns {
    interval: Duration,
    /// The next one begins then, at the earliest.
    due: Instant,
    /// The present one goes up to here.
    end: Sequence,
    /// Places that it has still to send.
    places: VecDeque<Sequence>,
    visible: watch::Receiver<Sequence>,
}

/// A snapshot on its way.
#[derive(Default)]
pub struct Snapshot {
    /// Events so far.
    events: u64,
    /// What it covers, once it has begun.
    span: Option<Span>,
}

#[derive(Clone)]
struct Span {
    /// The journal goes back to here; what is retained is older.
    oldest: Sequence,
    /// What comes behind is a change.
    end: Sequence,
    /// The last retained topic that was sent; none before the first.
    topic: Option<String>,
    /// Whether retained messages are still to come.
    is_retained: bool,
    is_complete: bool,
}

/// What became of one event.
enum Added {
    /// It is in the body, or is not wanted.
    Done,
    /// The body has no room for it.
    Full,
    /// It cannot be read any more.
    Lost(GapReason),
}

impl Turns {
    pub fn new(shared: &Shared, interval: Duration) -> Self {
        let visible = shared.journal.watch(Watermark::Visible);
        Self { interval, due: Instant::now(), end: Sequence::ZERO, places: VecDeque::new(), visible }
    }

    /// Ends the present turn.
    pub fn begin_anew(&mut self) {
        self.end = Sequence::ZERO;
        self.places = VecDeque::new();
    }
}

impl Client {
    /// Waits for a turn that has something, or for the time of a heartbeat.
    pub(super) async fn gather_newest(&mut self) -> Result<(), ReadError> {
        loop {
            let Pace::Latest(turns) = &mut self.pace else { return Ok(()) };
            if self.cursor >= turns.end {
                if !self.body.is_empty() {
                    return Ok(());
                }
                let (cursor, due) = (self.cursor, turns.due);
                let begin = async {
                    // The journal, which holds the other end, is not closed before its readers.
                    drop(turns.visible.wait_for(|visible| *visible > cursor).await);
                    sleep_until(due).await;
                };
                tokio::select! {
                    // Whoever does not want to wait gets what there is.
                    biased;
                    () = begin => {}
                    () = sleep_until(self.heartbeat) => {
                        self.add_heartbeat();
                        return Ok(());
                    }
                }
                let end = self.shared.current.catch_up(&self.shared.journal).await?;
                self.tell_unknown();
                let places = self.shared.current.all_behind(self.cursor, end, &self.filter);
                let Pace::Latest(turns) = &mut self.pace else { return Ok(()) };
                (turns.end, turns.places) = (end, places);
                turns.due = Instant::now() + turns.interval;
            }
            if self.go_on().await? {
                return Ok(());
            }
        }
    }

    /// Sends what the present turn has left; true when the body is full.
    async fn go_on(&mut self) -> Result<bool, ReadError> {
        let shared = Arc::clone(&self.shared);
        let mut held = None;
        loop {
            let Pace::Latest(turns) = &mut self.pace else { return Ok(true) };
            let Some(place) = turns.places.front().copied() else {
                self.cursor = self.cursor.max(turns.end);
                return Ok(false);
            };
            match self.add(&shared, place, true, &mut held).await? {
                Added::Done => self.cursor = place,
                Added::Full => return Ok(true),
                Added::Lost(reason) => self.pass_lost(reason, place),
            }
            if let Pace::Latest(turns) = &mut self.pace {
                turns.places.pop_front();
            }
            tokio::task::consume_budget().await;
        }
    }

    fn pass_lost(&mut self, reason: GapReason, place: Sequence) {
        let requested = self.here().to_string();
        self.cursor = place;
        self.tell_gap(reason, &requested, None);
    }

    /// Tells of topics whose changes behind the cursor are not known any more.
    fn tell_unknown(&mut self) {
        let oldest = self.shared.journal.oldest().previous();
        let floor = self.shared.current.floor();
        let reason = if floor > oldest { GapReason::Slow } else { GapReason::Retention };
        if self.cursor < floor.max(oldest) {
            let requested = self.here().to_string();
            self.cursor = floor.max(oldest);
            self.tell_gap(reason, &requested, None);
        }
    }

    /// The next part of the snapshot; false once it is over and changes come.
    pub(super) async fn gather_snapshot(&mut self) -> Result<bool, ReadError> {
        let shared = Arc::clone(&self.shared);
        let Some(span) = self.snapshot.as_ref().map(|snapshot| snapshot.span.clone()) else { return Ok(false) };
        let mut span = match span {
            Some(span) => span,
            None => self.begin_snapshot(&shared).await?,
        };
        while span.is_retained {
            let is_full = self.add_retained(&shared, &mut span).await;
            self.keep(&span);
            if is_full {
                return Ok(true);
            }
        }
        while self.cursor < span.end {
            if !self.walk(span.end).await? {
                return Ok(true);
            }
        }
        let events = self.snapshot.take().map_or(0, |snapshot| snapshot.events);
        let (form, at) = (self.form, self.here());
        self.announced = self.cursor;
        self.start = self.cursor;
        self.body.append_always(|out| frame::snapshot(form, at, events, span.is_complete, out));
        Ok(true)
    }

    async fn begin_snapshot(&mut self, shared: &Shared) -> Result<Span, ReadError> {
        let end = shared.current.catch_up(&shared.journal).await?;
        let oldest = shared.journal.oldest();
        let is_complete = shared.current.is_complete(oldest);
        let is_retained = shared.retained.is_some();
        let span = Span { oldest, end, topic: None, is_retained, is_complete };
        self.cursor = oldest.previous().min(end);
        self.keep(&span);
        Ok(span)
    }

    fn keep(&mut self, span: &Span) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.span = Some(span.clone());
        }
    }

    /// Adds retained messages that are older than the journal; whether the body is full.
    async fn add_retained(&mut self, shared: &Shared, span: &mut Span) -> bool {
        let Some(source) = &shared.retained else {
            span.is_retained = false;
            return false;
        };
        let Some(page) = source.page(span.topic.clone(), span.oldest).await else {
            // The broker is shutting down, and the stream with it.
            (span.is_retained, span.is_complete) = (false, false);
            return false;
        };
        for record in &page.messages {
            let Some(publication) = record.publication() else { continue };
            if self.filter.matches_topic(Some(publication.topic)) {
                let event = Shown::Mapped(shared.mapper.map(&publication));
                if event.streamed() && self.filter.matches_event(&event) {
                    let form = self.form;
                    if !self.body.append(|out| frame::event(form, None, &event, out)) {
                        return true;
                    }
                    self.count();
                }
            }
            span.topic = Some(publication.topic.to_owned());
        }
        span.topic = page.next.clone();
        span.is_retained = page.next.is_some();
        false
    }

    fn count(&mut self) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.events += 1;
        }
    }

    /// Adds events of the snapshot behind the cursor, and moves there; false when the body should be sent.
    async fn walk(&mut self, end: Sequence) -> Result<bool, ReadError> {
        let shared = Arc::clone(&self.shared);
        let look = shared.current.behind(self.cursor, end, &self.filter);
        // What was read for the one before often has the next.
        let mut held = None;
        for place in look.places {
            match self.add(&shared, place, false, &mut held).await? {
                Added::Done => self.cursor = place,
                Added::Full => return Ok(false),
                Added::Lost(reason) => self.pass_lost(reason, place),
            }
        }
        self.cursor = look.reached;
        tokio::task::consume_budget().await;
        Ok(true)
    }

    /// Adds the event of a record that is visible, from the window or the journal.
    async fn add(
        &mut self,
        shared: &Shared,
        sequence: Sequence,
        with_id: bool,
        held: &mut Option<Slice>,
    ) -> Result<Added, ReadError> {
        match shared.window.pull(sequence.previous()) {
            Pull::Chunk { chunk, .. } => {
                let before = self.body.len();
                let is_added = chunk.add(sequence, &self.filter, self.form, with_id, &mut self.body);
                if self.body.len() > before {
                    self.count();
                }
                return Ok(if is_added { Added::Done } else { Added::Full });
            }
            // The hub has seen it and found that it is not streamed.
            Pull::CaughtUp(end) if end >= sequence => return Ok(Added::Done),
            Pull::CaughtUp(_) | Pull::Behind => {}
        }
        if !held.as_ref().is_some_and(|slice| slice.covers(sequence)) {
            // The semaphore is never closed.
            let _permit = shared.replays.acquire().await.map_err(|_| ReadError::Cancelled)?;
            match Source::new(&shared.journal, sequence.previous()).advance().await? {
                Next::Records(slice) => *held = Some(slice),
                Next::CaughtUp => return Ok(Added::Done),
                Next::Lost(reason) => return Ok(Added::Lost(reason)),
            }
        }
        let record = held.as_ref().and_then(|slice| slice.batch().find(sequence));
        let Some(candidate) = record.as_ref().and_then(Candidate::of) else { return Ok(Added::Done) };
        let event = candidate.event(&*shared.mapper);
        if event.streamed() && self.filter.matches_event(&event) {
            let (form, id) = (self.form, with_id.then(|| shared.id(sequence)));
            if !self.body.append(|out| frame::event(form, id, &event, out)) {
                return Ok(Added::Full);
            }
            shared.statistics.replayed.fetch_add(1, Ordering::Relaxed);
            self.count();
        }
        Ok(Added::Done)
    }
}
