//! Who may publish, subscribe and receive: what clients get, see and are told, also when rules change.

use std::process::Command;

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    clients::mosquitto,
    eventually, in_package,
    process::Process,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, subscribe_many, will_delay},
    scram::PasswordFile,
};

const NOT_AUTHORIZED: u8 = 0x87;
const FAILURE: u8 = 0x80;

/// Warnings about clients.
const PEER: &[&str] = &["\"peer\""];

const PASSWORDS: &[(&str, &str)] = &[("anna", "a"), ("pump", "p"), ("watcher", "w")];

const RULES: &str = r##"
[auth.roles]
watchers = ["watcher"]

[[auth.rule]]
allow = ["publish", "subscribe"]
topics = ["devices/%c/#", "users/%u"]

[[auth.rule]]
allow = ["subscribe"]
topics = ["devices/+/telemetry"]
roles = ["watchers"]

[[auth.rule]]
deny = ["publish"]
topics = ["devices/+/locked"]
"##;

async fn with_rules(rules: &str) -> (PasswordFile, Bridge) {
    let accounts = PasswordFile::new(PASSWORDS).await;
    let bridge = accounts.setup().config(rules).start().await;
    (accounts, bridge)
}

/// The account's CONNECT.
fn of(user: &str, connect: Connect) -> Connect {
    let password = PASSWORDS.iter().find(|(name, _)| *name == user).unwrap().1;
    Connect { user_name: Some(user.to_owned()), password: Some(password.as_bytes().to_vec()), ..connect }
}

async fn client_of(bridge: &Bridge, user: &str, connect: Connect) -> RawMqtt {
    let mut client = bridge.raw(connect.version).await;
    client.connect_as(&of(user, connect)).await;
    client
}

async fn client(bridge: &Bridge, version: Version, user: &str, id: &str) -> RawMqtt {
    client_of(bridge, user, Connect::new(version, id)).await
}

/// The CONNACK's code of a refused CONNECT.
async fn refusal(bridge: &Bridge, connect: &Connect) -> u8 {
    let mut client = bridge.raw(connect.version).await;
    client.send(&connect.encode()).await;
    let connack = client.expect(kind::CONNACK).await;
    assert_eq!(client.read().await, None, "the connection goes on after {connack:?}");
    connack.reason()
}

/// The reason of the answer to a PUBLISH with QoS 1.
async fn published(client: &mut RawMqtt, topic: &str) -> u8 {
    client.send(&Publish::new(topic, "x", 1, 9).encode(client.version())).await;
    client.answer(kind::PUBACK).await.reason()
}

async fn topics(bridge: &Bridge) -> Vec<String> {
    let events = bridge.events("#").await;
    events.iter().map(|event| event["metadata"]["topic"].as_str().unwrap().to_owned()).collect()
}

