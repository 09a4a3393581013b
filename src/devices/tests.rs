//! Devices over a real journal and store.

use std::{path::Path, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    journal::{BatchBuilder, JournalOptions, Origin},
    mapping::{Mapper, RouteTable},
    types::{Presence, PresenceChange, Publication, PublishProperties, Qos, Sequence},
};

struct Life {
    journal: Journal,
    devices: Devices,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Life {
    fn begin(directory: &Path) -> Self {
        let (journal, _) = Journal::open(&directory.join("journal"), JournalOptions::default()).unwrap();
        let mapper = Arc::new(Mapper::new(RouteTable::compile(&[]).unwrap(), journal.id(), "owner"));
        let store = Arc::new(StateStore::open(&directory.join("state"), journal.id(), 1 << 20).unwrap());
        let devices = Devices::open(journal.clone(), mapper, store).unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(devices.clone().run(stop.clone()));
        Self { journal, devices, stop, running }
    }

    async fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let mut batch = BatchBuilder::default();
        let publication = Publication {
            sequence: Sequence::ZERO,
            received: crate::types::Micros::default(),
            topic,
            payload: payload.as_bytes(),
            qos: Qos::AtLeastOnce,
            retain,
            guaranteed: true,
            client_id: "c1",
            properties: PublishProperties::default(),
        };
        batch.push(&Record::Publication { publication, origin: Origin::Plain });
        let batch = self.journal.append(batch, None).await.unwrap();
        self.journal.watch(Watermark::Durable).wait_for(|durable| *durable >= batch.last()).await.unwrap();
    }

    async fn metric(&self, device: &str, path: &str) -> Option<serde_json::Value> {
        let state = self.devices.get(device.to_owned()).await.unwrap()?;
        state.metrics.unwrap_or_default().get(path).map(|last| last.value.clone())
    }

    async fn names(&self, after: &str, limit: usize) -> Vec<String> {
        let after = (!after.is_empty()).then(|| after.to_owned());
        self.devices.behind(after, limit, false).await.unwrap().0.into_iter().map(|(name, _)| name).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
        self.journal.close();
    }

    /// As a crash does: what was not in a checkpoint is gone.
    async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
        self.journal.close();
    }
}

