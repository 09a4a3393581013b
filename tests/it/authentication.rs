//! Who comes in, how they prove it, and what those cost who do not.

use std::process::Command;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::{mosquitto, node},
    eventually,
    process::Process,
    properties::{id, string},
    raw_mqtt::{Connect, DISCONNECT, Packet, Publish, RawMqtt, Version, kind},
    raw_websocket::{RawWebSocket, first, frame},
    scram::{METHOD, PasswordFile, Scram, auth, code, connect, data},
};

const PASSWORD: &str = "pencil";
const WRONG: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const PROTOCOL_ERROR: u8 = 0x82;

/// Warnings that strangers may cause.
const PEER: &[&str] = &["\"peer\""];

async fn accounts() -> PasswordFile {
    PasswordFile::new(&[("user", PASSWORD), ("other", "pen")]).await
}

fn with_password(version: Version, id: &str, user: Option<&str>, password: Option<&str>) -> Connect {
    Connect {
        user_name: user.map(str::to_owned),
        password: password.map(|password| password.as_bytes().to_vec()),
        ..Connect::new(version, id)
    }
}

/// What comes of a CONNECT: the code of its CONNACK, after which a refused connection ends.
async fn outcome(client: &mut RawMqtt, connect: &Connect) -> u8 {
    client.send(&connect.encode()).await;
    let connack = client.expect(kind::CONNACK).await;
    if connack.reason() != 0 {
        assert_eq!(client.read().await, None, "the connection goes on after {connack:?}");
    }
    connack.reason()
}

/// A client that has sent its first message, and the server's answer.
async fn begun(bridge: &Bridge, connect: &Connect) -> (RawMqtt, String) {
    let mut client = bridge.raw(Version::V5).await;
    client.send(&connect.encode()).await;
    let challenge = client.expect(kind::AUTH).await;
    assert_eq!(challenge.body()[0], code::CONTINUE);
    (client, data(&challenge))
}

/// A client that has proven to be `user`.
async fn let_in(bridge: &Bridge, connect: impl FnOnce(&str) -> Connect) -> RawMqtt {
    let mut scram = Scram::new("user", PASSWORD, "nonce");
    let (mut client, challenge) = begun(bridge, &connect(&scram.client_first())).await;
    client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
    let connack = client.expect(kind::CONNACK).await;
    assert_eq!(connack.reason(), 0, "{connack:?}");
    assert_eq!(data(&connack), scram.expected, "the server proves itself too");
    assert_eq!(connack.properties().text(id::AUTHENTICATION_METHOD), Some(METHOD));
    client
}

/// Begins a re-authentication; the server's answer.
async fn challenge(client: &mut RawMqtt, scram: &Scram) -> String {
    client.send(&auth(code::RE_AUTHENTICATE, scram.client_first())).await;
    let challenge = client.answer(kind::AUTH).await;
    assert_eq!(challenge.body()[0], code::CONTINUE);
    data(&challenge)
}

