//! One run: who publishes what to whom, and the run itself.
//!
//! [`run`] owns all tasks. Publishers start only when every receiver is subscribed. The run
//! ends when everything sent has arrived everywhere, or when nothing has moved for
//! [`Plan::quiet`]; then all tasks are stopped and their books compared.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

use crate::{
    counters::CounterSet,
    dial::{Connection, Target},
    process::Process,
    publisher::{Ledger, Publisher},
    receiver::{Tally, subscriber},
    report::Report,
    sse::{Endpoint, SseClient},
    stamp::Form,
};

/// Connections that are being opened at once; more overflow the listen queues of some brokers.
const DIALLING: usize = 32;

/// How often the end of the run is looked for.
const POLL: Duration = Duration::from_millis(10);

/// Polls from one look at the server's memory to the next.
const POLLS_PER_SAMPLE: u64 = 25;

/// A latency distribution in microseconds, to 1 %, up to a minute.
pub type Latency = Histogram<u32>;

/// An empty distribution.
///
/// # Errors
/// None in practice: the bounds are constants.
pub fn latency() -> Result<Latency> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 2)?)
}

/// Time since the run's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Nanoseconds since the start.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant of a time since the start.
    #[must_use]
    pub fn instant(self, ns: u64) -> Instant {
        self.0 + Duration::from_nanos(ns)
    }
}

/// Totals that tasks add to once per read or write.
#[derive(Debug, Default)]
pub struct Progress {
    /// Messages written.
    pub sent: AtomicU64,
    /// Messages acknowledged with success.
    pub acknowledged: AtomicU64,
    /// First arrivals over all receivers.
    pub delivered: AtomicU64,
}

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topics {
    /// A topic per publisher; every subscriber subscribes to all of them with a wildcard.
    Own,
    /// One topic for all; every subscriber gets everything.
    Fanout,
    /// A topic per publisher; each goes to one subscriber, which subscribes to it by name.
    Paired,
}

/// When a publisher stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// After so many messages.
    Messages(u64),
    /// At a time of the clock, in nanoseconds.
    Until(u64),
}

/// How much is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Messages over all publishers.
    Messages(u64),
    /// As much as goes in this time.
    For(Duration),
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Publishing connections.
    pub publishers: u32,
    /// Subscribing MQTT connections.
    pub subscribers: u32,
    /// Event stream clients and where they connect.
    pub sse: Option<(u32, Endpoint)>,
    /// QoS of both publications and subscriptions.
    pub qos: u8,
    /// Payload in bytes.
    pub payload: usize,
    /// JSON instead of binary payloads.
    pub json: bool,
    /// Unacknowledged messages per publisher.
    pub in_flight: u16,
    /// How much is published.
    pub amount: Amount,
    /// Messages per second over all publishers; 0 is as fast as the broker takes them.
    pub rate: f64,
    /// Who gets what.
    pub topics: Topics,
    /// Topic of a publisher, its number in place of `{}`.
    pub topic: String,
    /// The run ends when nothing moves for this long.
    pub quiet: Duration,
    /// The server, when its memory and processor time are wanted.
    pub server: Option<Process>,
}

impl Plan {
    /// The payload's form.
    #[must_use]
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Binary }
    }

    /// The topic of a publisher.
    #[must_use]
    pub fn topic(&self, publisher: u32) -> String {
        match self.topics {
            Topics::Own | Topics::Paired => self.topic.replace("{}", &publisher.to_string()),
            Topics::Fanout => self.topic.replace("{}", "all"),
        }
    }

    fn filters(&self, subscriber: u32) -> Vec<String> {
        match self.topics {
            Topics::Own => {
                let levels = self.topic.split('/').map(|level| if level.contains("{}") { "+" } else { level });
                vec![levels.collect::<Vec<_>>().join("/")]
            }
            Topics::Fanout => vec![self.topic(0)],
            Topics::Paired => {
                (0..self.publishers).filter(|id| self.is_for(*id, subscriber)).map(|id| self.topic(id)).collect()
            }
        }
    }

    fn is_for(&self, publisher: u32, subscriber: u32) -> bool {
        self.topics != Topics::Paired || publisher % self.subscribers == subscriber
    }

    fn sse_clients(&self) -> u32 {
        self.sse.as_ref().map_or(0, |(clients, _)| *clients)
    }

    /// How many receivers get each message.
    fn copies(&self) -> u64 {
        let subscribers = if self.topics == Topics::Paired { self.subscribers.min(1) } else { self.subscribers };
        u64::from(subscribers + self.sse_clients())
    }

    /// When a publisher that starts now stops.
    #[must_use]
    pub fn quota_of(&self, publisher: u32, clock: Clock) -> Quota {
        match self.amount {
            Amount::For(time) => Quota::Until(clock.now_ns() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            Amount::Messages(total) => {
                let (each, rest) = (total / u64::from(self.publishers), total % u64::from(self.publishers));
                Quota::Messages(each + u64::from(u64::from(publisher) < rest))
            }
        }
    }

    /// Nanoseconds between two messages of a publisher, where there is a limit.
    #[must_use]
    pub fn interval_ns(&self) -> Option<f64> {
        (self.rate > 0.0).then(|| 1e9 * f64::from(self.publishers) / self.rate)
    }
}

