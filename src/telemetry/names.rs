//! The one list of metric names. A room records under a name of this list, written out where it
//! records; a test reads the sources and fails on a name that is not here.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What a metric's value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name, in Prometheus' form.
    pub name: &'static str,
    /// What its value means.
    pub kind: Kind,
    /// The unit.
    pub unit: Unit,
    /// One sentence, with the labels.
    pub description: &'static str,
}

const fn metric(kind: Kind, name: &'static str, unit: Unit, description: &'static str) -> Metric {
    Metric { name, kind, unit, description }
}

use Kind::{Counter, Gauge, Histogram};
use Unit::{Bytes, Count, Seconds};

/// Every metric of the process, by room.
pub const METRICS: &[Metric] = &[
    metric(Gauge, "synap_mqtt_connections", Count, "MQTT connections that are open"),
    metric(Counter, "synap_mqtt_connections_total", Count, "MQTT connections that were accepted"),
    metric(
        Counter,
        "synap_mqtt_connections_refused_total",
        Count,
        "Connections closed because of what the client sent",
    ),
    metric(
        Counter,
        "synap_mqtt_connections_shed_total",
        Count,
        "Connections closed unheard because there were too many, by `reason`",
    ),
    metric(
        Gauge,
        "synap_mqtt_certificate_not_after_seconds",
        Seconds,
        "When a listener's certificate ends, in seconds since 1970, by `listener`",
    ),
    metric(
        Gauge,
        "synap_mqtt_revocation_list_next_update_seconds",
        Seconds,
        "When the first of a listener's revocation lists is out of date, in seconds since 1970, by `listener`",
    ),
    metric(Gauge, "synap_mqtt_token_keys", Count, "Keys of the issuer of tokens, by `clients`: mqtt, http"),
    metric(
        Counter,
        "synap_mqtt_token_key_fetches_total",
        Count,
        "Attempts to fetch the keys of the issuer of tokens, by `clients` and `outcome`",
    ),
    metric(
        Counter,
        "synap_mqtt_http_refused_total",
        Count,
        "Requests that were refused for who sends them, by `status`: 401, 403, 429, 503",
    ),
    metric(Gauge, "synap_mqtt_handshakes", Count, "Connections that have not sent a CONNECT yet"),
    metric(Gauge, "synap_mqtt_sessions", Count, "MQTT sessions, with or without a connection"),
    metric(Gauge, "synap_mqtt_subscriptions", Count, "Topic filters that sessions hold"),
    metric(Counter, "synap_mqtt_sessions_expired_total", Count, "Sessions ended because their clients stayed away"),
    metric(Gauge, "synap_mqtt_queued_messages", Count, "Messages that wait for sessions, counted once for each"),
    metric(Gauge, "synap_mqtt_queued_bytes", Bytes, "Bytes of waiting QoS 1 and 2 messages, counted likewise"),
    metric(Gauge, "synap_mqtt_retained_messages", Count, "Topics with a retained message"),
    metric(Gauge, "synap_mqtt_retained_bytes", Bytes, "Bytes of retained messages, with topics and properties"),
    metric(
        Counter,
        "synap_mqtt_messages_not_retained_total",
        Count,
        "Messages with the retain flag that were not retained because of the limits",
    ),
    metric(Counter, "synap_mqtt_packets_received_total", Count, "MQTT packets received"),
    metric(Counter, "synap_mqtt_packets_sent_total", Count, "MQTT packets sent"),
    metric(Counter, "synap_mqtt_bytes_received_total", Bytes, "Bytes of MQTT received"),
    metric(Counter, "synap_mqtt_bytes_sent_total", Bytes, "Bytes of MQTT sent"),
    metric(Counter, "synap_mqtt_messages_received_total", Count, "PUBLISH packets received from clients"),
    metric(
        Counter,
        "synap_mqtt_messages_acknowledged_total",
        Count,
        "QoS 1 and 2 messages acknowledged to their publisher after fsync",
    ),
    metric(
        Counter,
        "synap_mqtt_authentications_failed_total",
        Count,
        "MQTT connections refused or ended because the client did not prove who it is",
    ),
    metric(
        Counter,
        "synap_mqtt_authentications_banned_total",
        Count,
        "Those of them that were not looked at because there were too many failures before",
    ),
    metric(
        Counter,
        "synap_mqtt_sessions_withheld_total",
        Count,
        "MQTT connections refused because the session belongs to another account",
    ),
    metric(
        Counter,
        "synap_mqtt_access_refused_total",
        Count,
        "What no access rule allows, by `action`: publish, subscribe, receive, will",
    ),
    metric(Counter, "synap_mqtt_messages_delivered_total", Count, "PUBLISH packets written to subscribers"),
    metric(Counter, "synap_mqtt_messages_dropped_total", Count, "Messages not stored or not delivered, by `reason`"),
    metric(Gauge, "synap_mqtt_journal_appended", Count, "Sequence of the last record appended"),
    metric(Gauge, "synap_mqtt_journal_durable", Count, "Sequence up to which every record is on disk"),
    metric(Gauge, "synap_mqtt_journal_bytes", Bytes, "Size of all segments"),
    metric(Histogram, "synap_mqtt_journal_fsync_seconds", Seconds, "Time of an fsync of the journal"),
    metric(Counter, "synap_mqtt_timescale_rows_total", Count, "Rows committed to TimescaleDB"),
    metric(
        Counter,
        "synap_mqtt_timescale_repeats_total",
        Count,
        "Messages left out because their device had sent them before",
    ),
    metric(Counter, "synap_mqtt_timescale_measurements_total", Count, "Rows of measurements committed to TimescaleDB"),
    metric(Gauge, "synap_mqtt_timescale_lag_records", Count, "Durable records that are no rows yet"),
    metric(
        Gauge,
        "synap_mqtt_import_connected",
        Count,
        "1 while events of other writers are taken over by this bridge",
    ),
    metric(Gauge, "synap_mqtt_import_lag_seconds", Seconds, "How long the oldest row of another writer has waited"),
    metric(Counter, "synap_mqtt_imported_events_total", Count, "Events of other writers taken into the journal"),
    metric(
        Counter,
        "synap_mqtt_imported_events_omitted_total",
        Count,
        "Events of other writers that are too large for streams to show their data",
    ),
    metric(
        Counter,
        "synap_mqtt_import_vanished_total",
        Count,
        "Rows of other writers that were gone before they were read",
    ),
    metric(Counter, "synap_mqtt_egress_messages_total", Count, "Messages that rules have made of events"),
    metric(Counter, "synap_mqtt_egress_unsent_total", Count, "Events of which a rule could not make a message"),
    metric(Gauge, "synap_mqtt_timescale_connected", Count, "1 while the database takes events, else 0"),
    metric(Counter, "synap_mqtt_timescale_batches_total", Count, "Transactions that wrote rows"),
    metric(
        Counter,
        "synap_mqtt_dead_letters_total",
        Count,
        "Rows that the database refused and that went to `dead_letters`",
    ),
    metric(Gauge, "synap_mqtt_stream_clients", Count, "Stream clients that are connected"),
    metric(
        Counter,
        "synap_mqtt_stream_events_encoded_total",
        Count,
        "Events encoded for stream clients, once for all that are live",
    ),
    metric(Counter, "synap_mqtt_stream_bytes_total", Bytes, "Bytes handed to stream clients"),
    metric(
        Counter,
        "synap_mqtt_stream_gaps_total",
        Count,
        "Times that a stream client was told that events are missing",
    ),
    metric(
        Counter,
        "synap_mqtt_stream_dropped_total",
        Count,
        "Events that slow stream clients of best effort did not get",
    ),
    metric(Gauge, "process_resident_memory_bytes", Bytes, "Resident memory of the process"),
    metric(Gauge, "process_cpu_seconds_total", Seconds, "User and system CPU time of the process"),
    metric(Gauge, "process_open_fds", Count, "Open file descriptors of the process"),
    metric(Gauge, "process_start_time_seconds", Seconds, "Start of the process since the Unix epoch"),
];

/// Gives the recorder every name's description.
pub(super) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Counter => describe_counter!(metric.name, metric.unit, metric.description),
            Gauge => describe_gauge!(metric.name, metric.unit, metric.description),
            Histogram => describe_histogram!(metric.name, metric.unit, metric.description),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn names_follow_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            if name.starts_with("synap_mqtt_") {
                assert_eq!(metric.kind == Counter, name.ends_with("_total"), "{name}");
            }
            assert_eq!(metric.kind == Histogram, name.ends_with("_seconds") && metric.kind != Gauge, "{name}");
            assert!(!metric.description.is_empty());
        }
    }

    #[test]
    fn rooms_record_only_names_of_the_list() {
        let known: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        for (file, text) in sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path()) {
            for quoted in text.split("\"synap_mqtt_").skip(1) {
                let name = format!("synap_mqtt_{}", quoted.split('"').next().unwrap());
                let whole = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                assert!(!whole || name == "synap_mqtt_" || known.contains(name.as_str()), "{file} records {name}");
            }
        }
    }

    fn sources(dir: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
        found
    }
}
