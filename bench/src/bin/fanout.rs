//! `fanout`: events to very many clients of a stream, of this bridge or of any other server, and what each
//! delivery costs. See `bench/README.md`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use synap_mqtt_bench::{
    meter::Meter,
    process::Process,
    report::{mib, print_json},
    source::{Source, Way},
    watchers::{Request, Transport, Watchers, read_all},
};

/// How often memory is looked at while it settles, and how much it may still move.
const SETTLE_POLL: Duration = Duration::from_millis(250);
const SETTLED_BYTES: u64 = 64 << 10;
const SETTLE_POLLS: u32 = 40;

/// Time for a server to note the last client before the first event.
const PAUSE: Duration = Duration::from_millis(500);

/// Clients that are connected before what came for them is read.
const READ_EVERY: usize = 100;

/// Very many clients of a stream.
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
    /// Port of the server, on 127.0.0.1.
    #[arg(long, global = true, default_value_t = 8080)]
    port: u16,
    /// How clients get events.
    #[arg(long, value_enum, global = true, default_value = "sse")]
    transport: Transport,
    /// Path of the stream, with its query.
    #[arg(long, global = true, default_value = "/api/events/stream")]
    path: String,
    /// First message of a WebSocket client.
    #[arg(long, global = true)]
    hello: Option<String>,
    /// Clients.
    #[arg(long, global = true, default_value_t = 1000)]
    clients: u32,
    /// The server's process, to measure its memory and processor time.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Give up when nothing moves for so many seconds.
    #[arg(long, global = true, default_value_t = 15)]
    quiet: u64,
    #[command(flatten)]
    source: SourceOptions,
    /// Fields to add to the line of JSON, as KEY=VALUE.
    #[arg(long = "label", global = true)]
    labels: Vec<String>,
}

#[derive(Args)]
struct SourceOptions {
    /// How events are published.
    #[arg(long, value_enum, global = true, default_value = "mqtt")]
    way: Way,
    /// Port to publish to.
    #[arg(long, global = true, default_value_t = 1883)]
    source_port: u16,
    /// Path to publish to, with --way post.
    #[arg(long, global = true, default_value = "/publish")]
    source_path: String,
    /// Payload in bytes.
    #[arg(long, global = true, default_value_t = 250)]
    payload: usize,
    /// Unacknowledged events, with --way mqtt.
    #[arg(long, global = true, default_value_t = 100)]
    in_flight: usize,
    /// Events.
    #[arg(long, global = true, default_value_t = 1000)]
    events: u64,
    /// Events a second; 0 for as fast as the server takes them.
    #[arg(long, global = true, default_value_t = 0.0)]
    rate: f64,
}

#[derive(Subcommand)]
enum Mode {
    /// Every event to every client: deliveries a second, and processor time for a million of them.
    Run,
    /// Clients that get nothing: the server's memory for each.
    Idle,
    /// Publishes, and prints the id in front of the first event.
    Fill,
    /// One client from that id on, and from others behind it.
    Replay {
        /// The id that `fill` printed.
        #[arg(long)]
        after: String,
    },
    /// Clients that resume all at once, each behind another event, while others get new ones.
    Resume {
        /// The id that `fill` printed.
        #[arg(long)]
        after: String,
        /// Clients that watch all the time.
        #[arg(long, default_value_t = 100)]
        live: u32,
        /// New events.
        #[arg(long, default_value_t = 1000)]
        new_events: u64,
    },
}

