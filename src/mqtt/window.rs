//! Messages sent to a client and not yet acknowledged (MQTT 5.0 section 4.4 and 4.9).

use std::collections::VecDeque;

use super::mailbox::{Delivery, Source};
use crate::types::{Qos, Sequence};

/// What a packet identifier is waiting for.
#[derive(Clone, Debug)]
enum Flight {
    /// PUBACK or PUBREC. The message is sent again after a reconnect.
    Sent(Delivery),
    /// PUBCOMP. PUBREL is sent again after a reconnect.
    Released,
}

/// What to send again after a reconnect.
#[derive(Clone, Debug)]
pub enum Resend {
    /// The PUBLISH, with DUP set.
    Publish(u16, Delivery),
    /// The PUBREL.
    Pubrel(u16),
}

/// The send window: packet identifiers from 1 to the client's receive maximum.
#[derive(Debug, Default)]
pub struct Window {
    /// By identifier less 1, with the order of sending.
    flights: Vec<Option<(u64, Flight)>>,
    free: VecDeque<u16>,
    in_flight: usize,
    sent: u64,
}

impl Window {
    /// Whether another message may be sent.
    #[must_use]
    pub const fn has_room(&self, receive_maximum: u16) -> bool {
        self.in_flight < receive_maximum as usize
    }

    /// Takes a packet identifier for a message. Call only with room.
    pub fn send(&mut self, delivery: Delivery) -> u16 {
        self.sent += 1;
        self.in_flight += 1;
        let flight = Some((self.sent, Flight::Sent(delivery)));
        if let Some(packet_id) = self.free.pop_front()
            && let Some(slot) = self.flights.get_mut(usize::from(packet_id) - 1)
        {
            *slot = flight;
            return packet_id;
        }
        self.flights.push(flight);
        self.flights.len() as u16
    }

    /// PUBACK, or a PUBREC that refuses the message: the identifier is free. Whether it stood
    /// for a message of that QoS.
    pub fn acknowledge(&mut self, packet_id: u16, qos: Qos) -> bool {
        match self.flight(packet_id) {
            Some((_, Flight::Sent(delivery))) if delivery.qos == qos => self.finish(packet_id),
            _ => false,
        }
    }

    /// PUBREC: the client has taken the message over. Whether a PUBREL is due.
    pub fn receive(&mut self, packet_id: u16) -> bool {
        match self.flight(packet_id) {
            Some((_, flight @ Flight::Sent(_))) => {
                if matches!(flight, Flight::Sent(delivery) if delivery.qos != Qos::ExactlyOnce) {
                    return false;
                }
                *flight = Flight::Released;
                true
            }
            Some((_, Flight::Released)) => true,
            None => false,
        }
    }

    /// PUBCOMP: the identifier is free. Whether it was waited for.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        match self.flight(packet_id) {
            Some((_, Flight::Released)) => self.finish(packet_id),
            _ => false,
        }
    }

    /// Everything unacknowledged, in the order of its first sending [MQTT-4.6.0-1].
    #[must_use]
    pub fn resends(&self) -> VecDeque<Resend> {
        let mut flights: Vec<_> =
            (1_u16..).zip(&self.flights).filter_map(|(id, slot)| Some((id, slot.as_ref()?))).collect();
        flights.sort_unstable_by_key(|(_, (order, _))| *order);
        let resend = |(packet_id, (_, flight)): (u16, &(u64, Flight))| match flight {
            Flight::Sent(delivery) => Resend::Publish(packet_id, delivery.clone()),
            Flight::Released => Resend::Pubrel(packet_id),
        };
        flights.into_iter().map(resend).collect()
    }

    /// Whether nothing is unacknowledged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// The first journal record that may have to be sent again.
    #[must_use]
    pub fn oldest(&self) -> Option<Sequence> {
        let sequence = |flight: &Flight| match flight {
            Flight::Sent(Delivery { source: Source::Journal(sequence), .. }) => Some(*sequence),
            Flight::Sent(_) | Flight::Released => None,
        };
        self.flights.iter().flatten().filter_map(|(_, flight)| sequence(flight)).min()
    }

    fn flight(&mut self, packet_id: u16) -> Option<&mut (u64, Flight)> {
        self.flights.get_mut(usize::from(packet_id).checked_sub(1)?)?.as_mut()
    }

    fn finish(&mut self, packet_id: u16) -> bool {
        if let Some(slot) = self.flights.get_mut(usize::from(packet_id) - 1) {
            *slot = None;
        }
        self.in_flight -= 1;
        if self.in_flight == 0 {
            // An idle session holds no memory for its window, and starts at 1 again.
            *self = Self { sent: self.sent, ..Self::default() };
        } else {
            self.free.push_back(packet_id);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(sequence: u64, qos: Qos) -> Delivery {
        Delivery { source: Source::Journal(Sequence(sequence)), qos, retain: false, identifiers: None }
    }

    #[test]
    fn identifiers_start_at_one_and_come_back_when_acknowledged() {
        let mut window = Window::default();
        let ids: Vec<_> = (1..=3).map(|n| window.send(delivery(n, Qos::AtLeastOnce))).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert!(!window.has_room(3));
        assert!(window.acknowledge(2, Qos::AtLeastOnce));
        assert!(!window.acknowledge(2, Qos::AtLeastOnce), "once only");
        assert!(window.has_room(3));
        assert_eq!(window.send(delivery(4, Qos::AtLeastOnce)), 2);
        assert_eq!(window.oldest(), Some(Sequence(1)));
    }

    #[test]
    fn exactly_once_takes_two_steps_in_order() {
        let mut window = Window::default();
        let id = window.send(delivery(1, Qos::ExactlyOnce));
        assert!(!window.acknowledge(id, Qos::AtLeastOnce), "PUBACK is for QoS 1");
        assert!(!window.complete(id), "PUBCOMP before PUBREC");
        assert!(window.receive(id));
        assert!(window.receive(id), "a repeated PUBREC gets its PUBREL again");
        assert!(window.complete(id));
        assert!(!window.receive(id), "the identifier is free");
        assert!(window.is_empty());
    }

    #[test]
    fn resends_keep_the_order_of_sending_over_reused_identifiers() {
        let mut window = Window::default();
        let first = window.send(delivery(1, Qos::AtLeastOnce));
        window.send(delivery(2, Qos::AtLeastOnce));
        window.acknowledge(first, Qos::AtLeastOnce);
        assert_eq!(window.send(delivery(3, Qos::AtLeastOnce)), first);
        let order: Vec<_> = window
            .resends()
            .into_iter()
            .map(|resend| match resend {
                Resend::Publish(id, Delivery { source: Source::Journal(sequence), .. }) => (id, sequence.0),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [(2, 2), (1, 3)]);
    }
}
