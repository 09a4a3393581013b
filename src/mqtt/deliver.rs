//! Towards the client: mailbox entries become PUBLISH packets.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    codec::{Ack, OutgoingPublish, PacketType},
    connection::Connection,
    end::End,
    mailbox::{Delivery, Source},
    window::Resend,
};
use crate::{
    journal::{ReadError, Record, Step},
    types::{Micros, Publication, Qos, Sequence},
};

/// Sends after which the oldest message in flight is looked for again.
const STALE_AFTER_SENDS: u32 = 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Encodes what waits, as far as window and output allow.
    pub(super) async fn deliver(&mut self) -> Result<(), End> {
        while !self.is_backed_up() {
            if let Some(resend) = self.resends.pop_front() {
                if matches!(resend, Resend::Publish(..)) && self.resent >= self.agreement.receive_maximum {
                    self.resends.push_front(resend);
                    break;
                }
                self.resend(resend).await?;
                continue;
            }
            let window = self.owned.state.window.has_room(self.agreement.receive_maximum);
            let next = self.owned.session.mailbox.lock().take(window);
            let Some(delivery) = next else { break };
            self.load(&delivery.source).await?;
            self.send(delivery, None);
        }
        if self.resends.is_empty() && self.owned.session.mailbox.lock().is_empty() {
            self.slice = None;
        }
        self.held_back = self.is_backed_up();
        self.note_in_flight();
        Ok(())
    }

    /// Keeps the session's lower bound of what may have to be sent again close to the truth, at
    /// a cost that does not grow with the window.
    fn note_in_flight(&mut self) {
        let window = &self.owned.state.window;
        let stale = self.sends >= STALE_AFTER_SENDS || !self.owned.session.has_in_flight();
        if window.is_empty() {
            self.owned.session.set_in_flight(None);
        } else if stale {
            self.owned.session.set_in_flight(window.oldest());
            self.sends = 0;
        }
    }

    async fn resend(&mut self, resend: Resend) -> Result<(), End> {
        match resend {
            Resend::Publish(packet_id, delivery) => {
                self.load(&delivery.source).await?;
                self.send(delivery, Some(packet_id));
            }
            Resend::Pubrel(packet_id) => {
                Ack::success(packet_id).encode(PacketType::Pubrel, self.agreement.version, &mut self.out);
            }
        }
        Ok(())
    }

    /// Makes the record of `source` available in `slice`, where the journal still has it.
    async fn load(&mut self, source: &Source) -> Result<(), End> {
        let Source::Journal(sequence) = *source else { return Ok(()) };
        if self.slice.as_ref().is_some_and(|slice| slice.covers(sequence)) {
            return Ok(());
        }
        self.reader.seek(sequence.previous());
        let found = match self.reader.step() {
            Step::Slice(slice) => Ok(Some(slice)),
            Step::CaughtUp => Ok(None),
            Step::Disk => self.reader.read_disk_async().await,
        };
        self.slice = match found {
            Ok(slice) => slice,
            Err(ReadError::Cancelled) => return Err(End::ShuttingDown),
            Err(error) => {
                tracing::error!(client.id = %self.owned.session.client_id, %error, "cannot deliver a message");
                None
            }
        };
        Ok(())
    }

    /// Encodes one delivery, for the first time or, with its packet identifier, again.
    fn send(&mut self, delivery: Delivery, again: Option<u16>) {
        let retained = match &delivery.source {
            Source::Retained(record) => Some(std::sync::Arc::clone(record)),
            Source::Journal(_) => None,
        };
        let slice = self.slice.take();
        let publication = match (&delivery.source, &retained, &slice) {
            (_, Some(record), _) => record.publication(),
            (Source::Journal(sequence), _, Some(slice)) => find(slice, *sequence),
            _ => None,
        };
        match publication {
            Some(publication) => self.encode(&publication, delivery, again),
            None if delivery.qos > Qos::AtMostOnce => {
                self.broker.statistics.lost.add(1);
                self.give_up(&delivery, again);
            }
            // Best effort: it was refused or retired before its turn came.
            None => self.broker.statistics.dropped.add(1),
        }
        self.slice = slice;
    }

    /// Ends the flight of a message that cannot be sent again. Where the client may hold the packet
    /// identifier, it is told that it is free.
    fn give_up(&mut self, delivery: &Delivery, again: Option<u16>) {
        let Some(packet_id) = again else { return };
        if delivery.qos == Qos::AtLeastOnce {
            self.owned.state.window.acknowledge(packet_id, Qos::AtLeastOnce);
        } else if self.owned.state.window.receive(packet_id) {
            Ack::success(packet_id).encode(PacketType::Pubrel, self.agreement.version, &mut self.out);
        }
    }

    fn encode(&mut self, publication: &Publication<'_>, delivery: Delivery, again: Option<u16>) {
        let Ok(message_expiry) = remaining_life(publication) else { return self.give_up(&delivery, again) };
        let identifiers = delivery.identifiers.clone();
        let mut packet = OutgoingPublish {
            dup: again.is_some(),
            qos: delivery.qos,
            retain: delivery.retain,
            topic: publication.topic,
            // Any identifier takes two bytes; the real one is taken only if the packet fits.
            packet_id: if delivery.qos == Qos::AtMostOnce { 0 } else { again.unwrap_or(1) },
            properties: publication.properties,
            message_expiry,
            topic_alias: None,
            subscription_identifiers: identifiers.as_deref().unwrap_or_default(),
            payload: publication.payload,
        };
        let (version, maximum) = (self.agreement.version, self.agreement.maximum_packet_size);
        // To be treated as if it had been sent and completed [MQTT-3.1.2-25].
        if packet.encoded_size(version) > maximum as usize {
            self.broker.statistics.dropped.add(1);
            return self.give_up(&delivery, again);
        }
        self.resent += u16::from(again.is_some());
        if delivery.qos > Qos::AtMostOnce && again.is_none() {
            packet.packet_id = self.owned.state.window.send(delivery);
            self.sends += 1;
        }
        if packet.encode(version, maximum, &mut self.out).is_ok() {
            self.broker.statistics.delivered.add(1);
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