/// Nothing that the bridge has written shows a password or what is made of one.
fn expect_no_secrets(bridge: &Bridge, accounts: &PasswordFile) {
    let file = std::fs::read_to_string(&accounts.path).unwrap();
    let keys = file.lines().flat_map(|line| line.rsplit(['$', ':']).take(2));
    let secrets: Vec<_> = keys.chain([PASSWORD, "wrong-password"]).collect();
    assert_eq!(secrets.len(), 6);
    for line in bridge.process.stderr.all().iter().chain(&bridge.process.stdout.all()) {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_comes_in_with_the_right_password_only() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    for version in ["mqttv311", "mqttv5"] {
        let publish = |arguments: &[&str]| {
            let common = ["-V", version, "-t", "devices/a/telemetry", "-q", "1", "-m", version];
            Process::start(mosquitto("mosquitto_pub", &bridge.port(), &[&common, arguments].concat()))
        };
        publish(&["-u", "user", "-P", PASSWORD]).success().await;
        for arguments in [&["-u", "user", "-P", "wrong-password"][..], &["-u", "nobody", "-P", PASSWORD], &[]] {
            let status = publish(arguments).status().await;
            assert!(!status.success(), "{version} {arguments:?}");
        }
    }
    assert_eq!(bridge.events("#").await.len(), 2);
    assert_eq!(bridge.metric("synap_mqtt_authentications_failed_total").await, 6.0);
    expect_no_secrets(&bridge, &accounts);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_account_lets_the_right_password_in() {
    let accounts = PasswordFile::new(&[("scram", PASSWORD)]).await;
    accounts.passwd(&["argon2"], PASSWORD).await;
    // By mosquitto_passwd 2.0.11.
    let brought = "six:$6$e480qPsqBVQgpAxt$Be+niNsOYkFQnqcenbKAEWNMBl6HczG3wk+QvDszU6BgEXnNp5768JUjhiVAUdL8GvuZ8rf8Z1zqJTdY6FvpPA==\n\
        seven:$7$101$TOHVNBGVpQTj7oxm$9MzVzNUUxR++YN4t4bzMFsLY6BVY/L1/bhO6R75cIcoiYUQ118gkSRo2QGUXLu1Zf5+mqgJsAl5pnd74hRClJw==\n";
    let made = std::fs::read_to_string(&accounts.path).unwrap();
    std::fs::write(&accounts.path, format!("{made}{brought}")).unwrap();
    let bridge = accounts.setup().start().await;
    for (version, wrong) in [(Version::V4, 4), (Version::V5, WRONG)] {
        for user in ["scram", "argon2", "six", "seven"] {
            for (password, expected) in [(PASSWORD, 0), ("pencils", wrong)] {
                let mut client = bridge.raw(version).await;
                let connect = with_password(version, user, Some(user), Some(password));
                client.send(&connect.encode()).await;
                assert_eq!(client.expect(kind::CONNACK).await.reason(), expected, "{user} with {password}");
            }
        }
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_port_asks_what_it_is_told_to() {
    let accounts = accounts().await;
    let listener =
        |authentication| format!("[[listener]]\nbind = \"127.0.0.1:0\"\nauthentication = \"{authentication}\"");
    let setup = accounts.setup().config(&listener("optional")).config(&listener("none"));
    let bridge = setup.start().await;
    let refused = |version, code: u8| match (version, code) {
        (Version::V5, code) => code,
        (Version::V4, WRONG) => 4,
        (Version::V4, _) => 5,
    };
    for version in [Version::V4, Version::V5] {
        // Of the ports that require, offer and ignore it.
        for (user, password, codes) in [
            (Some("user"), Some(PASSWORD), [0, 0, 0]),
            (None, None, [NOT_AUTHORIZED, 0, 0]),
            (Some("user"), Some("wrong-password"), [WRONG, WRONG, 0]),
            (Some("user"), Some(""), [WRONG, WRONG, 0]),
            (Some("user"), None, [WRONG, WRONG, 0]),
            (Some("nobody"), Some(PASSWORD), [WRONG, WRONG, 0]),
            (Some(""), Some(PASSWORD), [WRONG, WRONG, 0]),
        ] {
            for (nth, code) in codes.into_iter().enumerate() {
                let address = bridge.listener("mqtt", nth).parse().unwrap();
                let mut client = RawMqtt::open(address, version).await;
                // One that a session of another account does not belong to.
                let id = format!("client-{nth}-{user:?}-{password:?}");
                let found = outcome(&mut client, &with_password(version, &id, user, password)).await;
                let expected = if code == 0 { 0 } else { refused(version, code) };
                assert_eq!(found, expected, "{version:?} {user:?} {password:?} on port {nth}");
            }
        }
    }
    // 5.0 alone has these: a password without a name, and methods.
    let method = |method: &str| Connect {
        properties: string(id::AUTHENTICATION_METHOD, method),
        ..Connect::new(Version::V5, "client")
    };
    for (connect, codes) in [
        (with_password(Version::V5, "client", None, Some(PASSWORD)), [WRONG, WRONG, 0]),
        (method("SCRAM-SHA-1"), [0x8c; 3]),
        (method("SCRAM-SHA-256-PLUS"), [0x8c; 3]),
        (method("scram-sha-256"), [0x8c; 3]),
        (method(METHOD), [NOT_AUTHORIZED, NOT_AUTHORIZED, 0x8c]),
    ] {
        for (nth, code) in codes.into_iter().enumerate() {
            let address = bridge.listener("mqtt", nth).parse().unwrap();
            assert_eq!(
                outcome(&mut RawMqtt::open(address, Version::V5).await, &connect).await,
                code,
                "{nth}: {connect:?}"
            );
        }
    }
    expect_no_secrets(&bridge, &accounts);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_are_asked_too() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    for (password, code) in [(None, NOT_AUTHORIZED), (Some("wrong-password"), WRONG), (Some(PASSWORD), 0)] {
        let mut client = RawWebSocket::open(bridge.addresses.http).await;
        let connect = with_password(Version::V5, "page", password.map(|_| "user"), password);
        client.send(&frame(first::BINARY, &connect.encode())).await;
        assert_eq!(client.packet(kind::CONNACK).await[3], code);
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqttjs_proves_itself_by_scram() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let run = |password: &str| -> Command {
        let mut command = node("mqttjs_scram.mjs");
        command.args(["--port", &bridge.port(), "--user", "user", "--password", password]);
        command
    };
    assert_eq!(Process::start(run(PASSWORD)).success().await, ["the server is genuine", "acknowledged"]);
    let mut refused = Process::start(run("wrong-password"));
    assert!(!refused.status().await.success());
    let told = async || refused.stdout.find(|line| line.strip_prefix("refused ").map(str::to_owned));
    assert_eq!(eventually("the reason", told).await, "135");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_before_the_proof() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let mut watcher = let_in(&bridge, |first| connect("watcher", first)).await;
    watcher.subscribe("#", 1).await;
    let mut owner = let_in(&bridge, |first| connect("device", first)).await;
    // Strangers with the same client identifier and a will each, who fail in every way.
    let will = Some(("will".to_owned(), b"stranger".to_vec(), 1, false));
    let stranger = |first: &str| Connect { will: will.clone(), ..connect("device", first) };
    for (user, password) in [("user", "wrong-password"), ("nobody", PASSWORD)] {
        let mut scram = Scram::new(user, password, "nonce");
        let (mut client, challenge) = begun(&bridge, &stranger(&scram.client_first())).await;
        client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
        let connack = client.expect(kind::CONNACK).await;
        assert_eq!((connack.reason(), connack.session_present()), (NOT_AUTHORIZED, false));
        assert_eq!(client.read().await, None);
    }
    let scram = Scram::new("user", PASSWORD, "nonce");
    for last in [DISCONNECT.to_vec(), Publish::new("t", "x", 1, 1).encode(Version::V5), vec![0xff]] {
        let (mut client, _) = begun(&bridge, &stranger(&scram.client_first())).await;
        client.send(&last).await;
        while let Some(packet) = client.read().await {
            assert_eq!(packet.kind(), kind::CONNACK, "{packet:?}");
            assert!(packet.reason() >= 0x80, "{packet:?}");
        }
    }
    let with_wrong_password =
        Connect { will: will.clone(), ..with_password(Version::V5, "device", Some("user"), Some("wrong-password")) };
    assert_eq!(outcome(&mut bridge.raw(Version::V5).await, &with_wrong_password).await, WRONG);
    owner.ping().await;
    owner.publish("done", "", 1).await;
    assert_eq!(watcher.message().await.topic, "done", "no will, no message of a stranger");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_worth_nothing_a_second_time() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let mut scram = Scram::new("user", PASSWORD, "nonce");
    let (mut client, challenge) = begun(&bridge, &connect("client", scram.client_first())).await;
    let last = scram.client_final(&challenge);
    client.send(&auth(code::CONTINUE, &last)).await;
    assert_eq!(client.expect(kind::CONNACK).await.reason(), 0);
    // As someone who has listened: the same messages, with the server's new nonce and without.
    let (mut thief, other) = begun(&bridge, &connect("thief", scram.client_first())).await;
    assert_ne!(other, challenge);
    let nonce = |challenge: &str| challenge.split(',').next().unwrap().to_owned();
    thief.send(&auth(code::CONTINUE, &last)).await;
    assert_eq!(thief.expect(kind::CONNACK).await.reason(), NOT_AUTHORIZED);
    let (mut thief, other) = begun(&bridge, &connect("thief", scram.client_first())).await;
    thief.send(&auth(code::CONTINUE, last.replace(&nonce(&challenge), &nonce(&other)))).await;
    assert_eq!(thief.expect(kind::CONNACK).await.reason(), NOT_AUTHORIZED);
    // And what was promised of the channel is what is proven: no binding.
    for first in ["p=tls-exporter,,n=user,r=x", "p=tls-unique,,n=user,r=x"] {
        let mut client = bridge.raw(Version::V5).await;
        assert_eq!(outcome(&mut client, &connect("client", first)).await, NOT_AUTHORIZED);
    }
    let mut scram = Scram::new("user", PASSWORD, "nonce");
    let (mut client, challenge) =
        begun(&bridge, &connect("client", scram.client_first().replacen("n,,", "y,,", 1))).await;
    client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
    assert_eq!(client.expect(kind::CONNACK).await.reason(), NOT_AUTHORIZED, "c= says n where p was y");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshakes_time_is_for_all_of_it() {
    let accounts = accounts().await;
    let bridge = accounts.setup().config("[mqtt]\nhandshake_timeout = \"500ms\"").start().await;
    let scram = Scram::new("user", PASSWORD, "nonce");
    let (mut client, _) = begun(&bridge, &connect("client", scram.client_first())).await;
    assert_eq!(client.read().await, None);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_behind_the_proof_are_taken() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let mut scram = Scram::new("user", PASSWORD, "nonce");
    let (mut client, challenge) = begun(&bridge, &connect("client", scram.client_first())).await;
    let last = auth(code::CONTINUE, scram.client_final(&challenge));
    client.send(&[last, Publish::new("t", "x", 1, 7).encode(Version::V5)].concat()).await;
    assert_eq!(client.expect(kind::CONNACK).await.reason(), 0);
    assert_eq!(client.expect(kind::PUBACK).await.id(), 7);
    bridge.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_flow_during_re_authentication() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let mut watcher = let_in(&bridge, |first| connect("watcher", first)).await;
    watcher.subscribe("will", 1).await;
    let will = Some(("will".to_owned(), b"gone".to_vec(), 1, false));
    let mut client = let_in(&bridge, |first| Connect { will, ..connect("client", first) }).await;
    client.subscribe("t", 1).await;
    for round in 0..3 {
        let mut scram = Scram::new("user", PASSWORD, "another");
        let challenge = challenge(&mut client, &scram).await;
        for qos in [1, 2] {
            client.send(&Publish::new("t", "x", qos, 9).encode(Version::V5)).await;
            let kind = if qos == 1 { kind::PUBACK } else { kind::PUBREC };
            assert_eq!(client.answer(kind).await.reason(), 0, "round {round}");
            assert_eq!(client.message().await.payload, b"x");
        }
        client.send(&[0x62, 2, 0, 9]).await;
        client.answer(kind::PUBCOMP).await;
        client.ping().await;
        client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
        let done = client.expect(kind::AUTH).await;
        assert_eq!((done.body()[0], data(&done)), (code::SUCCESS, scram.expected));
    }
    // A failure ends the connection, and the will is published.
    let mut scram = Scram::new("user", "wrong-password", "another");
    let challenge = challenge(&mut client, &scram).await;
    client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
    assert_eq!(client.expect_close().await, Some(NOT_AUTHORIZED));
    assert_eq!(watcher.message().await.payload, b"gone");
    expect_no_secrets(&bridge, &accounts);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn re_authentication_has_an_order() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let first = Scram::new("user", PASSWORD, "x").client_first();
    // Nothing to go on with; a second one within the first; what is no message.
    for (packets, reason) in [
        (auth(code::CONTINUE, "c=biws"), PROTOCOL_ERROR),
        ([auth(code::RE_AUTHENTICATE, &first), auth(code::RE_AUTHENTICATE, &first)].concat(), PROTOCOL_ERROR),
        (auth(code::RE_AUTHENTICATE, "garbage"), NOT_AUTHORIZED),
        ([auth(code::RE_AUTHENTICATE, &first), auth(code::CONTINUE, "garbage")].concat(), NOT_AUTHORIZED),
    ] {
        let mut client = let_in(&bridge, |first| connect("client", first)).await;
        client.send(&packets).await;
        assert_eq!(end(&mut client).await, Some(reason));
    }
    // The proof of another account, though right.
    let mut client = let_in(&bridge, |first| connect("client", first)).await;
    let mut scram = Scram::new("other", "pen", "nonce");
    let challenge = challenge(&mut client, &scram).await;
    client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
    assert_eq!(client.expect_close().await, Some(NOT_AUTHORIZED));
    // Who came with a password, or without anything, has no method to go on with.
    let mut client = bridge.raw(Version::V5).await;
    let connect = with_password(Version::V5, "client", Some("user"), Some(PASSWORD));
    assert_eq!(outcome(&mut client, &connect).await, 0);
    client.send(&auth(code::RE_AUTHENTICATE, &first)).await;
    assert_eq!(client.expect_close().await, Some(PROTOCOL_ERROR));
    bridge.finish(PEER).await;
    let bridge = Bridge::start().await;
    let mut client = bridge.client(Version::V5, "client").await;
    client.send(&auth(code::RE_AUTHENTICATE, &first)).await;
    assert_eq!(client.expect_close().await, Some(PROTOCOL_ERROR));
    bridge.finish(PEER).await;
}

/// The reason of the DISCONNECT that a connection ends with, behind steps of an exchange.
async fn end(client: &mut RawMqtt) -> Option<u8> {
    let mut last: Option<Packet> = None;
    while let Some(packet) = client.read().await {
        last = Some(packet);
    }
    last.filter(|packet| packet.kind() == kind::DISCONNECT).map(|packet| packet.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_attempts_stall_nobody() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let mut bystander = let_in(&bridge, |first| connect("bystander", first)).await;
    bystander.subscribe("bystander", 1).await;
    // Passwords, all at once.
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..400 {
        let mut client = bridge.raw(Version::V5).await;
        let user = if n % 2 == 0 { "user" } else { "nobody" };
        let connect = with_password(Version::V5, &format!("attempt-{n}"), Some(user), Some("wrong-password"));
        attempts.spawn(async move { outcome(&mut client, &connect).await });
    }
    // Exchanges, one after the other without waiting for an answer.
    let mut again = let_in(&bridge, |first| connect("again", first)).await;
    let mut scram = Scram::new("user", PASSWORD, "nonce");
    for n in 0..200 {
        bystander.publish("bystander", "hello", 1).await;
        assert_eq!(bystander.message().await.payload, b"hello");
        let challenge = challenge(&mut again, &scram).await;
        again.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
        assert_eq!(again.expect(kind::AUTH).await.body()[0], code::SUCCESS, "{n}");
    }
    again.send(&auth(code::RE_AUTHENTICATE, scram.client_first()).repeat(2000)).await;
    assert_eq!(end(&mut again).await, Some(PROTOCOL_ERROR));
    while let Some(code) = attempts.join_next().await {
        assert_eq!(code.unwrap(), WRONG);
    }
    bystander.ping().await;
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_accounts_nobody_is_asked() {
    let bridge = Setup::default().start().await;
    for version in [Version::V4, Version::V5] {
        let mut client = bridge.raw(version).await;
        let connect = with_password(version, "client", Some("anyone"), Some("anything"));
        assert_eq!(outcome(&mut client, &connect).await, 0);
    }
    let mut client = bridge.raw(Version::V5).await;
    assert_eq!(outcome(&mut client, &connect("client", "n,,n=user,r=x")).await, 0x8c);
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_can_change_while_clients_are_connected() {
    let accounts = accounts().await;
    let bridge = accounts.setup().start().await;
    let mut client = let_in(&bridge, |first| connect("client", first)).await;
    let hang_up = async |expected: &str| {
        let logged = bridge.process.stderr.len();
        let id = bridge.process.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -HUP $0", &id]).status().unwrap().success());
        let told =
            async || bridge.process.stderr.all()[logged..].iter().any(|line| line.contains(expected)).then_some(());
        eventually("a word on the password file", told).await;
    };
    let attempt = async |user: &str, password: &str| {
        let connect = with_password(Version::V5, "other", Some(user), Some(password));
        outcome(&mut bridge.raw(Version::V5).await, &connect).await
    };
    accounts.set("user", "changed").await;
    accounts.set("new", "secret").await;
    hang_up("read the password file again").await;
    assert_eq!((attempt("user", PASSWORD).await, attempt("user", "changed").await), (WRONG, 0));
    assert_eq!(attempt("new", "secret").await, 0);
    // A mistake changes nothing.
    std::fs::write(&accounts.path, "user:secret").unwrap();
    hang_up("passwords:1: expected $argon2id$").await;
    assert_eq!(attempt("new", "secret").await, 0);
    // Who is in stays in, but cannot prove the old password any more.
    client.ping().await;
    let mut scram = Scram::new("user", PASSWORD, "another");
    let challenge = challenge(&mut client, &scram).await;
    client.send(&auth(code::CONTINUE, scram.client_final(&challenge))).await;
    assert_eq!(client.expect_close().await, Some(NOT_AUTHORIZED));
    let both = ["the password file was not read again", "the configuration was not read again"];
    bridge.finish(&["\"peer\"", both[0], both[1]]).await;
}
