//! The receiving side: what arrived, how often, in which order and how late; and the MQTT
//! subscriber that feeds it.

use std::{io, sync::atomic::Ordering::Relaxed};

use tokio::io::AsyncWriteExt;

use crate::{
    codec::{acknowledge, kind},
    counters::{CounterSet, Insertion},
    dial::Connection,
    load::{Clock, Latency, Progress, latency},
    stamp::{Form, Stamp},
};

/// What one receiver got.
#[derive(Debug)]
pub struct Tally {
    /// By publisher.
    pub delivered: Vec<CounterSet>,
    /// Messages that had arrived before.
    pub duplicated: u64,
    /// First arrivals after a later message of the same publisher.
    pub out_of_order: u64,
    /// Messages without a stamp of this run.
    pub foreign: u64,
    /// Microseconds from send to arrival, first arrivals only.
    pub latency: Latency,
    /// Time of the last first arrival.
    pub last_ns: u64,
}

impl Tally {
    /// For a run with so many publishers.
    ///
    /// # Errors
    /// When the latency histogram cannot be made.
    pub fn new(publishers: u32) -> anyhow::Result<Self> {
        Ok(Self {
            delivered: vec![CounterSet::default(); publishers as usize],
            duplicated: 0,
            out_of_order: 0,
            foreign: 0,
            latency: latency()?,
            last_ns: 0,
        })
    }

    /// Books one arrival; true when it is the message's first.
    pub fn record(&mut self, stamp: Option<Stamp>, now_ns: u64) -> bool {
        let known = stamp.and_then(|stamp| Some((self.delivered.get_mut(stamp.publisher as usize)?, stamp)));
        let Some((delivered, stamp)) = known else {
            self.foreign += 1;
            return false;
        };
        match delivered.insert(stamp.counter) {
            Insertion::InOrder => {}
            Insertion::Late => self.out_of_order += 1,
            Insertion::Duplicate => {
                self.duplicated += 1;
                return false;
            }
        }
        self.latency.saturating_record(now_ns.saturating_sub(stamp.sent_ns) / 1000);
        self.last_ns = now_ns;
        true
    }
}

/// Receives and acknowledges until dropped.
///
/// # Errors
/// The connection's.
pub async fn subscriber(
    mut connection: Connection,
    form: Form,
    tally: &mut Tally,
    clock: Clock,
    progress: &Progress,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        connection.inbox.fill(&mut connection.stream).await?;
        let now_ns = clock.now_ns();
        let mut arrived = 0;
        connection.inbox.drain(|packet| {
            match packet.kind() {
                kind::PUBLISH => {
                    let delivery = packet.delivery(connection.version)?;
                    arrived += u64::from(tally.record(Stamp::read(form, delivery.payload), now_ns));
                    match delivery.qos {
                        0 => {}
                        1 => acknowledge(&mut out, kind::PUBACK, delivery.packet_id),
                        _ => acknowledge(&mut out, kind::PUBREC, delivery.packet_id),
                    }
                }
                kind::PUBREL => acknowledge(&mut out, kind::PUBCOMP, packet.acknowledgement()?.0),
                _ => {}
            }
            Ok(())
        })?;
        progress.delivered.fetch_add(arrived, Relaxed);
        if !out.is_empty() {
            connection.stream.write_all(&out).await?;
            connection.stream.flush().await?;
            out.clear();
        }
    }
}
