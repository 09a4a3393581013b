//! Arbitrary packets: a draw of values, and one packet of each type made from it.

use proptest::{collection::vec, prelude::*};

use super::{ProtocolVersion, V5};
use crate::{
    mqtt::codec::{
        Ack, Auth, Connack, ConnackProperties, Connect, ConnectProperties, Disconnect, Packet, Publish, ReasonCode,
        RetainHandling, Suback, Subscribe, Subscription, Unsubscribe, UserProperties, Will,
    },
    types::{PublishProperty, Qos},
};

/// Values that packets are made from.
#[derive(Debug)]
pub(super) struct Draw {
    texts: [String; 6],
    topics: [String; 2],
    data: [Vec<u8>; 2],
    numbers: [u32; 4],
    words: [u16; 4],
    /// Decides what is there and which of several it is, by bits.
    bits: u64,
    user_properties: Vec<u8>,
    message_properties: Vec<u8>,
}

pub(super) fn draws() -> impl Strategy<Value = Draw> {
    let text = || "[^\0]{0,12}";
    let topic = || "[^\0+#]{1,24}";
    (
        [text(), text(), text(), text(), text(), text()],
        [topic(), topic()],
        [vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..9)],
        any::<[u32; 4]>(),
        any::<[u16; 4]>(),
        any::<u64>(),
        vec((text(), text()), 0..4),
    )
        .prop_map(|(texts, topics, data, numbers, words, bits, pairs)| {
            let mut user_properties = Vec::new();
            for (name, value) in &pairs {
                PublishProperty::UserProperty(name, value).write(&mut user_properties);
            }
            let mut message_properties = Vec::new();
            // Not 0, which the foreign codec refuses.
            PublishProperty::MessageExpiryInterval(numbers[0].max(1)).write(&mut message_properties);
            message_properties.extend(&user_properties);
            PublishProperty::PayloadFormatIndicator(1).write(&mut message_properties);
            PublishProperty::ContentType(&texts[4]).write(&mut message_properties);
            PublishProperty::ResponseTopic(&topics[1]).write(&mut message_properties);
            PublishProperty::CorrelationData(&data[1]).write(&mut message_properties);
            Draw { texts, topics, data, numbers, words, bits, user_properties, message_properties }
        })
}

impl Draw {
    fn bit(&self, index: u32) -> bool {
        self.bits >> index & 1 == 1
    }

    fn maybe<T>(&self, index: u32, value: T) -> Option<T> {
        self.bit(index).then_some(value)
    }

    fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[(self.bits >> 48) as usize % from.len()]
    }

    fn qos(&self) -> Qos {
        self.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
    }

    fn packet_id(&self) -> u16 {
        self.words[0].max(1)
    }

    /// One packet of each type that `version` has.
    pub(super) fn packets(&self, version: ProtocolVersion) -> Vec<Packet<'_>> {
        let ack = |reasons: &[ReasonCode]| Ack {
            packet_id: self.packet_id(),
            reason: if version == V5 { self.pick(reasons) } else { ReasonCode::Success },
        };
        let publish = [ReasonCode::Success, ReasonCode::NoMatchingSubscribers, ReasonCode::QuotaExceeded];
        let release = [ReasonCode::Success, ReasonCode::PacketIdentifierNotFound];
        let mut packets = vec![
            Packet::Connect(Box::new(self.connect(version))),
            Packet::Connack(Box::new(self.connack(version))),
            Packet::Publish(self.publish(version)),
            Packet::Puback(ack(&publish)),
            Packet::Pubrec(ack(&publish)),
            Packet::Pubrel(ack(&release)),
            Packet::Pubcomp(ack(&release)),
            Packet::Subscribe(self.subscribe(version)),
            Packet::Suback(self.suback(version)),
            Packet::Unsubscribe(self.unsubscribe(version)),
            Packet::Unsuback(self.unsuback(version)),
            Packet::Pingreq,
            Packet::Pingresp,
            Packet::Disconnect(self.disconnect(version)),
        ];
        if version == V5 {
            packets.push(Packet::Auth(self.auth()));
        }
        packets
    }

    fn user_properties(&self, version: ProtocolVersion) -> UserProperties<'_> {
        UserProperties::new(if version == V5 { &self.user_properties } else { &[] })
    }

    fn message_properties(&self, version: ProtocolVersion) -> &[u8] {
        if version == V5 && self.bit(0) { &self.message_properties } else { &[] }
    }

    fn connect(&self, version: ProtocolVersion) -> Connect<'_> {
        let v5 = version == V5;
        let will = Will {
            qos: self.qos(),
            retain: self.bit(1),
            delay_interval: if v5 { self.numbers[1] } else { 0 },
            properties: self.message_properties(version).into(),
            topic: &self.topics[0],
            payload: &self.data[0],
        };
        let user_name = self.maybe(2, self.texts[0].as_str());
        let authentication_method = self.maybe(4, self.texts[1].as_str());
        let properties = ConnectProperties {
            session_expiry_interval: self.numbers[2],
            receive_maximum: self.words[1].max(1),
            maximum_packet_size: self.maybe(5, self.numbers[3].max(1)),
            topic_alias_maximum: self.words[2],
            request_response_information: self.bit(6),
            request_problem_information: self.bit(7),
            authentication_method,
            authentication_data: authentication_method.and(self.maybe(8, self.data[1].as_slice())),
            user_properties: self.user_properties(version),
        };
        Connect {
            version,
            clean_start: self.bit(9) || self.texts[2].is_empty(),
            keep_alive: self.words[3],
            properties: if v5 { properties } else { ConnectProperties::default() },
            client_id: &self.texts[2],
            will: self.maybe(10, will),
            user_name,
            password: self.maybe(11, self.data[1].as_slice()).filter(|_| v5 || user_name.is_some()),
        }
    }

    fn connack(&self, version: ProtocolVersion) -> Connack<'_> {
        let reason = self.pick(&[ReasonCode::Success, ReasonCode::NotAuthorized, ReasonCode::ServerUnavailable]);
        let properties = ConnackProperties {
            session_expiry_interval: self.maybe(12, self.numbers[0]),
            receive_maximum: self.words[1].max(1),
            maximum_qos: self.qos(),
            retain_available: self.bit(13),
            maximum_packet_size: self.maybe(14, self.numbers[1].max(1)),
            assigned_client_identifier: self.maybe(15, &self.texts[0]),
            topic_alias_maximum: self.words[2],
            reason_string: self.maybe(16, &self.texts[1]),
            wildcard_subscription_available: self.bit(17),
            subscription_identifiers_available: self.bit(18),
            shared_subscription_available: self.bit(19),
            server_keep_alive: self.maybe(20, self.words[3]),
            response_information: self.maybe(21, &self.texts[2]),
            server_reference: self.maybe(22, &self.texts[3]),
            authentication_method: self.maybe(23, &self.texts[4]),
            authentication_data: self.maybe(24, &self.data[1]),
            user_properties: self.user_properties(version),
        };
        Connack {
            session_present: self.bit(25) && !reason.is_error(),
            reason,
            properties: if version == V5 { properties } else { ConnackProperties::default() },
        }
    }

    fn publish(&self, version: ProtocolVersion) -> Publish<'_> {
        let qos = self.qos();
        let acknowledged = qos != Qos::AtMostOnce;
        let topic_alias = self.maybe(26, self.words[1].max(1)).filter(|_| version == V5);
        Publish {
            dup: acknowledged && self.bit(27),
            qos,
            retain: self.bit(28),
            topic: if topic_alias.is_some() && self.bit(29) { "" } else { &self.topics[0] },
            packet_id: if acknowledged { self.packet_id() } else { 0 },
            topic_alias,
            properties: self.message_properties(version).into(),
            payload: &self.data[0],
        }
    }

    fn subscribe(&self, version: ProtocolVersion) -> Subscribe<'_> {
        let mut first = Subscription::new(&self.topics[0], self.qos());
        if version == V5 {
            first.no_local = self.bit(30) && !first.filter.starts_with("$share/");
            first.retain_as_published = self.bit(31);
            first.retain_handling =
                self.pick(&[RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
        }
        Subscribe {
            packet_id: self.packet_id(),
            subscription_identifier: self.maybe(32, self.numbers[0] % 268_435_455 + 1).filter(|_| version == V5),
            user_properties: self.user_properties(version),
            subscriptions: vec![first, Subscription::new("+/#", Qos::ExactlyOnce)],
        }
    }

    fn suback(&self, version: ProtocolVersion) -> Suback<'_> {
        Suback {
            packet_id: self.packet_id(),
            reasons: vec![ReasonCode::granted(self.qos()), ReasonCode::UnspecifiedError],
            reason_string: self.maybe(33, self.texts[0].as_str()).filter(|_| version == V5),
            user_properties: self.user_properties(version),
        }
    }

    fn unsubscribe(&self, version: ProtocolVersion) -> Unsubscribe<'_> {
        Unsubscribe {
            packet_id: self.packet_id(),
            user_properties: self.user_properties(version),
            filters: vec![&self.topics[0], "+/a"],
        }
    }

    fn unsuback(&self, version: ProtocolVersion) -> Suback<'_> {
        let reasons = vec![ReasonCode::NoSubscriptionExisted, ReasonCode::Success];
        Suback { reasons: if version == V5 { reasons } else { Vec::new() }, ..self.suback(version) }
    }

    fn disconnect(&self, version: ProtocolVersion) -> Disconnect<'_> {
        let reason = self.pick(&[
            ReasonCode::NORMAL_DISCONNECTION,
            ReasonCode::DisconnectWithWillMessage,
            ReasonCode::ProtocolError,
        ]);
        let plain = Disconnect::new(if version == V5 { reason } else { ReasonCode::NORMAL_DISCONNECTION });
        if version != V5 || self.bit(34) {
            return plain;
        }
        Disconnect {
            session_expiry_interval: self.maybe(35, self.numbers[0]),
            reason_string: self.maybe(36, &self.texts[0]),
            server_reference: self.maybe(37, &self.texts[1]),
            user_properties: self.user_properties(version),
            ..plain
        }
    }

    fn auth(&self) -> Auth<'_> {
        Auth {
            authentication_data: self.maybe(38, &self.data[1]),
            reason_string: self.maybe(39, &self.texts[0]),
            user_properties: self.user_properties(V5),
            ..Auth::new(ReasonCode::ContinueAuthentication, Some(&self.texts[1]))
        }
    }
}
