//! Copies what the rooms count for themselves into the metrics, when they are read.

use metrics::{counter, gauge};

use crate::{
    journal::{Journal, Watermark},
    mqtt::Broker,
};

/// Sets every metric that is not recorded where it happens.
pub fn collect(journal: &Journal, broker: &Broker) {
    gauge!("synap_mqtt_journal_appended").set(journal.watermark(Watermark::Appended).0 as f64);
    gauge!("synap_mqtt_journal_durable").set(journal.watermark(Watermark::Durable).0 as f64);
    gauge!("synap_mqtt_journal_bytes").set(journal.bytes() as f64);
    let statistics = broker.statistics();
    let census = broker.census();
    gauge!("synap_mqtt_connections").set(statistics.connections.get() as f64);
    gauge!("synap_mqtt_sessions").set(census.sessions as f64);
    gauge!("synap_mqtt_subscriptions").set(census.subscriptions as f64);
    gauge!("synap_mqtt_retained_messages").set(census.retained as f64);
    counter!("synap_mqtt_connections_total").absolute(statistics.accepted.get());
    counter!("synap_mqtt_connections_refused_total").absolute(statistics.protocol_errors.get());
    counter!("synap_mqtt_messages_received_total").absolute(statistics.received.get());
    counter!("synap_mqtt_messages_acknowledged_total").absolute(statistics.acknowledged.get());
    counter!("synap_mqtt_messages_delivered_total").absolute(statistics.delivered.get());
    for (reason, counted) in [
        ("shed", &statistics.shed),
        ("refused", &statistics.refused),
        ("queue-full", &statistics.dropped),
        ("lost", &statistics.lost),
    ] {
        counter!("synap_mqtt_messages_dropped_total", "reason" => reason).absolute(counted.get());
    }
}
