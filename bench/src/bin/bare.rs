//! `bare`: the yardstick of a fan-out. One `send` per client and event, and nothing else: no filters, no ids, no
//! queues, no journal, no time limits; a client that does not read holds up all others.
//!
//! Clients come by HTTP, as event streams or WebSockets; a publisher sends a line for each event to the next port.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use clap::Parser;
use synap_mqtt_bench::watchers::Transport;

/// Sends each event to each client.
#[derive(Parser)]
struct Cli {
    /// Loopback port of the clients; the publisher has the next one.
    #[arg(long)]
    port: u16,
    /// How events are sent.
    #[arg(long, value_enum)]
    transport: Transport,
}

const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// For the one key that the load generator sends.
const WS: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: C/0nmHhBztSRGR1CwL6Tf4ZjwpY=\r\n\r\n";

fn main() -> Result<()> {
    let Cli { port, transport } = Cli::parse();
    let publishers = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let clients = Arc::new(Mutex::new(Vec::new()));
    let coming = Arc::clone(&clients);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            if let Ok(socket) = greet(socket, transport) {
                coming.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
            }
        }
    });
    for publisher in publishers.incoming() {
        for line in BufReader::new(publisher?).lines() {
            let event = encode(&line?, transport)?;
            for client in clients.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                // One that is gone costs a failed call from then on.
                let _ = client.write_all(&event);
            }
        }
    }
    Ok(())
}

fn greet(mut socket: TcpStream, transport: Transport) -> Result<TcpStream> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    socket.write_all(if transport == Transport::Sse { SSE } else { WS }.as_bytes())?;
    Ok(socket)
}

fn encode(line: &str, transport: Transport) -> Result<Vec<u8>> {
    if transport == Transport::Sse {
        return Ok(format!("data: {line}\n\n").into_bytes());
    }
    let length = u16::try_from(line.len())?;
    ensure!(length > 125, "an event has 126 bytes or more here");
    Ok([&[0x81, 126], &length.to_be_bytes()[..], line.as_bytes()].concat())
}