/// The books of all connections after a run.
#[derive(Debug)]
pub struct Books {
    /// By publisher.
    pub ledgers: Vec<Ledger>,
    /// By receiver; MQTT subscribers first.
    pub tallies: Vec<Tally>,
    /// When publishing began, in nanoseconds of the clock.
    pub start_ns: u64,
    /// Connections that broke, and why.
    pub broken: Vec<String>,
}

impl Books {
    /// Messages that should have reached a receiver and did not, over all receivers: the
    /// acknowledged ones at QoS 1 and 2, all at QoS 0.
    #[must_use]
    pub fn lost(&self, plan: &Plan) -> u64 {
        let owed: Vec<CounterSet> = self
            .ledgers
            .iter()
            .map(|ledger| if plan.qos == 0 { CounterSet::all_below(ledger.sent) } else { ledger.acknowledged.clone() })
            .collect();
        let lost_by = |(receiver, tally): (u32, &Tally)| -> u64 {
            (0_u32..)
                .zip(owed.iter().zip(&tally.delivered))
                .filter(|(publisher, _)| receiver >= plan.subscribers || plan.is_for(*publisher, receiver))
                .map(|(_, (owed, delivered))| owed.missing_from(delivered))
                .sum()
        };
        (0_u32..).zip(&self.tallies).map(lost_by).sum()
    }
}

/// Runs the plan to its end.
///
/// # Errors
/// When a connection cannot be made or subscribed. Connections that break later are in the
/// report.
pub async fn run(plan: Plan, target: &Target) -> Result<Report> {
    let (plan, progress) = (Arc::new(plan), Arc::new(Progress::default()));
    let clock = Clock(Instant::now());
    let (stop, stopped) = watch::channel(false);

    let subscribers = dial(target, "sub", plan.subscribers, 0).await?;
    let mut receivers = Vec::new();
    for (number, mut connection) in (0..).zip(subscribers) {
        for filter in plan.filters(number) {
            connection.subscribe(&filter, plan.qos).await?;
        }
        let (form, progress, mut stopped) = (plan.form(), progress.clone(), stopped.clone());
        let mut tally = Tally::new(plan.publishers)?;
        receivers.push(tokio::spawn(async move {
            let end = tokio::select! {
                end = subscriber(connection, form, &mut tally, clock, &progress) => end,
                _ = stopped.wait_for(|stop| *stop) => Ok(()),
            };
            (tally, end)
        }));
    }
    if let Some((clients, endpoint)) = &plan.sse {
        for _ in 0..*clients {
            let client = SseClient::connect(endpoint).await.context("open an event stream")?;
            let (progress, mut stopped) = (progress.clone(), stopped.clone());
            let mut tally = Tally::new(plan.publishers)?;
            receivers.push(tokio::spawn(async move {
                let end = tokio::select! {
                    end = client.receive(&mut tally, clock, &progress) => end,
                    _ = stopped.wait_for(|stop| *stop) => Ok(()),
                };
                (tally, end)
            }));
        }
    }

    let connections = dial(target, "pub", plan.publishers, plan.subscribers as usize).await?;
    let meter = Meter::start(plan.server.clone())?;
    let start_ns = clock.now_ns();
    let mut publishers = Vec::new();
    for (number, connection) in (0..).zip(connections) {
        let mut publisher = Publisher::new(number, connection, &plan)?;
        let (plan, progress, mut stopped) = (plan.clone(), progress.clone(), stopped.clone());
        publishers.push(tokio::spawn(async move {
            let end = tokio::select! {
                end = publisher.run(&plan, clock, &progress) => end,
                _ = stopped.wait_for(|stop| *stop) => Ok(()),
            };
            (publisher.ledger, end)
        }));
    }

    let meter = wait_for_end(&plan, &progress, &publishers, meter).await;
    stop.send_replace(true);
    let usage = meter.finish();
    let mut books = Books { ledgers: Vec::new(), tallies: Vec::new(), start_ns, broken: Vec::new() };
    books.ledgers = collect(publishers, "publisher", &mut books.broken).await?;
    books.tallies = collect(receivers, "receiver", &mut books.broken).await?;
    Report::new(&plan, &books, usage)
}

