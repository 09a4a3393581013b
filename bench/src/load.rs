//! One run of a [`Plan`], from the first connection to the books of the last.
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
use hdrhistogram::Histogram;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

use crate::{
    counters::CounterSet,
    dial::{Connection, Target},
    meter::Meter,
    plan::Plan,
    publisher::{Ledger, Publisher},
    receiver::{Tally, subscriber},
    report::Report,
    sse::SseClient,
};

/// Connections that are being opened at once; more overflow the listen queues of some brokers.
pub const DIALLING: usize = 32;

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

    let subscribers = dial(target, "sub", plan.subscribers, 0, DIALLING).await?;
    let mut receivers = Vec::new();
    for (number, mut connection) in (0..).zip(subscribers) {
        for filter in plan.filters(number) {
            connection.subscribe(&[filter], plan.qos).await?;
        }
        let (form, progress, mut stopped) = (plan.form, progress.clone(), stopped.clone());
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

    let connections = dial(target, "pub", plan.publishers, plan.subscribers as usize, DIALLING).await?;
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

/// Opens connections, `at_a_time` of them at once, in order of their number.
///
/// # Errors
/// The first that fails.
pub async fn dial(
    target: &Target,
    role: &str,
    count: u32,
    first_index: usize,
    at_a_time: usize,
) -> Result<Vec<Connection>> {
    let permits = Arc::new(Semaphore::new(at_a_time));
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
