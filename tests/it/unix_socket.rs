//! A listener on a socket file: mosquitto's clients, and the file's life.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::Command,
};

use tokio::net::UnixStream;

use crate::support::{
    bridge::{BINARY, Setup},
    eventually,
    process::Process,
    raw_mqtt::{RawMqtt, Version, packet},
    scratch,
};

fn config(path: &Path) -> String {
    format!("[[listener]]\nbind = \"unix:{}\"\nmode = \"0600\"", path.display())
}

fn mosquitto(program: &str, path: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.arg("--unix").arg(path).args(arguments);
    Process::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_is_served_through_a_socket_file() {
    let home = scratch();
    let path = home.path().join("mqtt.sock");
    let bridge = Setup::default().config(&config(&path)).start().await;
    assert_eq!(bridge.listener("mqtt", 1), format!("unix:{}", path.display()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let subscriber = mosquitto("mosquitto_sub", &path, &["-t", "unix/#", "-q", "1", "-v", "-C", "1"]);
    let subscribed = async || (bridge.metric("synap_mqtt_subscriptions").await == 1.0).then_some(());
    eventually("the subscription", subscribed).await;
    mosquitto("mosquitto_pub", &path, &["-t", "unix/1", "-q", "2", "-m", "hello"]).success().await;
    assert_eq!(subscriber.success().await, ["unix/1 hello"]);

    // The log names the process at the other end.
    let mut hostile = RawMqtt::on(UnixStream::connect(&path).await.unwrap(), Version::V5);
    hostile.send(&packet(0xc0, &[])).await;
    assert!(hostile.read().await.is_none());
    let complaint = bridge.complaint(0, "refused a connection").await;
    assert!(complaint.contains(&format!("\"peer\":\"unix:pid={},uid=", std::process::id())), "{complaint}");
    bridge.finish(&["first packet is not a CONNECT"]).await;
    assert!(!path.exists(), "the end removes the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_leaves_is_replaced_and_what_lives_is_not() {
    let home = scratch();
    let path = home.path().join("mqtt.sock");
    let mut bridge = Setup::default().config(&config(&path)).start().await;
    bridge.kill9();
    assert!(path.exists());
    bridge.restart().await;
    mosquitto("mosquitto_pub", &path, &["-t", "t", "-q", "1", "-m", "x"]).success().await;

    // A second bridge on the same file, and a file that is none of a bridge, stop the start.
    let other = home.path().join("other.toml");
    for (bind, complaint) in [(&path, "another process listens there"), (&other, "there is a file that is no socket")] {
        let text =
            format!("data_dir = {:?}\n[http]\nbind = \"127.0.0.1:0\"\n{}", home.path().join("data"), config(bind));
        fs::write(&other, text).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(&other);
        let mut second = Process::start(command);
        assert_eq!(second.status().await.code(), Some(1));
        let told = format!("listen on unix:{} for MQTT: {complaint}", bind.display());
        eventually(&told, async || second.stderr.find(|line| line.contains(&told).then_some(()))).await;
    }
    mosquitto("mosquitto_pub", &path, &["-t", "t", "-q", "1", "-m", "x"]).success().await;

    // Someone else's socket under the same name outlives the bridge.
    fs::rename(&path, home.path().join("renamed.sock")).unwrap();
    let _someone = UnixListener::bind(&path).unwrap();
    bridge.finish(&[]).await;
    assert!(path.exists());
}
