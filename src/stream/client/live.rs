//! Every event after the cursor: from the window of encoded ones, or, where that begins later, from the
//! journal. With best effort, the oldest are dropped where too many wait, and counted.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::{Instant, sleep_until};

use super::{Attempt, Client, Dropped, Pace};
use crate::{
    journal::{ReadError, Slice, Watermark},
    limits,
    stream::{
        Shared,
        chunk::{Chunk, ChunkBuilder},
        frame::{self, EndReason, GapReason},
        replayed::Stretch,
        shown::Candidate,
        source::{Next, Source},
        window::Pull,
    },
    types::Sequence,
};

/// Encodes all of a slice, which is what the journal has behind `start`.
fn encoded(shared: &Shared, start: Sequence, slice: &Slice) -> Stretch {
    let mut builder = ChunkBuilder::default();
    for record in slice.records() {
        let Some(candidate) = Candidate::of(&record).filter(|candidate| candidate.sequence() > start) else { continue };
        let event = candidate.event(&*shared.mapper);
        if event.streamed() {
            builder.push(&event, shared.id(event.sequence()));
        }
    }
    let chunk = builder.take(shared.window.extra());
    let events = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
    shared.statistics.replayed.fetch_add(events, Ordering::Relaxed);
    Stretch { start, end: slice.last(), chunk }
}

/// What a look into the journal has led to.
enum Replay {
    /// The body should be sent.
    Full,
    /// There may be more.
    Some,
    /// Nothing more is there, or was a moment ago.
    CaughtUp,
}

impl Client {
    /// Waits for events, or for the time of a heartbeat.
    pub(super) async fn gather_events(&mut self) -> Result<(), ReadError> {
        let shared = Arc::clone(&self.shared);
        // Made where the window does not reach, for this body only.
        let mut source = None;
        // Whoever is behind and does not want to wait still gets what is there, if it is found in time.
        let mut has_caught_up = false;
        let searched = Instant::now() + limits::STREAM_SEARCH;
        loop {
            if self.cursor >= self.until {
                self.finish(EndReason::Complete);
                return Ok(());
            }
            self.window.mark_unchanged();
            self.drop_oldest();
            match shared.window.pull(self.cursor) {
                Pull::Chunk { chunk, .. } => {
                    source = None;
                    if self.collect(&chunk) {
                        return Ok(());
                    }
                }
                Pull::CaughtUp(end) if self.is_silent() && !self.is_awaited(end, searched) => {
                    self.cursor = self.cursor.max(end);
                    self.add_heartbeat();
                    return Ok(());
                }
                Pull::Behind if self.is_silent() && (has_caught_up || Instant::now() >= searched) => {
                    self.add_heartbeat();
                    return Ok(());
                }
                Pull::CaughtUp(end) => {
                    self.tell_dropped();
                    self.cursor = self.cursor.max(end);
                    if self.cursor >= self.until {
                        continue;
                    }
                    if !self.body.is_empty() {
                        return Ok(());
                    }
                    let patience =
                        if self.is_awaited(end, searched) { self.heartbeat.max(searched) } else { self.heartbeat };
                    tokio::select! {
                        _ = self.window.changed() => {}
                        () = sleep_until(patience) => {}
                    }
                }
                Pull::Behind => {
                    let source = source.get_or_insert_with(|| Source::new(&shared.journal, self.cursor));
                    match self.replay(source).await? {
                        Replay::Full => return Ok(()),
                        Replay::Some => {}
                        Replay::CaughtUp => has_caught_up = true,
                    }
                }
            }
            tokio::task::consume_budget().await;
        }
    }

