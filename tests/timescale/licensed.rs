//! What the community licence of TimescaleDB adds.

use std::time::Duration;

use sqlx::Connection;
use synap_mqtt::{
    timescale::{EventStore, Licence, TimescaleDb},
    types::{Bucket, Micros, SeriesBuilder, SeriesQuery},
};

use super::{community::Community, series::assert_same};

fn policy(kind: &str, age: &str) -> (String, String) {
    (format!("policy_{kind}"), age.to_owned())
}

#[tokio::test]
async fn policies_follow_the_configuration_and_do_what_it_says() {
    let community = Community::start();
    let mut session = community.session().await;
    let found = TimescaleDb::detect(&mut session).await.unwrap().unwrap();
    assert_eq!((found.licence, &*found.schema), (Licence::Community, "public"));
    session.close().await.unwrap();

    community.keep(Some(90), Some(7)).await;
    let first = community.policies().await;
    assert_eq!(community.ages().await, [policy("retention", "90 days"), policy("compression", "7 days")]);
    community.keep(Some(90), Some(7)).await;
    assert_eq!(community.policies().await, first, "another run changes nothing");
    community.keep(Some(30), Some(7)).await;
    assert_eq!(community.ages().await, [policy("retention", "30 days"), policy("compression", "7 days")]);
    assert_eq!(community.policies().await[1], first[1], "what is right already stays");

    community
        .run(
            "insert into events (timestamp, type, subject_id, subject_type, data, user_id)
             select now() - n * interval '6 hours', 'a.b.c', 'x', 'device', '{}', 'owner' from generate_series(1, 240) n",
        )
        .await;
    for (job, ..) in community.policies().await {
        community.run(format!("call run_job({job})")).await;
    }
    let days = "select floor(extract(epoch from now() - min(timestamp)) / 86400)::int8 from events";
    assert!((29..=31).contains(&community.number(days).await), "older chunks are dropped");
    let compressed = "select count(*) from timescaledb_information.chunks where is_compressed";
    let compressed = community.number(compressed).await;
    assert!((20..=24).contains(&compressed), "{compressed} chunks are compressed");
    let settings = "select count(*) from timescaledb_information.compression_settings
        where hypertable_name = 'events' and (attname = 'user_id' and segmentby_column_index = 1
        or attname = 'subject_type' and segmentby_column_index = 2 or attname = 'timestamp' and not orderby_asc)";
    assert_eq!(community.number(settings).await, 3);

    community.keep(None, Some(14)).await;
    assert_eq!(community.ages().await, [policy("compression", "14 days")]);
    community.keep(None, None).await;
    assert_eq!(community.ages().await, []);
}

#[tokio::test]
async fn policies_that_the_pod_has_made_stay_until_the_configuration_says_otherwise() {
    let community = Community::start();
    community.keep(None, None).await;
    community.run("select add_retention_policy('events', interval '1 year')").await;
    community.keep(None, None).await;
    assert_eq!(community.ages().await, [policy("retention", "1 year")]);
    community.keep(Some(365), None).await;
    assert_eq!(community.ages().await, [policy("retention", "365 days")]);
    community.keep(None, None).await;
    assert_eq!(community.ages().await, []);
}

/// A span of two days that ended yesterday, in buckets of this width.
fn two_days(width: i64, shift: i64) -> SeriesQuery {
    let start = (jiff::Timestamp::now().as_second() / 86_400 - 3) * 86_400 * 1_000_000;
    let [from, to] = [start + shift, start + 2 * 86_400 * 1_000_000 - shift].map(Micros::saturating);
    SeriesQuery { device: "pump-7".into(), path: vec!["v".into()], from, to, width }
}

impl Community {
    /// Adds a value for each time of a series, hours after the start of the two days; none at the instant of one of
    /// another series, where an aggregate may take any for the last.
    async fn measure(&self, since: u32, until: u32, every: &str, value: &str) {
        let start = two_days(1, 0).from;
        self.run(format!(
            "insert into mqtt.measurements (time, device, metric, value, event)
             select at + interval '{every}' / 7, 'pump-7', 'v', {value}, gen_random_uuid() from (select '{start}'::timestamptz as start) as one,
             generate_series(start + interval '{since} hours', start + interval '{until} hours', interval '{every}') as at"
        ))
        .await;
    }

    async fn refresh(&self) {
        for view in ["mqtt.measurements_1m", "mqtt.measurements_1h"] {
            self.run(format!("call refresh_continuous_aggregate('{view}', null, now() - interval '30 hours')")).await;
        }
    }

    async fn answer(&self, query: &SeriesQuery) -> Vec<Bucket> {
        // The session of the question before may still be ending.
        for _ in 0..1_000 {
            if let Ok(answer) = EventStore::new(&self.settings(None, None)).series(query).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no answer to {query:?}");
    }

    /// Compares the answers of rollups with those of rows.
    async fn compare(&self) {
        let mut session = self.session().await;
        let sql = "select (extract(epoch from time) * 1000000)::int8, value from mqtt.measurements";
        let rows: Vec<(i64, f64)> = sqlx::query_as(sql).fetch_all(&mut session).await.unwrap();
        session.close().await.unwrap();
        for (minutes, shift) in [(1, 0), (1, 1_234_567), (7, 90_000_000), (60, 0), (60, 1_234_567), (1_440, 0)] {
            let query = two_days(minutes * 60_000_000, shift);
            let mut expected = SeriesBuilder::new(query.width);
            for (at, value) in &rows {
                let at = Micros::saturating(*at);
                if (query.from..query.to).contains(&at) {
                    expected.push(at, *value);
                }
            }
            assert_same(&self.answer(&query).await, &expected.finish(), &query);
        }
    }
}

#[tokio::test]
async fn continuous_aggregates_answer_as_rows_do_also_while_a_refresh_is_due() {
    let community = Community::start();
    community.keep(None, None).await;
    let views = "select count(*) from timescaledb_information.continuous_aggregates where view_schema = 'mqtt'";
    assert_eq!(community.number(views).await, 2);
    community.measure(0, 20, "47 seconds", "extract(minute from at)").await;
    community.measure(30, 48, "47 seconds", "extract(minute from at)").await;
    community.compare().await;
    community.refresh().await;
    community.compare().await;
    // Late: where there was nothing, and where there was something.
    community.measure(22, 23, "11 seconds", "-7").await;
    community.measure(3, 4, "13 seconds", "99").await;
    community.compare().await;
    community.refresh().await;
    community.compare().await;
    // What answers is the rollups: they have more than rows that are removed.
    let query = two_days(3_600_000_000, 0);
    let before = community.answer(&query).await;
    community.run("delete from mqtt.measurements where value = 99").await;
    assert_eq!(community.answer(&query).await, before);
    community.refresh().await;
    community.compare().await;
}
