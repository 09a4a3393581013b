//! What becomes of those who guess: refused for a while, by address and by name, the same for names
//! that nobody has, and nobody else is shut out by it.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    bridge::Bridge,
    eventually,
    raw_mqtt::{Connect, RawMqtt, Version, kind},
    scram::{PasswordFile, Scram, auth, code, connect, data},
};

const WRONG: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const BANNED: u8 = 0x8a;

/// Behind a proxy that tells addresses, and a limit of three.
async fn start(ban: &str) -> (PasswordFile, Bridge) {
    let accounts = PasswordFile::new(&[("pump", "right"), ("valve", "right")]).await;
    let setup = crate::support::bridge::Setup::default().config(&format!(
        "[auth]\npassword_file = {:?}\nfailed_attempts = 3\nban = \"{ban}\"\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\nproxy_protocol = true",
        accounts.path
    ));
    let bridge = setup.start().await;
    (accounts, bridge)
}

async fn from(bridge: &Bridge, address: &str, version: Version) -> RawMqtt {
    let listener = bridge.listener("mqtt", 1);
    let mut stream = TcpStream::connect(listener).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let family = if address.contains(':') { "TCP6" } else { "TCP4" };
    let to = if address.contains(':') { "::1" } else { "10.0.0.1" };
    stream.write_all(format!("PROXY {family} {address} {to} 5000 1883\r\n").as_bytes()).await.unwrap();
    RawMqtt::on(stream, version)
}

/// The CONNACK's code.
async fn attempt(bridge: &Bridge, address: &str, version: Version, user: &str, password: &str) -> u8 {
    let mut client = from(bridge, address, version).await;
    let connect = Connect {
        user_name: Some(user.to_owned()),
        password: Some(password.as_bytes().to_vec()),
        ..Connect::new(version, &format!("{user}-{address}"))
    };
    client.send(&connect.encode()).await;
    client.expect(kind::CONNACK).await.reason()
}

/// The code that a SCRAM exchange ends with.
async fn exchange(bridge: &Bridge, address: &str, user: &str, password: &str) -> u8 {
    let mut client = from(bridge, address, Version::V5).await;
    let mut scram = Scram::new(user, password, "nonce");
    client.send(&connect(&format!("scram-{user}"), scram.client_first()).encode()).await;
    let answer = client.read().await.unwrap();
    if answer.kind() == kind::CONNACK {
        return answer.reason();
    }
    client.send(&auth(code::CONTINUE, scram.client_final(&data(&answer)))).await;
    client.expect(kind::CONNACK).await.reason()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_too_often_is_refused_for_a_while() {
    let (_accounts, bridge) = start("2s").await;
    assert_eq!(attempt(&bridge, "192.0.2.1", Version::V5, "pump", "right").await, 0);
    for n in 0..3 {
        assert_eq!(attempt(&bridge, "192.0.2.1", Version::V5, &format!("nobody-{n}"), "guess-1").await, WRONG);
    }
    // Whatever it says now, but for the client that is known there.
    assert_eq!(attempt(&bridge, "192.0.2.1", Version::V5, "valve", "right").await, BANNED);
    assert_eq!(attempt(&bridge, "192.0.2.1", Version::V4, "valve", "right").await, 5);
    assert_eq!(exchange(&bridge, "192.0.2.1", "valve", "right").await, BANNED);
    assert_eq!(attempt(&bridge, "192.0.2.1", Version::V5, "pump", "right").await, 0);
    assert_eq!(attempt(&bridge, "192.0.2.2", Version::V5, "valve", "right").await, 0);
    assert_eq!(bridge.metric("synap_mqtt_authentications_failed_total").await, 6.0);
    assert_eq!(bridge.metric("synap_mqtt_authentications_banned_total").await, 3.0);
    let told: Vec<_> =
        bridge.complaints().into_iter().filter(|line| line.contains("too many failed attempts")).collect();
    assert!(told.len() == 1 && told[0].contains("192.0.2.1:5000"), "{told:?}");
    let over = async || (attempt(&bridge, "192.0.2.1", Version::V5, "valve", "right").await == 0).then_some(());
    eventually("the end of the ban", over).await;
    assert!(!bridge.process.stderr.all().iter().any(|line| line.contains("guess-1")), "no password in the log");
    bridge.finish(&["\"peer\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_guessed_at_is_refused_from_new_addresses_whether_it_exists_or_not() {
    let (_accounts, bridge) = start("1h").await;
    // A few guesses from each of many addresses.
    for user in ["pump", "nobody"] {
        for n in 1..=3 {
            assert_eq!(attempt(&bridge, &format!("192.0.2.{n}"), Version::V5, user, "guess").await, WRONG, "{user}");
        }
        for n in 4..=6 {
            assert_eq!(attempt(&bridge, &format!("192.0.2.{n}"), Version::V5, user, "guess").await, BANNED, "{user}");
        }
        assert_eq!(exchange(&bridge, "2001:db8::1", user, "right").await, BANNED);
    }
    assert_eq!(attempt(&bridge, "192.0.2.9", Version::V5, "valve", "right").await, 0);
    bridge.finish(&["\"peer\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_and_passwords_count_together() {
    let (_accounts, bridge) = start("1h").await;
    assert_eq!(exchange(&bridge, "2001:db8::1", "pump", "guess").await, NOT_AUTHORIZED);
    assert_eq!(exchange(&bridge, "2001:db8::2", "nobody", "guess").await, NOT_AUTHORIZED);
    assert_eq!(attempt(&bridge, "2001:db8::3", Version::V5, "valve", "guess").await, WRONG);
    // The network of an IPv6 address is one.
    assert_eq!(exchange(&bridge, "2001:db8::4", "valve", "right").await, BANNED);
    assert_eq!(exchange(&bridge, "2001:db8:0:1::4", "valve", "right").await, 0);
    bridge.finish(&["\"peer\""]).await;
}
