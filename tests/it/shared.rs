//! Shared subscriptions (MQTT 5.0 section 4.8.2, and `$share` in 3.1.1 alike), also over the end of the
//! bridge.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    resumption::{CASES, back, leave, publish, resume, sync, sync_reading},
    support::{
        bridge::{Bridge, Cut, Setup},
        eventually,
        raw_mqtt::{Connect, Publish, RawMqtt, Version, ack, kind, subscribe_many},
    },
};

const SHARED: &str = "$share/workers/jobs/#";

async fn member(bridge: &Bridge, version: Version, id: &str, qos: u8) -> RawMqtt {
    let (mut client, _) = resume(bridge, version, id).await;
    assert_eq!(client.subscribe(SHARED, qos).await, qos);
    client
}

fn number(message: &Publish) -> usize {
    String::from_utf8(message.payload.clone()).unwrap().parse().unwrap()
}

async fn publish_numbers(bridge: &Bridge, version: Version, numbers: std::ops::Range<usize>, qos: u8) {
    let mut publisher = bridge.client(version, "publisher").await;
    for n in numbers {
        publisher.publish("jobs/x", n.to_string(), qos).await;
    }
    leave(publisher).await;
}

/// The next `count` messages, as they come and without an answer.
async fn take(client: &mut RawMqtt, count: usize) -> Vec<Publish> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.push(client.expect(kind::PUBLISH).await.publish());
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn members_get_equal_shares() {
    for version in [Version::V4, Version::V5] {
        let bridge = Bridge::start().await;
        let mut members = Vec::new();
        for id in ["a", "b", "c"] {
            members.push(member(&bridge, version, id, 1).await);
        }
        let work = async |mut client: RawMqtt| {
            let mut numbers = Vec::new();
            while numbers.len() < 300 {
                numbers.push(number(&client.message().await));
            }
            (client, numbers)
        };
        let working = futures_util::future::join_all(members.into_iter().map(work));
        let (mut shares, ()) = tokio::join!(working, publish_numbers(&bridge, version, 0..900, 1));
        let mut all = BTreeSet::new();
        for (client, numbers) in &mut shares {
            assert!(numbers.is_sorted(), "in order for each");
            all.extend(numbers.iter().copied());
            client.ping().await;
        }
        assert_eq!(all.len(), 900, "nothing twice");
        drop(shares);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_packet_may_have_several_shared_subscriptions() {
    for version in [Version::V4, Version::V5] {
        let mut bridge = Bridge::start().await;
        let (mut client, _) = resume(&bridge, version, "client").await;
        let filters = [("$share/g/a", 1), ("$share/g/b", 1), ("$share/h/c", 2), ("d", 1)];
        client.send(&subscribe_many(version, 1, &filters, 0)).await;
        client.expect(kind::SUBACK).await;
        for round in 0..2 {
            for topic in ["a", "b", "c", "d"] {
                publish(&bridge, version, topic, [round.to_string()]).await;
                assert_eq!(client.message().await.topic, topic);
            }
            sync(&mut client).await;
            drop(client);
            bridge.cut(Cut::Kill).await;
            client = back(&bridge, version, "client").await;
        }
        client.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_leaves_unacknowledged_another_gets_but_not_qos_2_in_flight() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        let mut leaver = member(&bridge, version, "leaver", 2).await;
        publish_numbers(&bridge, version, 0..4, 1).await;
        publish_numbers(&bridge, version, 4..8, 2).await;
        let messages = take(&mut leaver, 8).await;
        // Of each QoS: done with, and not.
        leaver.send(&ack(kind::PUBACK, messages[1].id)).await;
        for at in [5, 6] {
            leaver.send(&ack(kind::PUBREC, messages[at].id)).await;
            leaver.expect(kind::PUBREL).await;
        }
        leaver.send(&ack(kind::PUBCOMP, messages[5].id)).await;
        sync(&mut leaver).await;
        let mut stayer = member(&bridge, version, "stayer", 2).await;
        stayer.ping().await;
        leave(leaver).await;
        let moved: Vec<_> = take(&mut stayer, 3).await;
        assert_eq!(moved.iter().map(number).collect::<Vec<_>>(), [0, 2, 3], "{version:?}");
        assert!(moved.iter().all(|message| message.qos == 1 && !message.dup));
        stayer.ping().await;
        stayer.send(&moved.iter().flat_map(|message| ack(kind::PUBACK, message.id)).collect::<Vec<_>>()).await;
        sync(&mut stayer).await;
        bridge.cut(cut).await;
        let mut stayer = back(&bridge, version, "stayer").await;
        stayer.ping().await;
        // Its own, with their identifiers.
        let mut leaver = back(&bridge, version, "leaver").await;
        for at in [4, 7] {
            if at == 7 {
                assert_eq!(leaver.expect(kind::PUBREL).await.id(), messages[6].id);
            }
            let message = leaver.expect(kind::PUBLISH).await.publish();
            assert_eq!((number(&message), message.id, message.dup), (at, messages[at].id, true), "{version:?} {cut:?}");
        }
        leaver.ping().await;
        stayer.ping().await;
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_first_gets_what_waits() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        for id in ["a", "b"] {
            leave(member(&bridge, version, id, 1).await).await;
        }
        publish_numbers(&bridge, version, 0..50, 1).await;
        bridge.cut(cut).await;
        let mut first = back(&bridge, version, "b").await;
        let mut numbers = BTreeSet::new();
        for _ in 0..50 {
            numbers.insert(number(&first.message().await));
        }
        assert_eq!(numbers.len(), 50, "{version:?} {cut:?}");
        sync(&mut first).await;
        let mut second = back(&bridge, version, "a").await;
        second.ping().await;
        first.ping().await;
        // Both are there again, and take turns.
        publish_numbers(&bridge, version, 50..60, 1).await;
        assert_eq!(take(&mut first, 5).await.len() + take(&mut second, 5).await.len(), 10);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_that_may_have_been_sent_stays_however_much_it_is() {
    // More than fits into the receive maximum: what was not sent by the end of the bridge, too.
    const MESSAGES: usize = 40;
    for (version, cut) in CASES {
        let mut bridge = Setup::default().config("[mqtt]\nreceive_maximum = 10").start().await;
        let mut stuck = member(&bridge, version, "stuck", 2).await;
        publish_numbers(&bridge, version, 0..MESSAGES, 2).await;
        publish_numbers(&bridge, version, MESSAGES..MESSAGES + 5, 1).await;
        let sent = take(&mut stuck, 10).await;
        assert!(sent.iter().map(number).eq(0..10));
        bridge.cut(cut).await;
        let mut other = member(&bridge, version, "other", 2).await;
        let mut got = BTreeMap::<usize, usize>::new();
        // After SIGTERM it is known what was never sent, and that moves. QoS 1 moves anyway.
        let moved = if cut == Cut::Terminate { MESSAGES - 10 } else { 0 };
        for _ in 0..moved + 5 {
            *got.entry(number(&other.message().await)).or_default() += 1;
        }
        let mut stuck = back(&bridge, version, "stuck").await;
        for at in 0..MESSAGES - moved {
            let message = stuck.message().await;
            assert_eq!(number(&message), at, "{version:?} {cut:?}");
            assert_eq!(usize::from(message.id), at + 1);
            *got.entry(at).or_default() += 1;
        }
        stuck.ping().await;
        assert!(got.len() == MESSAGES + 5 && got.values().all(|&times| times == 1), "{version:?} {cut:?} {got:?}");
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_and_clean_members_share_over_the_end_of_the_bridge() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        let mut kept = member(&bridge, version, "kept", 1).await;
        let mut clean = bridge.raw(version).await;
        clean.connect_as(&Connect::new(version, "clean")).await;
        // Both have other messages as well, which are numbered with the shared ones.
        for client in [&mut kept, &mut clean] {
            assert_eq!(client.subscribe("own", 1).await, 1);
        }
        clean.subscribe(SHARED, 1).await;
        publish(&bridge, version, "own", ["1000".to_owned()]).await;
        publish_numbers(&bridge, version, 0..20, 1).await;
        let mut acknowledged = BTreeSet::new();
        let mut open = BTreeSet::new();
        for client in [&mut kept, &mut clean] {
            let messages = take(client, 11).await;
            let (done, rest) = messages.split_at(6);
            client.send(&done.iter().flat_map(|message| ack(kind::PUBACK, message.id)).collect::<Vec<_>>()).await;
            acknowledged.extend(done.iter().map(number));
            open.extend(rest.iter().map(number));
            sync(client).await;
        }
        assert_eq!(open.len(), 10);
        bridge.cut(cut).await;
        let mut kept = back(&bridge, version, "kept").await;
        let mut got = BTreeSet::new();
        for _ in 0..open.len() {
            got.insert(number(&kept.message().await));
        }
        assert_eq!(got, open, "{version:?} {cut:?}: what was not acknowledged, and nothing else");
        kept.ping().await;
        assert_eq!(bridge.metric("synap_mqtt_sessions").await, 1.0);
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_absent_or_full_gets_a_turn_while_another_has_room() {
    for (version, cut) in CASES {
        let mut bridge =
            Setup::default().config("[mqtt]\nmaximum_queued_messages = 5\nreceive_maximum = 5").start().await;
        let mut stuck = member(&bridge, version, "stuck", 1).await;
        leave(member(&bridge, version, "absent", 1).await).await;
        // Five in flight, five that wait, and its queue is full.
        publish_numbers(&bridge, version, 0..10, 1).await;
        let sent = take(&mut stuck, 5).await;
        assert!(sent.iter().map(number).eq(0..5));
        let mut worker = member(&bridge, version, "worker", 1).await;
        // As soon as it is on record that the other is full, all of them come.
        let mut next = 10;
        eventually("turns for who has room", async || {
            publish_numbers(&bridge, version, next..next + 2, 1).await;
            next += 2;
            (sync_reading(&mut worker).await == 2).then_some(())
        })
        .await;
        sync_reading(&mut worker).await;
        let mut numbers = Vec::new();
        let work = async {
            while numbers.len() < 30 {
                numbers.push(number(&worker.message().await));
            }
        };
        tokio::join!(work, publish_numbers(&bridge, version, 1000..1030, 1));
        assert!(numbers.iter().copied().eq(1000..1030), "{version:?} {numbers:?}");
        sync(&mut worker).await;
        drop(worker);
        bridge.cut(cut).await;
        let mut stuck = back(&bridge, version, "stuck").await;
        let mut all = BTreeSet::new();
        for _ in 0..10 {
            all.insert(number(&stuck.message().await));
        }
        assert_eq!(all, (0..10).collect(), "{version:?} {cut:?}");
        stuck.ping().await;
        bridge.finish(&["the session's queue is full"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_to_a_member_that_acknowledges_nothing() {
    for (version, cut) in CASES {
        let mut bridge = Bridge::start().await;
        let mut acknowledging = member(&bridge, version, "a", 1).await;
        publish_numbers(&bridge, version, 0..3, 1).await;
        assert_eq!(take(&mut acknowledging, 3).await.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
        let mut best_effort = member(&bridge, version, "b", 0).await;
        leave(acknowledging).await;
        best_effort.ping().await;

        bridge.cut(cut).await;
        let mut best_effort = back(&bridge, version, "b").await;
        sync(&mut best_effort).await;
        let mut acknowledging = back(&bridge, version, "a").await;
        let again = take(&mut acknowledging, 3).await;
        assert_eq!(
            again.iter().map(|message| (number(message), message.dup)).collect::<Vec<_>>(),
            [(0, true), (1, true), (2, true)]
        );
        best_effort.ping().await;

        // To one that does, they move.
        leave(acknowledging).await;
        let mut other = member(&bridge, version, "c", 1).await;
        let mut moved = BTreeSet::new();
        while moved.len() < 3 {
            moved.insert(number(&other.message().await));
        }
        assert_eq!(moved, (0..3).collect());
        bridge.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_there_a_message_waits_with_a_member_that_acknowledges() {
    for version in [Version::V4, Version::V5] {
        let bridge = Bridge::start().await;
        for (id, qos) in [("a", 0), ("b", 1), ("c", 0)] {
            leave(member(&bridge, version, id, qos).await).await;
        }
        publish_numbers(&bridge, version, 0..6, 1).await;
        let mut waiting = back(&bridge, version, "b").await;
        for n in 0..6 {
            assert_eq!(number(&waiting.message().await), n);
        }
        bridge.finish(&[]).await;
    }
}
