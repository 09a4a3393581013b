//! Rows of other writers that come into chunks that are compressed already must come to the stream all the
//! same, and rows that are there must be known again. (This edition takes no COPY.)

use std::sync::Arc;

use synap_mqtt::timescale::{Importer, Settings, Statistics};
use tokio_util::sync::CancellationToken;

use super::{
    community::Community,
    import_support::{imported_numbers, until_imported},
    support::TestJournal,
};

/// Imports until the journal has so many rows of others.
async fn import(settings: &Settings, journal: &TestJournal, writer: &Arc<Statistics>, count: usize) {
    let importer = Importer::new(settings, journal.journal.clone(), Arc::clone(writer));
    let (statistics, stop) = (importer.statistics(), CancellationToken::new());
    let task = tokio::spawn(importer.run(stop.clone()));
    super::support::eventually("the importer works", async || statistics.connected()).await;
    until_imported(&journal.journal, count).await;
    stop.cancel();
    task.await.unwrap();
}

const COMPRESS: &str = "select compress_chunk(chunk, if_not_compressed => true) from show_chunks('events') chunk";

const COMPRESSED: &str =
    "select count(*) from timescaledb_information.chunks where hypertable_name = 'events' and is_compressed";

#[tokio::test]
async fn rows_of_other_writers_in_a_compressed_chunk_come_to_the_stream() {
    let (community, journal) = (Community::start(), TestJournal::open());
    community.keep(None, Some(7)).await;
    let settings = community.settings(None, Some(7));
    let writer = journal.write_with(settings.clone());
    writer.catch_up().await;
    let statistics = Arc::clone(&writer.statistics);
    // There is one session at a time.
    writer.stop().await;
    import(&settings, &journal, &statistics, 0).await;

    let insert = "insert into events (timestamp, type, subject_id, subject_type, data, user_id)
        select now() - interval '20 days' + n * interval '1 second', 'a.b.c', n::text, 'note', jsonb_build_object('n', n), 'owner'
        from generate_series";
    community.run(format!("{insert}(0, 99) n")).await;
    import(&settings, &journal, &statistics, 100).await;
    community.run(COMPRESS).await;
    assert!(community.number(COMPRESSED).await >= 1);
    // Late ones; the row that waits in the queue when its chunk is compressed; and one that is gone.
    community.run(format!("{insert}(100, 149) n")).await;
    community.run(COMPRESS).await;
    community.run("delete from events where data->>'n' = '149'").await;
    import(&settings, &journal, &statistics, 149).await;
    assert_eq!(imported_numbers(&journal.journal), (0..149).collect::<Vec<_>>());
    assert_eq!(community.number("select count(*) from mqtt.arrivals").await, 0);
    // As the bridge stores rows that the table may have.
    let again = "create table twice as table events; set mqtt.writer = 'bridge';
        insert into events select * from twice on conflict (id, timestamp) do nothing";
    community.run(again).await;
    assert_eq!(community.number("select count(*) from events").await, 149);
}
