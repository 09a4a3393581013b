//! Messages sent to a client and not yet acknowledged (MQTT 5.0 section 4.4 and 4.9).
//!
//! The messages of a session that need an identifier are numbered in the order in which they were
//! queued, from 0, over all its connections. The packet identifier follows from the number, so
//! that after a crash the same message gets the same identifier although nothing was written when
//! it was sent: the journal has the queue's order, and that is enough.

use std::collections::VecDeque;

use super::mailbox::Delivery;
use crate::types::{Qos, Sequence};

/// Identifiers there are: 1 to 65,535.
const IDENTIFIERS: u64 = 65_535;

/// Messages behind the oldest unacknowledged one that may have been sent, unless the client's
/// receive maximum allows more: a client that never acknowledges one of them stalls at some point.
pub const MAXIMUM_SPAN: usize = 16_384;

/// How far a message has come.
#[derive(Clone, Debug)]
enum Stage {
    /// Sent: PUBACK or PUBREC is waited for. Sent again after a reconnect.
    Sent(Delivery),
    /// The client has it: PUBCOMP is waited for. PUBREL is sent again after a reconnect.
    Received(Delivery),
    /// Acknowledged, or not to be sent at all.
    Done,
}

#[derive(Clone, Debug)]
struct Flight {
    stage: Stage,
    /// Whether it counts against the client's receive maximum: sent on this connection.
    counted: bool,
}

/// What to send again after a reconnect.
#[derive(Clone, Debug)]
pub enum Resend {
    /// The PUBLISH, with DUP set.
    Publish(u16, Delivery),
    /// The PUBREL.
    Pubrel(u16),
}

/// What a PUBREC has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The message with this number was received for the first time: a PUBREL is due once that is on
    /// record.
    First(u64),
    /// It was received before: the PUBREL is due again.
    Repeated,
    /// No such message is waited for.
    Unknown,
}

/// What is acknowledged: everything below `below`, and, of what is above it, numbers that have come since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The first number that is not.
    pub below: u64,
    /// Numbers above it that are, rising.
    pub beyond: Vec<u64>,
}

/// The send window.
#[derive(Debug, Default)]
pub struct Window {
    /// The number of the first flight.
    base: u64,
    flights: VecDeque<Flight>,
    /// Flights that are done, of those behind the first that is not.
    done: usize,
    /// Messages sent on this connection and not acknowledged.
    outstanding: usize,
    /// Flights looked at since the connection began, for what must be sent again.
    resumed: usize,
    changed: bool,
    /// Numbers done with since progress was last taken.
    news: Vec<u64>,
}

