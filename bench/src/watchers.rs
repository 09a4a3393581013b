//! Very many clients of a stream of events, as cheap as can be: one thread, one `epoll`, one buffer for all.
//!
//! A client parses nothing but its handshake. Each event's payload has one [`MARK`], and a client counts marks in
//! what it reads, whatever frames them: so the load generator costs little beside the kernel's own work, and
//! servers are told apart by what they cost.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};
use socket2::{Domain, Socket, Type};

/// A byte that an event has once, and nothing else that a server says has.
pub const MARK: u8 = b'~';

/// Largest head of an HTTP response.
const HEAD_BYTES: usize = 16 << 10;

/// A server that does not answer a handshake for this long is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections from one loopback source address; the kernel's default range has 28,232 ports.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// Readable clients that are asked for at once.
const EVENTS: usize = 1024;

/// How events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Ws,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
    /// How.
    pub transport: Transport,
    /// A message to send behind the handshake of a WebSocket; its answer is awaited.
    pub hello: Option<String>,
    /// With server-sent events: behind which event.
    pub after: Option<String>,
}

/// One client.
#[derive(Debug)]
struct Watcher {
    socket: TcpStream,
    events: u64,
    expected: u64,
}

/// All clients.
pub struct Watchers {
    all: Vec<Watcher>,
    epoll: OwnedFd,
    buffer: Vec<u8>,
    /// Events that came, over all clients.
    pub events: u64,
    /// Bytes that came, over all clients.
    pub bytes: u64,
    /// Clients that have all that they expect.
    pub complete: usize,
    /// Clients whose connection ended.
    pub broken: usize,
}

impl std::fmt::Debug for Watchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} clients complete, {} broken", self.complete, self.all.len(), self.broken)
    }
}

impl Watchers {
    /// None yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self> {
        Ok(Self {
            all: Vec::new(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            buffer: vec![0; 256 << 10],
            events: 0,
            bytes: 0,
            complete: 0,
            broken: 0,
        })
    }

    /// Connects one more, which expects so many events; what comes behind its handshake counts.
    ///
    /// # Errors
    /// When the server refuses, or does not answer in time.
    pub fn add(&mut self, request: &Request, expected: u64) -> Result<()> {
        let index = self.all.len();
        let (socket, rest) = open(request, index).with_context(|| format!("connect client {index}"))?;
        socket.set_nonblocking(true)?;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        self.all.push(Watcher { socket, events: 0, expected });
        self.complete += usize::from(expected == 0);
        self.count(index, &rest);
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Events that did not come.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.all.iter().map(|watcher| watcher.expected.saturating_sub(watcher.events)).sum()
    }

    /// Events beyond those that were expected.
    #[must_use]
    pub fn surplus(&self) -> u64 {
        self.all.iter().map(|watcher| watcher.events.saturating_sub(watcher.expected)).sum()
    }

    /// Reads what is there, or waits for it for a while. Returns whether anything came.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&mut self, patience: Duration) -> Result<bool> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut ready = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &ready {
            self.receive(event.data.u64() as usize)?;
        }
        Ok(!ready.is_empty())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let Some(watcher) = self.all.get_mut(index) else { return Ok(()) };
        match watcher.socket.read(&mut self.buffer) {
            Ok(read @ 1..) => {
                let buffer = std::mem::take(&mut self.buffer);
                self.count(index, buffer.get(..read).unwrap_or_default());
                self.buffer = buffer;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => {
                epoll::delete(&self.epoll, &watcher.socket)?;
                self.broken += 1;
            }
        }
        Ok(())
    }

    fn count(&mut self, index: usize, bytes: &[u8]) {
        let Some(watcher) = self.all.get_mut(index) else { return };
        let marks = memchr::memchr_iter(MARK, bytes).count() as u64;
        let before = watcher.events;
        watcher.events += marks;
        self.complete += usize::from(before < watcher.expected && watcher.events >= watcher.expected);
        self.events += marks;
        self.bytes += bytes.len() as u64;
    }
}

/// Connects, asks, and reads the answer's head, and the answer to the first message; returns what came behind.
fn open(request: &Request, index: usize) -> Result<(TcpStream, Vec<u8>)> {
    let socket = Socket::new(Domain::for_address(request.address), Type::STREAM, None)?;
    if let (IpAddr::V4(address), source @ 1..) = (request.address.ip(), index / CONNECTIONS_PER_SOURCE)
        && address.is_loopback()
    {
        let source = Ipv4Addr::new(127, 0, 0, u8::try_from(source + 1).unwrap_or(u8::MAX));
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.connect(&request.address.into())?;
    let mut socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let Request { address, path, transport, hello, after } = request;
    let headers = match transport {
        Transport::Sse => "Accept: text/event-stream\r\n",
        Transport::Ws => {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
        }
    };
    let after = after.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}{after}\r\n").as_bytes())?;
    let mut rest = Vec::new();
    let end = loop {
        read_more(&mut socket, &mut rest)?;
        if let Some(at) = memchr::memmem::find(&rest, b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(rest.len() < HEAD_BYTES, "the response head is too long");
    };
    let status = if *transport == Transport::Sse { "200" } else { "101" };
    let head = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
    if head.split(' ').nth(1) != Some(status) {
        bail!("expected {status}: {}", head.lines().next().unwrap_or_default());
    }
    rest.drain(..end);
    if let Some(hello) = hello {
        socket.write_all(&text_frame(hello.as_bytes()))?;
        read_more(&mut socket, &mut rest)?;
    }
    Ok((socket, rest))
}

fn read_more(socket: &mut TcpStream, into: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 4096];
    let read = socket.read(&mut buffer).context("wait for an answer")?;
    ensure!(read > 0, "the server closed the connection");
    into.extend_from_slice(buffer.get(..read).unwrap_or_default());
    Ok(())
}

/// A client's frame of at most 125 bytes of text, masked with zeros (RFC 6455 section 5.2).
fn text_frame(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or_default() & 0x7f;
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text].concat()
}

/// Reads until all are complete; gives up when nothing moves for `quiet`. Returns the time of the last event.
///
/// # Errors
/// The system's.
pub fn read_all(watchers: &mut Watchers, quiet: Duration) -> Result<Instant> {
    let mut last = Instant::now();
    while watchers.complete < watchers.len() && last.elapsed() < quiet {
        let before = watchers.events;
        watchers.read(Duration::from_millis(100))?;
        if watchers.events > before {
            last = Instant::now();
        }
    }
    Ok(last)
}
