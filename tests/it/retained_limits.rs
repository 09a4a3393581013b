//! Limits of what is retained, lowered and raised between the end of one life and the next.

use crate::support::{
    bridge::{Bridge, Cut, Setup},
    raw_mqtt::{Publish, RawMqtt, Version, kind},
};

const KEPT: &str = "more is retained than the limits now let in";

async fn retain(client: &mut RawMqtt, topic: &str, payload: &str) {
    let message = Publish { retain: true, ..Publish::new(topic, payload, 1, 1) };
    client.send(&message.encode(Version::V5)).await;
    assert_eq!(client.expect(kind::PUBACK).await.reason(), 0);
}

/// What is retained: topics and payloads, in order.
async fn retained(bridge: &Bridge) -> Vec<(String, String)> {
    let mut client = bridge.client(Version::V5, "reader").await;
    client.subscribe("r/#", 1).await;
    // The end of what is retained: the bridge sends in the order of the journal.
    client.publish("r/~end", "", 1).await;
    let mut found = Vec::new();
    loop {
        let message = client.message().await;
        if message.topic == "r/~end" {
            found.sort();
            return found;
        }
        found.push((message.topic, String::from_utf8(message.payload).unwrap()));
    }
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_outlives_a_lower_limit() {
    for cut in [Cut::Kill, Cut::Terminate] {
        let mut bridge = Setup::default().config("[mqtt]\nmaximum_retained_messages = 3").start().await;
        let mut client = bridge.client(Version::V5, "client").await;
        for topic in ["r/a", "r/b", "r/c", "r/d"] {
            retain(&mut client, topic, "old").await;
        }
        let three = pairs([("r/a", "old"), ("r/b", "old"), ("r/c", "old")]);
        assert_eq!(retained(&bridge).await, three);

        bridge.reconfigure(|text| text.replace("maximum_retained_messages = 3", "maximum_retained_messages = 1"));
        bridge.cut(cut).await;
        assert!(bridge.complaint(0, KEPT).await.contains("\"messages\":3"));
        assert_eq!(retained(&bridge).await, three, "{cut:?}: acknowledged as retained");
        let mut client = bridge.client(Version::V5, "client").await;
        retain(&mut client, "r/a", "new").await;
        retain(&mut client, "r/e", "new").await;
        let now = pairs([("r/a", "new"), ("r/b", "old"), ("r/c", "old")]);
        assert_eq!(retained(&bridge).await, now, "what is there goes on, and nothing is added");

        // What was not retained is not, where a later life could.
        bridge.reconfigure(|text| text.replace("maximum_retained_messages = 1", "maximum_retained_messages = 9"));
        bridge.cut(cut).await;
        assert_eq!(retained(&bridge).await, now);
        bridge.finish(&[]).await;
    }
}
