//! A full disk, and a journal at its limit: publishers are told, nothing that was acknowledged is
//! lost, and service resumes by itself once there is room.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    bridge::{Bridge, Setup},
    chaos::ChaosProxy,
    database::Database,
    eventually,
    raw_mqtt::{Connect, Publish, RawMqtt, Version, kind, will_delay},
    scratch,
};

/// Reason code "Quota exceeded".
const QUOTA_EXCEEDED: u8 = 0x97;

/// A publisher of numbered messages that remembers which were acknowledged and which refused.
struct Numbers {
    next: usize,
    acknowledged: BTreeSet<usize>,
    refused: BTreeSet<usize>,
}

impl Numbers {
    fn new() -> Self {
        Self { next: 0, acknowledged: BTreeSet::new(), refused: BTreeSet::new() }
    }

    fn message(&mut self, qos: u8) -> Publish {
        let payload = format!("{{\"number\":{},\"padding\":\"{:020000}\"}}", self.next, 0);
        self.next += 1;
        Publish::new("full/numbers", payload, qos, 1)
    }

    /// Publishes one message over MQTT 5 and returns the reason code.
    async fn publish(&mut self, client: &mut RawMqtt) -> u8 {
        let number = self.next;
        let message = self.message(1);
        client.send(&message.encode(Version::V5)).await;
        let reason = client.expect(kind::PUBACK).await.reason();
        let fate = if reason < 0x80 { &mut self.acknowledged } else { &mut self.refused };
        fate.insert(number);
        reason
    }

    /// Publishes until it is refused.
    async fn publish_until_refused(&mut self, client: &mut RawMqtt) {
        while self.publish(client).await < 0x80 {
            assert!(self.next < 100_000, "there is always room");
        }
    }

    /// Compares with what is stored.
    fn check(&self, stored: impl IntoIterator<Item = u64>) {
        let stored: Vec<usize> = stored.into_iter().map(|number| usize::try_from(number).unwrap()).collect();
        let unique: BTreeSet<usize> = stored.iter().copied().collect();
        assert_eq!(unique.len(), stored.len(), "a message is there twice");
        let lost: Vec<_> = self.acknowledged.difference(&unique).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let risen: Vec<_> = self.refused.intersection(&unique).collect();
        assert!(risen.is_empty(), "refused and stored: {risen:?}");
    }
}