    /// What can be said without waiting for anything but the window: all that a client needs that keeps up. Leaves
    /// everything else to [`Client::next`].
    pub fn try_next(&mut self) -> Attempt {
        let is_plain = !matches!(self.pace, Pace::Latest(_)) && self.snapshot.is_none() && self.body.is_empty();
        if !is_plain || self.is_new || self.has_ended || self.cursor >= self.until {
            return Attempt::Wait;
        }
        if std::mem::take(&mut self.has_caught_up) && !self.window.has_changed().unwrap_or(true) {
            self.has_caught_up = true;
            return self.rest();
        }
        loop {
            self.window.mark_unchanged();
            self.drop_oldest();
            match self.shared.window.pull(self.cursor) {
                Pull::Chunk { chunk, is_last } => {
                    let is_full = self.collect(&chunk);
                    self.has_caught_up = is_last && !is_full;
                    if is_full || (is_last && !self.body.is_empty()) {
                        return Attempt::Body(self.hand_over());
                    }
                }
                Pull::CaughtUp(end) => {
                    self.tell_dropped();
                    self.cursor = self.cursor.max(end);
                    self.has_caught_up = true;
                    return if self.cursor >= self.until {
                        Attempt::Wait
                    } else if self.body.is_empty() {
                        self.rest()
                    } else {
                        Attempt::Body(self.hand_over())
                    };
                }
                Pull::Behind if self.body.is_empty() => return Attempt::Wait,
                Pull::Behind => return Attempt::Body(self.hand_over()),
            }
        }
    }

    /// With nothing to say: whether it is time for a sign of life.
    fn rest(&mut self) -> Attempt {
        if !self.is_silent() {
            return Attempt::Nothing;
        }
        self.add_heartbeat();
        Attempt::Body(self.hand_over())
    }

    /// Takes what is wanted of a chunk; true when there is no room for all of it.
    fn collect(&mut self, chunk: &Chunk) -> bool {
        self.tell_dropped();
        self.cursor = chunk.collect(self.cursor, self.until, &self.filter, self.form, &mut self.body);
        if self.cursor >= chunk.last() {
            return false;
        }
        if chunk.first_after(self.cursor) <= self.until {
            return true;
        }
        self.cursor = self.until;
        false
    }

    /// Whether the window, which ends there, will soon have more: it rests while nobody watches, and is a moment behind
    /// the journal.
    fn is_awaited(&self, end: Sequence, until: Instant) -> bool {
        let known = self.cursor.max(end).min(self.until);
        known < self.shared.journal.watermark(Watermark::Visible).min(self.until) && Instant::now() < until
    }

    /// Reads on in the journal, or waits for it to go on.
    async fn replay(&mut self, source: &mut Source<'_>) -> Result<Replay, ReadError> {
        let shared = Arc::clone(&self.shared);
        // Whoever wants everything shares what others have read. A filter is spared what it does not want.
        let is_shared = matches!(self.pace, Pace::Guaranteed) && self.filter.is_empty();
        if is_shared && let Some(stretch) = shared.replayed.behind(self.cursor) {
            return Ok(self.take(&stretch, source));
        }
        // The semaphore is never closed.
        let permit = shared.replays.acquire().await.map_err(|_| ReadError::Cancelled)?;
        if is_shared && let Some(stretch) = shared.replayed.behind(self.cursor) {
            // Somebody else has read it meanwhile.
            return Ok(self.take(&stretch, source));
        }
        let next = source.advance().await?;
        match next {
            Next::Records(slice) if is_shared => {
                let stretch = shared.replayed.keep(encoded(&shared, self.cursor, &slice));
                Ok(self.take(&stretch, source))
            }
            Next::Records(slice) => Ok(if self.encode(&slice) { Replay::Full } else { Replay::Some }),
            Next::Lost(reason) => {
                self.tell_dropped();
                self.tell_lost(reason, source.position());
                Ok(Replay::Full)
            }
            Next::CaughtUp => {
                drop(permit);
                self.tell_dropped();
                self.cursor = source.position();
                if !self.body.is_empty() || self.cursor >= self.until {
                    return Ok(if self.cursor < self.until { Replay::Full } else { Replay::Some });
                }
                tokio::select! {
                    changed = source.changed() => changed?,
                    _ = self.window.changed() => {}
                    () = sleep_until(self.heartbeat) => {}
                }
                Ok(Replay::CaughtUp)
            }
        }
    }

