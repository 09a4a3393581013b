//! Copies what the rooms count for themselves into the metrics, when they are read.

use std::sync::Arc;

use metrics::{counter, gauge};

use crate::{
    egress::EgressStatistics,
    journal::{Journal, Watermark},
    mqtt::Broker,
    stream::Streams,
    timescale::{ImportStatistics, Statistics},
    types::Sequence,
};

/// The parts that count for themselves.
pub struct Sources {
    /// What is stored.
    pub journal: Journal,
    /// What devices and subscribers do.
    pub broker: Arc<Broker>,
    /// What the database has, where there is one.
    pub writer: Option<Arc<Statistics>>,
    /// What has come from the database, where that is wanted.
    pub importer: Option<Arc<ImportStatistics>>,
    /// What events have said to devices, where there are rules.
    pub egress: Option<Arc<EgressStatistics>>,
    /// What browsers see.
    pub streams: Streams,
}

impl Sources {
    /// Sets every metric that is not recorded where it happens.
    pub fn collect(&self) {
        collect_journal(&self.journal);
        collect_broker(&self.broker);
        collect_streams(&self.streams);
        if let Some(writer) = &self.writer {
            collect_writer(writer, self.journal.watermark(Watermark::Durable));
        }
        if let Some(importer) = &self.importer {
            collect_importer(importer);
        }
        if let Some(egress) = &self.egress {
            counter!("synap_mqtt_egress_messages_total").absolute(egress.published());
            counter!("synap_mqtt_egress_unsent_total").absolute(egress.unsent());
        }
    }
}

fn collect_journal(journal: &Journal) {
    gauge!("synap_mqtt_journal_appended").set(journal.watermark(Watermark::Appended).0 as f64);
    gauge!("synap_mqtt_journal_durable").set(journal.watermark(Watermark::Durable).0 as f64);
    gauge!("synap_mqtt_journal_bytes").set(journal.bytes() as f64);
}

fn collect_broker(broker: &Broker) {
    let statistics = broker.statistics();
    let census = broker.census();
    gauge!("synap_mqtt_connections").set(statistics.connections.get() as f64);
    gauge!("synap_mqtt_sessions").set(census.sessions as f64);
    gauge!("synap_mqtt_subscriptions").set(census.subscriptions as f64);
    gauge!("synap_mqtt_queued_messages").set(census.queued as f64);
    gauge!("synap_mqtt_queued_bytes").set(census.queued_bytes as f64);
    gauge!("synap_mqtt_retained_messages").set(census.retained as f64);
    gauge!("synap_mqtt_retained_bytes").set(census.retained_bytes as f64);
    counter!("synap_mqtt_messages_not_retained_total").absolute(statistics.not_retained.get());
    counter!("synap_mqtt_sessions_expired_total").absolute(statistics.expired.get());
    counter!("synap_mqtt_packets_received_total").absolute(statistics.incoming.packets.get());
    counter!("synap_mqtt_packets_sent_total").absolute(statistics.outgoing.packets.get());
    counter!("synap_mqtt_bytes_received_total").absolute(statistics.incoming.bytes.get());
    counter!("synap_mqtt_bytes_sent_total").absolute(statistics.outgoing.bytes.get());
    counter!("synap_mqtt_connections_total").absolute(statistics.accepted.get());
    counter!("synap_mqtt_connections_refused_total").absolute(statistics.protocol_errors.get());
    counter!("synap_mqtt_authentications_failed_total").absolute(statistics.unauthenticated.get());
    counter!("synap_mqtt_authentications_banned_total").absolute(statistics.banned.get());
    counter!("synap_mqtt_sessions_withheld_total").absolute(statistics.foreign_sessions.get());
    for (action, counted) in [
        ("publish", &statistics.may_not_publish),
        ("subscribe", &statistics.may_not_subscribe),
        ("receive", &statistics.may_not_receive),
        ("will", &statistics.may_not_have_will),
    ] {
        counter!("synap_mqtt_access_refused_total", "action" => action).absolute(counted.get());
    }
    for (reason, counted) in [("descriptors", &statistics.turned_away), ("handshakes", &statistics.pushed_out)] {
        counter!("synap_mqtt_connections_shed_total", "reason" => reason).absolute(counted.get());
    }
    counter!("synap_mqtt_messages_received_total").absolute(statistics.received.get());
    counter!("synap_mqtt_messages_acknowledged_total").absolute(statistics.acknowledged.get());
    counter!("synap_mqtt_messages_delivered_total").absolute(statistics.delivered.get());
    for (reason, counted) in [
        ("shed", &statistics.shed),
        ("refused", &statistics.refused),
        ("queue-full", &statistics.dropped),
        ("lost", &statistics.lost),
        ("reserved-topic", &statistics.reserved),
        ("payload-format", &statistics.invalid_payloads),
    ] {
        counter!("synap_mqtt_messages_dropped_total", "reason" => reason).absolute(counted.get());
    }
}

fn collect_streams(streams: &Streams) {
    let statistics = streams.statistics();
    gauge!("synap_mqtt_stream_clients").set(streams.clients() as f64);
    counter!("synap_mqtt_stream_events_encoded_total").absolute(statistics.encoded() + statistics.replayed());
    counter!("synap_mqtt_stream_bytes_total").absolute(statistics.bytes_sent());
    counter!("synap_mqtt_stream_gaps_total").absolute(statistics.gaps());
    counter!("synap_mqtt_stream_dropped_total").absolute(statistics.dropped());
}

fn collect_writer(writer: &Statistics, durable: Sequence) {
    gauge!("synap_mqtt_timescale_connected").set(if writer.connected() { 1.0 } else { 0.0 });
    counter!("synap_mqtt_timescale_rows_total").absolute(writer.rows());
    counter!("synap_mqtt_timescale_measurements_total").absolute(writer.measurements());
    counter!("synap_mqtt_timescale_repeats_total").absolute(writer.repeats());
    counter!("synap_mqtt_timescale_batches_total").absolute(writer.batches());
    gauge!("synap_mqtt_timescale_lag_records").set(writer.lag(durable) as f64);
    counter!("synap_mqtt_dead_letters_total").absolute(writer.dead_letters());
}

fn collect_importer(importer: &ImportStatistics) {
    gauge!("synap_mqtt_import_connected").set(if importer.connected() { 1.0 } else { 0.0 });
    gauge!("synap_mqtt_import_lag_seconds").set(importer.lag().as_secs_f64());
    counter!("synap_mqtt_imported_events_total").absolute(importer.imported());
    counter!("synap_mqtt_imported_events_omitted_total").absolute(importer.omitted());
    counter!("synap_mqtt_import_vanished_total").absolute(importer.vanished());
}
