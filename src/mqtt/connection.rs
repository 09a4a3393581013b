//! One client's connection: a task that reads, journals, acknowledges and delivers.
//!
//! Each turn of the loop does everything there is to do, then waits for whichever comes first:
//! bytes to read, room to write, the session's signal, the keep alive. What one read brought is
//! journaled as one batch, and everything that waits to be sent leaves in one write.
//!
//! Reading stops while too much waits to be sent or to be settled, so a client that does not read
//! its answers fills its own buffers and no others.
//!
//! An idle connection holds no buffers, and no space for what it does not do at the moment: it lies in a box
//! of its own size, of which its task holds the address, and what seldom waits does so in another box
//! (docs/decisions/0009-idle-connections.md).

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    Broker,
    access::{Access, Client},
    acknowledge::{AnswerQueue, Answers, Unanswered},
    announce::{Announced, Ending, Untold},
    authenticate::Identity,
    codec::{Disconnect, ProtocolVersion},
    end::End,
    farewell::{FAREWELL_TIMEOUT, read_away},
    presence::Presence,
    profile::Profile,
    receive::Aliases,
    session::OwnedSession,
    traffic::Meter,
    will::Will,
};
use crate::{
    journal::{Batch, BatchBuilder, Clock, Outcome, Slice, SystemClock, Watermark},
    types::Peer,
};

/// Bytes that one read can bring; shared by all connections of a thread.
const READ_BYTES: usize = 64 << 10;

/// Bytes waiting to be sent above which nothing is delivered.
const HIGH_WATER: usize = 128 << 10;

/// Bytes waiting to be sent above which nothing is read. Above the other, so that a subscriber
/// whose traffic fills its link is still heard when it pings.
const READ_HIGH_WATER: usize = 2 * HIGH_WATER;

/// Answers that wait for the disk above which nothing is read. 5.0 clients stop earlier, at
/// their receive maximum.
const MAXIMUM_UNSETTLED: usize = 16 << 10;

/// Bytes around a reason string in the packets that have no other property.
const AROUND_REASON_STRING: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What a client agreed to in CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    /// The version spoken.
    pub version: ProtocolVersion,
    /// Largest packet the client takes.
    pub maximum_packet_size: u32,
    /// Messages in flight towards the client.
    pub receive_maximum: u16,
    /// Longest silence; none for no limit.
    pub silence: Option<Duration>,
    /// Topic aliases that the client remembers.
    pub topic_alias_maximum: u16,
    /// Whether the client wants reason strings on acknowledgements (section 3.1.2.11.7).
    pub problem_information: bool,
}

impl Agreement {
    /// What an acknowledgement says beside its reason code, where the client wants that and takes it.
    #[must_use]
    pub fn explain<'a>(&self, why: &'a str) -> Option<&'a str> {
        self.fitting(why).filter(|_| self.problem_information)
    }

    /// A reason string, where the packet that it is on does not become too large [MQTT-3.14.2-3].
    fn fitting<'a>(&self, why: &'a str) -> Option<&'a str> {
        let fits = why.len() + AROUND_REASON_STRING <= self.maximum_packet_size as usize;
        (self.version == ProtocolVersion::V5 && fits).then_some(why)
    }
}

/// Whether the CONNECT is on record. It is before CONNACK, except that of a new session that ends with its
/// connection and has no will: it may still be on its way, or have found no room.
#[derive(Debug)]
pub enum Introduction {
    /// It is.
    Recorded,
    /// It will be, or not.
    Appended(Arc<Batch>),
    /// It is not, and neither is this, which is told with it.
    Refused(Option<Box<Untold>>),
}

impl Introduction {
    /// Looks what has become of it.
    fn settle(&mut self) {
        if let Self::Appended(batch) = self {
            match batch.outcome() {
                Outcome::Pending => {}
                Outcome::Durable => *self = Self::Recorded,
                Outcome::Refused | Outcome::Failed => *self = Self::Refused(Untold::of(batch)),
            }
        }
    }

    /// What is to be told with it, where it is not on record.
    pub fn take_untold(&mut self) -> Option<Box<Untold>> {
        if let Self::Refused(untold) = self { untold.take() } else { None }
    }

    /// Whether it must be tried again.
    pub fn is_refused(&mut self) -> bool {
        self.settle();
        matches!(self, Self::Refused(_))
    }
}

