//! The `$SYS` topics as a dashboard meets them, and that they are no events.

use std::collections::BTreeMap;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::mosquitto,
    eventually,
    process::Process,
    raw_mqtt::{Connect, Version, kind, subscribe},
    sse::Sse,
};

/// What dashboards made for mosquitto 2 look for below `$SYS/broker/`.
const NAMES: [&str; 25] = [
    "version",
    "uptime",
    "clients/total",
    "clients/maximum",
    "clients/connected",
    "clients/active",
    "clients/disconnected",
    "clients/inactive",
    "clients/expired",
    "messages/received",
    "messages/sent",
    "messages/inflight",
    "messages/stored",
    "store/messages/count",
    "store/messages/bytes",
    "publish/messages/received",
    "publish/messages/sent",
    "publish/messages/dropped",
    "publish/bytes/received",
    "publish/bytes/sent",
    "bytes/received",
    "bytes/sent",
    "subscriptions/count",
    "shared_subscriptions/count",
    "retained messages/count",
];

/// Each with an average over 1, 5 and 15 minutes.
const LOADS: [&str; 9] = [
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "publish/dropped",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

async fn bridge() -> Bridge {
    Setup::default().config("[mqtt]\nsys_interval = \"1s\"").start().await
}

/// mosquitto_sub on everything below `$SYS`.
struct Dashboard(Process);

impl Dashboard {
    fn open(bridge: &Bridge) -> Self {
        Self(Process::start(mosquitto("mosquitto_sub", &bridge.port(), &["-t", "$SYS/#", "-F", "%r %t=%p"])))
    }

    /// The newest value of each topic, by its name.
    fn values(&self) -> BTreeMap<String, String> {
        let value = |line: &String| {
            let (name, value) = line.split_once(" $SYS/broker/").unwrap().1.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        self.0.stdout.all().iter().map(value).collect()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.values().get(name)?.parse().ok()
    }

    async fn shows(&self, name: &str, number: u64) {
        eventually(&format!("{name} = {number}"), async || (self.number(name) == Some(number)).then_some(())).await;
    }

    /// All values, once there are all of them.
    async fn whole(&self) -> BTreeMap<String, String> {
        let count = NAMES.len() + 3 * LOADS.len();
        eventually("every topic", async || Some(self.values()).filter(|values| values.len() >= count)).await
    }
}

async fn publish(bridge: &Bridge, topic: &str, payload: &str, more: &[&str]) {
    let arguments = [&["-t", topic, "-m", payload, "-q", "1"], more].concat();
    Process::start(mosquitto("mosquitto_pub", &bridge.port(), &arguments)).success().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_for_mosquitto_finds_its_names_and_the_truth() {
    let bridge = bridge().await;
    let dashboard = Dashboard::open(&bridge);
    let values = dashboard.whole().await;
    let loads = LOADS.iter().flat_map(|load| ["1min", "5min", "15min"].map(|end| format!("load/{load}/{end}")));
    let mut names: Vec<_> = NAMES.iter().map(ToString::to_string).chain(loads).collect();
    names.sort();
    assert!(values.keys().eq(&names), "{values:#?}");
    assert!(values["version"].starts_with("synap-mqtt version "), "{}", values["version"]);
    let uptime = values["uptime"].strip_suffix(" seconds").unwrap();
    assert!(uptime.parse::<u64>().is_ok(), "{uptime}");
    for name in names.iter().filter(|name| name.starts_with("load/")) {
        let value = &values[name];
        assert!(value.parse::<f64>().unwrap() >= 0.0 && value.split('.').nth(1).unwrap().len() == 2, "{value}");
    }
    dashboard.shows("clients/connected", 1).await;
    dashboard.shows("subscriptions/count", 1).await;

    // A client that stays away, with something that waits for it, and something retained.
    let mut away = bridge.raw(Version::V5).await;
    away.connect_as(&Connect::persistent(Version::V5, "away")).await;
    away.subscribe("devices/+/telemetry", 1).await;
    away.subscribe("$share/pair/jobs", 1).await;
    dashboard.shows("clients/connected", 2).await;
    dashboard.shows("shared_subscriptions/count", 1).await;
    drop(away);
    dashboard.shows("clients/disconnected", 1).await;
    dashboard.shows("clients/inactive", 1).await;
    let received = dashboard.number("publish/messages/received").unwrap();
    let bytes = dashboard.number("publish/bytes/received").unwrap();
    for n in 0..5 {
        publish(&bridge, "devices/a/telemetry", &n.to_string(), &[]).await;
    }
    publish(&bridge, "kept", "12345", &["-r"]).await;
    dashboard.shows("publish/messages/received", received + 6).await;
    // Fixed header, topic, packet identifier, payload.
    dashboard.shows("publish/bytes/received", bytes + 5 * (2 + 2 + 19 + 2 + 1) + (2 + 2 + 4 + 2 + 5)).await;
    dashboard.shows("store/messages/count", 6).await;
    dashboard.shows("retained messages/count", 1).await;
    dashboard.shows("clients/maximum", 2).await;
    dashboard.shows("clients/total", 2).await;
    let mut brief = bridge.raw(Version::V5).await;
    brief.connect_as(&Connect { session_expiry: 1, ..Connect::persistent(Version::V5, "brief") }).await;
    drop(brief);
    dashboard.shows("clients/expired", 1).await;
    dashboard.shows("clients/total", 2).await;
    let values = dashboard.values();
    for load in ["publish/received", "bytes/received", "messages/sent", "connections"] {
        let averages =
            ["1min", "5min", "15min"].map(|end| values[&format!("load/{load}/{end}")].parse::<f64>().unwrap());
        assert!(averages[0] > averages[1] && averages[1] > averages[2] && averages[2] > 0.0, "{load}: {averages:?}");
    }
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_tells_of_itself_is_no_event() {
    let bridge = bridge().await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
    let mut everything = bridge.client(Version::V4, "everything").await;
    everything.subscribe("#", 1).await;
    everything.subscribe("+/broker/uptime", 1).await;
    let dashboard = Dashboard::open(&bridge);
    dashboard.whole().await;
    let appended = bridge.metric("synap_mqtt_journal_appended").await;
    let before = dashboard.values()["uptime"].clone();
    eventually("two more updates", async || {
        let uptimes = dashboard.0.stdout.all().iter().filter(|line| line.contains("$SYS/broker/uptime=")).count();
        (uptimes >= 3).then_some(())
    })
    .await;
    assert_ne!(dashboard.values()["uptime"], before);
    assert_eq!(bridge.metric("synap_mqtt_journal_appended").await, appended, "no record comes of it");

    publish(&bridge, "last", "{\"marker\":1}", &[]).await;
    assert_eq!(everything.message().await.topic, "last", "leading wildcards do not match it");
    let (_, event) = stream.event().await;
    assert_eq!(event["data"]["marker"], 1, "the first event of the stream");
    let stored = bridge.events("#").await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(bridge.events("$SYS/#").await.is_empty());
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_what_is_retained_with_qos_0_and_changes_without_the_flag() {
    let mut bridge = bridge().await;
    for version in [Version::V4, Version::V5] {
        let mut client = bridge.raw(version).await;
        client.connect_as(&Connect::persistent(version, "dashboard")).await;
        assert_eq!(client.subscribe("$SYS/broker/uptime", 2).await, 2);
        let first = client.message().await;
        assert_eq!((first.topic.as_str(), first.qos, first.retain), ("$SYS/broker/uptime", 0, true));
        let next = client.message().await;
        assert_eq!((next.qos, next.retain), (0, false));
        assert_ne!(next.payload, first.payload);
    }

    // Members of a group get changes in turn, and nothing that is retained.
    let mut member = bridge.client(Version::V5, "member").await;
    member.subscribe("$share/dashboards/$SYS/broker/uptime", 1).await;
    let message = member.message().await;
    assert_eq!((message.topic.as_str(), message.qos, message.retain), ("$SYS/broker/uptime", 0, false));

    // After a crash there is the subscription, and a new uptime.
    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
    let mut client = bridge.raw(Version::V5).await;
    assert!(client.connect_as(&Connect::persistent(Version::V5, "dashboard")).await, "the session is there");
    assert_eq!(client.message().await.topic, "$SYS/broker/uptime");
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_of_0_means_none() {
    let bridge = Setup::default().config("[mqtt]\nsys_interval = \"0s\"").start().await;
    let mut client = bridge.client(Version::V5, "dashboard").await;
    client.send(&subscribe(Version::V5, 1, "$SYS/#", 1)).await;
    client.expect(kind::SUBACK).await;
    client.subscribe("other", 0).await;
    publish(&bridge, "other", "x", &[]).await;
    assert_eq!(client.message().await.topic, "other");
    bridge.finish(&[]).await;
}
