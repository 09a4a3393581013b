//! One stream over every transport: clients change it at random, with the last id they have, while the bridge is
//! killed again and again. What each has seen in the end is what is stored, once each and in order.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{
    Random,
    bridge::{Bridge, Cut, Setup},
    event_socket::EventSocket,
    eventually,
    raw_mqtt::Version,
    sse::Sse,
};

/// Publications of one round.
const EACH: u64 = 150;

/// A client that goes on with its last id, however it gets its events.
#[derive(Default)]
struct Watcher {
    last: String,
    seen: Vec<String>,
    /// How often each transport has brought something.
    turns: [usize; 3],
}

impl Watcher {
    fn take(&mut self, id: &Value, event: &Value) {
        self.last = id.as_str().unwrap().to_owned();
        self.seen.push(event["id"].as_str().unwrap().to_owned());
    }

    fn take_message(&mut self, message: &Value) {
        match message["type"].as_str().unwrap() {
            "event" => self.take(&message["id"], &message["event"]),
            "connected" | "ok" => {}
            other => panic!("{other}: {message}"),
        }
    }

    /// Server-sent events, up to so many; less where the connection ends.
    async fn sse(&mut self, address: SocketAddr, most: u64) -> Option<()> {
        let url = format!("http://{address}/api/events/stream?topic=t/%23");
        let request = reqwest::Client::new().get(url).header("Last-Event-ID", &self.last);
        let mut response = request.send().await.ok()?;
        let mut text = String::new();
        let mut left = most;
        while left > 0 {
            text.push_str(std::str::from_utf8(&response.chunk().await.ok()??).unwrap());
            while let Some((block, rest)) = text.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                assert_eq!(field("event: "), None, "{block}");
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    let event: Value = serde_json::from_str(data).unwrap();
                    if event["type"] != "connected" {
                        self.take(&id.into(), &event);
                        left = left.saturating_sub(1);
                    }
                }
                text = rest.to_owned();
            }
        }
        Some(())
    }

    async fn socket(&mut self, address: SocketAddr, most: u64) -> Option<()> {
        let mut socket = EventSocket::try_open(address).await.ok()?;
        socket.try_say(&json!({"op": "subscribe", "topic": ["t/#"], "after": self.last})).await.ok()?;
        let mut left = most;
        while left > 0 {
            let message = socket.next().await?;
            left -= u64::from(message["type"] == "event");
            self.take_message(&message);
        }
        Some(())
    }

    async fn poll(&mut self, address: SocketAddr, wait: u64) -> Option<()> {
        let url = format!("http://{address}/api/events?topic=t/%23&wait={wait}&after={}", self.last);
        let answer: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
        for message in answer["messages"].as_array().unwrap() {
            self.take_message(message);
        }
        self.last = answer["lastEventId"].as_str().unwrap().to_owned();
        Some(())
    }

    /// Goes from transport to transport until it is over.
    async fn roam(mut self, address: SocketAddr, plan: Vec<(u64, u64)>, mut over: watch::Receiver<bool>) -> Self {
        {
            let turns = async {
                for (transport, most) in plan.into_iter().cycle() {
                    let before = self.seen.len();
                    let went = match transport {
                        0 => self.sse(address, most).await,
                        1 => self.socket(address, most).await,
                        _ => self.poll(address, most % 3).await,
                    };
                    self.turns[usize::try_from(transport).unwrap()] += usize::from(self.seen.len() > before);
                    if went.is_none() {
                        // The bridge is gone; so may it be for a while.
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                }
            };
            tokio::select! {
                () = turns => {}
                _ = over.wait_for(|over| *over) => {}
            }
        }
        self
    }
}

fn plan(random: &mut Random) -> Vec<(u64, u64)> {
    (0..64).map(|_| (random.between(0, 2), random.between(1, 40))).collect()
}

