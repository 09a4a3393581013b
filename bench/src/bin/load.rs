//! `load`: drives any MQTT broker and counts what becomes of each message. See `bench/README.md`.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use synap_mqtt_bench::{
    codec::{Session, Version},
    dial::Target,
    fill::{Contents, check, fill},
    load::{DIALLING, dial, run},
    plan::{Amount, Plan, Topics},
    process::Process,
    report::print_json,
    sse::Endpoint,
    stamp::Form,
};

/// How often memory is looked at while it settles, and how much it may still move.
const SETTLE_POLL: Duration = Duration::from_millis(250);
const SETTLED_BYTES: u64 = 64 << 10;
const SETTLE_POLLS: u32 = 40;

/// Drives an MQTT broker and counts what becomes of each message.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Args)]
struct Common {
    /// Name or address of the broker; with --cafile, the name in its certificate.
    #[arg(long, default_value = "127.0.0.1", global = true)]
    host: String,
    /// Port of the broker.
    #[arg(long, default_value_t = 1883, global = true)]
    port: u16,
    /// Use TLS and trust the certificates in this PEM file.
    #[arg(long, global = true)]
    cafile: Option<PathBuf>,
    /// MQTT 5.0 instead of 3.1.1.
    #[arg(long, global = true)]
    v5: bool,
    /// Keep alive in seconds; must outlast the run, as no pings are sent. 0 turns it off.
    #[arg(long, default_value_t = 3600, global = true)]
    keep_alive: u16,
    /// Sessions that outlive their connections: clean session 0, or an expiry of an hour in 5.0.
    #[arg(long, global = true)]
    persistent: bool,
    /// Worker threads of the load generator.
    #[arg(long, default_value_t = 2, global = true)]
    threads: usize,
    /// The server's process, to measure its memory and processor time.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Print one line of JSON instead of a table.
    #[arg(long, global = true)]
    output_json: bool,
    /// Fields to add to the line of JSON, as KEY=VALUE.
    #[arg(long = "label", global = true)]
    labels: Vec<String>,
}

#[derive(Subcommand)]
enum Mode {
    /// Publishers and subscribers, as fast as they go or at a rate.
    Messages(Messages),
    /// Connections that do nothing: the server's memory per connection.
    Idle {
        /// How many.
        #[arg(long, default_value_t = 5000)]
        connections: u32,
    },
    /// Connections that are opened and then do nothing: how many per second.
    Connect {
        /// How many.
        #[arg(long, default_value_t = 2000)]
        connections: u32,
        /// How many at once.
        #[arg(long, default_value_t = 50)]
        at_a_time: usize,
    },
    /// Leaves persistent sessions with subscriptions, and retained messages.
    Fill(Contents),
    /// Whether everything that `fill` has left is there: every retained message, and every hundredth session.
    Check(Contents),
    /// Devices that each publish now and then: the server's memory under many connections.
    Devices {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        connections: u32,
        /// Messages per second of each.
        #[arg(long, default_value_t = 1.0)]
        rate: f64,
        /// For how long.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// QoS.
        #[arg(long, default_value_t = 1)]
        qos: u8,
        /// Payload in bytes.
        #[arg(long, default_value_t = 200)]
        payload: usize,
    },
    /// From an MQTT publish to an event stream client.
    Sse {
        /// The event stream's URL; plain HTTP.
        #[arg(long)]
        url: Endpoint,
        /// Event stream clients.
        #[arg(long, default_value_t = 10)]
        clients: u32,
        #[command(flatten)]
        messages: Messages,
    },
}

#[derive(Args)]
struct Messages {
    /// Publishing connections.
    #[arg(long, default_value_t = 10)]
    publishers: u32,
    /// Subscribing connections.
    #[arg(long, default_value_t = 1)]
    subscribers: u32,
    /// QoS of publications and subscriptions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Payload in bytes.
    #[arg(long, default_value_t = 100)]
    payload: usize,
    /// JSON payloads.
    #[arg(long)]
    json: bool,
    /// JSON payloads with a time, by chance within so many days before now; 0 for now.
    #[arg(long, conflicts_with = "json")]
    days: Option<u32>,
    /// Unacknowledged messages per publisher.
    #[arg(long, default_value_t = 100)]
    in_flight: u16,
    /// Messages over all publishers.
    #[arg(long, default_value_t = 1_000_000, conflicts_with = "seconds")]
    messages: u64,
    /// Publish for this long instead of a number of messages.
    #[arg(long)]
    seconds: Option<u64>,
    /// Messages per second over all publishers; 0 is unlimited.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Who gets what.
    #[arg(long, value_enum, default_value_t = Topics::Own)]
    topics: Topics,
    /// Topic of a publisher; {} is its number.
    #[arg(long, default_value = "bench/{}")]
    topic: String,
    /// End the run when nothing moves for so many seconds.
    #[arg(long, default_value_t = 5)]
    quiet: u64,
}