    /// Takes what it can of a stretch, and goes on behind that.
    fn take(&mut self, stretch: &Stretch, source: &mut Source<'_>) -> Replay {
        if stretch.chunk.as_ref().is_some_and(|chunk| self.collect(chunk)) {
            return Replay::Full;
        }
        self.cursor = self.cursor.max(stretch.end.min(self.until));
        source.seek(self.cursor);
        Replay::Some
    }

    /// Encodes what the client wants of a slice; says whether there was no room for all of it.
    fn encode(&mut self, slice: &Slice) -> bool {
        let shared = Arc::clone(&self.shared);
        let kept_from = self.kept_from(&shared);
        for record in slice.records() {
            let Some(candidate) = Candidate::of(&record) else { continue };
            if candidate.sequence() > self.until {
                self.cursor = self.until;
                return false;
            }
            if self.filter.matches_topic(candidate.topic()) {
                let event = candidate.event(&*shared.mapper);
                if event.streamed() && self.filter.matches_event(&event) {
                    if candidate.sequence() < kept_from {
                        self.drop_event();
                    } else {
                        self.tell_dropped();
                        let (form, id) = (self.form, shared.id(event.sequence()));
                        if !self.body.append(|out| frame::event(form, Some(id), &event, out)) {
                            return true;
                        }
                        shared.statistics.replayed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            self.cursor = candidate.sequence();
        }
        self.cursor = slice.last();
        false
    }

    /// Whether the client may be given less than everything.
    const fn dropped(&mut self) -> Option<&mut Dropped> {
        if let Pace::BestEffort(dropped) = &mut self.pace { Some(dropped) } else { None }
    }

    /// With best effort, the first record that is not too old to wait in front of the window.
    fn kept_from(&self, shared: &Shared) -> Sequence {
        match self.pace {
            Pace::BestEffort(_) => {
                let visible = shared.journal.watermark(Watermark::Visible);
                Sequence(visible.0.saturating_sub(limits::STREAM_QUEUE as u64))
            }
            Pace::Guaranteed | Pace::Latest(_) => Sequence::ZERO,
        }
    }

    /// Drops an event that comes behind the cursor.
    fn drop_event(&mut self) {
        let after = self.cursor;
        if let Some(dropped) = self.dropped() {
            if dropped.count == 0 {
                dropped.after = after;
            }
            dropped.count += 1;
        }
    }

    /// With best effort, passes over the oldest events of the window where too many wait.
    fn drop_oldest(&mut self) {
        if !matches!(self.pace, Pace::BestEffort(_)) {
            return;
        }
        let chunks = self.shared.window.after(self.cursor);
        // A chunk has far fewer than may wait, unless its events are tiny.
        if chunks.iter().map(|chunk| chunk.len()).sum::<usize>() <= limits::STREAM_QUEUE {
            return;
        }
        let waiting: usize = chunks.iter().map(|chunk| chunk.pass_over(self.cursor, &self.filter, usize::MAX).1).sum();
        let mut excess = waiting.saturating_sub(limits::STREAM_QUEUE);
        let after = self.cursor;
        for chunk in chunks {
            if excess == 0 {
                return;
            }
            let (cursor, passed) = chunk.pass_over(self.cursor, &self.filter, excess);
            self.cursor = cursor;
            excess -= passed;
            if let Some(dropped) = self.dropped() {
                if dropped.count == 0 {
                    dropped.after = after;
                }
                dropped.count += passed as u64;
            }
        }
    }

    /// Tells what was dropped up to the cursor.
    fn tell_dropped(&mut self) {
        let Some(dropped) = self.dropped().map(std::mem::take).filter(|dropped| dropped.count > 0) else { return };
        self.shared.statistics.dropped.fetch_add(dropped.count, Ordering::Relaxed);
        let requested = self.shared.id(dropped.after).to_string();
        self.tell_gap(GapReason::Slow, &requested, Some(dropped.count));
    }
}
