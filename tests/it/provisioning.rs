//! Devices that an operator adds and revokes beside a running bridge.

use std::process::Command;

use crate::support::{
    bridge::{Bridge, Setup},
    eventually,
    process::Process,
    raw_mqtt::{Connect, RawMqtt, Version, kind},
};

/// Warnings that strangers may cause.
const PEER: &[&str] = &["\"peer\"", "closed a connection", "refused a connection"];

const NOT_AUTHORIZED: u8 = 0x87;
const BAD_CREDENTIALS: u8 = 0x86;

async fn bridge() -> Bridge {
    Setup::default().config("[auth]\ndevices = true\nfailed_attempts = 0").start().await
}

/// What `synap-mqtt devices` prints.
async fn devices(bridge: &Bridge, arguments: &[&str]) -> Vec<String> {
    bridge.command(&[&["devices"], arguments].concat()).success().await
}

fn value<'a>(printed: &'a [String], name: &str) -> &'a str {
    printed.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {printed:?}")).trim()
}

/// The command that was printed, for the port that the bridge has got.
fn command(bridge: &Bridge, printed: &[String]) -> Command {
    let line = printed.iter().find(|line| line.starts_with("mosquitto_")).unwrap();
    let port = bridge.addresses.mqtts.port();
    assert!(line.contains(" -p 0 "), "{line}");
    let mut shell = Command::new("sh");
    shell.current_dir(bridge.home()).arg("-c").arg(line.replace(" -p 0 ", &format!(" -p {port} ")));
    shell
}

async fn works(command: Command) -> bool {
    let mut process = Process::start(command);
    process.status().await.success()
}

fn with_password(name: &str, password: &str) -> Connect {
    Connect {
        user_name: Some(name.to_owned()),
        password: Some(password.as_bytes().to_vec()),
        ..Connect::new(Version::V5, name)
    }
}

async fn outcome(bridge: &Bridge, connect: &Connect) -> (RawMqtt, u8) {
    let mut client = bridge.raw(Version::V5).await;
    client.send(&connect.encode()).await;
    let reason = client.expect(kind::CONNACK).await.reason();
    (client, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_a_password_comes_in_until_it_is_revoked() {
    let bridge = bridge().await;
    let (_, reason) = outcome(&bridge, &Connect::new(Version::V5, "stranger")).await;
    assert_ne!(reason, 0, "nobody comes in without an account");
    let printed = devices(&bridge, &["add", "pump-7", "--host", "localhost"]).await;
    assert_eq!(printed[0], "added pump-7");
    assert_eq!(value(&printed, "publish:"), "devices/pump-7/#");
    let password = value(&printed, "password:").to_owned();
    assert!(password.len() >= 24, "{password}");
    assert!(!printed.iter().any(|line| line.contains('█')), "a QR code only where it is asked for");
    let come_in = with_password("pump-7", &password);
    assert!(works(command(&bridge, &printed)).await, "{printed:?}");
    assert_eq!(bridge.events("devices/pump-7/telemetry").await.len(), 1);

    let (mut client, reason) = outcome(&bridge, &come_in).await;
    assert_eq!(reason, 0);
    assert_eq!(client.subscribe("devices/pump-8/#", 1).await, NOT_AUTHORIZED);
    assert_eq!(client.subscribe("devices/pump-7/command", 1).await, 1);

    let second = devices(&bridge, &["add", "pump-8", "--qr", "--subscribe", "fleet/+/command"]).await;
    assert_eq!(value(&second, "subscribe:"), "fleet/+/command");
    assert!(!second.iter().any(|line| line.starts_with("publish:")));
    assert!(second.iter().any(|line| line.contains('█')), "{second:?}");
    assert!(second.iter().any(|line| line.starts_with("mosquitto_sub ") && line.contains("-t 'fleet/+/command'")));
    assert_eq!(devices(&bridge, &["list"]).await, ["pump-7\tpassword", "pump-8\tpassword"]);

    assert_eq!(devices(&bridge, &["revoke", "pump-7"]).await, ["revoked pump-7"]);
    assert_eq!(client.expect_close().await, Some(NOT_AUTHORIZED), "its connection is closed");
    assert_eq!(outcome(&bridge, &come_in).await.1, BAD_CREDENTIALS);
    assert_eq!(devices(&bridge, &["list"]).await, ["pump-8\tpassword"]);
    for line in bridge.process.stderr.all() {
        assert!(!line.contains(&password), "{line}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_a_certificate_comes_in_until_it_is_revoked() {
    let bridge = bridge().await;
    let add = ["add", "pump-7", "--certificate", "--host", "localhost", "--out", "."];
    let printed = devices(&bridge, &add).await;
    let key = bridge.home().join(value(&printed, "key:"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(works(command(&bridge, &printed)).await, "{printed:?}");
    assert_eq!(bridge.events("devices/pump-7/telemetry").await.len(), 1);
    let [listed] = &devices(&bridge, &["list"]).await[..] else { panic!("one device") };
    assert!(listed.starts_with("pump-7\tcertificate until 20"), "{listed}");

    // A client that stays, with the same certificate and another topic of its own.
    let line = printed.iter().find(|line| line.starts_with("mosquitto_pub")).unwrap();
    let staying =
        line.replace("mosquitto_pub", "mosquitto_sub -V 5").replace("telemetry", "command").replace(" -m 21.5", "");
    let before = bridge.metric("synap_mqtt_subscriptions").await;
    let mut staying = Process::start(command(&bridge, &[staying]));
    let subscribed = async || (bridge.metric("synap_mqtt_subscriptions").await > before).then_some(());
    eventually("a subscription", subscribed).await;

    devices(&bridge, &["revoke", "pump-7"]).await;
    // The client ends when its connection is closed with a reason.
    staying.status().await;
    assert!(!works(command(&bridge, &printed)).await, "a revoked certificate");

    // The name may come back, with another certificate; the old one stays where it is.
    std::fs::remove_file(&key).unwrap();
    std::fs::remove_file(bridge.home().join("pump-7.pem")).unwrap();
    let again = devices(&bridge, &add).await;
    assert!(works(command(&bridge, &again)).await, "{again:?}");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_and_changes_nothing() {
    let bridge = bridge().await;
    devices(&bridge, &["add", "pump-7"]).await;
    std::fs::create_dir(bridge.home().join("there")).unwrap();
    std::fs::write(bridge.home().join("there/pump-9.key"), "a key").unwrap();
    for (arguments, problem) in [
        (&["add", "pump-7"][..], "there is a device pump-7 already; `devices revoke pump-7` takes away what it has"),
        (&["add", "pump-7", "--certificate"], "there is a device pump-7 already"),
        (&["add", "pump/7"], "cannot be a name"),
        (&["add", "ca", "--certificate"], "taken by the CA itself"),
        (&["add", "pump-9", "--certificate", "--out", "there"], "there/pump-9.key exists"),
        (&["add", "pump-9", "--publish", "a/#/b"], "--publish"),
        (&["revoke", "pump-8"], "there is no device pump-8"),
    ] {
        let said = bridge.command(&[&["devices"], arguments].concat()).failure().await;
        assert!(said.contains(problem), "{arguments:?}: {said}");
    }
    assert_eq!(devices(&bridge, &["list"]).await, ["pump-7\tpassword"]);
    bridge.finish(PEER).await;

    let off = Bridge::start().await;
    let mut process = off.command(&["devices", "add", "pump-7"]);
    assert!(process.status().await.success());
    assert!(process.said().contains("not in effect until the configuration says `[auth] devices = true`"));
    off.finish(&[]).await;
}
