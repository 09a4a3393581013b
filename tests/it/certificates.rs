//! Clients that show certificates, made by openssl and shown by mosquitto's clients: who comes in, as whom, and for
//! how long.

use std::process::Command;

use crate::support::{
    authority::{Authority, Leaf, shown},
    bridge::{Bridge, Setup},
    clients::mosquitto,
    eventually,
    process::Process,
    scram::PasswordFile,
};

/// What a client that is kept out leaves in the log.
const REFUSED: &[&str] = &["refused a connection", "closed a connection"];

/// A listener that takes certificates of `authority`, the second with TLS of a test's bridge.
fn listener(authority: &Authority, keys: &str) -> String {
    let ca = authority.path("ca.pem");
    format!("[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ client_ca = {ca:?}, {keys} }}")
}

fn revocable(authority: &Authority, keys: &str) -> String {
    listener(authority, &format!("client_crl = {:?}, {keys}", authority.path("crl.pem")))
}

/// One of mosquitto's clients at the `nth` listener with TLS.
fn client(bridge: &Bridge, nth: usize, program: &str, leaf: Option<&Leaf>, arguments: &[&str]) -> Command {
    let address = bridge.listener("mqtts", nth);
    let shown = shown(&bridge.data_dir().join("certs/ca.pem"), leaf);
    // By name: rustls warns of addresses in SNI.
    let named = ["-h", "localhost"];
    let arguments = named.into_iter().chain(shown.iter().map(String::as_str)).chain(arguments.iter().copied());
    let arguments: Vec<_> = arguments.collect();
    mosquitto(program, address.rsplit(':').next().unwrap(), &arguments)
}

/// Whether a message with these arguments is acknowledged without a word against it.
async fn publishes(bridge: &Bridge, nth: usize, leaf: Option<&Leaf>, arguments: &[&str]) -> bool {
    let common = ["-V", "5", "-q", "1", "-m", "x"];
    let mut process = Process::start(client(bridge, nth, "mosquitto_pub", leaf, &[&common, arguments].concat()));
    let status = process.status().await;
    status.success() && !process.said().contains("Not authorized")
}

