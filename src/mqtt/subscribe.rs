//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 sections 3.8 to 3.11): checked here, put on record, made by
//! the dispatcher in its turn, and answered once they are in effect.

use super::{
    acknowledge::Answer,
    codec::{PacketType, ProtocolVersion, ReasonCode, Suback, Subscribe, Subscription, Unsubscribe, UserProperties},
    connection::Connection,
    ledger::change::Change,
    receive::is_within_limits,
    topic_match::split_share,
};
use crate::types::TopicFilter;

impl<S> Connection<S> {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>) {
        let mut granted = Vec::new();
        // One packet can have hundreds of thousands of entries, each of which costs everybody.
        let within = subscribe.subscriptions.iter().take(self.broker.settings.maximum_subscriptions);
        let mut reasons: Vec<_> = within
            .map(|subscription| match self.check_subscription(subscription) {
                Ok(()) => {
                    granted.push(*subscription);
                    ReasonCode::granted(subscription.maximum_qos)
                }
                Err(reason) => reason,
            })
            .collect();
        reasons.resize(subscribe.subscriptions.len(), ReasonCode::QuotaExceeded);
        let refused = reasons.iter().map(|&reason| if reason.is_error() { reason } else { ReasonCode::QuotaExceeded });
        let refused = self.encode_answer(PacketType::Suback, subscribe.packet_id, refused.collect());
        let accepted = self.encode_answer(PacketType::Suback, subscribe.packet_id, reasons);
        if granted.is_empty() {
            self.out.extend_from_slice(&accepted);
            return;
        }
        let identifier = subscribe.subscription_identifier.unwrap_or(0);
        let change = Change::Subscribe { identifier, subscriptions: granted };
        change.record(self.owned.session.id, true, &mut self.batch);
        self.answers.push(Answer::Applied { accepted, refused });
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) {
        let mut ended = Vec::new();
        let mut reasons = Vec::new();
        for &filter in &unsubscribe.filters {
            reasons.push(if !is_valid(filter) {
                ReasonCode::TopicFilterInvalid
            } else if self.owned.session.subscriptions.lock().remove(filter) {
                ended.push(filter);
                ReasonCode::Success
            } else {
                ReasonCode::NoSubscriptionExisted
            });
        }
        let mut refused: Vec<_> = reasons
            .iter()
            .map(|&reason| if reason == ReasonCode::Success { ReasonCode::UnspecifiedError } else { reason })
            .collect();
        if self.agreement.version == ProtocolVersion::V311 {
            reasons.clear();
            refused.clear();
        }
        let accepted = self.encode_answer(PacketType::Unsuback, unsubscribe.packet_id, reasons);
        if ended.is_empty() {
            self.out.extend_from_slice(&accepted);
            return;
        }
        let refused = self.encode_answer(PacketType::Unsuback, unsubscribe.packet_id, refused);
        Change::Unsubscribe { filters: ended }.record(self.owned.session.id, true, &mut self.batch);
        self.answers.push(Answer::Applied { accepted, refused });
    }

    /// Whether a subscription can be made. Counts it, ahead of its being on record: the limit must hold
    /// for what is under way as well.
    fn check_subscription(&self, subscription: &Subscription<'_>) -> Result<(), ReasonCode> {
        if !is_valid(subscription.filter) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let mut filters = self.owned.session.subscriptions.lock();
        if !filters.contains(subscription.filter) {
            if filters.len() >= self.broker.settings.maximum_subscriptions {
                return Err(ReasonCode::QuotaExceeded);
            }
            filters.insert(subscription.filter.into());
        }
        Ok(())
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

/// Whether text is a filter, shared or not, within the limits.
fn is_valid(text: &str) -> bool {
    split_share(text).is_some_and(|(_, filter)| TopicFilter::check(filter).is_ok() && is_within_limits(filter))
}
