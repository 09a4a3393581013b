//! `GET /api/series` from rollups: the answer that the rows give, whatever came late, and more than the
//! rows give once those are removed.

use std::{collections::BTreeSet, ops::Range};

use sqlx::PgPool;
use synap_mqtt::{
    mapping::Route,
    timescale::{EventStore, keep_rollups},
    types::{Bucket, Kept, Micros, SeriesBuilder, SeriesQuery},
};
use tokio_util::sync::CancellationToken;

use super::{
    measurements::{count, rolled_up, start},
    roles::{documented, drop_all, make_role, run},
    support::{TestDatabase, TestJournal, telemetry_route},
};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        println!("seed {seed}");
        Self(seed)
    }

    fn of(&mut self, range: Range<i64>) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)) % range.end.abs_diff(range.start);
        range.start + i64::try_from(drawn).unwrap()
    }
}

/// Two days of one metric, in memory and on their way into the database.
struct Sampled {
    journal: TestJournal,
    values: Vec<(i64, i64)>,
    /// Midnight before the first, in microseconds.
    start: i64,
    random: Random,
}

impl Sampled {
    fn new() -> Self {
        let route = Route { kept: Kept::Measurements, metrics: vec!["/v".into()], ..telemetry_route() };
        let journal = TestJournal::open().with_routes(vec![route]);
        Self { journal, values: Vec::new(), start: (start() - 2 * 86_400) * SECOND, random: Random::new() }
    }

    /// Publishes as many samples somewhere in a span, some of them at the same instant.
    async fn publish(&mut self, span: Range<i64>, samples: usize) {
        let mut payloads = Vec::new();
        for _ in 0..samples {
            let (mut at, value) = (self.start + self.random.of(span.clone()), self.random.of(-900..900));
            if self.random.of(0..4) == 0 {
                at = at / MINUTE * MINUTE;
            }
            self.values.push((at, value));
            payloads.push(format!("{{\"at\":{at},\"v\":{value}}}"));
        }
        for batch in payloads.chunks(200) {
            let batch: Vec<_> = batch.iter().map(String::as_bytes).collect();
            self.journal.publish("devices/pump-7/telemetry", &batch).await;
        }
    }

    /// What an answer must be, by other means.
    fn expected(&self, query: &SeriesQuery) -> Vec<Bucket> {
        let mut builder = SeriesBuilder::new(query.width);
        for (at, value) in &self.values {
            let at = Micros::saturating(*at);
            if (query.from..query.to).contains(&at) {
                builder.push(at, *value as f64);
            }
        }
        builder.finish()
    }

    fn query(&self, from: i64, to: i64, width: i64) -> SeriesQuery {
        let [from, to] = [from, to].map(|at| Micros::saturating(self.start + at));
        SeriesQuery { device: "pump-7".into(), path: vec!["v".into()], from, to, width }
    }

    /// Any span and width; every other span is of whole hours.
    fn any_query(&mut self) -> SeriesQuery {
        let unit = if self.random.of(0..2) == 0 { HOUR } else { 1 };
        let width = [MINUTE, 7 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, DAY, 90 * SECOND];
        let width = width[usize::try_from(self.random.of(0..7)).unwrap()];
        let from = self.random.of(-DAY..2 * DAY) / unit * unit;
        let length = unit + self.random.of(0..3 * DAY) / unit * unit;
        self.query(from, from + length, width)
    }

    /// Compares answers by rollups, by rows, and by what was published.
    async fn compare(&mut self, by_rollups: &EventStore, by_rows: &EventStore, queries: usize) {
        for _ in 0..queries {
            let query = self.any_query();
            let answer = by_rollups.series(&query).await.unwrap();
            assert_eq!(answer, by_rows.series(&query).await.unwrap(), "{query:?}");
            assert_same(&answer, &self.expected(&query), &query);
        }
    }
}

/// Averages may differ in how they were rounded.
pub fn assert_same(found: &[Bucket], expected: &[Bucket], query: &SeriesQuery) {
    let others =
        |buckets: &[Bucket]| -> Vec<Bucket> { buckets.iter().map(|one| Bucket { average: 0.0, ..*one }).collect() };
    let differs = |(one, other): &(Bucket, Bucket)| one != other;
    let difference = others(found).into_iter().zip(others(expected)).find(differs);
    assert_eq!((difference, found.len()), (None, expected.len()), "{query:?}");
    let mut averages = found.iter().zip(expected).map(|(one, other)| one.average - other.average);
    assert!(averages.all(|difference| difference.abs() < 1e-6), "{query:?}");
}

