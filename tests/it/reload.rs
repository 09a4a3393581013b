//! SIGHUP: what can change while the bridge runs does, for new connections; what cannot is named; a
//! wrong file changes nothing.

use crate::support::{
    bridge::{Bridge, Setup},
    eventually,
    raw_mqtt::{Connect, Version, kind},
};

/// Whether a CONNACK says that QoS 2 is not taken: property 0x24.
async fn maximum_qos(bridge: &Bridge) -> u8 {
    let mut client = bridge.raw(Version::V5).await;
    client.send(&Connect::new(Version::V5, "asks").encode()).await;
    let connack = client.expect(kind::CONNACK).await;
    assert_eq!(connack.reason(), 0, "{connack:?}");
    let properties = &connack.body()[3..];
    properties.windows(2).find(|pair| pair[0] == 0x24).map_or(2, |pair| pair[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_get_what_the_file_says_now() {
    let mut bridge = Setup::default().config("[mqtt]\nsys_interval = \"0s\"").start().await;
    let mut before = bridge.client(Version::V5, "before").await;
    assert_eq!(maximum_qos(&bridge).await, 2);

    bridge.reconfigure(|file| file.replace("[mqtt]", "[mqtt]\nmaximum_qos = 1"));
    eventually("the new limit", async || (maximum_qos(&bridge).await == 1).then_some(())).await;
    before.publish("still", "as agreed", 2).await;

    bridge.reconfigure(|file| file.replace("maximum_qos = 1", "maximum_qos = 9"));
    bridge.complaint(0, "maximum_qos").await;
    assert_eq!(maximum_qos(&bridge).await, 1, "a wrong file changes nothing");

    bridge.reconfigure(|file| file.replace("maximum_qos = 9", "maximum_qos = 0\nmaximum_subscriptions = 7"));
    let said = bridge.complaint(0, "restart").await;
    assert!(said.contains("[mqtt]") && !said.contains("[log]"), "{said}");
    assert_eq!(maximum_qos(&bridge).await, 0, "what can change has");
    before.ping().await;
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_connections() {
    let mut bridge = Bridge::start().await;
    let before = bridge.server_certificate().await;
    std::fs::remove_file(bridge.data_dir().join("certs/server.pem")).unwrap();
    std::fs::remove_file(bridge.data_dir().join("certs/server.key")).unwrap();
    bridge.reconfigure(str::to_owned);
    eventually("another certificate", async || (bridge.server_certificate().await != before).then_some(())).await;
    bridge.terminate().await;
}