/// Publishes with every QoS, until the connection ends.
async fn publish(bridge: &Bridge, round: u64) -> impl Future<Output = ()> + use<> {
    let mut publisher = bridge.client(Version::V5, &format!("publisher-{round}")).await;
    async move {
        for n in 0..EACH {
            let qos = u8::try_from(1 + n % 2).unwrap();
            publisher.publish(&format!("t/{}", n % 5), format!("{{\"n\":{n}}}"), qos).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_change_transports_over_kill_9_see_everything_once() {
    let mut random = Random::new();
    let mut bridge = Setup::default().config("[stream]\nheartbeat = \"1s\"").start().await;
    let start = Sse::open(&bridge.url("/api/events/stream"), None).await.position;
    let mut watchers: Vec<_> = (0..4).map(|_| Watcher { last: start.clone(), ..Watcher::default() }).collect();
    for round in 0..5 {
        let (over, _) = watch::channel(false);
        let roaming: Vec<_> = watchers
            .into_iter()
            .map(|watcher| tokio::spawn(watcher.roam(bridge.addresses.http, plan(&mut random), over.subscribe())))
            .collect();
        let publishing = tokio::spawn(publish(&bridge, round).await);
        // In the middle of it.
        let enough = f64::from(u32::try_from(random.between(10, EACH - 20)).unwrap());
        let published = async || bridge.metric("synap_mqtt_messages_received_total").await;
        eventually("some publications", async || (published().await >= enough).then_some(())).await;
        bridge.kill9();
        // On a fast machine it was done before.
        drop(publishing.await);
        over.send_replace(true);
        watchers = Vec::new();
        for roaming in roaming {
            watchers.push(roaming.await.unwrap());
        }
        bridge.restart().await;
        bridge.ready().await;
    }
    publish(&bridge, 99).await.await;
    let stored: Vec<_> =
        bridge.events("t/#").await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let last = stored.last().unwrap();
    for mut watcher in watchers {
        let address = bridge.addresses.http;
        while watcher.seen.last() != Some(last) {
            watcher.poll(address, 1).await.unwrap();
        }
        assert_eq!(watcher.seen, stored, "{:?}", watcher.turns);
        assert!(watcher.turns.iter().all(|turns| *turns > 0), "{:?}", watcher.turns);
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_same_on_every_transport() {
    let mut bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for n in 0..30 {
        publisher.publish(&format!("t/{}", n % 3), format!("{{\"n\":{n}}}"), 1).await;
    }
    // Also behind a restart, where nothing of it is in memory.
    for _ in 0..2 {
        let mut stream = Sse::open_snapshot(&bridge.url("/api/events/stream?snapshot=true&topic=t/%23")).await;
        let mut by_sse = Vec::new();
        let marker = loop {
            let frame = stream.next().await.unwrap();
            match frame.event.as_deref() {
                None => by_sse.push(frame.json()),
                Some(_) => break frame,
            }
            assert_eq!(frame.id, None);
        };
        assert_eq!((marker.event.as_deref(), &marker.json()["events"]), (Some("snapshot"), &json!(3)));
        let numbers: Vec<_> = by_sse.iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [27, 28, 29]);

        let url = bridge.url("/api/events?snapshot=true&topic=t/%23&wait=0");
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let messages = answer["messages"].as_array().unwrap();
        let by_poll: Vec<_> = messages.iter().take(3).map(|message| message["event"].clone()).collect();
        assert_eq!((by_poll, messages.len()), (by_sse.clone(), 4));
        assert_eq!(answer["lastEventId"], marker.id.unwrap());

        let mut socket = EventSocket::open(bridge.addresses.http).await;
        let ok = socket.ask(json!({"op": "subscribe", "topic": ["t/#"], "snapshot": true})).await;
        assert_eq!((&ok["type"], &ok["id"]), (&json!("ok"), &Value::Null));
        assert_eq!(socket.expect("connected").await["id"], Value::Null);
        for event in by_sse {
            assert_eq!(socket.expect("event").await["event"], event);
        }
        assert_eq!(socket.expect("snapshot").await["complete"], true);
        bridge.restart().await;
        bridge.ready().await;
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_names_and_replays_an_end_where_that_is_asked_for() {
    let bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let start = Sse::open(&bridge.url("/api/events/stream"), None).await.position;
    for n in 0..3 {
        publisher.publish("devices/pump/telemetry", format!("{{\"n\":{n}}}"), 1).await;
    }
    let url = bridge.url(&format!("/api/events/stream?named=true&last_event_id={start}"));
    let mut stream = Sse::open(&url, None).await;
    let frame = stream.next().await.unwrap();
    assert_eq!(frame.event.as_deref(), Some("devices.telemetry.received"));
    let until = stream.next().await.unwrap().id.unwrap();

    let replay = bridge.url(&format!("/api/events/stream?last_event_id={start}&until={until}"));
    let mut stream = Sse::open(&replay, None).await;
    for n in 0..2 {
        assert_eq!(stream.event().await.1["data"]["n"], n);
    }
    let end = stream.next().await.unwrap();
    assert_eq!((end.event.as_deref(), &end.json()["reason"]), (Some("end"), &json!("complete")));
    assert_eq!((stream.next().await, end.id.as_ref()), (None, Some(&until)));
    let again = reqwest::Client::new().get(&replay).header("Last-Event-ID", &until).send().await.unwrap();
    assert_eq!(again.status(), 204);
    for (query, parameter) in [
        ("mode=some", "mode"),
        ("rate=4", "rate"),
        ("mode=latest&rate=0", "rate"),
        ("mode=latest&rate=61", "rate"),
        ("snapshot=1", "snapshot"),
        ("named=yes", "named"),
        ("until=x", "until"),
        ("until=00000000-1", "until"),
        (&format!("mode=latest&until={until}"), "until"),
    ] {
        let answer = reqwest::get(bridge.url(&format!("/api/events/stream?{query}"))).await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(answer.json::<Value>().await.unwrap()["parameter"], parameter, "{query}");
    }
    for (query, parameter) in [("wait=51", "wait"), ("after=x", "after"), ("wait=1&limit=3", "limit")] {
        let answer = reqwest::get(bridge.url(&format!("/api/events?{query}"))).await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["parameter"], parameter, "{query}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_stays_valid_over_restarts_and_a_restored_backup_is_told() {
    let mut bridge = Bridge::start().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
    publisher.publish("t", "before", 1).await;
    let (before, _) = stream.event().await;
    bridge.terminate().await;
    let backup = crate::support::scratch();
    copy(bridge.data_dir(), backup.path()).await;
    bridge.restart().await;
    bridge.ready().await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), Some(&before)).await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    publisher.publish("t", "lost with the disk", 1).await;
    let (after, event) = stream.event().await;
    assert_eq!(event["data"]["text"], "lost with the disk");
    bridge.terminate().await;

    std::fs::remove_dir_all(bridge.data_dir()).unwrap();
    copy(backup.path(), bridge.data_dir()).await;
    bridge.restart().await;
    bridge.ready().await;
    let mut publisher = bridge.client(Version::V5, "publisher").await;
    for n in 0..20 {
        publisher.publish("t", format!("another {n}"), 1).await;
    }
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), Some(&before)).await;
    assert_eq!(stream.event().await.1["data"]["text"], "another 0");
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), Some(&after)).await;
    let gap = stream.next().await.unwrap();
    assert_eq!((gap.event.as_deref(), &gap.json()["reset"]), (Some("gap"), &json!(true)));
    assert_eq!(stream.event().await.1["data"]["text"], "before");
    assert_eq!(stream.event().await.1["data"]["text"], "another 0");
    bridge.finish(&[]).await;
}

async fn copy(from: &std::path::Path, to: &std::path::Path) {
    let mut command = std::process::Command::new("cp");
    command.arg("-r").arg(from.join(".")).arg(to);
    std::fs::create_dir_all(to).unwrap();
    crate::support::process::Process::start(command).success().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_does_not_wait_has_what_was_acknowledged() {
    let mut bridge = Setup::default().start().await;
    let poll = async |bridge: &Bridge, after: &str| -> Value {
        reqwest::get(bridge.url(&format!("/api/events?wait=0&topic=t&after={after}")))
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let begin: Value = reqwest::get(bridge.url("/api/events?wait=0")).await.unwrap().json().await.unwrap();
    let begin = begin["lastEventId"].as_str().unwrap().to_owned();
    let mut last = begin.clone();
    for n in 0..20 {
        let mut client = bridge.client(Version::V5, "device").await;
        client.publish("other", "{}", 1).await;
        client.publish("t", format!("{{\"n\":{n}}}"), 1).await;
        let answer = poll(&bridge, &last).await;
        assert_eq!(answer["messages"][0]["event"]["data"]["n"], n, "{answer}");
        assert_eq!(answer["messages"].as_array().unwrap().len(), 1);
        last = answer["lastEventId"].as_str().unwrap().to_owned();
    }
    bridge.cut(Cut::Kill).await;
    let mut found = Vec::new();
    let mut after = begin;
    while found.len() < 20 {
        let answer = poll(&bridge, &after).await;
        let messages = answer["messages"].as_array().unwrap();
        assert!(!messages.is_empty(), "after {} of them: {answer}", found.len());
        found.extend(messages.iter().map(|message| message["event"]["data"]["n"].as_u64().unwrap()));
        after = answer["lastEventId"].as_str().unwrap().to_owned();
    }
    assert!(found.into_iter().eq(0..20));
    bridge.finish(&[]).await;
}
