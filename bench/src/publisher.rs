//! One publishing connection: keeps its window full, or its pace, and counts acknowledgements.

use std::{io, sync::atomic::Ordering::Relaxed};

use tokio::{io::AsyncWriteExt, time::sleep_until};

use crate::{
    codec::{DISCONNECT, Malformed, Packet, PublishTemplate, acknowledge, kind},
    counters::CounterSet,
    dial::Connection,
    load::{Clock, Latency, Progress, latency},
    plan::{Plan, Quota},
    stamp::{Form, Stamp},
};

/// A write is begun at this size even when the window has room for more.
const WRITE_BYTES: usize = 64 << 10;

/// The runtime's timer rounds up to milliseconds. A message that leaves later than this after it was due
/// was held up by the broker, and its latency counts from when it was due, so that a stalled
/// broker does not hide its stall by slowing the generator down.
const TIMER_SLACK_NS: u64 = 2_000_000;

/// A message on its way, at the index `packet id - 1`.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    counter: u64,
    sent_ns: u64,
}

/// When each message of a rate-limited publisher is due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start_ns: u64,
    interval_ns: f64,
}

impl Pace {
    fn due_ns(&self, counter: u64) -> u64 {
        self.start_ns + (self.interval_ns * counter as f64) as u64
    }
}

/// What is on its way and what came back.
#[derive(Debug)]
pub struct Ledger {
    qos: u8,
    slots: Vec<Option<InFlight>>,
    next_slot: usize,
    in_flight: usize,
    /// Messages written.
    pub sent: u64,
    /// Messages acknowledged with success; stays empty at QoS 0.
    pub acknowledged: CounterSet,
    /// Messages refused by a reason code (MQTT 5.0).
    pub refused: u64,
    /// Microseconds from write to PUBACK or PUBCOMP.
    pub latency: Latency,
    /// Time of the last acknowledgement.
    pub last_ns: u64,
}

impl Ledger {
    fn is_full(&self) -> bool {
        self.slots.get(self.next_slot).is_some_and(Option::is_some)
    }

    /// Takes the next slot; returns its packet id, 0 at QoS 0.
    fn occupy(&mut self, message: InFlight) -> u16 {
        let Some(slot) = self.slots.get_mut(self.next_slot) else { return 0 };
        *slot = Some(message);
        self.in_flight += 1;
        let packet_id = self.next_slot as u16 + 1;
        self.next_slot = (self.next_slot + 1) % self.slots.len();
        packet_id
    }

    /// Books one packet from the broker; a PUBREL that it asks for is appended to `out`.
    fn acknowledge(&mut self, packet: Packet<'_>, now_ns: u64, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let (packet_id, success) = packet.acknowledgement()?;
        let slot = usize::from(packet_id).checked_sub(1).and_then(|index| self.slots.get_mut(index));
        let slot = slot.ok_or(Malformed)?;
        let message = slot.ok_or(Malformed)?;
        match (self.qos, packet.kind()) {
            (2, kind::PUBREC) if success => {
                acknowledge(out, kind::PUBREL, packet_id);
                return Ok(());
            }
            (1, kind::PUBACK) | (2, kind::PUBREC | kind::PUBCOMP) => {}
            _ => return Err(Malformed),
        }
        *slot = None;
        self.in_flight -= 1;
        self.last_ns = now_ns;
        if success {
            self.acknowledged.insert(message.counter);
            self.latency.saturating_record(now_ns.saturating_sub(message.sent_ns) / 1000);
        } else {
            self.refused += 1;
        }
        Ok(())
    }
}

/// One publisher.
#[derive(Debug)]
pub struct Publisher {
    id: u32,
    form: Form,
    connection: Connection,
    template: PublishTemplate,
    out: Vec<u8>,
    quota: Quota,
    pace: Option<Pace>,
    /// Its messages.
    pub ledger: Ledger,
}