/// Opens connections, in parallel but not all at once, in order of their number.
///
/// # Errors
/// The first that fails.
pub async fn dial(target: &Target, role: &str, count: u32, first_index: usize) -> Result<Vec<Connection>> {
    let permits = Arc::new(Semaphore::new(DIALLING));
    let mut dialling = JoinSet::new();
    for number in 0..count {
        let (target, permits) = (target.clone(), permits.clone());
        let client_id = format!("bench-{}-{role}-{number}", std::process::id());
        dialling.spawn(async move {
            let _permit = permits.acquire().await?;
            let connection = target.connect(first_index + number as usize, &client_id).await;
            Ok::<_, anyhow::Error>((number, connection.with_context(|| format!("open connection {client_id}"))?))
        });
    }
    let mut connections = Vec::with_capacity(count as usize);
    while let Some(dialled) = dialling.join_next().await {
        connections.push(dialled??);
    }
    connections.sort_by_key(|(number, _)| *number);
    Ok(connections.into_iter().map(|(_, connection)| connection).collect())
}

type Ended<T> = JoinHandle<(T, std::io::Result<()>)>;

async fn collect<T>(tasks: Vec<Ended<T>>, role: &str, broken: &mut Vec<String>) -> Result<Vec<T>> {
    let mut books = Vec::with_capacity(tasks.len());
    for (number, task) in (0_u32..).zip(tasks) {
        let (book, end) = task.await?;
        if let Err(error) = end {
            broken.push(format!("{role} {number}: {error}"));
        }
        books.push(book);
    }
    Ok(books)
}

async fn wait_for_end(plan: &Plan, progress: &Progress, publishers: &[Ended<Ledger>], mut meter: Meter) -> Meter {
    let (mut last, mut moved) = ([0; 3], Instant::now());
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for poll in 0_u64.. {
        ticks.tick().await;
        if poll % POLLS_PER_SAMPLE == 0 {
            meter.sample();
        }
        let totals = [&progress.sent, &progress.acknowledged, &progress.delivered].map(|total| total.load(Relaxed));
        if totals != last {
            (last, moved) = (totals, Instant::now());
        }
        let [sent, _, delivered] = totals;
        let published = publishers.iter().all(JoinHandle::is_finished);
        if (published && delivered >= sent * plan.copies()) || moved.elapsed() > plan.quiet {
            break;
        }
    }
    meter.sample();
    meter
}

/// Watches what the run costs the server and this process.
#[derive(Debug)]
struct Meter {
    server: Option<(Process, f64)>,
    own_cpu: f64,
    usage: Usage,
}

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor seconds of the load generator.
    pub own_cpu_seconds: f64,
    /// Processor seconds of the server.
    pub server_cpu_seconds: Option<f64>,
    /// Resident bytes of the server before publishing and at most during the run.
    pub server_resident_bytes: Option<(u64, u64)>,
}

impl Meter {
    fn start(server: Option<Process>) -> Result<Self> {
        let mut usage = Usage::default();
        let server = match server {
            None => None,
            Some(process) => {
                let resident = process.resident_bytes()?;
                usage.server_resident_bytes = Some((resident, resident));
                let cpu = process.cpu_seconds()?;
                Some((process, cpu))
            }
        };
        Ok(Self { server, own_cpu: Process::own().cpu_seconds()?, usage })
    }

    /// A server that is gone shows in its connections; its last figures stay.
    fn sample(&mut self) {
        let Some((process, cpu_before)) = &self.server else { return };
        if let (Ok(resident), Some((_, most))) = (process.resident_bytes(), &mut self.usage.server_resident_bytes) {
            *most = resident.max(*most);
        }
        if let Ok(cpu) = process.cpu_seconds() {
            self.usage.server_cpu_seconds = Some(cpu - cpu_before);
        }
    }

    fn finish(mut self) -> Usage {
        self.usage.own_cpu_seconds = Process::own().cpu_seconds().map_or(0.0, |cpu| cpu - self.own_cpu);
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_add_up() {
        let plan = Plan {
            publishers: 3,
            subscribers: 2,
            sse: None,
            qos: 1,
            payload: 100,
            json: false,
            in_flight: 10,
            amount: Amount::Messages(11),
            rate: 0.0,
            topics: Topics::Paired,
            topic: "a/{}".to_owned(),
            quiet: Duration::ZERO,
            server: None,
        };
        let clock = Clock(Instant::now());
        let quotas: Vec<_> = (0..3).map(|id| plan.quota_of(id, clock)).collect();
        assert_eq!(quotas, [Quota::Messages(4), Quota::Messages(4), Quota::Messages(3)]);
        assert_eq!(
            (plan.filters(0), plan.filters(1)),
            (vec!["a/0".to_owned(), "a/2".to_owned()], vec!["a/1".to_owned()])
        );
        assert_eq!(plan.copies(), 1);
        let wildcard = Plan { topics: Topics::Own, topic: "a/b-{}/c".to_owned(), ..plan };
        assert_eq!((wildcard.filters(1), wildcard.copies()), (vec!["a/+/c".to_owned()], 2));
    }
}
