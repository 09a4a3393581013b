//! The inputs that each target's search begins with: made here, by the product's own encoder where there is one, and
//! not kept as files.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use synap_mqtt::{
    journal::record::{Origin, Record, Salt, StateChange, encode, seal},
    mqtt::codec::{
        Ack, Auth, Connect, ConnectProperties, Disconnect, MAXIMUM_PACKET_SIZE, Packet, PacketType, ProtocolVersion,
        Publish, ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe, UserProperties, Will,
    },
    types::{
        Command, CommandAnswer, CommandChange, CommandOrder, Micros, PodEvent, Presence, PresenceChange, Publication,
        PublishProperties, PublishProperty, Qos, Sequence, subject_id,
    },
};

use crate::frames::frame;

/// See [`crate::input`]: an opening of each kind, and the bits that go with it.
const OPENINGS: [(&str, u8, ProtocolVersion); 3] =
    [("v311", 1, ProtocolVersion::V311), ("v5", 2, ProtocolVersion::V5), ("narrow", 3, ProtocolVersion::V5)];
const KEPT: u8 = 1 << 2;
const RESUMED: u8 = 1 << 3;
const TAKEN_OVER: u8 = 2 << 3;
const WAITS: u8 = 1 << 5;
const ARE_FRAMES: u8 = 1 << 6;
const IS_EARLY: u8 = 1 << 7;

/// Fills a directory for each target, by its name.
///
/// # Errors
/// As the file system says.
pub fn write(directory: &Path) -> io::Result<()> {
    let target = |name: &str| Target::new(directory, name);
    connections(&mut target("connection")?)?;
    websockets(&mut target("websocket")?)?;
    topics(&mut target("topics")?)?;
    records(&mut target("journal_record")?)?;
    state_changes(&mut target("state_change")?)?;
    payloads(&mut target("payload")?)
}

/// A directory of numbered inputs.
struct Target(PathBuf, usize);

impl Target {
    fn new(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path, 0))
    }

    fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.1 += 1;
        fs::write(self.0.join(format!("seed-{:02}-{name}", self.1)), bytes)
    }
}

fn connections(target: &mut Target) -> io::Result<()> {
    for (name, opening, version) in OPENINGS {
        let all = Conversation::new(version);
        let (asking, saying) = (all.asking(), all.saying());
        let both = [&asking[..], &saying].concat();
        target.add(name, input(opening | WAITS, 0, 255, &both))?;
        target.add(&format!("{name}-bytewise"), input(opening | WAITS, 1, 255, &both))?;
        target.add(&format!("{name}-resumed"), input(opening | KEPT | RESUMED | WAITS, 0, 128, &both))?;
        target.add(&format!("{name}-taken-over"), input(opening | KEPT | TAKEN_OVER | WAITS, 7, 128, &both))?;
        for (number, packet) in all.packets().iter().enumerate() {
            target.add(&format!("{name}-{number}"), input(opening, 0, 255, packet))?;
        }
    }
    for (name, version) in [("v311", ProtocolVersion::V311), ("v5", ProtocolVersion::V5)] {
        let connect = connect(version);
        target.add(&format!("{name}-connect"), input(WAITS, 0, 255, &connect))?;
        let rest = Conversation::new(version).saying();
        target.add(&format!("{name}-connect-and-more"), input(RESUMED, 9, 200, &[connect, rest].concat()))?;
    }
    Ok(())
}

fn websockets(target: &mut Target) -> io::Result<()> {
    for (name, opening, version) in OPENINGS {
        let all = Conversation::new(version);
        let both = [all.asking(), all.saying()].concat();
        target.add(name, input(opening | WAITS | IS_EARLY, 0, 255, &both))?;
        target.add(&format!("{name}-in-pieces"), input(opening | WAITS, 5, 255, &both))?;
        // Fragments, a ping in between, and the end.
        let (mut start, end) = (frame(&both[..9]), frame(&both[9..]));
        start[0] = 0x02;
        let rest = [&start[..], &ping(), &[0x80], &end[1..], &close(1000)].concat();
        target.add(&format!("{name}-fragments"), input(opening | WAITS | ARE_FRAMES, 0, 255, &rest))?;
    }
    let connect = frame(&connect(ProtocolVersion::V5));
    target.add("connect", input(ARE_FRAMES, 0, 255, &connect))?;
    target.add("text", input(2 | ARE_FRAMES, 0, 255, &[0x81, 0x80, 1, 2, 3, 4]))?;
    target.add("close", input(2 | ARE_FRAMES | WAITS, 0, 255, &close(3999)))?;
    target.add("long", input(2 | ARE_FRAMES, 0, 255, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 0xc1, 2]))
}

