//! Against `rmqtt-codec`: what either side encodes, the other decodes to the same.

use std::{
    fmt::Debug,
    num::{NonZeroU16, NonZeroU32},
};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rmqtt_codec::{types::QoS, v3, v5};
use tokio_util::codec::{Decoder, Encoder};

use super::{Packet, ProtocolVersion, V5, V311, decode, draw::draws, encode, sender};
use crate::{
    mqtt::codec::{Ack, Connack, Connect, Publish, ReasonCode, Suback, UserProperties, Will},
    types::{PublishProperties, PublishProperty, Qos},
};

proptest! {
    #[test]
    fn version_3_1_1(draw in draws()) {
        for packet in draw.packets(V311) {
            if let Some(theirs) = to_v3(&packet) {
                assert_understood(&packet, V311, &theirs, v3::Codec::default(), to_v3);
            }
        }
    }

    #[test]
    fn version_5_0(draw in draws()) {
        for packet in draw.packets(V5) {
            let theirs = to_v5(&packet);
            assert_understood(&packet, V5, &theirs, v5::Codec::default(), |packet| Some(to_v5(packet)));
        }
    }
}

/// Checks both directions. The foreign codec has an order of properties of its own, so what it
/// encodes is compared in its own form.
fn assert_understood<T, C>(
    ours: &Packet<'_>,
    version: ProtocolVersion,
    theirs: &T,
    mut codec: C,
    convert: impl Fn(&Packet<'_>) -> Option<T>,
) where
    T: Clone + Debug + PartialEq,
    C: Encoder<T, Error: Debug> + Decoder<Item = (T, u32), Error: Debug>,
{
    let mut wire = BytesMut::from(&*encode(ours, version));
    assert_eq!(codec.decode(&mut wire).unwrap().unwrap().0, *theirs, "they decode {ours:?}");
    assert!(wire.is_empty());
    codec.encode(theirs.clone(), &mut wire).unwrap();
    let decoded = decode(&wire, version, sender(ours)).unwrap_or_else(|error| panic!("{theirs:?}: {error}"));
    assert_eq!(convert(&decoded).as_ref(), Some(theirs), "we decode {theirs:?}");
}

fn qos(qos: Qos) -> QoS {
    QoS::try_from(u8::from(qos)).unwrap()
}

fn id(packet_id: u16) -> NonZeroU16 {
    packet_id.try_into().unwrap()
}

fn bytes(data: &[u8]) -> Bytes {
    Bytes::copy_from_slice(data)
}

fn text<T: From<String>>(text: &str) -> T {
    text.to_owned().into()
}

fn code<T: TryFrom<u8, Error: Debug>>(reason: ReasonCode) -> T {
    (reason as u8).try_into().unwrap()
}

/// Nothing where the foreign codec cannot say the same.
fn to_v3(packet: &Packet<'_>) -> Option<v3::Packet> {
    Some(match packet {
        Packet::Connect(connect) => v3::Packet::Connect(Box::new(v3::Connect {
            clean_session: connect.clean_start,
            keep_alive: connect.keep_alive,
            last_will: connect.will.as_ref().map(|will| v3::LastWill {
                qos: qos(will.qos),
                retain: will.retain,
                topic: text(will.topic),
                message: bytes(will.payload),
            }),
            client_id: text(connect.client_id),
            username: connect.user_name.map(text),
            password: connect.password.map(bytes),
            ..v3::Connect::default()
        })),
        Packet::Connack(connack) => v3::Packet::ConnectAck(v3::ConnectAck {
            return_code: connack.reason.connect_return_code().unwrap().try_into().unwrap(),
            session_present: connack.session_present,
        }),
        Packet::Publish(publish) => v3::Packet::Publish(Box::new(to_publish(publish, None))),
        Packet::Puback(ack) => v3::Packet::PublishAck { packet_id: id(ack.packet_id) },
        Packet::Pubrec(ack) => v3::Packet::PublishReceived { packet_id: id(ack.packet_id) },
        Packet::Pubrel(ack) => v3::Packet::PublishRelease { packet_id: id(ack.packet_id) },
        Packet::Pubcomp(ack) => v3::Packet::PublishComplete { packet_id: id(ack.packet_id) },
        Packet::Subscribe(subscribe) => v3::Packet::Subscribe {
            packet_id: id(subscribe.packet_id),
            topic_filters: subscribe.subscriptions.iter().map(|s| (text(s.filter), qos(s.maximum_qos))).collect(),
        },
        Packet::Suback(suback) => v3::Packet::SubscribeAck {
            packet_id: id(suback.packet_id),
            status: suback.reasons.iter().map(|reason| to_return_code(*reason)).collect(),
        },
        Packet::Unsubscribe(unsubscribe) => v3::Packet::Unsubscribe {
            packet_id: id(unsubscribe.packet_id),
            topic_filters: unsubscribe.filters.iter().map(|filter| text(filter)).collect(),
        },
        Packet::Unsuback(suback) => v3::Packet::UnsubscribeAck { packet_id: id(suback.packet_id) },
        Packet::Pingreq => v3::Packet::PingRequest,
        Packet::Pingresp => v3::Packet::PingResponse,
        Packet::Disconnect(_) => v3::Packet::Disconnect,
        Packet::Auth(_) => return None,
    })
}

fn to_return_code(reason: ReasonCode) -> v3::SubscribeReturnCode {
    if reason.is_error() { v3::SubscribeReturnCode::Failure } else { v3::SubscribeReturnCode::Success(code(reason)) }
}

fn to_publish(publish: &Publish<'_>, properties: Option<v5::PublishProperties>) -> rmqtt_codec::types::Publish {
    rmqtt_codec::types::Publish {
        dup: publish.dup,
        retain: publish.retain,
        qos: qos(publish.qos),
        topic: text(publish.topic),
        packet_id: NonZeroU16::new(publish.packet_id),
        payload: bytes(publish.payload),
        properties,
    }
}

fn to_v5(packet: &Packet<'_>) -> v5::Packet {
    match packet {
        Packet::Connect(connect) => v5::Packet::Connect(Box::new(to_connect(connect))),
        Packet::Connack(connack) => v5::Packet::ConnectAck(Box::new(to_connack(connack))),
        Packet::Publish(publish) => {
            let properties = to_publish_properties(publish.properties(), publish.topic_alias);
            v5::Packet::Publish(Box::new(to_publish(publish, Some(properties))))
        }
        Packet::Puback(ack) => v5::Packet::PublishAck(to_ack(ack)),
        Packet::Pubrec(ack) => v5::Packet::PublishReceived(to_ack(ack)),
        Packet::Pubrel(ack) => v5::Packet::PublishRelease(to_release(ack)),
        Packet::Pubcomp(ack) => v5::Packet::PublishComplete(to_release(ack)),
        Packet::Subscribe(subscribe) => v5::Packet::Subscribe(v5::Subscribe {
            packet_id: id(subscribe.packet_id),
            id: subscribe.subscription_identifier.map(|identifier| identifier.try_into().unwrap()),
            user_properties: pairs(subscribe.user_properties),
            topic_filters: subscribe
                .subscriptions
                .iter()
                .map(|subscription| {
                    let options = v5::SubscriptionOptions {
                        qos: qos(subscription.maximum_qos),
                        no_local: subscription.no_local,
                        retain_as_published: subscription.retain_as_published,
                        retain_handling: (subscription.retain_handling as u8).try_into().unwrap(),
                    };
                    (text(subscription.filter), options)
                })
                .collect(),
        }),
        Packet::Suback(Suback { packet_id, reasons, reason_string, user_properties }) => {
            v5::Packet::SubscribeAck(v5::SubscribeAck {
                packet_id: id(*packet_id),
                properties: pairs(*user_properties),
                reason_string: reason_string.map(text),
                status: reasons.iter().map(|reason| code(*reason)).collect(),
            })
        }
        Packet::Unsubscribe(unsubscribe) => v5::Packet::Unsubscribe(v5::Unsubscribe {
            packet_id: id(unsubscribe.packet_id),
            user_properties: pairs(unsubscribe.user_properties),
            topic_filters: unsubscribe.filters.iter().map(|filter| text(filter)).collect(),
        }),
        Packet::Unsuback(Suback { packet_id, reasons, reason_string, user_properties }) => {
            v5::Packet::UnsubscribeAck(v5::UnsubscribeAck {
                packet_id: id(*packet_id),
                properties: pairs(*user_properties),
                reason_string: reason_string.map(text),
                status: reasons.iter().map(|reason| code(*reason)).collect(),
            })
        }
        Packet::Pingreq => v5::Packet::PingRequest,
        Packet::Pingresp => v5::Packet::PingResponse,
        Packet::Disconnect(disconnect) => v5::Packet::Disconnect(v5::Disconnect {
            reason_code: code(disconnect.reason),
            session_expiry_interval_secs: disconnect.session_expiry_interval,
            server_reference: disconnect.server_reference.map(text),
            reason_string: disconnect.reason_string.map(text),
            user_properties: pairs(disconnect.user_properties),
        }),
        Packet::Auth(auth) => v5::Packet::Auth(v5::Auth {
            reason_code: code(auth.reason),
            auth_method: auth.authentication_method.map(text),
            auth_data: auth.authentication_data.map(bytes),
            reason_string: auth.reason_string.map(text),
            user_properties: pairs(auth.user_properties),
        }),
    }
}

fn pairs(properties: UserProperties<'_>) -> v5::UserProperties {
    properties.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn to_connect(connect: &Connect<'_>) -> v5::Connect {
    let properties = &connect.properties;
    v5::Connect {
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        session_expiry_interval_secs: properties.session_expiry_interval,
        auth_method: properties.authentication_method.map(text),
        auth_data: properties.authentication_data.map(bytes),
        request_problem_info: properties.request_problem_information,
        request_response_info: properties.request_response_information,
        receive_max: NonZeroU16::new(properties.receive_maximum).filter(|maximum| maximum.get() != u16::MAX),
        topic_alias_max: properties.topic_alias_maximum,
        user_properties: pairs(properties.user_properties),
        max_packet_size: properties.maximum_packet_size.and_then(NonZeroU32::new),
        last_will: connect.will.as_ref().map(to_will),
        client_id: text(connect.client_id),
        username: connect.user_name.map(text),
        password: connect.password.map(bytes),
        cert: None,
    }
}

fn to_will(will: &Will<'_>) -> v5::LastWill {
    let properties = to_publish_properties(will.properties(), None);
    v5::LastWill {
        qos: qos(will.qos),
        retain: will.retain,
        topic: text(will.topic),
        message: bytes(will.payload),
        will_delay_interval_sec: (will.delay_interval != 0).then_some(will.delay_interval),
        correlation_data: properties.correlation_data,
        message_expiry_interval: properties.message_expiry_interval,
        content_type: properties.content_type,
        user_properties: properties.user_properties,
        is_utf8_payload: properties.is_utf8_payload.then_some(true),
        response_topic: properties.response_topic,
    }
}

fn to_connack(connack: &Connack<'_>) -> v5::ConnectAck {
    let properties = &connack.properties;
    v5::ConnectAck {
        session_present: connack.session_present,
        reason_code: code(connack.reason),
        session_expiry_interval_secs: properties.session_expiry_interval,
        receive_max: id(properties.receive_maximum),
        max_qos: qos(properties.maximum_qos),
        max_packet_size: properties.maximum_packet_size,
        assigned_client_id: properties.assigned_client_identifier.map(text),
        topic_alias_max: properties.topic_alias_maximum,
        retain_available: properties.retain_available,
        wildcard_subscription_available: properties.wildcard_subscription_available,
        subscription_identifiers_available: properties.subscription_identifiers_available,
        shared_subscription_available: properties.shared_subscription_available,
        server_keepalive_sec: properties.server_keep_alive,
        response_info: properties.response_information.map(text),
        server_reference: properties.server_reference.map(text),
        auth_method: properties.authentication_method.map(text),
        auth_data: properties.authentication_data.map(bytes),
        reason_string: properties.reason_string.map(text),
        user_properties: pairs(properties.user_properties),
    }
}

fn to_ack(ack: &Ack) -> v5::PublishAck {
    v5::PublishAck {
        packet_id: id(ack.packet_id),
        reason_code: code(ack.reason),
        properties: Vec::new(),
        reason_string: None,
    }
}

fn to_release(ack: &Ack) -> v5::PublishAck2 {
    v5::PublishAck2 {
        packet_id: id(ack.packet_id),
        reason_code: code(ack.reason),
        properties: Vec::new(),
        reason_string: None,
    }
}

fn to_publish_properties(properties: PublishProperties<'_>, topic_alias: Option<u16>) -> v5::PublishProperties {
    let mut theirs = v5::PublishProperties {
        topic_alias: topic_alias.and_then(NonZeroU16::new),
        ..v5::PublishProperties::default()
    };
    for entry in properties.iter() {
        match entry.unwrap().0 {
            PublishProperty::PayloadFormatIndicator(indicator) => theirs.is_utf8_payload = indicator == 1,
            PublishProperty::MessageExpiryInterval(seconds) => {
                theirs.message_expiry_interval = NonZeroU32::new(seconds);
            }
            PublishProperty::ContentType(kind) => theirs.content_type = Some(text(kind)),
            PublishProperty::ResponseTopic(topic) => theirs.response_topic = Some(text(topic)),
            PublishProperty::CorrelationData(data) => theirs.correlation_data = Some(bytes(data)),
            PublishProperty::SubscriptionIdentifier(identifier) => {
                theirs.subscription_ids.push(identifier.try_into().unwrap());
            }
            PublishProperty::TopicAlias(alias) => panic!("alias {alias} among the properties"),
            PublishProperty::UserProperty(name, value) => theirs.user_properties.push((text(name), text(value))),
        }
    }
    theirs
}