/// A client that stays until it has got one message.
async fn staying(bridge: &Bridge, nth: usize, leaf: &Leaf, id: &str) -> Process {
    let before = bridge.metric("synap_mqtt_subscriptions").await;
    let arguments = ["-V", "5", "-q", "1", "-t", "stay", "-C", "1", "-i", id];
    let process = Process::start(client(bridge, nth, "mosquitto_sub", Some(leaf), &arguments));
    let subscribed = async || (bridge.metric("synap_mqtt_subscriptions").await > before).then_some(());
    eventually("a subscription", subscribed).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn only_good_certificates_come_in() {
    let (authority, stranger) = (Authority::new("Devices"), Authority::new("Strangers"));
    let good = authority.issue("pump-7", "/CN=pump-7");
    let revoked = authority.issue("pump-8", "/CN=pump-8");
    authority.revoke(&revoked);
    let expired = authority.issue_expired("pump-9", "/CN=pump-9");
    let strange = stranger.issue("pump-7", "/CN=pump-7");
    let bridge = Setup::default()
        .config(&revocable(&authority, "client_identity = \"common-name\""))
        .config(&revocable(&authority, "client_identity = \"common-name\", client_certificate = \"optional\""))
        .start()
        .await;
    for (leaf, required, optional) in [
        (Some(&good), true, true),
        (None, false, true),
        (Some(&revoked), false, false),
        (Some(&expired), false, false),
        (Some(&strange), false, false),
    ] {
        let name = leaf.map(|leaf| &leaf.cert);
        assert_eq!(publishes(&bridge, 1, leaf, &["-t", "t"]).await, required, "{name:?}, required");
        assert_eq!(publishes(&bridge, 2, leaf, &["-t", "t"]).await, optional, "{name:?}, optional");
    }
    assert!(bridge.metric("synap_mqtt_connections_refused_total").await >= 7.0);
    bridge.finish(REFUSED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_in_the_certificate_is_the_account() {
    let authority = Authority::new("Devices");
    let names = "DNS:pump-7.example,DNS:other.example,URI:urn:pump:7,email:pump-7@example.org";
    let leaf = authority.issue_for("pump-7", "/O=Pumps/CN=pump-7", names);
    let nameless = authority.issue("nameless", "/O=Pumps");
    let mut setup = Setup::default().config("[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\"devices/%u/#\"]");
    let kinds =
        [("common-name", "pump-7"), ("dns", "pump-7.example"), ("uri", "urn:pump:7"), ("email", "pump-7@example.org")];
    for (kind, _) in kinds {
        setup = setup.config(&listener(&authority, &format!("client_identity = \"{kind}\", bind_client_id = true")));
    }
    let bridge = setup.config(&listener(&authority, "")).start().await;
    for (nth, (kind, name)) in (1..).zip(kinds) {
        let own = format!("devices/{name}/telemetry");
        assert!(publishes(&bridge, nth, Some(&leaf), &["-t", &own, "-i", name]).await, "{kind}");
        assert!(publishes(&bridge, nth, Some(&leaf), &["-t", &own]).await, "{kind}: the identifier is given");
        assert!(!publishes(&bridge, nth, Some(&leaf), &["-t", "devices/other/telemetry"]).await, "{kind}");
        assert!(
            !publishes(&bridge, nth, Some(&leaf), &["-t", &own, "-i", "pump-8"]).await,
            "{kind}: another's identifier"
        );
        assert!(!publishes(&bridge, nth, Some(&nameless), &["-t", &own]).await, "{kind}: no name");
    }
    // Where it is not asked for its name, a certificate has none.
    assert!(!publishes(&bridge, 5, Some(&leaf), &["-t", "devices/pump-7/telemetry"]).await);
    bridge.finish(&["refused a connection", "may not publish", "refused a message"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_go_together() {
    let authority = Authority::new("Devices");
    let leaf = authority.issue("pump-7", "/CN=pump-7");
    let accounts = PasswordFile::new(&[("pump-7", "secret"), ("anna", "pen")]).await;
    let bridge = accounts
        .setup()
        .config(&listener(&authority, "client_identity = \"common-name\", client_certificate = \"optional\""))
        .config(&listener(&authority, ""))
        .start()
        .await;
    let user = |name: &'static str, password: &'static str| ["-t", "t", "-u", name, "-P", password];
    for (leaf, arguments, named, unnamed) in [
        (Some(&leaf), &["-t", "t"][..], true, false),
        (Some(&leaf), &["-t", "t", "-u", "pump-7"], true, false),
        (Some(&leaf), &["-t", "t", "-u", "anna"], false, false),
        (Some(&leaf), &user("pump-7", "secret"), true, true),
        (Some(&leaf), &user("pump-7", "wrong"), false, false),
        (Some(&leaf), &user("anna", "pen"), false, true),
        (None, &["-t", "t"], false, false),
        (None, &user("anna", "pen"), true, false),
        (None, &user("anna", "wrong"), false, false),
    ] {
        assert_eq!(publishes(&bridge, 1, leaf, arguments).await, named, "{arguments:?}, its name counts");
        assert_eq!(publishes(&bridge, 2, leaf, arguments).await, unnamed, "{arguments:?}, both are needed");
    }
    bridge.finish(REFUSED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_disconnected_and_nobody_else() {
    let authority = Authority::new("Devices");
    let [good, stolen] = ["pump-7", "pump-8"].map(|name| authority.issue(name, &format!("/CN={name}")));
    let bridge = Setup::default()
        .config(&revocable(&authority, "client_identity = \"common-name\""))
        .config(&revocable(&authority, ""))
        .start()
        .await;
    let stays = staying(&bridge, 1, &good, "stays").await;
    let ends = [staying(&bridge, 1, &stolen, "named").await, staying(&bridge, 2, &stolen, "unnamed").await];
    // No signal: the file has changed.
    authority.revoke(&stolen);
    for id in ["\"named\"", "\"unnamed\""] {
        let is_told = |line: &String| line.contains(id) && line.contains("the client's certificate is revoked");
        let told = async || bridge.complaints().iter().any(is_told).then_some(());
        eventually("a word on the end", told).await;
    }
    drop(ends);
    assert!(!publishes(&bridge, 1, Some(&stolen), &["-t", "stay"]).await);
    assert!(publishes(&bridge, 1, Some(&good), &["-t", "stay"]).await);
    assert_eq!(stays.success().await, ["x"]);
    // A list that is none changes nothing.
    std::fs::write(authority.path("crl.pem"), "garbage").unwrap();
    bridge.complaint(0, "the listener stays as it was").await;
    assert!(!publishes(&bridge, 1, Some(&stolen), &["-t", "stay"]).await);
    assert!(publishes(&bridge, 1, Some(&good), &["-t", "stay"]).await);
    bridge.finish(&[REFUSED, &["the listener stays as it was"]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_is_as_good_as_its_certificate() {
    let authority = Authority::new("Devices");
    let leaf = authority.issue("pump-7", "/CN=pump-7");
    let bridge = Setup::default().config(&revocable(&authority, "")).start().await;
    let session = authority.path("session.pem");
    let connect = |option: &str, version: &str| {
        // CONNECT of 3.1.1 with a clean session and the identifier `a`, and what ends the connection behind it.
        let script = format!(
            "printf '\\020\\015\\000\\004MQTT\\004\\002\\000\\074\\000\\001a\\020\\000' | openssl s_client -quiet \
             -connect {} -{version} -CAfile {} -cert {} -key {} -sess_{option} {} 2>&1 | od -An -tx1",
            bridge.listener("mqtts", 1),
            bridge.data_dir().join("certs/ca.pem").display(),
            leaf.cert.display(),
            leaf.key.display(),
            session.display(),
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    };
    let is_in = async |option: &str, version: &str| {
        let said = Process::start(connect(option, version)).success().await.join("").replace([' ', '\n'], "");
        said.contains("20020000")
    };
    for version in ["tls1_2", "tls1_3"] {
        assert!(is_in("out", version).await, "{version}");
        assert!(is_in("in", version).await, "{version}, resumed");
    }
    assert!(is_in("out", "tls1_2").await);
    let changed = bridge.process.stderr.len();
    authority.revoke(&leaf);
    let told =
        async || bridge.process.stderr.all()[changed..].iter().any(|line| line.contains("have changed")).then_some(());
    eventually("a word on the list", told).await;
    assert!(!is_in("in", "tls1_2").await, "with a session from before");
    bridge.finish(REFUSED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_certificate_is_told() {
    let authority = Authority::new("Servers");
    let server = authority.issue("server", "/CN=localhost");
    let expired = authority.issue_expired("expired", "/CN=localhost");
    let of = |leaf: &Leaf| format!("cert = {:?}, key = {:?}", leaf.cert, leaf.key);
    let listener = format!("[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ {} }}", of(&server));
    let bridge = Setup::default().config(&listener).start().await;
    assert_eq!(bridge.complaints(), [""; 0]);
    assert!(bridge.metric("synap_mqtt_certificate_not_after_seconds").await > 1.7e9);
    std::fs::copy(&expired.key, &server.key).unwrap();
    std::fs::copy(&expired.cert, &server.cert).unwrap();
    bridge.complaint(0, "has expired").await;
    bridge.finish(&["has expired"]).await;
}