fn main() -> ExitCode {
    let Cli { common, mode } = Cli::parse();
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("fanout: cannot raise the limit of file descriptors: {error}");
    }
    let done = match mode {
        Mode::Run => run(&common),
        Mode::Idle => idle(&common),
        Mode::Fill => fill(&common),
        Mode::Replay { after } => replay(&common, &after),
        Mode::Resume { after, live, new_events } => resume(&common, &after, live, new_events),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanout: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Common {
    fn request(&self, after: Option<String>) -> Request {
        let Self { transport, path, hello, .. } = self;
        Request { address: local(self.port), path: path.clone(), transport: *transport, hello: hello.clone(), after }
    }

    fn source(&self) -> Result<Source> {
        let SourceOptions { way, source_port, source_path, payload, in_flight, .. } = &self.source;
        Source::connect(*way, local(*source_port), source_path, *payload, *in_flight)
    }

    fn server(&self) -> Result<Process> {
        self.pid.map(Process::new).context("--pid is missing, the server's process")
    }

    const fn quiet(&self) -> Duration {
        Duration::from_secs(self.quiet)
    }

    /// Connects clients that each expect so many events.
    fn connect(&self, watchers: &mut Watchers, count: u32, expected: u64) -> Result<()> {
        let request = self.request(None);
        for number in 1..=count {
            watchers.add(&request, expected)?;
            if (number as usize).is_multiple_of(READ_EVERY) {
                while watchers.read(Duration::ZERO)? {}
            }
        }
        Ok(())
    }
}

fn run(common: &Common) -> Result<bool> {
    let SourceOptions { events, rate, .. } = common.source;
    let mut watchers = Watchers::new()?;
    common.connect(&mut watchers, common.clients, events)?;
    let mut source = common.source()?;
    let settled = Instant::now() + PAUSE;
    while Instant::now() < settled {
        watchers.read(PAUSE / 10)?;
    }
    let (before, mut meter) = (watchers.bytes, Meter::start(Some(common.server()?))?);
    let start = Instant::now();
    let publishing = std::thread::spawn(move || source.publish(events, rate));
    let last = read_all(&mut watchers, common.quiet())?;
    meter.sample();
    let usage = meter.finish();
    if publishing.is_finished() {
        publishing.join().map_err(|_| anyhow::anyhow!("the publisher has panicked"))??;
    }
    let (missing, surplus, broken) = (watchers.missing(), watchers.surplus(), watchers.broken);
    let delivered = watchers.events;
    let cpu = usage.server_cpu_seconds;
    let ok = missing == 0 && surplus == 0 && broken == 0;
    let per_million = |seconds: f64| seconds * 1e6 / delivered.max(1) as f64;
    let figures = json!({
        "clients": common.clients, "delivered": delivered, "lost": missing, "duplicated": surplus, "broken": broken,
        "deliveries_per_second": delivered as f64 / last.duration_since(start).as_secs_f64(),
        "server_cpu_seconds": cpu, "cpu_seconds_per_million": cpu.map(per_million),
        "own_cpu_seconds": usage.own_cpu_seconds,
        "bytes_per_delivery": (watchers.bytes - before) as f64 / delivered.max(1) as f64,
        "server_mib": usage.server_resident_bytes.map(|(_, most)| mib(most)), "ok": ok,
    });
    print_json(&common.labels, figures)?;
    Ok(ok)
}

fn idle(common: &Common) -> Result<bool> {
    let server = common.server()?;
    let mut watchers = Watchers::new()?;
    let before = settled(&server, &mut watchers)?;
    common.connect(&mut watchers, common.clients, 0)?;
    let after = settled(&server, &mut watchers)?;
    let ok = watchers.broken == 0;
    let each = after.saturating_sub(before) as f64 / f64::from(common.clients);
    let figures = json!({ "clients": common.clients, "resident_before": before, "resident_after": after,
        "broken": watchers.broken, "bytes_per_connection": each, "ok": ok });
    print_json(&common.labels, figures)?;
    Ok(ok)
}

/// Resident memory once it moves no more.
fn settled(server: &Process, watchers: &mut Watchers) -> Result<u64> {
    let mut last = server.resident_bytes()?;
    for _ in 0..SETTLE_POLLS {
        let until = Instant::now() + SETTLE_POLL;
        while Instant::now() < until {
            watchers.read(SETTLE_POLL / 10)?;
        }
        let now = server.resident_bytes()?;
        if now.abs_diff(last) <= SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn fill(common: &Common) -> Result<bool> {
    let mut source = common.source()?;
    let before = first_id(&common.request(None))?;
    // An event of this life, whose epoch those behind it have too.
    source.publish(1, 0.0)?;
    let mut stream = Stream::open(&common.request(Some(before)))?;
    let text = stream.until(b"~")?;
    let id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).context("an event has an id")?.to_owned();
    source.publish(common.source.events, common.source.rate)?;
    println!("{id}");
    Ok(true)
}

/// The id with which a stream begins.
fn first_id(request: &Request) -> Result<String> {
    let mut stream = Stream::open(request)?;
    let text = stream.until(b"\n\n")?;
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).context("the stream begins without an id")?;
    Ok(id.to_owned())
}

/// `after`, so many events on: this bridge's ids rise by one for each message where nothing else is stored.
fn behind(after: &str, events: u64) -> Result<String> {
    let (epoch, sequence) = after.split_once('-').context("an id has two parts")?;
    Ok(format!("{epoch}-{}", sequence.parse::<u64>()? + events))
}

/// One stream that is read as text.
struct Stream {
    socket: std::net::TcpStream,
    /// What came behind what was looked for.
    rest: Vec<u8>,
}

impl Stream {
    fn open(request: &Request) -> Result<Self> {
        use std::io::Write;
        let mut socket = std::net::TcpStream::connect(request.address)?;
        let after = request.after.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let Request { address, path, .. } = request;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{after}\r\n").as_bytes())?;
        let mut stream = Self { socket, rest: Vec::new() };
        let head = stream.until(b"\r\n\r\n")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        Ok(stream)
    }

    /// Up to and with what is looked for.
    fn until(&mut self, wanted: &[u8]) -> Result<String> {
        use std::io::Read;
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = memchr::memmem::find(&self.rest, wanted) {
                let text: Vec<u8> = self.rest.drain(..at + wanted.len()).collect();
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            let read = self.socket.read(&mut buffer)?;
            ensure!(read > 0, "the stream has ended");
            self.rest.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }
}

fn replay(common: &Common, after: &str) -> Result<bool> {
    let events = common.source.events;
    let mut watchers = Watchers::new()?;
    let start = Instant::now();
    watchers.add(&common.request(Some(after.to_owned())), events)?;
    let last = read_all(&mut watchers, common.quiet())?;
    let seconds = last.duration_since(start).as_secs_f64();
    let (missing, surplus) = (watchers.missing(), watchers.surplus());
    drop(watchers);
    let mut first_event: f64 = 0.0;
    for part in 0..20 {
        let id = behind(after, events / 20 * part)?;
        let start = Instant::now();
        let mut stream = Stream::open(&common.request(Some(id)))?;
        stream.until(b"~")?;
        first_event = first_event.max(start.elapsed().as_secs_f64() * 1e3);
    }
    let ok = missing == 0 && surplus == 0;
    let figures = json!({ "events": events, "lost": missing, "duplicated": surplus,
        "replayed_per_second": (events - missing) as f64 / seconds, "first_event_ms": first_event, "ok": ok });
    print_json(&common.labels, figures)?;
    Ok(ok)
}

fn resume(common: &Common, after: &str, live: u32, new_events: u64) -> Result<bool> {
    let SourceOptions { events, rate, .. } = common.source;
    let (mut watchers, mut late) = (Watchers::new()?, Watchers::new()?);
    common.connect(&mut watchers, live, new_events)?;
    let mut source = common.source()?;
    let start = Instant::now();
    let publishing = std::thread::spawn(move || source.publish(new_events, rate));
    let following = std::thread::spawn({
        let quiet = common.quiet();
        move || read_all(&mut watchers, quiet).map(|last| (last, watchers.missing(), watchers.surplus()))
    });
    for client in 0..u64::from(common.clients) {
        let passed = events * client / u64::from(common.clients);
        late.add(&common.request(Some(behind(after, passed)?)), events - passed + new_events)?;
    }
    let last = read_all(&mut late, common.quiet())?;
    let published = publishing.join().map_err(|_| anyhow::anyhow!("the publisher has panicked"))?;
    published?;
    let (_, live_missing, live_surplus) =
        following.join().map_err(|_| anyhow::anyhow!("the live clients have panicked"))??;
    let (missing, surplus) = (late.missing() + live_missing, late.surplus() + live_surplus);
    let ok = missing == 0 && surplus == 0 && late.broken == 0;
    let seconds = last.duration_since(start).as_secs_f64();
    let figures: Value = json!({ "clients": common.clients, "delivered": late.events, "lost": missing,
        "duplicated": surplus, "seconds_to_catch_up": seconds,
        "deliveries_per_second": late.events as f64 / seconds, "ok": ok });
    print_json(&common.labels, figures)?;
    Ok(ok)
}