impl Publisher {
    /// A publisher of the plan on an accepted connection.
    ///
    /// # Errors
    /// When the latency histogram cannot be made.
    pub fn new(id: u32, connection: Connection, plan: &Plan) -> anyhow::Result<Self> {
        let form = plan.form;
        let template = PublishTemplate::new(connection.version, plan.qos, &plan.topic(id), &form.payload(plan.payload));
        let window = if plan.qos == 0 { 0 } else { plan.in_flight.clamp(1, connection.receive_maximum) };
        let ledger = Ledger {
            qos: plan.qos,
            slots: vec![None; window.into()],
            next_slot: 0,
            in_flight: 0,
            sent: 0,
            acknowledged: CounterSet::default(),
            refused: 0,
            latency: latency()?,
            last_ns: 0,
        };
        let out = Vec::with_capacity(WRITE_BYTES + template.wire_bytes());
        Ok(Self { id, form, connection, template, out, quota: Quota::Messages(0), pace: None, ledger })
    }

    /// Publishes until the quota is used up and everything is acknowledged. May be dropped at
    /// any point; the ledger stays valid.
    ///
    /// # Errors
    /// The connection's.
    pub async fn run(&mut self, plan: &Plan, clock: Clock, progress: &Progress) -> io::Result<()> {
        self.quota = plan.quota_of(self.id, clock.now_ns());
        self.pace = plan.interval_ns().map(|interval_ns| {
            let stagger_ns = interval_ns * f64::from(self.id) / f64::from(plan.publishers);
            Pace { start_ns: clock.now_ns() + stagger_ns as u64, interval_ns }
        });
        loop {
            let now_ns = clock.now_ns();
            let encoded = self.encode(now_ns);
            if !self.out.is_empty() {
                self.connection.stream.write_all(&self.out).await?;
                self.connection.stream.flush().await?;
                self.out.clear();
                self.ledger.sent += encoded;
                progress.sent.fetch_add(encoded, Relaxed);
            }
            if self.ledger.is_full() || (self.is_used_up(now_ns) && self.ledger.in_flight > 0) {
                self.read_acknowledgements(clock, progress).await?;
            } else if self.is_used_up(now_ns) {
                return self.connection.stream.write_all(DISCONNECT).await;
            } else if let Some(due_ns) = self.pace.map(|pace| pace.due_ns(self.ledger.sent))
                && due_ns > now_ns
            {
                tokio::select! {
                    () = sleep_until(clock.instant(due_ns).into()) => {}
                    // Waits only for its one read, so that nothing is lost when it is dropped.
                    result = self.read_acknowledgements(clock, progress) => result?,
                }
            }
        }
    }

    fn is_used_up(&self, now_ns: u64) -> bool {
        match self.quota {
            Quota::Messages(count) => self.ledger.sent >= count,
            Quota::Until(end_ns) => now_ns >= end_ns,
        }
    }

    /// Appends what window, quota, pace and write size allow; returns how many messages.
    fn encode(&mut self, now_ns: u64) -> u64 {
        let end = match self.quota {
            Quota::Messages(count) => count,
            Quota::Until(end_ns) if now_ns < end_ns => u64::MAX,
            Quota::Until(_) => 0,
        };
        let start = self.ledger.sent;
        let mut counter = start;
        while counter < end && self.out.len() < WRITE_BYTES && !self.ledger.is_full() {
            let due_ns = self.pace.map_or(now_ns, |pace| pace.due_ns(counter));
            if due_ns > now_ns {
                break;
            }
            let sent_ns = if now_ns - due_ns > TIMER_SLACK_NS { due_ns } else { now_ns };
            let packet_id = self.ledger.occupy(InFlight { counter, sent_ns });
            let stamp = Stamp { publisher: self.id, counter, sent_ns };
            self.template.append(&mut self.out, packet_id, |payload| stamp.write(self.form, payload));
            counter += 1;
        }
        counter - start
    }

    /// Cancel safe: the one read is its only wait.
    async fn read_acknowledgements(&mut self, clock: Clock, progress: &Progress) -> io::Result<()> {
        let Self { connection, ledger, out, .. } = self;
        connection.inbox.fill(&mut connection.stream).await?;
        let now_ns = clock.now_ns();
        let before = ledger.acknowledged.len();
        connection.inbox.drain(|packet| ledger.acknowledge(packet, now_ns, out))?;
        progress.acknowledged.fetch_add(ledger.acknowledged.len() - before, Relaxed);
        Ok(())
    }
}
