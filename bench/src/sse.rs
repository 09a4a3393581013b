//! A Server-Sent Events client on plain HTTP/1.1, as small as a measurement needs.

use std::{io, sync::atomic::Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    load::{Clock, Progress},
    receiver::Tally,
    stamp::Stamp,
};

/// Largest head of an HTTP response.
const HEAD_BYTES: usize = 16 << 10;

/// `http://host:port/path`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
    path: String,
}

impl std::str::FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").context("the URL must begin with http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        ensure!(authority.contains(':'), "the URL must name its port");
        Ok(Self { authority: authority.to_owned(), path: if path.is_empty() { "/" } else { path }.to_owned() })
    }
}

/// An open stream.
#[derive(Debug)]
pub struct SseClient {
    stream: TcpStream,
    body: Body,
    lines: Lines,
}

impl SseClient {
    /// Sends the request and waits for the first event, after which the server delivers all.
    ///
    /// # Errors
    /// When the answer is not an event stream.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self> {
        let mut stream = TcpStream::connect(&endpoint.authority).await.context("connect")?;
        stream.set_nodelay(true)?;
        let Endpoint { authority, path } = endpoint;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        let end = loop {
            ensure!(stream.read_buf(&mut head).await? > 0, "closed before the end of the response head");
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(head.len() < HEAD_BYTES, "the response head is too long");
        };
        let rest = head.split_off(end);
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") || !head.contains("text/event-stream") {
            bail!("not an event stream: {}", head.lines().next().unwrap_or_default());
        }
        let chunked = head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
        let mut client = Self { stream, body: Body::new(chunked), lines: Lines::default() };
        let mut events = 0;
        client.body.feed(&rest, &mut client.lines)?;
        client.lines.drain(|_| events += 1);
        while events == 0 {
            client.read().await?;
            client.lines.drain(|_| events += 1);
        }
        Ok(client)
    }

    async fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        let read = self.stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the event stream"));
        }
        self.body.feed(buffer.get(..read).unwrap_or_default(), &mut self.lines)
    }

    /// Receives until dropped.
    ///
    /// # Errors
    /// The connection's.
    pub async fn receive(mut self, tally: &mut Tally, clock: Clock, progress: &Progress) -> io::Result<()> {
        loop {
            self.read().await?;
            let now_ns = clock.now_ns();
            let mut arrived = 0;
            self.lines.drain(|data| arrived += u64::from(tally.record(Stamp::find(data), now_ns)));
            progress.delivered.fetch_add(arrived, Relaxed);
        }
    }
}

/// The response body, with chunked transfer coding (RFC 9112 section 7.1) taken off.
#[derive(Debug)]
enum Body {
    Plain,
    /// Reading the line with a chunk's size, of which these digits have come.
    Size(Vec<u8>),
    /// Bytes left of a chunk, its closing CRLF included.
    Chunk(usize),
}

impl Body {
    const fn new(chunked: bool) -> Self {
        if chunked { Self::Size(Vec::new()) } else { Self::Plain }
    }

    fn feed(&mut self, mut bytes: &[u8], lines: &mut Lines) -> io::Result<()> {
        while let Some((&first, after)) = bytes.split_first() {
            match self {
                Self::Plain => {
                    lines.0.extend_from_slice(bytes);
                    return Ok(());
                }
                Self::Size(digits) if first == b'\n' => {
                    let size = std::str::from_utf8(digits).ok().and_then(|text| {
                        usize::from_str_radix(text.split(';').next()?.trim(), 16).ok().filter(|size| *size > 0)
                    });
                    let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "the event stream ended");
                    *self = Self::Chunk(size.ok_or_else(ended)? + 2);
                    bytes = after;
                }
                Self::Size(digits) => {
                    digits.push(first);
                    bytes = after;
                }
                Self::Chunk(left) => {
                    let content = bytes.get(..bytes.len().min(left.saturating_sub(2))).unwrap_or_default();
                    lines.0.extend_from_slice(content);
                    let taken = if content.is_empty() { bytes.len().min(*left) } else { content.len() };
                    *left -= taken;
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if *left == 0 {
                        *self = Self::Size(Vec::new());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Event stream text of which a last, unfinished line is kept.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Hands the value of every whole `data:` line to `each`. Events of the bridge have one
    /// such line each.
    fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.0.split_off(end + 1);
        for line in self.0.split(|byte| *byte == b'\n') {
            if let Some(data) = line.strip_prefix(b"data:") {
                each(data);
            }
        }
        self.0 = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lines_survive_chunks_cut_anywhere() {
        let wire = b"5;x=y\r\n: hi\n\r\nC\r\nid: 1\ndata: \r\n8\r\n{}\n\ndata\r\n5\r\n: []\n\r\n";
        for cut in 0..wire.len() {
            let (mut body, mut lines, mut seen) = (Body::new(true), Lines::default(), Vec::new());
            for part in [&wire[..cut], &wire[cut..]] {
                body.feed(part, &mut lines).unwrap();
                lines.drain(|data| seen.push(String::from_utf8_lossy(data).trim().to_owned()));
            }
            assert_eq!(seen, ["{}", "[]"], "cut at {cut}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let endpoint: Endpoint = "http://127.0.0.1:8080/api?topic=a".parse().unwrap();
        assert_eq!((endpoint.authority.as_str(), endpoint.path.as_str()), ("127.0.0.1:8080", "/api?topic=a"));
        assert!("https://127.0.0.1:8080/".parse::<Endpoint>().is_err());
        assert!("http://localhost/".parse::<Endpoint>().is_err());
    }
}
