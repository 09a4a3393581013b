//! Towards the client: mailbox entries become PUBLISH packets.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    access::Client,
    codec::{Ack, OutgoingPublish, PacketType},
    connection::Connection,
    end::End,
    mailbox::Delivery,
    window::{Receipt, Resend, packet_id},
};
use crate::{
    journal::{ReadError, Record, Step, Watermark},
    types::{Micros, Publication, Qos, Sequence},
};

/// Sends after which the oldest message in flight is looked for again.
const STALE_AFTER_SENDS: u16 = 1024;

/// A message that must be read from disk.
struct Missing {
    delivery: Delivery,
    /// Its packet identifier, where it was sent before.
    again: Option<u16>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Encodes what waits, as far as window and output allow.
    pub(super) async fn deliver(&mut self) -> Result<(), End> {
        // What other members of shared subscriptions have got meanwhile is not known before.
        let is_resumed = self.broker.applied() >= self.owned.state.connected_at;
        if !is_resumed || self.queue.waits_for_effect() {
            return Ok(());
        }
        self.forget_given_away();
        // Boxed, both what is missing and the wait for it, so that clients who keep up do not hold the space.
        while let Some(missing) = self.deliver_from_memory() {
            Box::pin(self.deliver_from_disk(missing)).await?;
        }
        if self.owned.session.mailbox.lock().is_empty() {
            self.slice = None;
        }
        self.held_back = self.is_backed_up();
        self.note_in_flight();
        Ok(())
    }

    /// Sends everything that memory has, as far as window and output allow; the first message that it has
    /// not.
    fn deliver_from_memory(&mut self) -> Option<Box<Missing>> {
        while !self.is_backed_up() {
            let window = &mut self.owned.state.window;
            let maximum = self.agreement.receive_maximum;
            let (delivery, again) = match window.present_mut().and_then(|window| window.next_resend(maximum)) {
                Some(Resend::Publish(packet_id, delivery)) => (delivery, Some(packet_id)),
                Some(Resend::Pubrel(packet_id)) => {
                    Ack::success(packet_id).encode(PacketType::Pubrel, self.agreement.version, None, &mut self.out);
                    continue;
                }
                None => {
                    let room = window.has_room(maximum);
                    (self.take(room)?, None)
                }
            };
            if !self.find(&delivery) {
                return Some(Box::new(Missing { delivery, again }));
            }
            self.send(delivery, again);
        }
        None
    }

    /// The next message from the mailbox. What it needs from the journal is in flight from here on.
    fn take(&self, room: bool) -> Option<Delivery> {
        let mut mailbox = self.owned.session.mailbox.lock();
        let delivery = mailbox.take(room)?;
        if delivery.record.is_none() {
            self.owned.session.note_in_flight(delivery.entry.sequence);
        }
        Some(delivery)
    }

    fn forget_given_away(&mut self) {
        let mut given = self.owned.session.given_away.lock();
        for number in given.drain(..) {
            self.owned.state.window.acknowledge(packet_id(number), Qos::AtLeastOnce);
        }
    }

    /// Keeps the session's lower bound of what may have to be sent again close to the truth, at
    /// a cost that does not grow with the window.
    fn note_in_flight(&mut self) {
        let window = &self.owned.state.window;
        if window.is_empty() {
            self.owned.session.set_in_flight(None);
        } else if self.sends >= STALE_AFTER_SENDS {
            self.owned.session.set_in_flight(window.oldest());
            self.sends = 0;
        }
    }

    /// Makes the record of a delivery available in `slice`, where the journal still has it; whether the disk
    /// need not be asked.
    fn find(&mut self, delivery: &Delivery) -> bool {
        let sequence = delivery.entry.sequence;
        if delivery.record.is_some()
            || delivery.entry.void
            || self.slice.as_ref().is_some_and(|slice| slice.covers(sequence))
        {
            return true;
        }
        self.slice = match self.broker.journal.find(sequence) {
            Step::Slice(slice) => Some(slice),
            Step::CaughtUp => None,
            Step::Disk => return false,
        };
        true
    }

    async fn deliver_from_disk(&mut self, missing: Box<Missing>) -> Result<(), End> {
        let Missing { delivery, again } = *missing;
        let before = delivery.entry.sequence.previous();
        self.slice = match self.broker.journal.reader(before, Watermark::Appended).read_disk_async().await {
            Ok(slice) => slice,
            Err(ReadError::Cancelled) => return Err(End::ShuttingDown),
            Err(error) => {
                tracing::error!(client.id = %self.owned.session.client_id, %error, "cannot deliver a message");
                None
            }
        };
        self.send(delivery, again);
        Ok(())
    }

    /// Encodes one delivery, for the first time or, with its packet identifier, again.
    fn send(&mut self, delivery: Delivery, again: Option<u16>) {
        let slice = self.slice.take();
        let record = delivery.record.clone();
        let publication = match (&record, &slice) {
            _ if delivery.entry.void => None,
            (Some(record), _) => record.publication(),
            (None, Some(slice)) => find(slice, delivery.entry.sequence),
            (None, None) => None,
        };
        match publication {
            Some(publication) => self.encode(&publication, delivery, again),
            None if delivery.entry.void => self.give_up(delivery.entry.qos, again),
            None => {
                let statistics = &self.broker.statistics;
                // Best effort: it was refused or retired before its turn came.
                let lost = delivery.entry.qos > Qos::AtMostOnce;
                if lost { &statistics.lost } else { &statistics.dropped }.add(1);
                self.give_up(delivery.entry.qos, again);
            }
        }
        self.slice = slice;
    }