impl Window {
    /// A window whose first message will have the number `base`.
    #[must_use]
    pub fn starting_at(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// Adds a message of an earlier life that may have been sent.
    pub fn restore_sent(&mut self, delivery: Delivery) {
        self.push(Stage::Sent(delivery), false);
    }

    /// Adds a message of an earlier life that the client has received.
    pub fn restore_received(&mut self, delivery: Delivery) {
        self.push(Stage::Received(delivery), false);
    }

    /// Adds a message of an earlier life that is done with.
    pub fn restore_done(&mut self) {
        self.push(Stage::Done, false);
        self.done += 1;
        self.advance();
        self.changed = false;
    }

    /// A new connection: everything unacknowledged is to be sent again, and counts again.
    pub fn resume(&mut self) {
        self.outstanding = 0;
        self.resumed = 0;
        self.flights.iter_mut().for_each(|flight| flight.counted = false);
    }

    /// What must be sent again next, in the order of its first sending [MQTT-4.6.0-1]; none while
    /// the client takes no more, or when that is all.
    pub fn next_resend(&mut self, receive_maximum: u16) -> Option<Resend> {
        loop {
            let number = self.base + self.resumed as u64;
            let flight = self.flights.get_mut(self.resumed)?;
            let resend = match &flight.stage {
                Stage::Done => None,
                // PUBREL does not count (section 4.9).
                Stage::Received(_) => Some(Resend::Pubrel(packet_id(number))),
                Stage::Sent(_) if self.outstanding >= usize::from(receive_maximum) => return None,
                Stage::Sent(delivery) => {
                    flight.counted = true;
                    self.outstanding += 1;
                    Some(Resend::Publish(packet_id(number), delivery.clone()))
                }
            };
            self.resumed += 1;
            if resend.is_some() {
                return resend;
            }
        }
    }

    /// Whether a message may be sent for the first time.
    #[must_use]
    pub fn has_room(&self, receive_maximum: u16) -> bool {
        let span = usize::from(receive_maximum).max(MAXIMUM_SPAN).min(IDENTIFIERS as usize);
        self.resumed == self.flights.len()
            && self.outstanding < usize::from(receive_maximum)
            && self.flights.len() < span
    }

    /// Takes the next number for a message that is sent now; its packet identifier. Call only with
    /// room.
    pub fn send(&mut self, delivery: Delivery) -> u16 {
        self.outstanding += 1;
        self.resumed += 1;
        self.push(Stage::Sent(delivery), true)
    }

    /// Takes the next number for a message that will never be sent. Call only with room.
    pub fn skip(&mut self) {
        self.news.push(self.next_number());
        self.resumed += 1;
        self.push(Stage::Done, false);
        self.done += 1;
        self.advance();
    }

    /// The packet identifier that the next message gets.
    #[must_use]
    pub fn next_packet_id(&self) -> u16 {
        packet_id(self.next_number())
    }

    /// The number that the next message gets.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.base + self.flights.len() as u64
    }

    /// The journal's record of the message in flight with this packet identifier.
    #[must_use]
    pub fn sequence(&self, packet_id: u16) -> Option<Sequence> {
        match &self.flights.get(self.index(packet_id)?)?.stage {
            Stage::Sent(delivery) | Stage::Received(delivery) => Some(delivery.entry.sequence),
            Stage::Done => None,
        }
    }

    /// PUBACK, or a PUBREC that refuses the message: the identifier is free. Whether it stood
    /// for a message of that QoS.
    pub fn acknowledge(&mut self, packet_id: u16, qos: Qos) -> bool {
        let Some(at) = self.index(packet_id) else { return false };
        match self.flights.get(at).map(|flight| &flight.stage) {
            Some(Stage::Sent(delivery)) if delivery.entry.qos == qos => {
                self.finish(at);
                true
            }
            _ => false,
        }
    }

    /// PUBREC: the client has taken the message over.
    pub fn receive(&mut self, packet_id: u16) -> Receipt {
        let Some(at) = self.index(packet_id) else { return Receipt::Unknown };
        let Some(flight) = self.flights.get_mut(at) else { return Receipt::Unknown };
        match std::mem::replace(&mut flight.stage, Stage::Done) {
            Stage::Sent(delivery) if delivery.entry.qos == Qos::ExactlyOnce => {
                flight.stage = Stage::Received(delivery);
                Receipt::First(self.base + at as u64)
            }
            other => {
                let repeated = matches!(other, Stage::Received(_));
                flight.stage = other;
                if repeated { Receipt::Repeated } else { Receipt::Unknown }
            }
        }
    }

    /// The receipt could not be put on record: the message counts as sent only.
    pub fn forget_receipt(&mut self, packet_id: u16) {
        let Some(at) = self.index(packet_id) else { return };
        let Some(flight) = self.flights.get_mut(at) else { return };
        flight.stage = match std::mem::replace(&mut flight.stage, Stage::Done) {
            Stage::Received(delivery) => Stage::Sent(delivery),
            other => other,
        };
    }