/// A small disk in a file, mounted where only the bridge sees it, so that nothing stays mounted
/// whatever happens to the test.
struct SmallDisk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl SmallDisk {
    fn create(directory: &Path, bytes: u64) -> Self {
        let disk = Self { image: directory.join("disk.img"), mount_point: directory.join("disk") };
        File::create(&disk.image).unwrap().set_len(bytes).unwrap();
        std::fs::create_dir(&disk.mount_point).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&disk.image).status();
        assert!(made.expect("mkfs.ext4 is there").success());
        disk
    }

    /// The command that mounts it in a name space of its own and runs what follows.
    fn prefix(&self) -> Vec<String> {
        let script = "mount -o loop \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        let unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
        let paths = [&self.image, &self.mount_point].map(|path| path.to_str().unwrap());
        unshare.into_iter().chain(paths).map(str::to_owned).collect()
    }

    /// A file on it, seen from outside.
    fn path(&self, bridge: &Bridge, name: &str) -> PathBuf {
        let inside = self.mount_point.strip_prefix("/").unwrap();
        Path::new("/proc").join(bridge.process.id().to_string()).join("root").join(inside).join(name)
    }

    /// Takes all the room that is left.
    fn fill(&self, bridge: &Bridge) {
        let mut ballast = File::create(self.path(bridge, "ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
        // What cannot be allocated any more is no concern of this file.
        let _ = ballast.sync_all();
    }

    fn free(&self, bridge: &Bridge) {
        std::fs::remove_file(self.path(bridge, "ballast")).unwrap();
    }
}

/// Whether an MQTT 3.1.1 publisher, which cannot be told, is let go.
async fn expect_close_of_v4(bridge: &Bridge, numbers: &mut Numbers) {
    let mut client = bridge.client(Version::V4, "old").await;
    numbers.refused.insert(numbers.next);
    client.send(&numbers.message(1).encode(Version::V4)).await;
    client.expect_close().await;
}

/// Whether a QoS 0 message is dropped and counted.
async fn expect_shedding(bridge: &Bridge, client: &mut RawMqtt, numbers: &mut Numbers) {
    let dropped = async || bridge.metric("synap_mqtt_messages_dropped_total").await;
    let before = dropped().await;
    numbers.refused.insert(numbers.next);
    client.send(&numbers.message(0).encode(Version::V5)).await;
    client.ping().await;
    eventually("a dropped message", async || (dropped().await > before).then_some(())).await;
}

/// Waits until publishing succeeds again.
async fn expect_service(client: &mut RawMqtt, numbers: &mut Numbers) {
    eventually("success after space was freed", async || (numbers.publish(client).await < 0x80).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(numbers.publish(client).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers() {
    let directory = scratch();
    let disk = SmallDisk::create(directory.path(), 64 << 20);
    let setup = Setup::default().config("[journal]\nsegment_bytes = \"4MiB\"").through(disk.prefix());
    let mut bridge = setup.data_dir(disk.mount_point.join("data")).start().await;
    let mut numbers = Numbers::new();
    let mut client = bridge.client(Version::V5, "new").await;
    for _ in 0..20 {
        assert_eq!(numbers.publish(&mut client).await, 0);
    }

    for _ in 0..2 {
        disk.fill(&bridge);
        numbers.publish_until_refused(&mut client).await;
        assert_eq!(numbers.publish(&mut client).await, QUOTA_EXCEEDED);
        expect_close_of_v4(&bridge, &mut numbers).await;
        expect_shedding(&bridge, &mut client, &mut numbers).await;
        disk.free(&bridge);
        expect_service(&mut client, &mut numbers).await;
    }

    // And with a kill while the disk is full.
    disk.fill(&bridge);
    numbers.publish_until_refused(&mut client).await;
    disk.free(&bridge);
    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
    let mut client = bridge.client(Version::V5, "new").await;
    expect_service(&mut client, &mut numbers).await;
    let events = bridge.events("full/#").await;
    numbers.check(events.iter().map(|event| event["data"]["number"].as_u64().unwrap()));
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_sessions_that_end_while_the_disk_is_full_end_once_there_is_room() {
    let directory = scratch();
    let disk = SmallDisk::create(directory.path(), 64 << 20);
    let setup = Setup::default().config("[journal]\nsegment_bytes = \"4MiB\"").through(disk.prefix());
    let mut bridge = setup.data_dir(disk.mount_point.join("data")).start().await;
    let version = Version::V5;
    let mut observer = bridge.raw(version).await;
    observer.connect_as(&Connect::persistent(version, "observer")).await;
    observer.subscribe("will/#", 1).await;
    let will = |id: &str| Some((format!("will/{id}"), id.as_bytes().to_vec(), 1, false));
    let mut gone = bridge.raw(version).await;
    gone.connect_as(&Connect { will: will("gone"), ..Connect::new(version, "gone") }).await;
    let mut expired = bridge.raw(version).await;
    let short = Connect {
        session_expiry: 1,
        will_properties: will_delay(60),
        will: will("expired"),
        ..Connect::persistent(version, "expired")
    };
    expired.connect_as(&short).await;
    for client in [&mut gone, &mut expired] {
        client.subscribe("t", 1).await;
        client.subscribe("$share/g/t", 1).await;
    }
    let mut numbers = Numbers::new();
    let mut publisher = bridge.client(version, "publisher").await;
    disk.fill(&bridge);
    numbers.publish_until_refused(&mut publisher).await;
    drop((gone, expired));
    // Its time is over before there is room.
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    assert_eq!(numbers.publish(&mut publisher).await, QUOTA_EXCEEDED);
    disk.free(&bridge);
    let mut wills = Vec::new();
    for _ in 0..2 {
        wills.push(String::from_utf8(observer.message().await.payload).unwrap());
    }
    wills.sort();
    assert_eq!(wills, ["expired", "gone"]);
    expect_service(&mut publisher, &mut numbers).await;
    // The observer and the publisher are left, and the observer's subscription.
    let census = async |bridge: &Bridge| {
        (bridge.metric("synap_mqtt_sessions").await, bridge.metric("synap_mqtt_subscriptions").await)
    };
    eventually("the end of the other sessions", async || (census(&bridge).await == (2.0, 1.0)).then_some(())).await;
    observer.publish("sync", "", 1).await;
    bridge.kill9();
    bridge.restart().await;
    bridge.ready().await;
    assert_eq!(census(&bridge).await, (1.0, 1.0));
    let mut observer = bridge.raw(version).await;
    assert!(observer.connect_as(&Connect::persistent(version, "observer")).await);
    observer.ping().await;
    bridge.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_at_its_limit_refuses_until_the_database_catches_up() {
    let database = Database::create().await;
    let proxy = ChaosProxy::to(database.address()).await;
    proxy.cut();
    let limits = "[journal]\nsegment_bytes = \"1MiB\"\nmaximum_bytes = \"8MiB\"\nretain_bytes = 0\nretain_age = \"0s\"";
    let setup = Setup::default().config(limits).timescale(&database.url_through(proxy.address));
    let mut bridge = setup.listening().await;
    let mut numbers = Numbers::new();
    let mut client = bridge.client(Version::V5, "new").await;
    numbers.publish_until_refused(&mut client).await;
    assert_eq!(numbers.publish(&mut client).await, QUOTA_EXCEEDED);
    expect_close_of_v4(&bridge, &mut numbers).await;
    expect_shedding(&bridge, &mut client, &mut numbers).await;

    proxy.restore();
    expect_service(&mut client, &mut numbers).await;
    let rows = database.rows(numbers.acknowledged.len()).await;
    numbers.check(rows.iter().map(|row| row.data["number"].as_u64().unwrap()));
    bridge.terminate().await;
}
