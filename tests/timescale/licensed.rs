//! What the community licence of TimescaleDB adds.

use sqlx::Connection;
use synap_mqtt::timescale::{Licence, TimescaleDb};

use super::community::Community;

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