    /// The alias that the client knows a topic by, or the one that it is to get (section 3.3.2.3.4), and
    /// whether it knows it. The first topics get one, as many as the client takes and the limit allows.
    fn alias(&self, topic: &str) -> (Option<u16>, bool) {
        let maximum = self.agreement.topic_alias_maximum;
        if maximum == 0 {
            return (None, false);
        }
        let aliased = self.aliased.as_deref();
        match aliased.and_then(|aliased| aliased.get(topic)) {
            Some(alias) => (Some(*alias), true),
            None => {
                (Some(aliased.map_or(0, |aliased| aliased.len()) as u16 + 1).filter(|alias| *alias <= maximum), false)
            }
        }
    }

    /// Ends the way of a message that cannot be sent, or not again. Where the client may hold the packet
    /// identifier, it is told that it is free.
    fn give_up(&mut self, qos: Qos, again: Option<u16>) {
        let window = &mut self.owned.state.window;
        match (qos, again) {
            (Qos::AtMostOnce, _) => {}
            (_, None) => window.skip(),
            (Qos::AtLeastOnce, Some(packet_id)) => drop(window.acknowledge(packet_id, qos)),
            (Qos::ExactlyOnce, Some(packet_id)) => {
                if let Receipt::First(_) = window.receive(packet_id) {
                    Ack::success(packet_id).encode(PacketType::Pubrel, self.agreement.version, None, &mut self.out);
                }
            }
        }
    }

    fn encode(&mut self, publication: &Publication<'_>, delivery: Delivery, again: Option<u16>) {
        let qos = delivery.entry.qos;
        let client = Client::of(&self.identity, &self.owned);
        if !self.access.may_receive(&self.broker.access, client, publication.topic) {
            self.broker.statistics.may_not_receive.add(1);
            return self.give_up(qos, again);
        }
        // What the client may have is completed, whatever its age [MQTT-4.3.3-7].
        let may_be_there = again.is_some() || (delivery.entry.dup && qos > Qos::AtMostOnce);
        let message_expiry = match remaining_life(publication) {
            Ok(left) => left,
            Err(Expired) if may_be_there => Some(0),
            Err(Expired) => return self.give_up(qos, again),
        };
        let entry = delivery.entry.clone();
        let packet_id = match (qos, again) {
            (Qos::AtMostOnce, _) => 0,
            (_, Some(packet_id)) => packet_id,
            (_, None) => self.owned.state.window.next_packet_id(),
        };
        let (alias, known) = self.alias(publication.topic);
        let packet = OutgoingPublish {
            dup: may_be_there,
            qos,
            retain: entry.retain,
            topic: if known { "" } else { publication.topic },
            packet_id,
            properties: publication.properties,
            message_expiry,
            topic_alias: alias,
            subscription_identifiers: &entry.identifiers,
            payload: publication.payload,
        };
        let (version, maximum) = (self.agreement.version, self.agreement.maximum_packet_size);
        if packet.encode(version, maximum, &mut self.out).is_err() {
            // To be treated as if it had been sent and completed [MQTT-3.1.2-25].
            self.broker.statistics.dropped.add(1);
            return self.give_up(qos, again);
        }
        self.broker.statistics.delivered.add(1);
        if let Some(alias) = alias.filter(|_| !known) {
            self.aliased.get_or_insert_default().insert(publication.topic.into(), alias);
        }
        if qos > Qos::AtMostOnce && again.is_none() {
            self.owned.state.window.send(delivery);
            self.sends = self.sends.saturating_add(1);
        }
    }
}

fn find(slice: &crate::journal::Slice, sequence: Sequence) -> Option<Publication<'_>> {
    match slice.batch().find(sequence)? {
        Record::Publication { publication, .. } => Some(publication),
        _ => None,
    }
}

/// Seconds left of a message's life, where it has a limit; an error when it is over
/// (MQTT 5.0 section 3.3.2.3.3).
fn remaining_life(publication: &Publication<'_>) -> Result<Option<u32>, Expired> {
    if publication.properties.is_empty() {
        return Ok(None);
    }
    let Some(interval) = publication.properties.message_expiry_interval() else { return Ok(None) };
    let now = crate::journal::Clock::now(&crate::journal::SystemClock);
    let age = age_in_seconds(publication.received, now);
    match interval.checked_sub(age) {
        Some(left) if left > 0 || (interval == 0 && age == 0) => Ok(Some(left)),
        _ => Err(Expired),
    }
}

struct Expired;

fn age_in_seconds(received: Micros, now: Micros) -> u32 {
    u32::try_from((now.get() - received.get()).max(0) / 1_000_000).unwrap_or(u32::MAX)
}