    /// PUBCOMP: the identifier is free. Whether it was waited for.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        let Some(at) = self.index(packet_id) else { return false };
        if !self.flights.get(at).is_some_and(|flight| matches!(flight.stage, Stage::Received(_))) {
            return false;
        }
        self.finish(at);
        true
    }

    /// What has been acknowledged since the last time, if anything has.
    pub fn take_progress(&mut self) -> Option<Acknowledged> {
        let mut beyond = std::mem::take(&mut self.news);
        beyond.retain(|number| *number > self.base);
        beyond.sort_unstable();
        std::mem::take(&mut self.changed).then_some(Acknowledged { below: self.base, beyond })
    }

    /// Messages that are unacknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len() - self.done
    }

    /// Whether nothing is unacknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// The first journal record that may have to be sent again.
    #[must_use]
    pub fn oldest(&self) -> Option<Sequence> {
        let sequence = |flight: &Flight| match &flight.stage {
            Stage::Sent(delivery) if delivery.record.is_none() => Some(delivery.entry.sequence),
            _ => None,
        };
        self.flights.iter().filter_map(sequence).min()
    }

    fn push(&mut self, stage: Stage, counted: bool) -> u16 {
        let packet_id = self.next_packet_id();
        self.flights.push_back(Flight { stage, counted });
        packet_id
    }

    /// Where the flight with this packet identifier is: at most 65,535 numbers are open at a time.
    fn index(&self, packet_id: u16) -> Option<usize> {
        let first = self.base % IDENTIFIERS;
        let wanted = u64::from(packet_id).checked_sub(1)?;
        let at = (wanted + IDENTIFIERS - first) % IDENTIFIERS;
        usize::try_from(at).ok().filter(|&at| at < self.flights.len())
    }

    fn finish(&mut self, at: usize) {
        let Some(flight) = self.flights.get_mut(at) else { return };
        flight.stage = Stage::Done;
        if std::mem::take(&mut flight.counted) {
            self.outstanding -= 1;
        }
        if at > 0 {
            self.news.push(self.base + at as u64);
        }
        self.done += 1;
        self.advance();
    }

    fn advance(&mut self) {
        self.changed = true;
        while let Some(Flight { stage: Stage::Done, .. }) = self.flights.front() {
            self.flights.pop_front();
            self.base += 1;
            self.done -= 1;
            self.resumed = self.resumed.saturating_sub(1);
        }
        if self.flights.is_empty() {
            // An idle session holds no memory for its window.
            self.flights = VecDeque::new();
        }
    }
}

