//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 sections 3.8 to 3.11): checked here, put on record, made by
//! the dispatcher in its turn, and answered once they are in effect.

use hashbrown::{HashMap, HashSet};

use super::{
    access::Client,
    acknowledge::{Answer, Filter, JOURNAL_FULL},
    codec::{
        PacketType, ProtocolVersion, ReasonCode, RetainHandling, Suback, Subscribe, Subscription, Unsubscribe,
        UserProperties,
    },
    connection::Connection,
    end::End,
    ledger::{change::Change, owed::Portion},
    receive::is_within_limits,
    topic_match::{literal_prefix, split_share},
};
use crate::{
    auth::access::{Grant, RefusedSubscribe},
    journal::AppendError,
    limits,
    types::TopicFilter,
};

impl<S> Connection<S> {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), End> {
        let mut granted: Vec<Subscription<'_>> = Vec::new();
        let mut filters = Vec::new();
        let mut places: HashMap<&str, usize, foldhash::fast::RandomState> = HashMap::default();
        let mut reasons = Vec::with_capacity(subscribe.subscriptions.len());
        let mut asked = 0;
        for subscription in &subscribe.subscriptions {
            let subscription = &self.within_profile(*subscription);
            let is_known = places.contains_key(subscription.filter);
            // Rules are asked about as many filters as a session may have; a packet can hold far more.
            if !is_known && self.access.rules().is_some() {
                asked += 1;
                if asked > self.broker.settings.maximum_subscriptions {
                    reasons.push(ReasonCode::QuotaExceeded);
                    continue;
                }
            }
            let checked = if is_known { Ok(None) } else { self.check_subscription(subscription).map(Some) };
            match checked {
                Err(reason) => reasons.push(reason),
                Ok(checked) => {
                    filters.extend(checked);
                    reasons.push(ReasonCode::granted(subscription.maximum_qos));
                    // The last one counts. One packet can name a filter hundreds of thousands of times,
                    // and each would cost everybody.
                    let place = *places.entry(subscription.filter).or_insert(granted.len());
                    match granted.get_mut(place) {
                        Some(earlier) => *earlier = *subscription,
                        None => granted.push(*subscription),
                    }
                }
            }
        }
        let refused = reasons.iter().map(|&reason| if reason.is_error() { reason } else { ReasonCode::QuotaExceeded });
        let refused = self.encode_answer(PacketType::Suback, subscribe.packet_id, refused.collect())?;
        let accepted = self.encode_answer(PacketType::Suback, subscribe.packet_id, reasons)?;
        if granted.is_empty() {
            self.out.extend_from_slice(&accepted);
            return Ok(());
        }
        let identifier = subscribe.subscription_identifier.unwrap_or(0);
        let at_once = Some(Portion::of(self.profile.mailbox));
        let change = Change::Subscribe { identifier, at_once, subscriptions: granted };
        change.record(self.owned.session.id, true, &mut self.batch);
        self.answers.push(Answer::Applied { accepted, refused, filters });
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) -> Result<(), End> {
        let mut ended = Vec::new();
        let mut seen: HashSet<&str, foldhash::fast::RandomState> = HashSet::default();
        let mut reasons = Vec::new();
        for &filter in &unsubscribe.filters {
            reasons.push(if !is_valid(filter) {
                ReasonCode::TopicFilterInvalid
            } else if self.owned.session.subscriptions.lock().contains(filter) && seen.insert(filter) {
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
        let accepted = self.encode_answer(PacketType::Unsuback, unsubscribe.packet_id, reasons)?;
        if ended.is_empty() {
            self.out.extend_from_slice(&accepted);
            return Ok(());
        }
        let refused = self.encode_answer(PacketType::Unsuback, unsubscribe.packet_id, refused)?;
        Change::Unsubscribe { filters: ended }.record(self.owned.session.id, true, &mut self.batch);
        self.answers.push(Answer::Applied { accepted, refused, filters: Vec::new() });
        Ok(())
    }

    /// Ends shared subscriptions that rules have changed against, so that others of their groups get the
    /// messages. Others stay, and deliver nothing that is not allowed.
    pub(super) fn forfeit_shared(&mut self) {
        let client = Client::of(&self.identity, &self.owned);
        let forfeited = self.access.take_forfeited(&self.broker.access, client);
        if !forfeited.is_empty() {
            let filters = forfeited.iter().map(|filter| &**filter).collect();
            Change::Unsubscribe { filters }.record(self.owned.session.id, true, &mut self.batch);
        }
    }

    /// What this listener grants of a subscription.
    fn within_profile<'a>(&self, mut subscription: Subscription<'a>) -> Subscription<'a> {
        subscription.maximum_qos = subscription.maximum_qos.min(self.profile.maximum_qos);
        if !self.profile.retain_available {
            subscription.retain_handling = RetainHandling::DoNotSend;
        }
        subscription
    }

    /// Whether a subscription can be made. Counts it, ahead of its being on record: the limit must hold
    /// for what is under way as well.
    fn check_subscription(&mut self, subscription: &Subscription<'_>) -> Result<Filter, ReasonCode> {
        if !is_valid(subscription.filter) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let client = Client::of(&self.identity, &self.owned);
        if let Grant::Refused(answer) = self.access.grant(&self.broker.access, client, subscription.filter) {
            self.broker.statistics.may_not_subscribe.add(1);
            return Err(match answer {
                RefusedSubscribe::Failure => ReasonCode::UnspecifiedError,
                RefusedSubscribe::NotAuthorized | RefusedSubscribe::Filter => ReasonCode::NotAuthorized,
            });
        }
        let mut filters = self.owned.session.subscriptions.lock();
        let is_counted = !filters.contains(subscription.filter);
        if is_counted {
            if filters.len() >= self.broker.settings.maximum_subscriptions {
                return Err(ReasonCode::QuotaExceeded);
            }
            filters.insert(subscription.filter.into());
        }
        Ok(Filter { text: subscription.filter.into(), is_counted })
    }

    /// The answer, with a word on what is refused.
    fn encode_answer(&self, packet: PacketType, packet_id: u16, mut reasons: Vec<ReasonCode>) -> Result<Vec<u8>, End> {
        let version = self.agreement.version;
        let why = reasons.iter().find(|reason| reason.is_error()).map(|reason| match reason {
            ReasonCode::TopicFilterInvalid => "a topic filter is not valid, or too long, or has too many levels",
            ReasonCode::NotAuthorized | ReasonCode::UnspecifiedError => "no access rule allows the topic filter",
            _ if self.is_full() => JOURNAL_FULL,
            _ => "more subscriptions than a session may have",
        });
        if version == ProtocolVersion::V311 {
            // 3.1.1 knows one failure only (section 3.9.3).
            reasons
                .iter_mut()
                .filter(|reason| reason.is_error())
                .for_each(|reason| *reason = ReasonCode::UnspecifiedError);
        }
        let room = (self.agreement.maximum_packet_size as usize).saturating_sub(reasons.len());
        let reason_string = why.filter(|why| why.len() < room).and_then(|why| self.agreement.explain(why));
        let mut out = Vec::new();
        Suback { packet_id, reasons, reason_string, user_properties: UserProperties::default() }
            .encode(packet, version, &mut out);
        if out.len() > self.agreement.maximum_packet_size as usize {
            return Err(End::Forbidden(ReasonCode::PacketTooLarge, "the answer is larger than the client takes"));
        }
        Ok(out)
    }

    fn is_full(&self) -> bool {
        self.broker.journal.check() == Err(AppendError::Full)
    }
}

/// Whether text is a filter, shared or not, within the limits.
fn is_valid(text: &str) -> bool {
    split_share(text).is_some_and(|(_, filter)| {
        let has_wildcards = literal_prefix(filter).len() < filter.len();
        TopicFilter::check(filter).is_ok()
            && is_within_limits(filter)
            && (!has_wildcards || filter.split('/').count() <= limits::MAXIMUM_WILDCARD_LEVELS)
    })
}