fn topics(target: &mut Target) -> io::Result<()> {
    let deep = ["a"; 32].join("/");
    target.add(
        "plain",
        "sport/tennis/player1\nsport/tennis/player1\nsport/+/player1\nsport/#\n#\n+\n+/+/+\n/+\nsport/+",
    )?;
    target.add("empty-levels", "//a/\n//a/\n+/+/a/+\n//#\n//+/\n/\n#")?;
    target.add("own", "$SYS/up\n#\n+/up\n$SYS/#\n$SYS/+\n$share/g/a/+")?;
    target.add("malformed", "a\na#\na/#/b\n+a\n\n##\na/+b\nä/+/é")?;
    target.add("deep", format!("{deep}\n{}\n{}/#\n{deep}", ["+"; 32].join("/"), ["+"; 31].join("/")))
}

fn records(target: &mut Target) -> io::Result<()> {
    let mut properties = Vec::new();
    PublishProperty::MessageExpiryInterval(60).write(&mut properties);
    PublishProperty::UserProperty("unit", "°C").write(&mut properties);
    let publication = Publication {
        sequence: Sequence(7),
        received: Micros::saturating(1_700_000_000_000_000),
        topic: "devices/pump-7/telemetry",
        payload: b"{\"temperature\":21.5}",
        qos: Qos::ExactlyOnce,
        retain: true,
        guaranteed: true,
        client_id: "pump-7",
        properties: PublishProperties::new(&properties),
    };
    for (name, origin) in [("plain", Origin::Plain), ("held", Origin::Held(9)), ("will", Origin::Will(300))] {
        target.add(name, record(&Record::Publication { publication, origin }))?;
    }
    let event = PodEvent {
        sequence: Sequence(7),
        received: Micros::saturating(1_700_000_000_000_000),
        arrival: 9,
        id: subject_id("7"),
        event_type: "notes.creation.completed",
        subject_id: "7",
        subject_type: "note",
        topic: None,
        data: "{}",
        metadata: Some("{\"version\":1}"),
        user_id: "owner",
        source: Some("api"),
        timestamp: Micros::saturating(1_700_000_000_000_000),
        correlation_id: Some(subject_id("8")),
    };
    target.add("event", record(&Record::Event(event)))?;
    let (sequence, received) = (Sequence(7), Micros::saturating(1_700_000_000_000_000));
    let (client_id, device, details) = ("sensor-7", "7", "\"keepAlive\":60");
    let opened = Presence { sequence, received, client_id, device, change: PresenceChange::Opened, details };
    let change = PresenceChange::Closed { opened: Sequence(3), since: received, reason: "taken-over" };
    target.add("opened", record(&Record::Presence(opened)))?;
    target.add("closed", record(&Record::Presence(Presence { device: client_id, change, ..opened })))?;
    let order = CommandOrder {
        topic: "devices/7/commands",
        answer_topic: "devices/7/responses",
        qos: Qos::AtLeastOnce,
        expires: Micros::saturating(1_700_000_060_000_000),
        key: "7c1b",
        digest: subject_id("9"),
        properties: PublishProperties::new(&properties),
        payload: b"{\"speed\":3}",
    };
    let answer = CommandAnswer {
        sequence: Sequence(5),
        received,
        topic: "devices/7/responses",
        client_id,
        is_late: false,
        properties: PublishProperties::new(&properties),
        payload: b"{\"ok\":true}",
    };
    for (name, change) in [
        ("requested", CommandChange::Requested(order)),
        ("delivered", CommandChange::Delivered { client_id }),
        ("completed", CommandChange::Completed(answer)),
        ("expired", CommandChange::Expired { was_sent: true, was_delivered: false }),
    ] {
        let command = Command { sequence, received, id: subject_id("8"), device, requested: received, change };
        target.add(name, record(&Record::Command(command)))?;
    }
    target.add("state", record(&Record::State(StateChange::new(&[3, 5], true))))?;
    target.add("mark", record(&Record::Mark { ceiling: Sequence(1 << 20), durable: Sequence(6) }))
}

/// With the byte in front that says which bit is flipped.
fn record(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes);
    seal(&mut bytes, Sequence(7), Micros::saturating(1_700_000_000_000_000), Salt(0x5eed_5a17));
    [&[100], &bytes[..]].concat()
}

