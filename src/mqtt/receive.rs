//! What a client sends, packet by packet: into the batch for the journal, with the answer that
//! waits for it, or straight into the output.

use std::sync::{Arc, atomic::Ordering};

use super::{
    access::Client,
    acknowledge::{Answer, Answers, Condition},
    announce::Announced,
    codec::{Ack, Disconnect, Packet, PacketType, ProtocolVersion, Publish, ReasonCode, Sender, split},
    connection::{Connection, Introduction},
    end::End,
    ledger::change::Change,
    system,
    window::{Receipt, Window},
};
use crate::{
    auth::access::{RefusedPublish, Rules},
    journal::{AppendError, Batch, BatchBuilder, Origin, Record},
    limits,
    types::{Micros, Publication, Qos, Sequence},
};

const NOT_FOUND: &str = "no message waits under this packet identifier";

/// Topic aliases that a client has set (MQTT 5.0 section 3.3.2.3.4), by alias less 1.
#[derive(Debug, Default)]
pub struct Aliases(Vec<Option<Box<str>>>);

impl Aliases {
    /// The topic of a PUBLISH, remembering or resolving its alias.
    fn resolve<'a>(&'a mut self, publish: &Publish<'a>, maximum: u16) -> Result<&'a str, End> {
        let Some(alias) = publish.topic_alias else { return Ok(publish.topic) };
        let invalid =
            End::Forbidden(ReasonCode::TopicAliasInvalid, "the topic alias is not in use, or above the maximum");
        if alias > maximum {
            return Err(invalid);
        }
        let at = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            return self.0.get(at).and_then(Option::as_deref).ok_or(invalid);
        }
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = Some(publish.topic.into());
        }
        Ok(publish.topic)
    }
}