/// Rollups of what is due are computed now.
pub async fn roll_up(database: &TestDatabase, pool: &PgPool) {
    let stop = CancellationToken::new();
    let runner = tokio::spawn(keep_rollups(database.settings(), stop.clone()));
    rolled_up(pool).await;
    stop.cancel();
    runner.await.unwrap();
}

/// A role that may read rows and no rollups.
async fn reader_of_rows(database: &TestDatabase, pool: &PgPool) -> String {
    let role = make_role(database).await;
    run(pool, documented("grant connect", &role, database)).await;
    role
}

#[tokio::test]
async fn rollups_answer_as_rows_do_also_while_some_are_due() {
    let (database, mut sampled) = (TestDatabase::create().await, Sampled::new());
    let pool = database.pool();
    // With nothing in the second quarter.
    sampled.publish(0..12 * HOUR, 3_000).await;
    sampled.publish(DAY..2 * DAY, 3_000).await;
    let writer = sampled.journal.write_to(&database);
    writer.catch_up().await;
    let role = reader_of_rows(&database, &pool).await;
    let by_rollups = EventStore::new(&database.settings());
    let by_rows = EventStore::new(&database.settings_as(&role));
    sampled.compare(&by_rollups, &by_rows, 40).await;
    roll_up(&database, &pool).await;
    sampled.compare(&by_rollups, &by_rows, 80).await;
    // Late, in one stretch of time, and in more than are told apart.
    for (span, samples) in [(30 * HOUR..31 * HOUR, 200), (0..2 * DAY, 300)] {
        sampled.publish(span, samples).await;
        writer.catch_up().await;
        assert!(count(&pool, "mqtt.measurements_touched").await > 0);
        sampled.compare(&by_rollups, &by_rows, 60).await;
    }
    roll_up(&database, &pool).await;
    sampled.compare(&by_rollups, &by_rows, 60).await;
    writer.stop().await;
    drop((by_rollups, by_rows));
    drop_all(database, pool, &role).await;
}

#[tokio::test]
async fn rollups_answer_where_rows_were_removed() {
    let (database, mut sampled) = (TestDatabase::create().await, Sampled::new());
    let pool = database.pool();
    sampled.publish(0..2 * DAY, 4_000).await;
    let writer = sampled.journal.write_to(&database);
    writer.catch_up().await;
    roll_up(&database, &pool).await;
    let store = EventStore::new(&database.settings());
    let removed = sampled.start + DAY;
    let sql = format!("delete from mqtt.measurements where time < to_timestamp({})", removed / SECOND);
    run(&pool, sql).await;
    for width in [MINUTE, 7 * MINUTE, HOUR, DAY] {
        // Spans of whole minutes lose nothing.
        let from = sampled.random.of(0..1_400) * MINUTE;
        let query = sampled.query(from, from + 1_400 * MINUTE, width);
        assert_same(&store.series(&query).await.unwrap(), &sampled.expected(&query), &query);
    }
    let seconds = sampled.query(0, DAY, 30 * SECOND);
    assert_eq!(store.series(&seconds).await.unwrap(), [], "rollups have nothing narrower than a minute");

    // What comes late for a minute that has lost rows is in no rollup, and takes nothing from it; a new minute has its own.
    let known: BTreeSet<_> = sampled.values.iter().map(|(at, _)| at.div_euclid(MINUTE)).collect();
    let minutes = || sampled.start / MINUTE..removed / MINUTE;
    let crowded = |minute: &i64| sampled.values.iter().filter(|(at, _)| at.div_euclid(MINUTE) == *minute).count() > 1;
    let (old, new) = (minutes().find(crowded).unwrap(), minutes().find(|minute| !known.contains(minute)).unwrap());
    let late = [old, new].map(|minute| format!("{{\"at\":{},\"v\":5000}}", minute * MINUTE + SECOND));
    sampled.journal.publish("devices/pump-7/telemetry", &late.each_ref().map(|one| one.as_bytes())).await;
    writer.catch_up().await;
    sampled.values.push((new * MINUTE + SECOND, 5000));
    let query = sampled.query(0, 2 * DAY, HOUR);
    for _ in 0..2 {
        assert_same(&store.series(&query).await.unwrap(), &sampled.expected(&query), &query);
        roll_up(&database, &pool).await;
    }
    writer.stop().await;
    drop(store);
    pool.close().await;
    database.drop().await;
}