/// As `src/mqtt/ledger/change.rs` writes them: kind, session, fields.
fn state_changes(target: &mut Target) -> io::Result<()> {
    target.add("connect", b"\x01\x05\x04pump\x3c\x09")?;
    target.add(
        "connect-will",
        b"\x01\xac\x02\x04pump\xff\xff\xff\xff\x0f\xff\xff\x03\x05\x05\x03a/b\x02\x01\x01\x04gone",
    )?;
    target.add("disconnect", b"\x02\x05\x3c\x01\x80\x80\x01")?;
    target.add("end", b"\x03\x05")?;
    target.add("subscribe", b"\x04\x05\x07\x1e\x05a/+/#\x08\x0b$share/g/b\x20")?;
    target.add("unsubscribe", b"\x05\x05\x01a\x03b/#")?;
    target.add("release", b"\x06\x05\x07")?;
    target.add("acknowledge", b"\x07\x05\xf0\xa2\x04\x02\x03\xfd\x4d")?;
    target.add("receive", b"\x08\x05\x05")?;
    target.add("close", b"\x09\x05\x63\x03")?;
    target.add("open", b"\x0a\x05")
}

/// See `fuzz_targets/payload.rs`: the route and content type, where a birth ends, and the payload.
fn payloads(target: &mut Target) -> io::Result<()> {
    let json: &[u8] =
        b"{\"temperature\":21.5,\"on\":true,\"at\":[1,{\"x\":-2e3}],\"time\":1700000000,\"id\":\"a\\u00e9\"}";
    // {"t": 21.5, "n": [1, -2, null, true], "b": h'00ff'}
    let cbor: &[u8] = b"\xa3\x61t\xfb\x40\x35\x80\x00\x00\x00\x00\x00\x61n\x84\x01\x21\xf6\xf5\x61b\x42\x00\xff";
    // Of no stated length, with a tag, a half float and a bignum.
    let stream: &[u8] =
        b"\xbf\x61x\xf9\x3c\x00\x61y\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00\x61z\x7f\x61a\x61b\xff\xff";
    let msgpack: &[u8] = b"\x84\xa1t\xcb\x40\x35\x80\x00\x00\x00\x00\x00\xa1n\x93\x01\xff\xc0\xa1b\xc4\x02\x00\xff\xa1e\xd6\xff\x65\x53\xf1\x00";
    // A metric "t" with alias 7 of type Double, and an Int8 "n" without one.
    let birth: &[u8] = b"\x08\x01\x12\x10\x0a\x01t\x10\x07\x20\x0a\x69\x00\x00\x00\x00\x00\x80\x35\x40\x12\x07\x0a\x01n\x20\x01\x50\x05\x18\x00";
    let data: &[u8] = b"\x08\x02\x12\x0b\x10\x07\x69\x00\x00\x00\x00\x00\x80\x36\x40\x12\x09\x0a\x01n\x50\xff\xff\xff\xff\x0f\x18\x01";
    let sparkplug = [birth, data].concat();
    let end = (birth.len() * 256).div_ceil(sparkplug.len()) as u8;
    for (name, how, place, payload) in [
        ("json", 0, 0, json),
        ("json-asked", 1, 0, json),
        ("json-value", 0, 0, b" [1,2] "),
        ("json-schema", 7, 0, b"{\"n\":10}"),
        ("text", 2, 0, "21.5 °C".as_bytes()),
        ("bytes", 3, 0, b"\x00\xff"),
        ("cbor", 4, 0, cbor),
        ("cbor-told", 2 << 3, 0, stream),
        ("msgpack", 5, 0, msgpack),
        ("msgpack-told", 3 << 3, 0, msgpack),
        ("sparkplug", 6, end, &sparkplug),
        ("sparkplug-without-birth", 6, 0, data),
        ("empty", 4, 0, b""),
    ] {
        target.add(name, [&[how, place], payload].concat())?;
    }
    Ok(())
}

fn input(how: u8, piece: u8, place: u8, bytes: &[u8]) -> Vec<u8> {
    [&[how, piece, place], bytes].concat()
}

fn ping() -> Vec<u8> {
    let mut bytes = frame(b"are you there");
    bytes[0] = 0x89;
    bytes
}

fn close(code: u16) -> Vec<u8> {
    let mut bytes = frame(&code.to_be_bytes());
    bytes[0] = 0x88;
    bytes
}

