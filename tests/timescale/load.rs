//! Events of files, in tables of every form, by the role that the documentation describes.

use synap_mqtt::{
    timescale::{EventStore, Loaded, Loader, QueryError},
    types::{EventQuery, ImportedEvent, Measurements, Micros, Order},
};
use uuid::Uuid;

use super::{
    older::OLDER,
    roles::{documented, drop_all, make_role, run},
    support::{TestDatabase, TestJournal},
};

const DAY: i64 = 86_400_000_000;

fn event(n: u128, day: i64) -> ImportedEvent {
    ImportedEvent {
        id: Uuid::from_u128(n + 1),
        timestamp: Micros::saturating(1_500_000_000_000_000 + day * DAY),
        event_type: "a.b.c".to_owned(),
        subject_id: Uuid::from_u128(7).to_string(),
        subject_type: "note".to_owned(),
        data: format!("{{\"n\": {n}}}"),
        metadata: "{\"imported\": {}}".to_owned(),
        user_id: "owner".to_owned(),
        source: "migration".to_owned(),
        correlation_id: (n == 1).then(|| Uuid::from_u128(9)),
    }
}

async fn load(loader: &mut Loader, events: &[ImportedEvent]) -> Loaded {
    events.iter().for_each(|event| loader.push(event, true, None).unwrap());
    loader.flush().await.unwrap()
}

async fn stored(database: &TestDatabase) -> Vec<serde_json::Value> {
    let query = EventQuery { order: Order::OldestFirst, ..super::query::any(1) };
    let mut found = Vec::new();
    let take = |json: &str| {
        found.push(serde_json::from_str(json).unwrap());
        Ok::<_, QueryError>(())
    };
    EventStore::each(&database.settings(), &query, take).await.unwrap();
    found
}

#[tokio::test]
async fn an_older_table_without_a_key_takes_each_event_once() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    run(&pool, OLDER).await;
    let mut loader = Loader::open(&database.settings(), false).await.unwrap();
    let mut events: Vec<_> = (0..5).map(|n| event(n, n as i64)).collect();
    events.push(event(3, 3));
    events.push(ImportedEvent { source: "intelligence".to_owned(), ..event(9, 9) });
    let loaded = load(&mut loader, &events).await;
    assert_eq!((loaded.events, loaded.known), (5, 1));
    let refused: Vec<_> = loaded.refused.iter().map(|refused| refused.number).collect();
    assert_eq!(refused, [6], "{:?}", loaded.refused);
    let nobody = ImportedEvent { subject_id: "no uuid".to_owned(), ..event(8, 8) };
    assert!(loader.push(&nobody, true, None).unwrap_err().contains("`subjectId`"));
    let loaded = load(&mut loader, &events[..6]).await;
    assert_eq!((loaded.events, loaded.known), (0, 6));
    loader.close().await.unwrap();
    let found = stored(&database).await;
    assert_eq!(found.len(), 5);
    assert_eq!(found[1]["subjectType"], "note");
    assert_eq!(found[1]["correlationId"], Uuid::from_u128(9).to_string());
    assert!(found[1]["metadata"].get("subjectType").is_none());
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn the_documented_grants_suffice_and_numbers_come_with_their_events() {
    let (database, journal) = (TestDatabase::create().await, TestJournal::open());
    let pool = database.pool();
    let role = make_role(&database).await;
    let owner = journal.write_to(&database);
    owner.catch_up().await;
    owner.stop().await;
    run(&pool, documented("grant connect", &role, &database)).await;
    run(&pool, documented("grant select, insert, update on mqtt.measurements_1m", &role, &database)).await;
    let mut loader = Loader::open(&database.settings_as(&role), true).await.unwrap();
    let mut measurements = Measurements::default();
    for _ in 0..2 {
        let event = event(1, 0);
        measurements.begin("pump-7");
        measurements.push("n", 1.0, event.timestamp);
        loader.push(&event, true, Some(&measurements)).unwrap();
        let loaded = loader.flush().await.unwrap();
        assert_eq!(loaded.events, loaded.measurements);
    }
    assert!(!loader.is_full());
    loader.close().await.unwrap();
    let counts: (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from events), (select count(*) from mqtt.measurements),
             (select count(*) from mqtt.measurements_touched)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(counts, (1, 1, 1));
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn more_days_than_one_transaction_can_lock_are_stored_in_parts() {
    const DAYS: u128 = 1_300;
    let database = TestDatabase::create().await;
    let mut loader = Loader::open(&database.settings(), false).await.unwrap();
    let events: Vec<_> = (0..DAYS).map(|n| event(n, n as i64)).collect();
    let loaded = load(&mut loader, &events).await;
    assert_eq!((u128::from(loaded.events), loaded.known, loaded.refused.len()), (DAYS, 0, 0));
    loader.close().await.unwrap();
    assert_eq!(stored(&database).await.len() as u128, DAYS);
    database.drop().await;
}
