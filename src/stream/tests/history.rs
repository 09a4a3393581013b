//! Stored events, backwards.

use super::*;
use crate::types::{Order, PodEvent, SeriesQuery};

async fn all_pages(history: &History, query: EventQuery) -> Vec<u128> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = history.query(EventQuery { cursor, ..query.clone() }).await.unwrap();
        assert!(page.events.len() <= usize::from(query.limit));
        let id = |event: &String| {
            let event: serde_json::Value = serde_json::from_str(event).unwrap();
            event["id"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128()
        };
        found.extend(page.events.iter().map(id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

fn everything(limit: u16) -> EventQuery {
    EventQuery::everything(limit)
}

#[tokio::test]
async fn history_pages_backwards_over_restarts_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let mut sequences = Vec::new();
    for _ in 0..2 {
        let journal = open_journal(directory.path());
        for n in 0..150 {
            let topic = format!("devices/d{}/t", n % 3);
            let qos = if n % 7 == 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            sequences.push(u128::from(publish(&journal, &topic, "{}", qos).await.last().0));
        }
        publish(&journal, "hidden/x", "{}", Qos::AtLeastOnce).await;
        journal.close();
    }
    let journal = open_journal(directory.path());
    let history = History::new(journal.clone(), Arc::new(TestMapper));
    let newest_first: Vec<_> = sequences.iter().rev().copied().collect();
    let topic = Some("devices/#".parse().unwrap());
    assert_eq!(all_pages(&history, EventQuery { topic, ..everything(7) }).await, newest_first);
    let of_one = newest_first
        .iter()
        .copied()
        .filter(|sequence| sequences.iter().position(|other| other == sequence).is_some_and(|at| at % 150 % 3 == 1));
    let device = Some("d1".to_owned());
    assert_eq!(all_pages(&history, EventQuery { device, ..everything(1000) }).await, of_one.collect::<Vec<_>>());

    let order = Order::OldestFirst;
    let topic = Some("devices/#".parse().unwrap());
    assert_eq!(all_pages(&history, EventQuery { topic, order, ..everything(7) }).await, sequences);
    let device = Some("d1".to_owned());
    let mut of_one = all_pages(&history, EventQuery { device: device.clone(), order, ..everything(13) }).await;
    of_one.reverse();
    assert_eq!(all_pages(&history, EventQuery { device, ..everything(1000) }).await, of_one);
    let from = Some(Micros::MAX);
    assert_eq!(all_pages(&history, EventQuery { from, order, ..everything(10) }).await, []);
    let subject = Some(Uuid::nil().to_string());
    assert_eq!(all_pages(&history, EventQuery { subject, ..everything(1000) }).await.len(), 302);
    let subject = Some("nobody".to_owned());
    assert_eq!(all_pages(&history, EventQuery { subject, ..everything(10) }).await, []);
    let correlation = Some(Uuid::nil());
    assert_eq!(all_pages(&history, EventQuery { correlation, ..everything(10) }).await, []);
    for sequence in [sequences[0], sequences[200]] {
        assert!(history.event(Uuid::from_u128(sequence)).await.unwrap().is_some(), "{sequence}");
    }
    assert_eq!(history.event(Uuid::from_u128(u128::MAX)).await.unwrap(), None);

    let full = history.query(EventQuery { topic: Some("hidden/#".parse().unwrap()), ..everything(2) }).await.unwrap();
    assert_eq!((full.events.len(), full.next_cursor), (2, None));
    let future = Some(Micros::MAX);
    assert_eq!(all_pages(&history, EventQuery { from: future, ..everything(10) }).await, []);
    assert_eq!(all_pages(&history, EventQuery { to: Some(Micros::MIN), ..everything(10) }).await, []);
    for cursor in ["", "12", "00000000-1"] {
        let query = EventQuery { cursor: Some(cursor.into()), ..everything(10) };
        assert!(matches!(history.query(query).await, Err(HistoryError::Cursor)), "{cursor}");
    }
    journal.close();
}

#[tokio::test]
async fn an_event_of_another_writer_is_found_by_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    let history = History::new(journal.clone(), Arc::new(TestMapper));
    assert_eq!(history.event(Uuid::from_u128(1 << 100)).await.unwrap(), None);
    journal.close();

    let journal = open_journal(directory.path());
    let id = |n: u128| Uuid::from_u128(n << 100 | 5);
    for n in 1..=400 {
        publish(&journal, "devices/d/t", "{}", Qos::AtMostOnce).await;
        let (text, mut batch) = (format!("{{\"n\":{n}}}"), BatchBuilder::default());
        batch.push(&Record::Event(PodEvent {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            arrival: 1,
            // The same id twice: the newer one counts.
            id: id(n.max(2)),
            event_type: "t",
            subject_id: "s",
            subject_type: "x",
            topic: None,
            data: &text,
            metadata: None,
            user_id: "owner",
            source: None,
            timestamp: Micros::default(),
            correlation_id: None,
        }));
        journal.append(batch, None).await.unwrap();
    }
    let last = publish(&journal, "devices/d/t", "{}", Qos::AtLeastOnce).await.last();
    let history = History::new(journal.clone(), Arc::new(TestMapper));
    // The first look learns where they are.
    for _ in 0..2 {
        for n in [2, 3, 200, 400] {
            let found = history.event(id(n)).await.unwrap().unwrap_or_else(|| panic!("{n}"));
            assert!(found.contains(&format!("\"data\":{{\"n\":{n}}}")), "{found}");
        }
        assert_eq!(history.event(id(401)).await.unwrap(), None);
        assert!(history.event(Uuid::from_u128(last.0.into())).await.unwrap().is_some());
    }
    journal.close();
}

#[tokio::test]
async fn a_series_is_made_of_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_journal(directory.path());
    for (topic, payload) in [
        ("devices/a/t", "{\"x\":[1]}"),
        ("devices/a/t", "{\"x\":[4]}"),
        ("devices/b/t", "{\"x\":[9]}"),
        ("devices/a/t", "{\"x\":\"1\"}"),
    ] {
        publish(&journal, topic, payload, Qos::AtLeastOnce).await;
    }
    let history = History::new(journal.clone(), Arc::new(TestMapper));
    let query = SeriesQuery {
        device: "a".to_owned(),
        path: vec!["x".to_owned(), "0".to_owned()],
        from: Micros::MIN,
        to: Micros::MAX,
        width: i64::MAX / 2,
    };
    let buckets = history.series(&query).await.unwrap();
    let found: Vec<_> = buckets.iter().map(|bucket| (bucket.count, bucket.average, bucket.last)).collect();
    assert_eq!(found, [(2, 2.5, 4.0)]);
    let future = SeriesQuery { from: Micros::MAX, ..query };
    assert_eq!(history.series(&future).await.unwrap(), []);
    journal.close();
}