/// A CONNECT with all that one can have.
fn connect(version: ProtocolVersion) -> Vec<u8> {
    let v5 = version == ProtocolVersion::V5;
    let will_properties = [0x01, 1];
    let will = Will {
        qos: Qos::AtLeastOnce,
        retain: true,
        delay_interval: u32::from(v5),
        properties: Cow::Borrowed(if v5 { &will_properties } else { &[] }),
        topic: "a/will",
        payload: b"gone",
    };
    let properties = ConnectProperties {
        session_expiry_interval: 5,
        receive_maximum: 3,
        maximum_packet_size: Some(512),
        topic_alias_maximum: 3,
        ..ConnectProperties::default()
    };
    let connect = Connect {
        version,
        clean_start: false,
        keep_alive: 60,
        properties: if v5 { properties } else { ConnectProperties::default() },
        client_id: "own",
        will: Some(will),
        user_name: Some("user"),
        password: Some(b"secret"),
    };
    let mut out = Vec::new();
    connect.encode(&mut out);
    out
}

/// What a client says that subscribes to what it publishes.
struct Conversation(ProtocolVersion);

impl Conversation {
    const fn new(version: ProtocolVersion) -> Self {
        Self(version)
    }

    fn encode(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        packet.encode(self.0, MAXIMUM_PACKET_SIZE, &mut out).expect("a small packet");
        out
    }

    fn is_v5(&self) -> bool {
        self.0 == ProtocolVersion::V5
    }

    fn subscribe(&self) -> Vec<u8> {
        let shared = Subscription::new("$share/g/a/+", Qos::AtLeastOnce);
        let retained =
            Subscription { retain_handling: RetainHandling::SendIfNew, ..Subscription::new("a/b", Qos::AtMostOnce) };
        let mut subscriptions = vec![Subscription::new("a/#", Qos::ExactlyOnce)];
        if self.is_v5() {
            subscriptions.extend([shared, retained]);
        }
        self.encode(&Packet::Subscribe(Subscribe {
            packet_id: 1,
            subscription_identifier: self.is_v5().then_some(300),
            user_properties: UserProperties::default(),
            subscriptions,
        }))
    }

    fn publish(&self, qos: Qos, retain: bool, alias: Option<u16>, topic: &str) -> Vec<u8> {
        let mut properties = Vec::new();
        if self.is_v5() {
            PublishProperty::MessageExpiryInterval(60).write(&mut properties);
            PublishProperty::ResponseTopic("a/answer").write(&mut properties);
        }
        self.encode(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_id: if qos == Qos::AtMostOnce { 0 } else { 7 + qos as u16 },
            topic_alias: alias.filter(|_| self.is_v5()),
            properties: Cow::Owned(properties),
            payload: b"21.5",
        }))
    }

    fn ack(&self, kind: impl Fn(Ack) -> Packet<'static>, packet_id: u16) -> Vec<u8> {
        self.encode(&kind(Ack::success(packet_id)))
    }

    fn asking(&self) -> Vec<u8> {
        [self.subscribe(), self.encode(&Packet::Pingreq)].concat()
    }

    fn saying(&self) -> Vec<u8> {
        let again = if self.is_v5() { "" } else { "a/b" };
        [
            self.publish(Qos::AtMostOnce, false, None, "a"),
            self.publish(Qos::AtLeastOnce, true, Some(1), "a/b"),
            self.publish(Qos::AtMostOnce, false, Some(1), again),
            self.publish(Qos::ExactlyOnce, false, Some(2), "a/c"),
            self.ack(Packet::Pubrel, 9),
            self.ack(Packet::Puback, 1),
            self.ack(Packet::Pubrec, 2),
            self.ack(Packet::Pubcomp, 2),
        ]
        .concat()
    }

    /// One of each, for what the others have not.
    fn packets(&self) -> Vec<Vec<u8>> {
        let unsubscribe =
            Unsubscribe { packet_id: 3, user_properties: UserProperties::default(), filters: vec!["a/#", "b"] };
        let mut disconnect = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        if self.is_v5() {
            disconnect.session_expiry_interval = Some(0);
        }
        let again = connect(self.0);
        let mut of_another_protocol = again.clone();
        of_another_protocol[5] ^= 1;
        let mut packets = vec![
            again,
            of_another_protocol,
            [self.subscribe(), self.encode(&Packet::Unsubscribe(unsubscribe))].concat(),
            self.encode(&Packet::Disconnect(disconnect)),
            self.publish(Qos::ExactlyOnce, true, Some(9), "a/b"),
        ];
        if self.is_v5() {
            packets.push(self.encode(&Packet::Auth(Auth::new(ReasonCode::ReAuthenticate, Some("method")))));
            let mut refused = Vec::new();
            let ack = Ack { packet_id: 1, reason: ReasonCode::QuotaExceeded };
            ack.encode(PacketType::Pubrec, self.0, Some("no room"), &mut refused);
            packets.push(refused);
        }
        packets
    }
}