impl Messages {
    fn plan(self, sse: Option<(u32, Endpoint)>, server: Option<Process>) -> Result<Plan> {
        ensure!(self.publishers > 0, "--publishers must be at least 1");
        let form = match self.days {
            Some(days) => Form::Dated { days },
            None if self.json => Form::Json,
            None => Form::Binary,
        };
        Ok(Plan {
            publishers: self.publishers,
            subscribers: self.subscribers,
            sse,
            qos: self.qos,
            payload: self.payload,
            form,
            in_flight: self.in_flight,
            amount: self.seconds.map_or(Amount::Messages(self.messages), |s| Amount::For(Duration::from_secs(s))),
            rate: self.rate,
            topics: self.topics,
            topic: self.topic,
            quiet: Duration::from_secs(self.quiet),
            server,
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cli.common.threads).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(start(cli))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As many descriptors as the process may have: every connection takes one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("load: cannot raise the limit of file descriptors: {error}");
    }
}

/// Runs one mode; whether every promise was kept.
async fn start(Cli { common, mode }: Cli) -> Result<bool> {
    let version = if common.v5 { Version::V5 } else { Version::V311 };
    let session = if common.persistent { Session::Persistent } else { Session::Clean };
    let mut target = Target::new(&common.host, common.port, common.cafile.as_deref(), version).await?;
    (target.session, target.keep_alive) = (session, common.keep_alive);
    let server = common.pid.map(Process::new);
    let plan = match mode {
        Mode::Idle { connections } => {
            let server = server.context("idle needs --pid, the server's process")?;
            return idle(&common, &target, &server, connections).await;
        }
        Mode::Connect { connections, at_a_time } => return connect(&common, &target, connections, at_a_time).await,
        Mode::Fill(contents) => {
            fill(&target, contents).await?;
            return Ok(true);
        }
        Mode::Check(contents) => {
            check(&target, contents).await?;
            return Ok(true);
        }
        Mode::Messages(messages) => messages.plan(None, server)?,
        Mode::Sse { url, clients, messages } => Plan { subscribers: 0, ..messages.plan(Some((clients, url)), server)? },
        Mode::Devices { connections, rate, seconds, qos, payload } => Plan {
            publishers: connections,
            subscribers: 1,
            sse: None,
            qos,
            payload,
            form: Form::Json,
            in_flight: 10,
            amount: Amount::For(Duration::from_secs(seconds)),
            rate: rate * f64::from(connections),
            topics: Topics::Own,
            topic: "devices/device-{}/telemetry".to_owned(),
            quiet: Duration::from_secs(5),
            server,
        },
    };
    let report = run(plan, &target).await?;
    if common.output_json {
        print_json(&common.labels, serde_json::to_value(&report)?)?;
    } else {
        print!("{report}");
    }
    Ok(report.ok)
}

/// Opens connections and compares the server's memory before and after, each when settled.
async fn idle(common: &Common, target: &Target, server: &Process, count: u32) -> Result<bool> {
    let before = settled(server).await?;
    let connections = dial(target, "idle", count, 0, DIALLING).await?;
    let after = settled(server).await?;
    let per_connection = after.saturating_sub(before) as f64 / f64::from(count);
    drop(connections);
    if common.output_json {
        let figures = json!({ "connections": count, "resident_before": before, "resident_after": after,
            "bytes_per_connection": per_connection, "ok": true });
        print_json(&common.labels, figures)?;
    } else {
        println!("{count} connections: {before} bytes resident before, {after} after, {per_connection:.0} each");
    }
    Ok(true)
}

/// Opens connections, each as far as its CONNACK, and times that.
async fn connect(common: &Common, target: &Target, count: u32, at_a_time: usize) -> Result<bool> {
    let start = Instant::now();
    let connections = dial(target, "connect", count, 0, at_a_time).await?;
    let per_second = f64::from(count) / start.elapsed().as_secs_f64();
    drop(connections);
    if common.output_json {
        let figures = json!({ "connections": count, "connections_per_second": per_second, "ok": true });
        print_json(&common.labels, figures)?;
    } else {
        println!("{count} connections, {at_a_time} at a time: {per_second:.0}/s");
    }
    Ok(true)
}

/// Resident memory once it moves no more.
async fn settled(server: &Process) -> Result<u64> {
    let mut last = server.resident_bytes()?;
    for _ in 0..SETTLE_POLLS {
        tokio::time::sleep(SETTLE_POLL).await;
        let now = server.resident_bytes()?;
        if now.abs_diff(last) <= SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
