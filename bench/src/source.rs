//! Where the events of a fan-out come from: a publisher in the way that each server takes them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{
    codec::{self, PublishTemplate, Session, Version, kind},
    watchers::MARK,
};

/// Where MQTT events go.
const TOPIC: &str = "devices/fanout/telemetry";

/// Digits of the counter in each payload.
const DIGITS: usize = 12;

/// How a server takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// MQTT 3.1.1 with QoS 1, to the topic `devices/fanout/telemetry`; so many are not acknowledged at most.
    Mqtt,
    /// One `POST` after the other on one connection, each answered before the next.
    Post,
    /// A line each over TCP, as fast as the server reads.
    Lines,
}

/// A connected publisher.
#[derive(Debug)]
pub struct Source {
    way: Way,
    socket: BufReader<TcpStream>,
    path: String,
    payload: Vec<u8>,
    in_flight: usize,
    unacknowledged: usize,
}

/// A payload of JSON with one mark and room for a counter.
fn payload(size: usize) -> Vec<u8> {
    let head = format!("{{\"n\":\"{:0DIGITS$}\",\"pad\":\"~", 0);
    let room = size.saturating_sub(head.len() + 2);
    let mut payload = head.into_bytes();
    payload.extend((0..room).map(|at| b'a' + u8::try_from(at % 26).unwrap_or_default()));
    payload.extend_from_slice(b"\"}");
    debug_assert_eq!(payload.iter().filter(|byte| **byte == MARK).count(), 1);
    payload
}

impl Source {
    /// Connects. `path` is that of a `POST`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn connect(way: Way, address: SocketAddr, path: &str, size: usize, in_flight: usize) -> Result<Self> {
        let socket = TcpStream::connect(address).context("connect the publisher")?;
        socket.set_nodelay(true)?;
        let mut source = Self {
            way,
            socket: BufReader::with_capacity(64 << 10, socket),
            path: path.to_owned(),
            payload: payload(size),
            in_flight,
            unacknowledged: 0,
        };
        if way == Way::Mqtt {
            let mut packet = Vec::new();
            codec::connect(&mut packet, Version::V311, "fanout", 0, Session::Clean);
            source.socket.get_mut().write_all(&packet)?;
            let mut connack = [0; 4];
            source.socket.read_exact(&mut connack)?;
            ensure!(connack == [kind::CONNACK, 2, 0, 0], "the broker refused the publisher: {connack:?}");
        }
        Ok(source)
    }

    /// Publishes so many; at a rate a second, or as fast as the server takes them. Returns when the server has
    /// acknowledged all, where it does.
    ///
    /// # Errors
    /// When the server refuses one.
    pub fn publish(&mut self, events: u64, rate: f64) -> Result<()> {
        let template = PublishTemplate::new(Version::V311, 1, TOPIC, &self.payload);
        let start = Instant::now();
        for counter in 0..events {
            if rate > 0.0 {
                let due = start + Duration::from_secs_f64(counter as f64 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let digits = format!("{counter:0DIGITS$}");
            self.payload.get_mut(6..6 + DIGITS).context("a payload has room")?.copy_from_slice(digits.as_bytes());
            match self.way {
                Way::Mqtt => self.publish_packet(&template, counter)?,
                Way::Post => self.post()?,
                Way::Lines => {
                    let line = [self.payload.as_slice(), b"\n"].concat();
                    self.socket.get_mut().write_all(&line)?;
                }
            }
        }
        while self.unacknowledged > 0 {
            self.read_acknowledgement()?;
        }
        Ok(())
    }

    fn publish_packet(&mut self, template: &PublishTemplate, counter: u64) -> Result<()> {
        while self.unacknowledged >= self.in_flight {
            self.read_acknowledgement()?;
        }
        let packet_id = u16::try_from(counter % u64::from(u16::MAX))? + 1;
        let mut packet = Vec::with_capacity(template.wire_bytes());
        template.append(&mut packet, packet_id, |place| place.copy_from_slice(&self.payload));
        self.socket.get_mut().write_all(&packet)?;
        self.unacknowledged += 1;
        Ok(())
    }

    fn read_acknowledgement(&mut self) -> Result<()> {
        let mut packet = [0; 4];
        self.socket.read_exact(&mut packet)?;
        ensure!(packet.starts_with(&[kind::PUBACK, 2]), "expected a PUBACK, not {packet:?}");
        self.unacknowledged -= 1;
        Ok(())
    }

    fn post(&mut self) -> Result<()> {
        let (path, length) = (&self.path, self.payload.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        self.socket.get_mut().write_all(&[head.as_bytes(), &self.payload].concat())?;
        let mut length = 0;
        for number in 0.. {
            let mut line = String::new();
            ensure!(self.socket.read_line(&mut line)? > 0, "the server closed the publisher's connection");
            ensure!(number > 0 || line.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{line}");
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut (&mut self.socket).take(length), &mut std::io::sink())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_and_one_mark() {
        for size in [100, 250] {
            let payload = payload(size);
            assert_eq!(payload.len(), size);
            assert_eq!(memchr::memchr_iter(MARK, &payload).count(), 1);
            assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
        }
    }
}
