//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 sections 3.8 to 3.11).

use std::sync::Arc;

use super::{
    Broker,
    acknowledge::Answer,
    codec::{
        PacketType, ProtocolVersion, ReasonCode, RetainHandling, Suback, Subscribe, Subscription, Unsubscribe,
        UserProperties,
    },
    connection::Connection,
    mailbox::{Delivery, Source},
    receive::is_within_limits,
    routing::SubscriptionOptions,
    session::{Session, SessionState},
};
use crate::{
    journal::Watermark,
    types::{Qos, TopicFilter},
};

impl<S> Connection<S> {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>) {
        let identifier = subscribe.subscription_identifier.unwrap_or(0);
        let one = |subscription: &Subscription<'_>| {
            self.broker.subscribe(&self.owned.session, &mut self.owned.state, subscription, identifier)
        };
        // One packet can have hundreds of thousands of entries, each of which costs everybody.
        let within = subscribe.subscriptions.iter().take(self.broker.settings.maximum_subscriptions);
        let mut reasons: Vec<_> = within.map(one).collect();
        reasons.resize(subscribe.subscriptions.len(), ReasonCode::QuotaExceeded);
        let granted = reasons.iter().any(|reason| !reason.is_error());
        let packet = self.encode_answer(PacketType::Suback, subscribe.packet_id, reasons);
        if granted && self.owned.state.kept {
            // From now on a restart would lose what waits for it, so it must not come back.
            let client_id = self.owned.session.client_id.clone();
            self.owned.state.stop_keeping(client_id.as_str(), &mut self.batch);
            self.answers.push(Answer::Packet(packet));
        } else {
            self.out.extend_from_slice(&packet);
        }
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) {
        let one = |filter: &&str| match filter.parse::<TopicFilter>() {
            Err(_) => ReasonCode::TopicFilterInvalid,
            Ok(filter) if !self.owned.state.subscriptions.remove(&filter) => ReasonCode::NoSubscriptionExisted,
            Ok(filter) => {
                self.broker.routing.lock().unsubscribe(&filter, &self.owned.session);
                ReasonCode::Success
            }
        };
        let mut reasons: Vec<_> = unsubscribe.filters.iter().map(one).collect();
        if self.agreement.version == ProtocolVersion::V311 {
            reasons.clear();
        }
        let packet = self.encode_answer(PacketType::Unsuback, unsubscribe.packet_id, reasons);
        self.out.extend_from_slice(&packet);
    }

    fn encode_answer(&self, packet: PacketType, packet_id: u16, mut reasons: Vec<ReasonCode>) -> Vec<u8> {
        let version = self.agreement.version;
        if version == ProtocolVersion::V311 {
            // 3.1.1 knows one failure only (section 3.9.3).
            reasons
                .iter_mut()
                .filter(|reason| reason.is_error())
                .for_each(|reason| *reason = ReasonCode::UnspecifiedError);
        }
        let mut out = Vec::new();
        Suback { packet_id, reasons, reason_string: None, user_properties: UserProperties::default() }
            .encode(packet, version, &mut out);
        out
    }
}

impl Broker {
    /// Makes one subscription, with its retained messages ahead of any live one.
    fn subscribe(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        subscription: &Subscription<'_>,
        identifier: u32,
    ) -> ReasonCode {
        if subscription.filter.starts_with("$share/") {
            return ReasonCode::SharedSubscriptionsNotSupported;
        }
        let Ok(filter) = subscription.filter.parse::<TopicFilter>() else { return ReasonCode::TopicFilterInvalid };
        if !is_within_limits(filter.as_str()) {
            return ReasonCode::TopicFilterInvalid;
        }
        if !state.subscriptions.contains(&filter) && state.subscriptions.len() >= self.settings.maximum_subscriptions {
            return ReasonCode::QuotaExceeded;
        }
        let options = SubscriptionOptions {
            maximum_qos: subscription.maximum_qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifier,
        };
        let since = self.journal.watermark(Watermark::Durable);
        let mut routing = self.routing.lock();
        let existed = routing.subscribe(&filter, session, options, since);
        let wanted = match subscription.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => !existed,
            RetainHandling::DoNotSend => false,
        };
        if wanted {
            let identifiers: Option<Arc<[u32]>> = (identifier != 0).then(|| Arc::from([identifier]));
            let mut mailbox = session.mailbox.lock();
            for record in routing.retained_for(&filter, self.settings.mailbox.messages) {
                let Some(publication) = record.publication() else { continue };
                let qos = publication.qos.min(subscription.maximum_qos);
                let identifiers = identifiers.clone();
                let delivery = Delivery { source: Source::Retained(record), qos, retain: true, identifiers };
                if !mailbox.put(delivery, self.settings.mailbox) {
                    self.statistics.dropped.add(1);
                }
            }
        }
        state.subscriptions.insert(filter);
        ReasonCode::granted(Qos::min(subscription.maximum_qos, Qos::ExactlyOnce))
    }
}