/// The packet identifier of the message with this number.
#[must_use]
pub const fn packet_id(number: u64) -> u16 {
    (number % IDENTIFIERS) as u16 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::mailbox::{Entry, Identifiers};

    const MANY: u16 = 1024;

    fn delivery(sequence: u64, qos: Qos) -> Delivery {
        let entry = Entry {
            sequence: Sequence(sequence),
            qos,
            retain: false,
            from_retained: false,
            group: None,
            void: false,
            dup: false,
            size: 1,
            identifiers: Identifiers::new(),
        };
        Delivery { entry, record: None }
    }

    fn resends(window: &mut Window, receive_maximum: u16) -> Vec<(u16, Option<u64>)> {
        std::iter::from_fn(|| window.next_resend(receive_maximum))
            .map(|resend| match resend {
                Resend::Publish(id, delivery) => (id, Some(delivery.entry.sequence.0)),
                Resend::Pubrel(id) => (id, None),
            })
            .collect()
    }

    #[test]
    fn identifiers_start_at_one_and_follow_each_other() {
        let mut window = Window::default();
        let ids: Vec<_> = (1..=3).map(|n| window.send(delivery(n, Qos::AtLeastOnce))).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert!(!window.has_room(3));
        assert!(window.acknowledge(2, Qos::AtLeastOnce), "in any order");
        assert!(!window.acknowledge(2, Qos::AtLeastOnce), "once only");
        assert!(window.has_room(3));
        assert_eq!(window.take_progress(), Some(Acknowledged { below: 0, beyond: vec![1] }));
        assert_eq!(window.take_progress(), None);
        assert_eq!(window.send(delivery(4, Qos::AtLeastOnce)), 4);
        assert_eq!(window.oldest(), Some(Sequence(1)));
        assert!(window.acknowledge(1, Qos::AtLeastOnce));
        assert_eq!(window.take_progress(), Some(Acknowledged { below: 2, beyond: vec![] }));
    }

    #[test]
    fn identifiers_wrap_and_are_never_used_twice_at_a_time() {
        let mut window = Window::default();
        for n in 1..=200_000 {
            let id = window.send(delivery(n, Qos::AtLeastOnce));
            assert_eq!(u64::from(id), (n - 1) % 65_535 + 1);
            // The oldest is acknowledged ten behind.
            if n > 10 {
                assert!(window.acknowledge(packet_id(n - 11), Qos::AtLeastOnce));
            }
        }
        assert_eq!(window.in_flight(), 10);
    }

    #[test]
    fn one_message_that_is_never_acknowledged_ends_the_flow_before_its_identifier_comes_again() {
        let mut window = Window::default();
        window.send(delivery(1, Qos::AtLeastOnce));
        let mut sent = 0;
        while window.has_room(MANY) {
            let id = window.send(delivery(2, Qos::AtLeastOnce));
            assert!(window.acknowledge(id, Qos::AtLeastOnce));
            sent += 1;
        }
        assert_eq!(sent + 1, MAXIMUM_SPAN);
        assert!(window.acknowledge(1, Qos::AtLeastOnce));
        assert!(window.has_room(MANY) && window.is_empty());
    }

    #[test]
    fn exactly_once_takes_two_steps_in_order() {
        let mut window = Window::default();
        let id = window.send(delivery(1, Qos::ExactlyOnce));
        assert!(!window.acknowledge(id, Qos::AtLeastOnce), "PUBACK is for QoS 1");
        assert!(!window.complete(id), "PUBCOMP before PUBREC");
        assert_eq!(window.receive(id), Receipt::First(0));
        assert_eq!(window.receive(id), Receipt::Repeated, "a repeated PUBREC gets its PUBREL again");
        assert!(window.complete(id));
        assert_eq!(window.receive(id), Receipt::Unknown, "the identifier is free");
        assert!(window.is_empty());
    }

    #[test]
    fn after_a_reconnect_all_is_sent_again_in_order_and_within_the_new_receive_maximum() {
        let mut window = Window::default();
        for n in 1..=4 {
            window.send(delivery(n, Qos::ExactlyOnce));
        }
        window.receive(2);
        window.receive(3);
        window.complete(3);
        window.resume();
        assert!(!window.has_room(MANY), "nothing new before the old");
        assert_eq!(resends(&mut window, 1), [(1, Some(1)), (2, None)]);
        assert!(!window.has_room(1));
        window.receive(1);
        assert!(window.complete(1));
        assert_eq!(resends(&mut window, 1), [(4, Some(4))]);
        assert!(!window.has_room(1));
        assert!(window.has_room(2));
    }

    #[test]
    fn a_receipt_that_was_not_recorded_is_forgotten() {
        let mut window = Window::default();
        let id = window.send(delivery(1, Qos::ExactlyOnce));
        window.receive(id);
        window.forget_receipt(id);
        window.resume();
        assert_eq!(resends(&mut window, MANY), [(1, Some(1))]);
    }

    #[test]
    fn what_is_restored_has_the_same_identifiers_as_before() {
        let mut window = Window::starting_at(65_534);
        window.restore_done();
        window.restore_sent(delivery(7, Qos::AtLeastOnce));
        window.restore_received(delivery(8, Qos::ExactlyOnce));
        window.restore_done();
        assert_eq!(window.take_progress(), None);
        window.resume();
        assert_eq!(resends(&mut window, MANY), [(1, Some(7)), (2, None)]);
        assert_eq!(window.send(delivery(9, Qos::AtLeastOnce)), 4);
        assert!(window.complete(2));
        assert!(window.acknowledge(1, Qos::AtLeastOnce));
        assert_eq!(window.take_progress(), Some(Acknowledged { below: 65_538, beyond: vec![] }));
    }
}