/// A connection past CONNECT.
pub struct Connection<S> {
    pub(super) broker: Arc<Broker>,
    pub(super) profile: Arc<Profile>,
    pub(super) owned: OwnedSession,
    pub(super) introduction: Introduction,
    /// Where the client is a device and has been told of.
    pub(super) announced: Option<Announced>,
    pub(super) agreement: Agreement,
    pub(super) will: Option<Box<Will>>,
    /// Who the client is, where it had to say so.
    pub(super) identity: Option<Box<Identity>>,
    /// What it may do.
    pub(super) access: Access,
    pub(super) presence: Arc<Presence>,
    pub(super) io: S,
    /// Bytes read that are not a whole packet yet.
    pub(super) input: Vec<u8>,
    /// Bytes to be sent, from `sent` on.
    pub(super) out: Vec<u8>,
    sent: usize,
    incoming: Meter,
    outgoing: Meter,
    /// What this read has brought for the journal, and the answers to it.
    pub(super) batch: BatchBuilder,
    pub(super) answers: Answers,
    pub(super) best_effort: u64,
    pub(super) queue: AnswerQueue,
    pub(super) aliases: Aliases,
    /// Topics that the client knows by an alias, which is their place and 1. Few clients take any.
    pub(super) aliased: Option<Box<hashbrown::HashMap<Box<str>, u16, foldhash::fast::RandomState>>>,
    pub(super) slice: Option<Slice>,
    /// QoS 2 packet identifiers that were held when the connection began: they do not count against its
    /// receive maximum [MQTT-4.9.0-1].
    pub(super) held_before: Option<Box<hashbrown::HashSet<u16, foldhash::fast::RandomState>>>,
    /// Messages sent since the session was last told the oldest of those in flight.
    pub(super) sends: u16,
    /// Whether there are whole packets in `input` for another batch.
    pub(super) more: bool,
    /// Whether a delivery waits for the output to drain.
    pub(super) held_back: bool,
    /// Writing failed: what the client has sent before it went is still read.
    broken: bool,
    /// Whether the last event was a read, so that other events come first now.
    has_read: bool,
    /// Whether a packet was taken in since `last_received` was set.
    pub(super) has_heard: bool,
    last_received: Instant,
    keep_alive: Option<Pin<Box<Sleep>>>,
}

/// What a wait has ended with.
enum Event {
    Read,
    Written,
    Signal,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection whose CONNACK lies in `out`; `input` is what came behind the CONNECT.
    #[expect(clippy::too_many_arguments, reason = "called once, with everything the handshake has found out")]
    pub fn new(
        broker: Arc<Broker>,
        profile: Arc<Profile>,
        owned: OwnedSession,
        introduction: Introduction,
        announced: Option<Announced>,
        agreement: Agreement,
        will: Option<Box<Will>>,
        identity: Option<Box<Identity>>,
        peer: Peer,
        io: S,
        input: Vec<u8>,
        out: Vec<u8>,
    ) -> Self {
        let held = &owned.state.held;
        let held_before = (!held.is_empty()).then(|| Box::new(held.keys().copied().collect()));
        let last_received = Instant::now();
        let Agreement { version, silence, .. } = agreement;
        let presence = Arc::new(Presence::new(peer, version, silence, SystemClock.now()));
        Self {
            keep_alive: silence.map(|silence| Box::pin(tokio::time::sleep_until(last_received + silence))),
            broker,
            profile,
            owned,
            introduction,
            announced,
            agreement,
            will,
            identity,
            access: Access::default(),
            presence,
            io,
            input,
            out,
            sent: 0,
            incoming: Meter::default(),
            outgoing: Meter::default(),
            batch: BatchBuilder::default(),
            answers: Answers::default(),
            best_effort: 0,
            queue: AnswerQueue::default(),
            aliases: Aliases::default(),
            aliased: None,
            slice: None,
            held_before,
            sends: 0,
            more: false,
            held_back: false,
            broken: false,
            has_read: false,
            has_heard: false,
            last_received,
        }
    }

    /// Serves the client until its connection ends, then says farewell and lets go of the
    /// session.
    pub async fn run(mut self: Box<Self>) {
        self.enter();
        let Err(end) = self.serve().await;
        Box::pin(self.leave(end)).await;
    }