/// Puts other rules in effect; returns once they are.
async fn change(bridge: &Bridge, from: &str, to: &str) {
    let told =
        || bridge.process.stderr.all().iter().filter(|line| line.contains("read the configuration again")).count();
    let before = told();
    bridge.reconfigure(|file| {
        assert!(file.contains(from), "{file}");
        file.replace(from, to)
    });
    eventually("the new rules", async || (told() > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_may_do_what_the_rules_allow() {
    let (_accounts, bridge) = with_rules(RULES).await;
    for version in ["mqttv311", "mqttv5"] {
        let publish = |topic: &str| {
            let arguments = ["-V", version, "-u", "pump", "-P", "p", "-i", "pump-7", "-q", "1", "-m", "x", "-t", topic];
            Process::start(mosquitto("mosquitto_pub", &bridge.port(), &arguments))
        };
        let subscriptions = async || bridge.metric("synap_mqtt_subscriptions").await;
        eventually("the end of earlier subscriptions", async || (subscriptions().await == 0.0).then_some(())).await;
        let subscriber = Process::start(mosquitto(
            "mosquitto_sub",
            &bridge.port(),
            &[
                "-V",
                version,
                "-u",
                "watcher",
                "-P",
                "w",
                "-i",
                "w",
                "-q",
                "1",
                "-C",
                "1",
                "-v",
                "-t",
                "devices/+/telemetry",
            ],
        ));
        eventually("the subscription", async || (subscriptions().await > 0.0).then_some(())).await;
        publish("devices/pump-7/telemetry").success().await;
        assert_eq!(subscriber.success().await, ["devices/pump-7/telemetry x"]);
        for refused in ["devices/pump-8/telemetry", "devices/pump-7/locked", "other"] {
            // It succeeds in 3.1.1, where there is no word for it, and goes nowhere.
            publish(refused).status().await;
        }
        let subscribe =
            ["-V", version, "-u", "watcher", "-P", "w", "-i", "w", "-C", "1", "-W", "5", "-t", "devices/+/state"];
        let mut refused = Process::start(mosquitto("mosquitto_sub", &bridge.port(), &subscribe));
        refused.status().await;
        let told = async || refused.stderr.find(|line| line.contains("denied").then_some(()));
        eventually("a word on the refusal", told).await;
    }
    assert_eq!(topics(&bridge).await, ["devices/pump-7/telemetry"; 2]);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_published_goes_nowhere_and_5_0_is_told() {
    let (_accounts, bridge) = with_rules(RULES).await;
    for version in [Version::V4, Version::V5] {
        let code = if version == Version::V5 { NOT_AUTHORIZED } else { 0 };
        let mut pump = client(&bridge, version, "pump", "pump-7").await;
        for topic in ["devices/pump-8/telemetry", "devices/pump-7/locked", "devices", "users/anna", "x"] {
            pump.send(&Publish::new(topic, "x", 0, 0).encode(version)).await;
            assert_eq!(published(&mut pump, topic).await, code, "{version:?} {topic}");
            pump.send(&Publish::new(topic, "x", 2, 9).encode(version)).await;
            assert_eq!(pump.expect(kind::PUBREC).await.reason(), code, "{version:?} {topic}");
            if version == Version::V4 {
                pump.send(&ack(kind::PUBREL, 9)).await;
                pump.expect(kind::PUBCOMP).await;
            }
        }
        pump.publish("users/pump", "x", 2).await;
    }
    assert_eq!(topics(&bridge).await, ["users/pump", "users/pump"]);
    let refused = bridge.metric("synap_mqtt_access_refused_total").await;
    assert_eq!(refused, 30.0);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_can_end_a_3_1_1_connection() {
    let rules = format!("refused_publish = \"disconnect\"{RULES}");
    let (_accounts, bridge) = with_rules(&rules).await;
    let mut pump = client(&bridge, Version::V4, "pump", "pump-7").await;
    pump.publish("other", "x", 0).await;
    pump.ping().await;
    pump.send(&Publish::new("other", "x", 1, 1).encode(Version::V4)).await;
    assert_eq!(pump.read().await, None);
    let mut pump = client(&bridge, Version::V5, "pump", "pump-7").await;
    assert_eq!(published(&mut pump, "other").await, NOT_AUTHORIZED);
    pump.ping().await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_alias_is_no_way_around() {
    let (_accounts, bridge) = with_rules(RULES).await;
    let mut pump = client(&bridge, Version::V5, "pump", "pump-7").await;
    let aliased = |topic: &str, id| Publish { properties: vec![0x23, 0, 1], ..Publish::new(topic, "x", 1, id) };
    // Set by a message that is allowed, by one that is not, and by one that is again.
    for (topic, code) in [
        ("devices/pump-7/a", 0),
        ("", 0),
        ("devices/pump-8/a", NOT_AUTHORIZED),
        ("", NOT_AUTHORIZED),
        ("devices/pump-7/b", 0),
        ("", 0),
    ] {
        pump.send(&aliased(topic, 5).encode(Version::V5)).await;
        assert_eq!(pump.expect(kind::PUBACK).await.reason(), code, "{topic}");
    }
    assert_eq!(topics(&bridge).await.len(), 4);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_is_not_allowed_is_refused_with_its_connection() {
    let (_accounts, bridge) = with_rules(RULES).await;
    for (version, code) in [(Version::V4, 5), (Version::V5, NOT_AUTHORIZED)] {
        let with_will = |topic: &str| Connect {
            will: Some((topic.to_owned(), b"gone".to_vec(), 1, false)),
            ..of("pump", Connect::new(version, "pump-7"))
        };
        for topic in ["devices/pump-8/will", "devices/pump-7/locked", "x"] {
            assert_eq!(refusal(&bridge, &with_will(topic)).await, code, "{topic}");
        }
        bridge.raw(version).await.connect_as(&with_will("devices/pump-7/will")).await;
    }
    let both = async || (topics(&bridge).await.len() == 2).then_some(());
    eventually("the wills that are allowed", both).await;
    bridge.finish(PEER).await;
}

const ANSWERS: &str = r##"
[[auth.rule]]
allow = ["publish"]
topics = ["#"]
[[auth.rule]]
allow = ["subscribe"]
topics = ["a/#", "c/+/t"]
refused_subscribe = "filter"
[[auth.rule]]
deny = ["subscribe"]
topics = ["a/secret/#"]
refused_subscribe = "filter"
[[auth.rule]]
allow = ["subscribe"]
topics = ["b/x"]
refused_subscribe = "failure"
[[auth.rule]]
allow = ["subscribe"]
topics = ["d/#"]
"##;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_subscription_is_answered_as_its_rule_says() {
    let (_accounts, bridge) = with_rules(ANSWERS).await;
    for (version, unauthorized) in [(Version::V4, FAILURE), (Version::V5, NOT_AUTHORIZED)] {
        let mut client = client(&bridge, version, "anna", "anna").await;
        let asked = [
            ("a/b", 1),
            ("a/#", 1),
            ("b/x", 1),
            ("b/+", FAILURE),
            ("d/+/#", 1),
            ("e", unauthorized),
            ("c/#", 1),
            ("$share/g/d/#", 1),
            ("$share/g/a/#", unauthorized),
            ("$SYS/#", unauthorized),
        ];
        let filters = asked.map(|(filter, _)| (filter, 1));
        client.send(&subscribe_many(version, 7, &filters, 0)).await;
        assert_eq!(client.expect(kind::SUBACK).await.reasons(), asked.map(|(_, code)| code), "{version:?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_subscription_delivers_what_is_allowed_retained_too() {
    let (_accounts, bridge) = with_rules(ANSWERS).await;
    let mut publisher = client(&bridge, Version::V5, "pump", "pump").await;
    for topic in ["a/secret/1", "a/open/1", "c/x/other", "c/x/t"] {
        let message = Publish { retain: true, ..Publish::new(topic, "retained", 1, 1) };
        publisher.send(&message.encode(Version::V5)).await;
        publisher.expect(kind::PUBACK).await;
    }
    for (qos, version) in [(0, Version::V5), (1, Version::V4), (2, Version::V5)] {
        let mut watcher = client(&bridge, version, "watcher", "watcher").await;
        assert_eq!(watcher.subscribe("#", qos).await, FAILURE, "the strictest answer");
        assert_eq!(watcher.subscribe("a/#", qos).await, qos);
        assert_eq!(watcher.message().await.topic, "a/open/1");
        assert_eq!(watcher.subscribe("c/#", qos).await, qos);
        assert_eq!(watcher.message().await.topic, "c/x/t");
        for (n, topic) in ["a/secret", "a/secret/x", "a/b", "c/x", "c/x/t", "c/x/t/y", "a/last"].iter().enumerate() {
            publisher.publish(topic, n.to_string(), qos).await;
        }
        for topic in ["a/b", "c/x/t", "a/last"] {
            assert_eq!(watcher.message().await.topic, topic, "{qos}");
        }
        watcher.ping().await;
    }
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(text.contains("synap_mqtt_access_refused_total{action=\"receive\"} 18"), "{text}");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_acl_file_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    std::fs::write(&acl, "topic read public/#\nuser anna\ntopic write public/news\ntopic deny public/secret\npattern read devices/%u/#\n")
        .unwrap();
    let accounts = PasswordFile::new(PASSWORDS).await;
    let setup = accounts.setup().config(&format!("acl_file = {acl:?}"));
    let bridge = setup.config("[[listener]]\nbind = \"127.0.0.1:0\"\nauthentication = \"optional\"").start().await;
    let optional = bridge.listener("mqtt", 1).parse().unwrap();
    let mut anonymous = RawMqtt::open(optional, Version::V5).await;
    anonymous.connect("anonymous", true).await;
    assert_eq!(anonymous.subscribe("#", 1).await, 1, "granted, and messages are looked at");
    let mut anna = client(&bridge, Version::V5, "anna", "anna").await;
    assert_eq!(published(&mut anna, "public/secret").await, NOT_AUTHORIZED);
    assert_eq!(published(&mut anna, "private").await, NOT_AUTHORIZED);
    assert_eq!(published(&mut anonymous, "public/news").await, NOT_AUTHORIZED);
    assert_eq!(published(&mut anna, "public/news").await, 0);
    assert_eq!(anonymous.message().await.topic, "public/news");
    // Another file is in effect after a SIGHUP, and one with a mistake is not.
    std::fs::write(&acl, "topic red x\n").unwrap();
    bridge.reconfigure(str::to_owned);
    bridge.complaint(0, "acl:1: `red`: expected read, write").await;
    assert_eq!(published(&mut anna, "public/news").await, 0);
    std::fs::write(&acl, "user anna\ntopic private\n").unwrap();
    change(&bridge, "acl_file", "acl_file").await;
    assert_eq!(published(&mut anna, "private").await, 0);
    assert_eq!(published(&mut anna, "public/news").await, NOT_AUTHORIZED);
    assert_eq!(anonymous.message().await.topic, "public/news");
    anonymous.ping().await;
    bridge.finish(&["\"peer\"", "was not read again"]).await;
}

const BEFORE: &str = r##"
[[auth.rule]]
allow = ["publish", "subscribe"]
topics = ["#"] # all
"##;

#[tokio::test(flavor = "multi_thread")]
async fn changed_rules_go_for_clients_that_are_there() {
    let (_accounts, bridge) = with_rules(BEFORE).await;
    let mut pump = client(&bridge, Version::V5, "pump", "pump").await;
    let mut watcher = client(&bridge, Version::V5, "watcher", "watcher").await;
    assert_eq!(watcher.subscribe("a/#", 1).await, 1);
    assert_eq!(published(&mut pump, "a/secret").await, 0);
    assert_eq!(watcher.message().await.topic, "a/secret");
    change(&bridge, "[\"#\"] # all", "[\"a/open/#\"] # some").await;
    assert_eq!(published(&mut pump, "a/secret").await, NOT_AUTHORIZED);
    assert_eq!(published(&mut pump, "a/open/1").await, 0);
    assert_eq!(watcher.message().await.topic, "a/open/1");
    assert_eq!(watcher.subscribe("a/#", 1).await, NOT_AUTHORIZED);
    // What others may still publish does not reach those who may not have it.
    change(&bridge, "[\"a/open/#\"] # some", "[\"a/open/2\", \"users/%u\"] # few").await;
    let mut anna = client(&bridge, Version::V4, "anna", "anna").await;
    assert_eq!(published(&mut anna, "a/open/1").await, 0, "3.1.1 has no word for it");
    anna.publish("a/open/2", "x", 2).await;
    assert_eq!(watcher.message().await.topic, "a/open/2");
    watcher.ping().await;
    change(&bridge, "[\"a/open/2\", \"users/%u\"] # few", "[\"#\"] # all").await;
    anna.publish("a/secret", "x", 1).await;
    assert_eq!(watcher.message().await.topic, "a/secret", "the subscription was kept");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rules_go_for_what_waits_and_what_was_sent() {
    let (_accounts, mut bridge) = with_rules(BEFORE).await;
    let mut pump = client(&bridge, Version::V5, "pump", "pump").await;
    let absent = || Connect::persistent(Version::V5, "watcher");
    let mut watcher = client_of(&bridge, "watcher", absent()).await;
    assert_eq!(watcher.subscribe("#", 2).await, 2);
    // Sent and not acknowledged, then queued.
    for (n, qos) in [(1, 1), (2, 2)] {
        pump.publish("a/secret", n.to_string(), qos).await;
        assert_eq!(watcher.expect(kind::PUBLISH).await.publish().qos, qos);
    }
    drop(watcher);
    for qos in [1, 2, 1] {
        pump.publish("a/secret", "queued", qos).await;
        pump.publish("a/open", "queued", qos).await;
    }
    for restart in [false, true] {
        change(&bridge, "[\"#\"]", "[\"a/open\"]").await;
        if restart {
            bridge.cut(Cut::Kill).await;
        }
        let mut watcher = client_of(&bridge, "watcher", absent()).await;
        if !restart {
            // The client may hold its identifier: it is told that that is free.
            assert_eq!(watcher.answer(kind::PUBREL).await.id(), 2);
            watcher.send(&ack(kind::PUBCOMP, 2)).await;
        }
        let early: Vec<_> = [watcher.message().await, watcher.message().await, watcher.message().await].to_vec();
        assert!(early.iter().all(|message| message.topic == "a/open"), "{early:?}");
        watcher.ping().await;
        if restart {
            break;
        }
        drop(watcher);
        change(&bridge, "[\"a/open\"]", "[\"#\"]").await;
        let mut pump = client(&bridge, Version::V5, "pump", "pump").await;
        for topic in ["a/open", "a/secret", "a/open", "a/secret", "a/open"] {
            pump.publish(topic, "queued again", 1).await;
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_may_not_have_its_share_leaves_it_to_the_others() {
    let rules = "[[auth.rule]]\nallow = [\"publish\", \"subscribe\"]\ntopics = [\"a/#\"]\n\
                 users = [\"anna\", \"pump\", \"watcher\"] # all\n";
    let (_accounts, bridge) = with_rules(rules).await;
    let mut pump = client(&bridge, Version::V5, "pump", "pump").await;
    let mut one = client(&bridge, Version::V5, "anna", "one").await;
    let mut other = client(&bridge, Version::V5, "watcher", "other").await;
    for member in [&mut one, &mut other] {
        assert_eq!(member.subscribe("$share/g/a/#", 1).await, 1);
    }
    change(&bridge, "\"pump\", \"watcher\"] # all", "\"pump\"]").await;
    let alone = async || (bridge.metric("synap_mqtt_subscriptions").await == 1.0).then_some(());
    eventually("the member to leave", alone).await;
    for n in 0..6 {
        pump.publish("a/b", n.to_string(), 1).await;
        assert_eq!(one.message().await.payload, n.to_string().as_bytes());
    }
    other.ping().await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_is_not_allowed_any_more_is_void() {
    let (_accounts, mut bridge) = with_rules(BEFORE).await;
    let with_will = |id: &str, seconds| Connect {
        will: Some((format!("wills/{id}"), b"gone".to_vec(), 1, false)),
        will_properties: will_delay(seconds),
        ..Connect::persistent(Version::V5, id)
    };
    let at_once = client_of(&bridge, "pump", with_will("at-once", 0)).await;
    drop(client_of(&bridge, "pump", with_will("delayed", 2)).await);
    change(&bridge, "[\"#\"]", "[\"wills/allowed\"]").await;
    drop(at_once);
    drop(client_of(&bridge, "pump", with_will("allowed", 2)).await);
    let published = async || (!bridge.events("wills/#").await.is_empty()).then_some(());
    eventually("the will that is allowed", published).await;
    let void = async || (bridge.metric("synap_mqtt_access_refused_total").await == 2.0).then_some(());
    eventually("the others to be void", void).await;
    bridge.cut(Cut::Kill).await;
    assert_eq!(topics(&bridge).await, ["wills/allowed"]);
    assert_eq!(bridge.metric("synap_mqtt_access_refused_total").await, 0.0, "void for good");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_its_account_for_good() {
    let accounts = PasswordFile::new(PASSWORDS).await;
    let optional = "[[listener]]\nbind = \"127.0.0.1:0\"\nauthentication = \"optional\"";
    let mut bridge = accounts.setup().config(optional).start().await;
    let mut owner = client_of(&bridge, "pump", Connect::persistent(Version::V5, "device")).await;
    owner.subscribe("a", 1).await;
    let session: serde_json::Value =
        reqwest::get(bridge.url("/api/sessions/device")).await.unwrap().json().await.unwrap();
    assert_eq!(session["user"], "pump");
    for restart in [None, Some(Cut::Kill), Some(Cut::Terminate)] {
        if let Some(how) = restart {
            bridge.cut(how).await;
        }
        for (version, code) in [(Version::V4, 2), (Version::V5, 0x85)] {
            for connect in [Connect::new(version, "device"), Connect::persistent(version, "device")] {
                assert_eq!(refusal(&bridge, &of("anna", connect.clone())).await, code, "{restart:?} {version:?}");
                let mut anonymous = RawMqtt::open(bridge.listener("mqtt", 1).parse().unwrap(), version).await;
                anonymous.send(&connect.encode()).await;
                assert_eq!(anonymous.expect(kind::CONNACK).await.reason(), code);
            }
        }
        if restart.is_none() {
            owner.ping().await;
        }
        let mut again = bridge.raw(Version::V5).await;
        assert!(again.connect_as(&of("pump", Connect::persistent(Version::V5, "device"))).await);
        again.publish("a", "mine", 1).await;
        assert_eq!(again.message().await.payload, b"mine");
        owner = again;
    }
    // Its owner's clean start keeps it, and its end frees the name.
    let mut clean = client_of(&bridge, "pump", Connect::new(Version::V5, "device")).await;
    assert_eq!(refusal(&bridge, &of("anna", Connect::new(Version::V5, "device"))).await, 0x85);
    clean.send(&[0xe0, 0]).await;
    assert_eq!(clean.read().await, None);
    let freed = async || {
        let mut anna = bridge.raw(Version::V5).await;
        anna.send(&of("anna", Connect::new(Version::V5, "device")).encode()).await;
        (anna.expect(kind::CONNACK).await.reason() == 0).then_some(())
    };
    eventually("the name to be free", freed).await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_an_account_is_taken_by_the_first_that_comes() {
    let accounts = PasswordFile::new(PASSWORDS).await;
    let optional = "[[listener]]\nbind = \"127.0.0.1:0\"\nauthentication = \"optional\"";
    let mut bridge = accounts.setup().config(optional).start().await;
    let mut anonymous = RawMqtt::open(bridge.listener("mqtt", 1).parse().unwrap(), Version::V5).await;
    anonymous.connect("device", false).await;
    let mut pump = bridge.raw(Version::V5).await;
    assert!(pump.connect_as(&of("pump", Connect::persistent(Version::V5, "device"))).await);
    assert_eq!(anonymous.expect_close().await, Some(0x8e));
    drop(pump);
    bridge.cut(Cut::Kill).await;
    assert_eq!(refusal(&bridge, &of("anna", Connect::persistent(Version::V5, "device"))).await, 0x85);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_everybody_may_do_everything() {
    let bridge = Setup::default().start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    assert_eq!(client.subscribe("#", 1).await, 1);
    assert_eq!(published(&mut client, "anything").await, 0);
    assert_eq!(client.message().await.topic, "anything");
    // And with the first rule, only what it allows.
    bridge.reconfigure(|file| format!("{file}\n[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\"x\"]\n"));
    let refused = async || (published(&mut client, "anything").await == NOT_AUTHORIZED).then_some(());
    eventually("the rule", refused).await;
    bridge.finish(PEER).await;
}

/// The first indented block of a text that begins with this line.
fn block(text: &str, first: &str) -> String {
    let start = text.find(&format!("    {first}\n")).unwrap_or_else(|| panic!("no block begins with {first}"));
    let lines = text[start..].lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.trim())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_work_as_pasted() {
    let text = std::fs::read_to_string(in_package("docs/access.md")).unwrap();
    let accounts = PasswordFile::new(&[("pump-7", "pump-secret"), ("anna", "anna-secret")]).await;
    let here = |config: &str| config.replace("\"passwords\"", &format!("{:?}", accounts.path));
    let bridge = Setup::default().config(&here(&block(&text, "[auth]"))).start().await;
    let commands = block(&text, "mosquitto_sub -V 5 -u anna -P anna-secret -t 'devices/#' -v");
    let run = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {} -p {}", line, bridge.port())]);
        Process::start(command)
    };
    let lines: Vec<_> = commands.lines().filter(|line| !line.is_empty()).collect();
    let [subscribe, telemetry, key, other] = lines[..] else { panic!("{lines:?}") };
    let mut subscriber = run(subscribe);
    let subscribed = async || (bridge.metric("synap_mqtt_subscriptions").await == 1.0).then_some(());
    eventually("the subscription", subscribed).await;
    run(key).success().await;
    run(telemetry).success().await;
    let refused = run(other);
    let told = async || refused.stderr.find(|line| line.contains("Not authorized").then_some(()));
    eventually("a word on the refusal", told).await;
    assert_eq!(subscriber.lines(1).await, ["devices/pump-7/telemetry 21.5"]);
    assert_eq!(topics(&bridge).await, ["devices/pump-7/key", "devices/pump-7/telemetry"]);
    bridge.finish(PEER).await;

    let acl = accounts.path.with_file_name("acl");
    std::fs::write(&acl, block(&text, "topic read public/#")).unwrap();
    let config = here(&block(&text, "[auth]\n    password_file = \"passwords\"\n    acl_file = \"acl\""));
    let config = config.replace("\"acl\"", &format!("{acl:?}"));
    Setup::default().config(&config).start().await.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_packet_asks_the_rules_about_no_more_filters_than_a_session_may_have() {
    let (_accounts, bridge) = with_rules(&format!("{RULES}\n[mqtt]\nmaximum_subscriptions = 2")).await;
    let mut client = client(&bridge, Version::V5, "anna", "anna").await;
    let filters = [("users/anna", 1), ("x", 1), ("users/anna", 2), ("y", 1), ("z", 1)];
    client.send(&subscribe_many(Version::V5, 7, &filters, 0)).await;
    assert_eq!(client.expect(kind::SUBACK).await.reasons(), [1, NOT_AUTHORIZED, 2, 0x97, 0x97]);
    bridge.finish(PEER).await;
}
