//! Enhanced authentication (MQTT 5.0 sections 3.15 and 4.12), with SCRAM-SHA-256 (RFC 7677).

use crate::support::{
    PEER,
    bridge::Bridge,
    properties::{byte, id, string},
    raw_mqtt::{Connect, PINGREQ, Packet, Publish, RawMqtt, Version, kind},
    reason,
    scram::{METHOD, PasswordFile, Scram, auth, auth_with, code, connect, data, step},
};

const USER: &str = "user";
const PASSWORD: &str = "pencil";

async fn start() -> Bridge {
    PasswordFile::new(&[(USER, PASSWORD)]).await.setup().start().await
}

fn method(packet: &Packet) -> Option<String> {
    packet.properties().text(id::AUTHENTICATION_METHOD).map(str::to_owned)
}

/// A client that has sent its first message, and the server's answer.
async fn begun(bridge: &Bridge, scram: &Scram) -> (RawMqtt, Packet) {
    let mut client = bridge.raw(Version::V5).await;
    client.send(&connect("client", scram.client_first()).encode()).await;
    let answer = client.expect(kind::AUTH).await;
    (client, answer)
}

/// A client that was let in, and its CONNACK.
async fn let_in(bridge: &Bridge) -> (RawMqtt, Packet) {
    let mut scram = Scram::new(USER, PASSWORD, "rOprNGfwEbeRWgbNEkqO");
    let (mut client, challenge) = begun(bridge, &scram).await;
    let last = scram.client_final(&data(&challenge));
    client.send(&auth(code::CONTINUE, last)).await;
    let connack = client.expect(kind::CONNACK).await;
    assert_eq!(connack.reason(), code::SUCCESS, "{connack:?}");
    assert_eq!(data(&connack), scram.expected, "the server knows the password too");
    (client, connack)
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_2_the_server_asks_for_more_with_0x18() {
    let bridge = start().await;
    // Also for a user that it does not know, so that it does not tell who is one.
    for user in [USER, "nobody"] {
        let (_, challenge) = begun(&bridge, &Scram::new(user, PASSWORD, "nonce")).await;
        assert_eq!((challenge.first(), challenge.body()[0]), (0xf0, code::CONTINUE), "{user}");
        assert!(data(&challenge).contains(",s=") && data(&challenge).contains(",i="));
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_3_the_client_goes_on_with_0x18() {
    let bridge = start().await;
    for wrong in [code::SUCCESS, code::RE_AUTHENTICATE, 0x80] {
        let mut scram = Scram::new(USER, PASSWORD, "nonce");
        let (mut client, challenge) = begun(&bridge, &scram).await;
        let last = scram.client_final(&data(&challenge));
        client.send(&auth(wrong, last)).await;
        expect_refusal(&mut client).await;
    }
    bridge.finish(PEER).await;
}

/// Whether the connection ends, with a CONNACK that refuses at the most.
async fn expect_refusal(client: &mut RawMqtt) {
    if let Some(packet) = client.read().await {
        assert_eq!((packet.kind(), packet.reason() >= 0x80), (kind::CONNACK, true), "{packet:?}");
        assert_eq!(client.read().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_4_a_failed_authentication_ends_the_connection() {
    let bridge = start().await;
    for (user, password) in [(USER, "wrong"), ("nobody", PASSWORD), (USER, "")] {
        let mut scram = Scram::new(user, password, "nonce");
        let (mut client, challenge) = begun(&bridge, &scram).await;
        let last = scram.client_final(&data(&challenge));
        client.send(&auth(code::CONTINUE, last)).await;
        let connack = client.expect(kind::CONNACK).await;
        assert!(matches!(connack.reason(), 0x86 | 0x87), "{user}: 0x{:02x}", connack.reason());
        assert_eq!(client.read().await, None);
    }
    // What is no message of the method, at each step; and a proof for another challenge.
    for first in ["", "n,,", "garbage", "y,,n=user", "n,,n=,r=x"] {
        let mut client = bridge.raw(Version::V5).await;
        client.send(&connect("client", first).encode()).await;
        expect_refusal(&mut client).await;
    }
    for last in ["", "c=biws", "c=biws,r=other,p=AAAA"] {
        let (mut client, _) = begun(&bridge, &Scram::new(USER, PASSWORD, "nonce")).await;
        client.send(&auth(code::CONTINUE, last)).await;
        expect_refusal(&mut client).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_0_5_every_step_names_the_method() {
    let bridge = start().await;
    let (_, challenge) = begun(&bridge, &Scram::new(USER, PASSWORD, "nonce")).await;
    assert_eq!(method(&challenge).as_deref(), Some(METHOD));
    let (mut client, connack) = let_in(&bridge).await;
    assert_eq!(method(&connack).as_deref(), Some(METHOD));
    client.ping().await;
    // A client that names another one half-way, or none, is refused.
    for properties in [step("OTHER", "data"), string(id::AUTHENTICATION_DATA, "data")] {
        let (mut client, _) = begun(&bridge, &Scram::new(USER, PASSWORD, "nonce")).await;
        client.send(&auth_with(code::CONTINUE, &properties)).await;
        expect_refusal(&mut client).await;
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_1_2_30_nothing_else_is_processed_during_the_exchange() {
    let bridge = start().await;
    for bytes in [PINGREQ.to_vec(), Publish::new("t", "x", 1, 1).encode(Version::V5)] {
        let (mut client, _) = begun(&bridge, &Scram::new(USER, PASSWORD, "nonce")).await;
        client.send(&bytes).await;
        expect_refusal(&mut client).await;
    }
    // DISCONNECT is allowed.
    let (mut client, _) = begun(&bridge, &Scram::new(USER, PASSWORD, "nonce")).await;
    client.send(&[0xe0, 0]).await;
    assert_eq!(client.read().await, None);
    bridge.finish(PEER).await;
}

/// Re-authenticates an open connection; what ends the exchange.
async fn again(client: &mut RawMqtt, password: &'static str) -> Packet {
    let mut scram = Scram::new(USER, password, "another-nonce");
    client.send(&auth(code::RE_AUTHENTICATE, scram.client_first())).await;
    let challenge = client.expect(kind::AUTH).await;
    assert_eq!((challenge.body()[0], method(&challenge).as_deref()), (code::CONTINUE, Some(METHOD)));
    // The connection goes on meanwhile.
    client.ping().await;
    let last = scram.client_final(&data(&challenge));
    client.send(&auth(code::CONTINUE, last)).await;
    client.read().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_1_1_re_authentication_keeps_its_method() {
    let bridge = start().await;
    let (mut client, _) = let_in(&bridge).await;
    for _ in 0..2 {
        let done = again(&mut client, PASSWORD).await;
        assert_eq!((done.kind(), done.body().first().copied().unwrap_or(code::SUCCESS)), (kind::AUTH, code::SUCCESS));
        client.ping().await;
    }
    client.send(&auth_with(code::RE_AUTHENTICATE, &step("OTHER", "data"))).await;
    let told = client.expect_close().await;
    assert!(matches!(told, Some(reason::PROTOCOL_ERROR | reason::BAD_AUTHENTICATION_METHOD)), "{told:02x?}");
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_4_12_1_2_a_failed_re_authentication_ends_the_connection() {
    let bridge = start().await;
    let (mut client, _) = let_in(&bridge).await;
    let end = again(&mut client, "wrong").await;
    assert_eq!(end.kind(), kind::DISCONNECT);
    assert!(matches!(end.reason(), 0x86 | 0x87), "0x{:02x}", end.reason());
    assert_eq!(client.read().await, None);
    // An answer without a question is none.
    let (mut client, _) = let_in(&bridge).await;
    client.send(&auth(code::CONTINUE, "data")).await;
    assert_eq!(client.expect_close().await, Some(reason::PROTOCOL_ERROR));
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_15_2_1_auth_has_its_reason_codes() {
    let bridge = start().await;
    let (mut client, _) = let_in(&bridge).await;
    let done = again(&mut client, PASSWORD).await;
    assert_eq!((done.kind(), done.body().first().copied().unwrap_or(code::SUCCESS)), (kind::AUTH, code::SUCCESS));
    // Of a client: 0x18 and 0x19 alone.
    for wrong in [0x01, 0x17, 0x1a, 0x87, 0xff] {
        let (mut client, _) = let_in(&bridge).await;
        client.send(&auth(wrong, "data")).await;
        let told = client.expect_close().await;
        assert!(matches!(told, Some(reason::PROTOCOL_ERROR | reason::MALFORMED_PACKET)), "0x{wrong:02x}: {told:02x?}");
    }
    bridge.finish(PEER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_3_15_2_2_a_step_is_no_larger_than_the_client_takes() {
    let bridge = start().await;
    let scram = Scram::new(USER, PASSWORD, "nonce");
    for maximum in [10, 40, 80, 100, 120, 200] {
        let properties = [step(METHOD, scram.client_first()), byte(id::REQUEST_PROBLEM_INFORMATION, 1)].concat();
        let connect = Connect { properties, maximum_packet_size: Some(maximum), ..Connect::new(Version::V5, "client") };
        let mut client = bridge.raw(Version::V5).await;
        client.send(&connect.encode()).await;
        if let Some(packet) = client.read().await {
            assert!(packet.size() <= maximum as usize, "{} of {maximum} bytes: {packet:?}", packet.size());
        }
    }
    bridge.finish(PEER).await;
}
