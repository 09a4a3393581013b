//! `rumqttd`: the baseline broker, embedded as it would be in a bridge built on it: one 3.1.1
//! listener on a loopback port, everything in memory, limits out of the way.

use std::{collections::HashMap, net::Ipv4Addr};

use clap::Parser;
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// rumqttd as a library with settings for a benchmark.
#[derive(Parser)]
struct Cli {
    /// Loopback port to listen on.
    #[arg(long)]
    port: u16,
    /// Unacknowledged messages towards a subscriber.
    #[arg(long, default_value_t = 100)]
    max_inflight: usize,
    /// Bytes of a segment of a topic filter's log, of which ten are kept in memory; what falls
    /// out is lost to slower subscribers.
    #[arg(long, default_value_t = 100 << 20)]
    segment_bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let listener = ServerSettings {
        name: "bench".to_owned(),
        listen: (Ipv4Addr::LOCALHOST, cli.port).into(),
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 60_000,
            max_payload_size: 1 << 20,
            max_inflight_count: cli.max_inflight,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let router = RouterConfig {
        max_connections: 20_000,
        max_outgoing_packet_count: 200,
        max_segment_size: cli.segment_bytes,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let config = Config { router, v4: Some(HashMap::from([("bench".to_owned(), listener)])), ..Config::default() };
    Ok(Broker::new(config).start()?)
}