#[tokio::test]
async fn the_last_value_of_each_scalar_is_known_at_once_and_after_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path());
    life.publish("devices/a/telemetry", r#"{"t":1,"at":{"x":2}}"#, false).await;
    life.publish("devices/a/telemetry", r#"{"t":3}"#, false).await;
    life.publish("devices/b/state", "on", true).await;
    life.publish("home/light", "{\"t\":9}", false).await;
    assert_eq!(life.metric("a", "t").await, Some(json!(3)));
    assert_eq!(life.metric("a", "at.x").await, Some(json!(2)));
    assert_eq!(life.metric("b", "text").await, Some(json!("on")));
    assert_eq!(life.names("", 10).await, ["a", "b"]);
    life.end().await;

    let life = Life::begin(directory.path());
    let a = life.devices.get("a".into()).await.unwrap().unwrap();
    assert_eq!((a.events, a.client_id.as_str(), a.last_type.as_str()), (2, "c1", "devices.telemetry.received"));
    life.publish("devices/a/telemetry", r#"{"t":4}"#, false).await;
    life.publish("devices/c/telemetry", r#"{"t":5}"#, false).await;
    assert_eq!(life.names("", 2).await, ["a", "b"], "from the store and from memory");
    assert_eq!(life.names("a", 5).await, ["b", "c"]);
    life.kill().await;

    let life = Life::begin(directory.path());
    assert_eq!(life.metric("a", "t").await, Some(json!(4)));
    assert_eq!(life.devices.get("a".into()).await.unwrap().unwrap().events, 3, "each event counts once");
    let b = life.devices.get("b".into()).await.unwrap().unwrap();
    assert_eq!(b.retained_topics, Some(vec!["devices/b/state".into()]));
    life.publish("devices/b/state", "", true).await;
    let b = life.devices.get("b".into()).await.unwrap().unwrap();
    assert_eq!(b.retained_topics, Some(vec![]));
    assert_eq!(life.devices.get("nobody".into()).await.unwrap(), None);
    life.end().await;
}

#[tokio::test]
async fn memory_is_bounded_and_nothing_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path());
    let many = (0..300).map(|n| format!("\"m{n}\":{n}")).collect::<Vec<_>>().join(",");
    let count = limits::DEVICE_VALUES_IN_MEMORY / limits::DEVICE_METRICS + 50;
    for n in 0..count {
        life.publish(&format!("devices/d{n:04}/telemetry"), &format!("{{{many}}}"), false).await;
    }
    assert_eq!(life.names("", 1000).await.len(), count);
    let d7 = life.devices.get("d0007".into()).await.unwrap().unwrap();
    assert_eq!(d7.metrics.unwrap().len(), limits::DEVICE_METRICS);
    life.publish("devices/d0007/telemetry", "{\"m5\":-1}", false).await;
    assert_eq!(life.metric("d0007", "m5").await, Some(json!(-1)));
    assert_eq!(life.metric("d0007", "m6").await, Some(json!(6)), "also of a device that had to be read again");
    assert!(life.devices.0.table.lock().values_in_memory() < limits::DEVICE_VALUES_IN_MEMORY + limits::DEVICE_METRICS);
    life.end().await;
}

#[tokio::test]
async fn devices_that_are_connected_and_say_nothing_take_no_memory() {
    const COUNT: usize = 3 * limits::SILENT_DEVICES_IN_MEMORY;
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path());
    life.publish("devices/d0007/telemetry", "{\"t\":1}", false).await;
    for first in (0..COUNT).step_by(100) {
        let mut batch = BatchBuilder::default();
        for n in first..first + 100 {
            let device = format!("d{n:04}");
            let presence = Presence {
                sequence: Sequence::ZERO,
                received: crate::types::Micros::default(),
                client_id: &device,
                device: &device,
                change: PresenceChange::Opened,
                details: "",
            };
            batch.push(&Record::Presence(presence));
        }
        life.journal.append(batch, None).await.unwrap();
    }
    let last = life.journal.watermark(Watermark::Appended);
    life.journal.watch(Watermark::Durable).wait_for(|durable| *durable >= last).await.unwrap();
    assert_eq!(life.names("", COUNT).await.len(), COUNT);
    let in_memory = || life.devices.0.table.lock().devices_in_memory();
    // The next checkpoint takes the rest.
    timeout(Duration::from_secs(30), async {
        while in_memory() > 1 {
            assert!(in_memory() < 2 * limits::SILENT_DEVICES_IN_MEMORY);
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    for n in [7, 8] {
        let state = life.devices.get(format!("d{n:04}")).await.unwrap().unwrap();
        let open: Vec<_> = state.connections.iter().map(|open| open.client_id.as_str()).collect();
        assert_eq!((open, state.events), (vec![&*format!("d{n:04}")], u64::from(n == 7)));
    }
    assert_eq!(life.metric("d0007", "t").await, Some(json!(1)));
    life.end().await;
}

#[tokio::test]
async fn a_page_of_talkative_devices_ends_early_and_the_next_goes_on() {
    const COUNT: usize = 60;
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path());
    let text = "v".repeat(limits::DEVICE_VALUE_BYTES);
    let payload: std::collections::BTreeMap<_, _> =
        (0..limits::DEVICE_METRICS).map(|n| (format!("{n:0>200}"), &text)).collect();
    let payload = serde_json::to_string(&payload).unwrap();
    for n in 0..COUNT {
        life.publish(&format!("devices/d{n:02}/telemetry"), &payload, false).await;
    }
    let (mut names, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (found, has_more) = life.devices.behind(after, 1000, true).await.unwrap();
        let bytes: usize = found.iter().map(|(_, state)| serde_json::to_string(state).unwrap().len()).sum();
        assert!(bytes < 2 * limits::DEVICES_PAGE_BYTES, "{bytes} bytes");
        names.extend(found.into_iter().map(|(name, _)| name));
        (after, pages) = (names.last().cloned(), pages + 1);
        if !has_more {
            break;
        }
    }
    assert_eq!(names, (0..COUNT).map(|n| format!("d{n:02}")).collect::<Vec<_>>());
    assert!(pages > 1, "all in one page");
    assert_eq!(life.names("", 1000).await.len(), COUNT);
    life.end().await;
}

#[tokio::test]
async fn what_comes_late_is_not_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&directory.path().join("journal"), JournalOptions::default()).unwrap();
    let store = Arc::new(StateStore::open(&directory.path().join("state"), Uuid::nil(), 1 << 20).unwrap());
    let route =
        crate::mapping::Route { timestamp: Some("/at".into()), ..crate::mapping::Route::new("d/{device}", "a.b.c") };
    let mapper = Arc::new(Mapper::new(RouteTable::compile(&[route]).unwrap(), journal.id(), "owner"));
    let devices = Devices::open(journal.clone(), mapper, store).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(devices.clone().run(stop.clone()));
    let life = Life { journal, devices, stop, running };
    life.publish("d/a", r#"{"at":"2026-01-01T00:00:10Z","t":1}"#, false).await;
    life.publish("d/a", r#"{"at":"2026-01-01T00:00:05Z","t":2,"u":3}"#, false).await;
    assert_eq!(life.metric("a", "t").await, Some(json!(1)));
    assert_eq!(life.metric("a", "u").await, Some(json!(3)));
    life.end().await;
}