    async fn leave(mut self: Box<Self>, end: End) {
        // What came in front of the packet that ended it was accepted: clients publish with QoS 0
        // and disconnect in one breath.
        if let Err(error) = self.journal_batch().await {
            tracing::debug!(client.id = %self.owned.session.client_id, %error, "the last packets were not journaled");
        }
        // What was to be answered by then still is, where the client takes it at once: CONNACK above all, for it may
        // have sent CONNECT and DISCONNECT in one breath.
        if matches!(end, End::Disconnected | End::DisconnectedWithWill) && !self.broken {
            poll_fn(|cx| {
                let _sent = self.poll_write(cx);
                Poll::Ready(())
            })
            .await;
        }
        self.broker.statistics.connections.sub(1);
        self.owned.session.presence.lock().take();
        self.owned.session.mailbox.lock().set_online(false);
        self.owned.session.set_in_flight(self.owned.state.window.oldest());
        self.log(&end);
        self.farewell(&end).await;
        self.abandon_answers().await;
        if let End::Disconnected = end {
            self.will = None;
        }
        let client = Client::of(&self.identity, &self.owned);
        let (access, control) = (&mut self.access, &self.broker.access);
        if self.will.take_if(|will| !access.may_publish(control, client, &will.topic)).is_some() {
            self.broker.statistics.may_not_have_will.add(1);
        }
        let lingers = self.agreement.version == ProtocolVersion::V5 && end.is_protocol_error() && !self.broken;
        let ending = self.ending(&end);
        let Self { broker, owned, will, mut io, .. } = *self;
        broker.part(owned, will.map(|will| *will), ending).await;
        if lingers {
            broker.background.run_until_cancelled(read_away(&mut io)).await;
        }
    }

    /// What is told of the end, where the beginning was told of.
    fn ending(&mut self, end: &End) -> Option<Box<Ending>> {
        self.introduction.settle();
        let opening = match &self.introduction {
            Introduction::Recorded => None,
            Introduction::Appended(batch) => Some(Arc::clone(batch)),
            Introduction::Refused(_) => return None,
        };
        let announced = self.announced.take()?;
        Some(Box::new(Ending::new(announced, end, opening)))
    }

    fn enter(&mut self) {
        *self.owned.session.presence.lock() = Some(Arc::clone(&self.presence));
        let mut mailbox = self.owned.session.mailbox.lock();
        mailbox.set_limits(self.profile.mailbox);
        mailbox.set_online(true);
        drop(mailbox);
        let statistics = &self.broker.statistics;
        statistics.connected.add(1);
        statistics.connections.add(1);
        statistics.most_connections.raise(statistics.connections.get());
        self.incoming.pass(&self.input, &statistics.incoming);
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        self.take_in_input()?;
        loop {
            self.forfeit_shared();
            self.journal_batch().await?;
            self.settle()?;
            if self.more {
                self.take_in_input()?;
                continue;
            }
            if !self.broken {
                self.deliver().await?;
            }
            self.presence.set_in_flight(self.owned.state.window.in_flight());
            if self.owned.is_claimed() {
                return Err(End::TakenOver);
            }
            self.review()?;
            if self.broker.is_stopping() && self.queue.is_empty() {
                return Err(End::ShuttingDown);
            }
            match poll_fn(|cx| self.poll_event(cx)).await? {
                // Bytes that are no whole packet yet do not count [MQTT-3.1.2-22].
                Event::Read if std::mem::take(&mut self.has_heard) => self.last_received = Instant::now(),
                Event::Read | Event::Written | Event::Signal => {}
            }
        }
    }

    /// Waits until every append of this connection is settled: the next connection must know which
    /// QoS 2 messages are stored and which are not.
    async fn abandon_answers(&mut self) {
        let signal = Arc::clone(&self.owned.session.signal);
        let owned = &mut self.owned;
        while !self.queue.abandon(|unrecorded| owned.forget(unrecorded)) {
            signal.wait().await;
        }
    }

    /// Encodes the answers whose records have been settled.
    fn settle(&mut self) -> Result<(), End> {
        self.introduction.settle();
        if self.queue.is_empty() {
            return Ok(());
        }
        let durable = self.broker.journal.watermark(Watermark::Durable);
        let applied = self.broker.applied();
        let owned = &mut self.owned;
        let settled = self
            .queue
            .settle(durable, applied, &self.agreement, &mut self.out, |unrecorded| owned.forget(unrecorded))
            .map_err(|unanswered| match unanswered {
                Unanswered::Full => End::QuotaExceeded,
                Unanswered::Failed => End::JournalFailed,
            })?;
        self.broker.statistics.acknowledged.add(settled.acknowledged);
        self.broker.statistics.refused.add(settled.refused);
        Ok(())
    }

    /// Whether deliveries must wait until the client has read more.
    pub(super) fn is_backed_up(&self) -> bool {
        self.out.len() - self.sent >= HIGH_WATER
    }

