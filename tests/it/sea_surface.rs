//! Real data through real clients: a buoy's sea-surface temperatures, compared row by row with
//! the table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    bridge::Setup,
    clients::{Library, python},
    database::{Database, Row},
    process::Process,
};

const ROUTE: &str = r#"
    [pod]
    user_id = "oceanographer"
    [[route]]
    topic = "buoys/{buoy}/sea-surface"
    type = "buoys.temperature.measured"
    subject = "{buoy}"
    subject_type = "buoy"
    timestamp = "/time"
"#;

/// One measurement as it is in the data set.
struct Measurement {
    time: String,
    temperature: String,
}

impl Measurement {
    fn payload(&self, line: usize) -> String {
        format!(r#"{{"time":"{}","temperature":{},"line":{line}}}"#, self.time, self.temperature)
    }

    fn micros(&self) -> i64 {
        self.time.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }
}

async fn measurements() -> Vec<Measurement> {
    let lines = Process::start(python("sea_surface.py")).success().await;
    let parse = |line: &String| {
        let (time, temperature) = line.split_once(',').unwrap();
        Measurement { time: time.to_owned(), temperature: temperature.to_owned() }
    };
    lines[1..].iter().map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_measurement_of_the_buoy_is_a_row() {
    let measurements = measurements().await;
    assert!(measurements.len() > 18_000, "{} measurements", measurements.len());
    let database = Database::create().await;
    let bridge = Setup::default().config(ROUTE).timescale(&database.url()).start().await;

    let publishers = [(Library::Paho, 1), (Library::Aiomqtt, 2), (Library::MqttJs311, 1), (Library::MqttJs, 2)];
    let port = bridge.port();
    let publish = publishers.iter().enumerate().map(|(index, (library, qos))| {
        let share = measurements.iter().enumerate().skip(index).step_by(publishers.len());
        let topic = format!("buoys/{library:?}/sea-surface");
        library.publish(&port, *qos, share.map(move |(line, measurement)| (topic.clone(), measurement.payload(line))))
    });
    futures_util::future::join_all(publish).await;

    let rows = database.rows(measurements.len()).await;
    assert_eq!(rows.len(), measurements.len());
    let by_line: BTreeMap<u64, &Row> = rows.iter().map(|row| (row.data["line"].as_u64().unwrap(), row)).collect();
    assert_eq!(by_line.len(), measurements.len(), "a line is there twice");
    for (line, measurement) in measurements.iter().enumerate() {
        let row = by_line[&(line as u64)];
        let sent: Value = serde_json::from_str(&measurement.payload(line)).unwrap();
        assert_eq!(row.data, sent);
        assert_eq!(row.micros, measurement.micros(), "{row:?}");
        assert_eq!(row.event_type, "buoys.temperature.measured");
        let (library, _) = publishers[line % publishers.len()];
        assert_eq!(row.metadata["topic"], json!(format!("buoys/{library:?}/sea-surface")));
    }

    let subjects: Vec<(String, String, String, i64)> =
        sqlx::query_as("select subject_id, subject_type, user_id, count(*) from events group by 1, 2, 3 order by 4")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    assert_eq!(subjects.len(), publishers.len(), "one stable subject a buoy: {subjects:?}");
    assert!(subjects.iter().all(|(_, kind, user, _)| kind == "buoy" && user == "oceanographer"), "{subjects:?}");
    bridge.finish(&[]).await;
}