impl<S> Connection<S> {
    /// Takes whole packets out of `bytes`, as many as one batch may have; returns the bytes they
    /// took.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Result<usize, End> {
        let mut taken = 0;
        while self.batch.bytes() < limits::MAXIMUM_BATCH_BYTES {
            let rest = bytes.get(taken..).unwrap_or_default();
            let Some(frame) = split(rest, self.profile.maximum_packet_size)? else { return Ok(taken) };
            // Whatever is in it: the reasons for refusing a CONNECT are not all reasons of a DISCONNECT.
            if frame.packet_type() == PacketType::Connect {
                return Err(second_connect());
            }
            let packet = Packet::decode(&frame, self.agreement.version, Sender::Client)?;
            self.handle(packet)?;
            self.has_heard = true;
            taken += frame.length();
        }
        self.more = true;
        Ok(taken)
    }

    /// Takes in what earlier reads have left.
    pub(super) fn take_in_input(&mut self) -> Result<(), End> {
        self.more = false;
        let mut input = std::mem::take(&mut self.input);
        let taken = self.take_in(&input)?;
        input.drain(..taken);
        if !input.is_empty() {
            self.input = input;
        }
        Ok(())
    }

    fn handle(&mut self, packet: Packet<'_>) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(&publish),
            Packet::Pubrel(ack) => {
                self.release(ack.packet_id);
                Ok(())
            }
            Packet::Puback(ack) => {
                self.acknowledged(ack);
                Ok(())
            }
            Packet::Pubrec(ack) => {
                self.received(ack);
                Ok(())
            }
            Packet::Pubcomp(ack) => {
                self.owned.state.window.complete(ack.packet_id);
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::Pingreq => Packet::Pingresp
                .encode(self.agreement.version, u32::MAX, &mut self.out)
                .map_err(|_| End::Forbidden(ReasonCode::UnspecifiedError, "a PINGRESP has two bytes")),
            Packet::Disconnect(disconnect) => Err(self.disconnected(&disconnect)),
            Packet::Connect(_) => Err(second_connect()),
            Packet::Auth(auth) => self.re_authenticate(&auth),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Err(End::Forbidden(ReasonCode::ProtocolError, "a packet that only a server may send"))
            }
        }
    }

    fn publish(&mut self, publish: &Publish<'_>) -> Result<(), End> {
        self.check_profile(publish)?;
        let topic = self.aliases.resolve(publish, self.profile.topic_alias_maximum)?;
        if !is_within_limits(topic) {
            return Err(End::Forbidden(
                ReasonCode::TopicNameInvalid,
                "the topic name is too long or has too many levels",
            ));
        }
        self.broker.statistics.received.add(1);
        if topic.starts_with(system::PREFIX) {
            self.broker.statistics.reserved.add(1);
            return self.deny(publish, ReasonCode::NotAuthorized);
        }
        let client = Client::of(&self.identity, &self.owned);
        let packet_id = publish.packet_id;
        // What was let in before is answered as it was then.
        let is_repeated = publish.qos == Qos::ExactlyOnce && self.owned.state.held.contains_key(&packet_id);
        if !is_repeated && !self.access.may_publish(&self.broker.access, client, topic) {
            return self.forbid(publish);
        }
        if !is_repeated && !self.profile.takes_payload(publish.properties(), publish.payload) {
            self.broker.statistics.invalid_payloads.add(1);
            return self.deny(publish, ReasonCode::PayloadFormatInvalid);
        }
        let state = &mut *self.owned.state;
        match publish.qos {
            Qos::AtMostOnce => self.best_effort += 1,
            Qos::AtLeastOnce => self.answers.push(Answer::Puback(packet_id)),
            Qos::ExactlyOnce => {
                if let Some(&sequence) = state.held.get(&packet_id) {
                    self.answers.repeat(Answer::Pubrec(packet_id), sequence);
                    return Ok(());
                }
                state.held.insert(packet_id, Sequence(u64::MAX));
                self.answers.push(Answer::Pubrec(packet_id));
            }
        }
        let guaranteed =
            publish.qos > Qos::AtMostOnce || (self.broker.guarantees)(topic) || self.broker.commands.awaits(topic);
        let publication = Publication {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            topic,
            payload: publish.payload,
            qos: publish.qos,
            // 3.1.1 clients cannot be told; 5.0 clients were, and are gone.
            retain: publish.retain && self.profile.retain_available,
            guaranteed,
            client_id: self.owned.session.client_id.as_str(),
            properties: publish.properties(),
        };
        let held = publish.qos == Qos::ExactlyOnce && state.expiry > 0;
        let origin = if held { Origin::Held(packet_id) } else { Origin::Plain };
        self.batch.push(&Record::Publication { publication, origin });
        self.check_receive_maximum()
    }

    /// What the listener does not take, 5.0 clients know from CONNACK. 3.1.1 has no word for it: a
    /// message that is not retained is better than none, while one of a lower QoS is not.
    fn check_profile(&self, publish: &Publish<'_>) -> Result<(), End> {
        if publish.qos > self.profile.maximum_qos {
            return Err(End::Forbidden(ReasonCode::QosNotSupported, "a QoS above what this listener takes"));
        }
        if publish.retain && !self.profile.retain_available && self.agreement.version == ProtocolVersion::V5 {
            return Err(End::Forbidden(ReasonCode::RetainNotSupported, "this listener retains nothing"));
        }
        Ok(())
    }

    /// What becomes of a message that no access rule allows.
    fn forbid(&mut self, publish: &Publish<'_>) -> Result<(), End> {
        self.broker.statistics.may_not_publish.add(1);
        if self.access.is_first_refusal() {
            let (client_id, peer) = (&self.owned.session.client_id, self.presence.peer);
            tracing::info!(client.id = %client_id, %peer, "refused a message: no access rule allows it");
        }
        let can_be_told = publish.qos == Qos::AtMostOnce || self.agreement.version == ProtocolVersion::V5;
        match self.access.rules().map(Rules::refused_publish) {
            Some(RefusedPublish::Disconnect) if !can_be_told => {
                Err(End::Forbidden(ReasonCode::NotAuthorized, "no access rule allows to publish there"))
            }
            _ => self.deny(publish, ReasonCode::NotAuthorized),
        }
    }

    /// Lets a message go nowhere, and says so where there are words for it.
    fn deny(&mut self, publish: &Publish<'_>, reason: ReasonCode) -> Result<(), End> {
        let (packet, plain) = match publish.qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce => (PacketType::Puback, Answer::Puback(publish.packet_id)),
            Qos::ExactlyOnce => (PacketType::Pubrec, Answer::Pubrec(publish.packet_id)),
        };
        let denied = Answer::Denied(packet, publish.packet_id, reason);
        self.answers.push(if self.agreement.version == ProtocolVersion::V5 { denied } else { plain });
        self.check_receive_maximum()
    }

    /// More unacknowledged publications than the bridge has said it takes are a protocol error
    /// in 5.0 [MQTT-3.3.4-7]; 3.1.1 has no such limit and is slowed down instead. A QoS 2 message
    /// counts until its PUBREL.
    fn check_receive_maximum(&self) -> Result<(), End> {
        let unacknowledged = self.queue.qos1() + self.answers.qos1() + self.held_now();
        if self.agreement.version == ProtocolVersion::V5 && unacknowledged > usize::from(self.profile.receive_maximum) {
            return Err(End::Forbidden(ReasonCode::ReceiveMaximumExceeded, "more messages in flight than allowed"));
        }
        Ok(())
    }

    /// QoS 2 messages received on this connection and not released.
    fn held_now(&self) -> usize {
        self.owned.state.held.len() - self.held_before.as_deref().map_or(0, |held| held.len())
    }

    /// PUBREL: the identifier is free, once that is on disk for a session that is kept. Before
    /// that a PUBCOMP could make the client use it again, for a message that a restart would
    /// then take for a repeat.
    fn release(&mut self, packet_id: u16) {
        let kept = self.owned.is_kept();
        let known = self.owned.state.held.remove(&packet_id).is_some();
        if let Some(held) = &mut self.held_before {
            held.remove(&packet_id);
        }
        if !known && !kept && self.agreement.version == ProtocolVersion::V5 {
            let reason = ReasonCode::PacketIdentifierNotFound;
            let why = self.agreement.explain(NOT_FOUND);
            Ack { packet_id, reason }.encode(PacketType::Pubcomp, self.agreement.version, why, &mut self.out);
            return;
        }
        // Also where it is not known: the record of an earlier release may have been refused.
        if kept {
            Change::Release { packet_id }.record(self.owned.session.id, true, &mut self.batch);
        }
        self.answers.push(Answer::Pubcomp(packet_id));
    }

    /// PUBACK: the client has the message, or will not have it.
    fn acknowledged(&mut self, ack: Ack) {
        let sequence = self.watched(ack.packet_id);
        let window = &mut self.owned.state.window;
        if window.acknowledge(ack.packet_id, Qos::AtLeastOnce) && !ack.reason.is_error() {
            self.note_delivered(sequence);
        }
    }

    /// The record of a message in flight, where any may be a command.
    fn watched(&self, packet_id: u16) -> Option<Sequence> {
        if self.broker.commands.is_watching() { self.owned.state.window.sequence(packet_id) } else { None }
    }

    /// Where a device has got a command, that is put on record, in front of the acknowledgement: so a crash takes
    /// neither, or the latter alone.
    fn note_delivered(&mut self, sequence: Option<Sequence>) {
        if let Some(sequence) = sequence {
            let (broker, session) = (&self.broker, &self.owned.session);
            broker.commands.acknowledged(&broker.settings.devices, session, sequence, &mut self.batch);
        }
    }

    /// PUBREC: the client has the message, or will not have it. PUBREL leaves once that is on record,
    /// or a start would send the message again after the client has forgotten its identifier.
    fn received(&mut self, ack: Ack) {
        let Ack { packet_id, reason } = ack;
        let sequence = self.watched(packet_id);
        let window = &mut self.owned.state.window;
        if reason.is_error() {
            window.acknowledge(packet_id, Qos::ExactlyOnce);
            return;
        }
        let receipt = window.receive(packet_id);
        if matches!(receipt, Receipt::First(_)) {
            self.note_delivered(sequence);
        }
        let reason = match receipt {
            Receipt::First(number) if self.owned.session.tracked.load(Ordering::Acquire) => {
                let number = self.owned.session.on_record(number);
                Change::Receive { number }.record(self.owned.session.id, true, &mut self.batch);
                self.answers.push(Answer::Pubrel(packet_id));
                return;
            }
            // Behind any that waits for its record.
            Receipt::Repeated => return self.answers.push(Answer::Pubrel(packet_id)),
            Receipt::First(_) => ReasonCode::Success,
            Receipt::Unknown => ReasonCode::PacketIdentifierNotFound,
        };
        let why = self.agreement.explain(NOT_FOUND);
        Ack { packet_id, reason }.encode(PacketType::Pubrel, self.agreement.version, why, &mut self.out);
    }

    /// Puts on record what the client has acknowledged. Nobody waits for it: should it be lost, those
    /// messages are sent again.
    fn record_progress(&mut self) {
        let progress = self.owned.state.window.present_mut().and_then(Window::take_progress);
        if let Some(acknowledged) = progress
            && self.owned.session.tracked.load(Ordering::Acquire)
        {
            let acknowledged = acknowledged.on_record(|number| self.owned.session.on_record(number));
            Change::Acknowledge(acknowledged).record(self.owned.session.id, false, &mut self.batch);
        }
    }

    fn disconnected(&mut self, disconnect: &Disconnect<'_>) -> End {
        if let Some(expiry) = disconnect.session_expiry_interval {
            // A session that was to end with its connection cannot be prolonged now (section 3.14.2.2.2).
            if self.owned.state.expiry == 0 && expiry != 0 {
                return End::Forbidden(ReasonCode::ProtocolError, "a session expiry where CONNECT had none");
            }
            self.owned.state.expiry = expiry.min(self.broker.settings.maximum_session_expiry);
        }
        if disconnect.reason == ReasonCode::NORMAL_DISCONNECTION {
            End::Disconnected
        } else {
            End::DisconnectedWithWill
        }
    }

    /// Appends what the last read has brought, and queues the answers to it. Where that must wait it does so in
    /// a box, so that clients for whom there is room do not hold the space.
    pub(super) async fn journal_batch(&mut self) -> Result<(), End> {
        self.record_progress();
        if !self.batch.is_empty() && self.introduction.is_refused() {
            Box::pin(self.introduce()).await?;
        }
        match self.append_batch()? {
            Some(batch) => Box::pin(self.append_later(batch)).await,
            None => Ok(()),
        }
    }

    /// Appends the batch, or hands it back where that has to wait.
    fn append_batch(&mut self) -> Result<Option<Box<BatchBuilder>>, End> {
        if self.batch.is_empty() {
            let answers = std::mem::take(&mut self.answers);
            self.queue.push(answers.condition(), answers);
            return Ok(None);
        }
        let batch = std::mem::take(&mut self.batch);
        match self.broker.journal.try_append(batch, Some(&self.owned.session.signal)) {
            Ok(Ok(batch)) => self.note_appended(Ok(batch)).map(|()| None),
            Ok(Err(batch)) => Ok(Some(Box::new(batch))),
            Err(error) => self.note_appended(Err(error)).map(|()| None),
        }
    }

    async fn append_later(&mut self, batch: Box<BatchBuilder>) -> Result<(), End> {
        let appended = self.broker.journal.append(*batch, Some(&self.owned.session.signal)).await;
        self.note_appended(appended)
    }

    /// Queues the answers to what was appended, or was not.
    fn note_appended(&mut self, appended: Result<Arc<Batch>, AppendError>) -> Result<(), End> {
        let answers = std::mem::take(&mut self.answers);
        let best_effort = std::mem::take(&mut self.best_effort);
        let condition = match appended {
            Ok(batch) => {
                self.note_held(&answers, batch.last());
                Condition::Settled(batch)
            }
            Err(AppendError::Full) => {
                self.broker.statistics.shed.add(best_effort);
                Condition::Refused
            }
            Err(error) => {
                self.forget_unappended(&answers);
                return Err(if error == AppendError::Failed { End::JournalFailed } else { End::ShuttingDown });
            }
        };
        self.queue.push(condition, answers);
        Ok(())
    }

    /// Puts the CONNECT on record again, where there was no room for it: without it, nothing that the
    /// session does has an effect.
    async fn introduce(&mut self) -> Result<(), End> {
        let mut batch = BatchBuilder::default();
        Change::Connect {
            client_id: self.owned.session.client_id.as_str(),
            user: self.identity.as_deref().and_then(|identity| identity.user.as_deref()),
            expiry: self.owned.state.expiry,
            receive_maximum: self.agreement.receive_maximum,
            will: None,
        }
        .record(self.owned.session.id, false, &mut batch);
        let untold = self.introduction.take_untold();
        if let Some(untold) = &untold {
            let client_id = &self.owned.session.client_id;
            untold.open(client_id, self.broker.device_of(client_id), &mut batch);
        }
        self.introduction = match self.broker.journal.append(batch, Some(&self.owned.session.signal)).await {
            Ok(batch) => {
                self.announced = untold.and_then(|_| Announced::by(&batch));
                Introduction::Appended(batch)
            }
            Err(AppendError::Full) => Introduction::Refused(untold),
            Err(AppendError::Failed) => return Err(End::JournalFailed),
            Err(AppendError::Closed) => return Err(End::ShuttingDown),
        };
        Ok(())
    }

    /// QoS 2 identifiers whose messages were not appended are not held.
    fn forget_unappended(&mut self, answers: &Answers) {
        for answer in answers.iter() {
            if let Answer::Pubrec(packet_id) = answer {
                self.owned.state.forget_held(*packet_id, Sequence(u64::MAX));
            }
        }
    }

    /// Records which append the QoS 2 identifiers of a batch stand for.
    fn note_held(&mut self, answers: &Answers, last: Sequence) {
        for answer in answers.iter() {
            if let Answer::Pubrec(packet_id) = answer
                && let Some(sequence) = self.owned.state.held.get_mut(packet_id)
                && *sequence == Sequence(u64::MAX)
            {
                *sequence = last;
            }
        }
    }
}

const fn second_connect() -> End {
    End::Forbidden(ReasonCode::ProtocolError, "a second CONNECT [MQTT-3.1.0-2]")
}

/// Whether records may carry this topic.
pub(super) fn is_within_limits(topic: &str) -> bool {
    topic.len() <= limits::MAXIMUM_TOPIC_BYTES && topic.split('/').count() <= limits::MAXIMUM_TOPIC_LEVELS
}