    /// Cancel safe: what was read has been taken in, what was written is accounted for.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, End>> {
        if !self.broken && matches!(self.poll_write(cx), Poll::Ready(Err(_))) {
            self.broken = true;
        }
        if self.broken {
            (self.out, self.sent) = (Vec::new(), 0);
        }
        if self.identity.as_deref_mut().is_some_and(|identity| identity.poll_expiry(cx).is_ready()) {
            return Poll::Ready(Err(End::TokenExpired));
        }
        if self.held_back && !self.is_backed_up() {
            self.held_back = false;
            return Poll::Ready(Ok(Event::Written));
        }
        // Turn by turn, so that neither a flood of packets nor one of signals starves the other.
        let read_first = !std::mem::take(&mut self.has_read);
        if read_first && self.poll_read_allowed(cx)?.is_ready() {
            return Poll::Ready(Ok(Event::Read));
        }
        if self.owned.session.signal.poll_rung(cx).is_ready() {
            return Poll::Ready(Ok(Event::Signal));
        }
        if !read_first && self.poll_read_allowed(cx)?.is_ready() {
            return Poll::Ready(Ok(Event::Read));
        }
        ready!(self.poll_keep_alive(cx));
        Poll::Ready(Err(End::KeepAlive))
    }

    /// Reads, unless too much of what was read before is still under way.
    fn poll_read_allowed(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, End> {
        if self.out.len() - self.sent >= READ_HIGH_WATER || self.queue.len() >= MAXIMUM_UNSETTLED {
            // It is not the client that is silent.
            self.last_received = Instant::now();
            return Ok(Poll::Pending);
        }
        if self.broker.is_stopping() {
            return Ok(Poll::Pending);
        }
        let read = self.poll_read(cx)?;
        self.has_read = read.is_ready();
        Ok(read)
    }

    /// Writes until everything is sent, which makes it ready, or the socket takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.outgoing.pass(rest.get(..written).unwrap_or_default(), &self.broker.statistics.outgoing);
                    self.sent += written;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.out.drain(..self.sent);
                    self.sent = 0;
                    return Poll::Pending;
                }
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        // A TLS stream may still hold records of its own.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// One read, taken in at once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, End> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(result) => result?,
            }
            let read = buffer.filled();
            if read.is_empty() {
                return Err(End::Closed);
            }
            self.incoming.pass(read, &self.broker.statistics.incoming);
            if self.input.is_empty() {
                let taken = self.take_in(read)?;
                self.input.extend_from_slice(read.get(taken..).unwrap_or_default());
            } else {
                self.input.extend_from_slice(read);
                self.take_in_input()?;
            }
            Ok(Poll::Ready(()))
        })
    }

    /// Ready when the client has been silent for too long. The timer is moved only when it
    /// fires, not with every packet.
    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(timer), Some(silence)) = (&mut self.keep_alive, self.agreement.silence) else {
            return Poll::Pending;
        };
        loop {
            ready!(timer.as_mut().poll(cx));
            let limit = self.last_received + silence;
            if limit <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(limit);
        }
    }

    /// Sends what is left and, in 5.0, why the connection ends.
    async fn farewell(&mut self, end: &End) {
        let Some(reason) = end.reason() else { return };
        if self.agreement.version == ProtocolVersion::V5 {
            let why = end.to_string();
            let reason_string = self.agreement.fitting(&why);
            Disconnect { reason_string, ..Disconnect::new(reason) }.encode(self.agreement.version, &mut self.out);
        }
        let rest = self.out.get(self.sent..).unwrap_or_default();
        self.outgoing.pass(rest, &self.broker.statistics.outgoing);
        let sending = async {
            self.io.write_all(rest).await?;
            self.io.shutdown().await
        };
        // Whether it arrives changes nothing: the connection is over.
        drop(tokio::time::timeout(FAREWELL_TIMEOUT, sending).await);
    }

    fn log(&self, end: &End) {
        let (client_id, peer) = (&self.owned.session.client_id, self.presence.peer);
        if end.is_protocol_error() {
            self.broker.statistics.note_refusal(end);
            tracing::warn!(client.id = %client_id, %peer, reason = %end, "closed a connection");
        } else if matches!(end, End::TokenExpired) {
            tracing::info!(client.id = %client_id, %peer, reason = %end, "closed a connection");
        } else if matches!(end, End::QuotaExceeded | End::JournalFailed) {
            tracing::warn!(client.id = %client_id, %peer, reason = %end, "closed a connection that could not be served");
        } else {
            tracing::debug!(client.id = %client_id, %peer, reason = %end, "connection ended");
        }
    }
}
